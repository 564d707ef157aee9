"""What several modules of tests run checks against; a module with other needs has its own."""

import pytest

from workshop.services import private


@pytest.fixture(scope="module")
def kept():
    """One pair of servers for all runs on this worker: cleaning takes less than starting."""
    with private(scram_iterations=1) as own:
        yield own


@pytest.fixture
def services(kept):
    """Running, and pristine again after the run before."""
    kept.start()
    kept.fresh_database()
    return kept
