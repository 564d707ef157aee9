"""PostgreSQL and Valkey for the workshop: `shared()` for the learner, `private()` for checks."""

from workshop.services.services import Services, stop_leftovers
from workshop.services.settings import External, shared
from workshop.services.slots import private

__all__ = ["External", "Services", "private", "shared", "stop_leftovers"]
