"""Several apps at once on services of their own: for comparisons, the bench and the notebooks."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from workshop.server import Server
from workshop.services import Services, private
from workshop.steps import Step

SECRET = "for measuring, where nobody logs in from outside"  # noqa: S105


@contextmanager
def served(*apps: Step | Path, say=print, **settings) -> Iterator[list[Server]]:
    """Serve steps or app folders on free ports, until the end of the block.

    `settings` go to all of them, as environment variables. Raises WorkshopError.
    """
    with private(say=say) as services, ExitStack() as stack:
        logs = Path(stack.enter_context(TemporaryDirectory()))
        yield [
            stack.enter_context(serve(app, services, logs / f"{number}.log", **settings))
            for number, app in enumerate(apps)
        ]


def serve(app: Step | Path, services: Services, log: Path, **settings) -> Server:
    """A server of the app on these services, not started yet."""
    folder = app.path if isinstance(app, Step) else app
    env = {"JWT_SECRET": SECRET} | services.environment()
    return Server(folder, env | {name: str(value) for name, value in settings.items()}, log)
