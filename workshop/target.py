"""A target: what is checked, put under load, compared or looked at.

It is a folder that we start, such as a step, a learner's work or the same shop on another
framework, or a URL at which something runs already. Only a folder lets us choose its settings, send
it signals, and see its process and its database.
"""

import http.client
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from workshop.errors import WorkshopError
from workshop.files import raise_open_files_limit
from workshop.server import Server
from workshop.services import Services, private
from workshop.steps import Step

SECRET = "for measuring, where no user logs in from outside"  # noqa: S105
MANIFEST = "target.toml"


@dataclass(frozen=True)
class Target:
    """An app to start from `folder`, or one that answers at `url`: exactly one of them is given.

    `arguments` are what Python is started with in the folder, "{port}" standing for the port; empty
    for the file that serves a step. `settings` are environment variables of this target's own.
    `not_applicable` names checks that cannot apply to it, each with the reason.
    """

    name: str
    folder: Path | None = None
    url: str | None = None
    arguments: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    not_applicable: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def at(cls, url: str) -> "Target":
        """What runs already at an http:// address."""
        return cls(name=url, url=url.rstrip("/"))

    @classmethod
    def of(cls, app: Step | Path, **settings: Any) -> "Target":
        """A step or an app folder; a `target.toml` in it may set the fields of Target.

        Raises WorkshopError for a manifest that cannot be read.
        """
        folder = app.path if isinstance(app, Step) else Path(app)
        manifest = _manifest(folder)
        own = manifest.get("settings", {}) | settings
        return cls(
            name=manifest.get("name", folder.name),
            folder=folder,
            arguments=tuple(manifest.get("arguments", ())),
            settings={name: str(value) for name, value in own.items()},
            not_applicable=manifest.get("not_applicable", {}),
        )

    def server(self, environment: Mapping[str, str], log: Path, **options: Any) -> Server:
        """A server of the folder, not started yet; `options` as in Server."""
        if self.folder is None:
            raise WorkshopError(f"{self.url} runs already: there is nothing to start.")
        env = {**environment, **self.settings}
        return Server(self.folder, env, log, arguments=self.arguments, **options)


def _manifest(folder: Path) -> dict[str, Any]:
    file = folder / MANIFEST
    if not file.is_file():
        return {}
    try:
        return tomllib.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise WorkshopError(f"{file} cannot be read ({error}): mend it, or remove it.") from error


@contextmanager
def served(
    *apps: Target | Step | Path, log: Callable[[str], None] = print, **settings: Any
) -> Iterator[list[Server]]:
    """Serve targets on free ports, with services of their own, until the end of the block.

    `settings` go to all of them, as environment variables; `log` is called with what goes on.
    Raises WorkshopError.
    """
    raise_open_files_limit()
    with private(log) as services, ExitStack() as stack:
        logs = Path(stack.enter_context(TemporaryDirectory()))
        yield [
            stack.enter_context(serve(app, services, logs / f"{number}.log", **settings))
            for number, app in enumerate(apps)
        ]


@contextmanager
def reached(*targets: Target, log: Callable[[str], None] = print) -> Iterator[list[str]]:
    """The URL of each target: those that run already as they are, the others served meanwhile.

    Raises WorkshopError.
    """
    folders = [target for target in targets if target.url is None]
    with ExitStack() as stack:
        started = iter(stack.enter_context(served(*folders, log=log)) if folders else [])
        yield [target.url or next(started).url for target in targets]


def serve(app: Target | Step | Path, services: Services, log: Path, **settings: Any) -> Server:
    """A server of the app on these services, not started yet."""
    target = app if isinstance(app, Target) else Target.of(app)
    given = {name: str(value) for name, value in settings.items()}
    return target.server({"JWT_SECRET": SECRET, **services.environment(), **given}, log)


def answers_as(step: Step, url: str) -> bool:
    """Whether it is this step that answers at the URL."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=1)
    try:
        connection.request("GET", "/")
        return json.load(connection.getresponse())["step"] == step.folder
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return False
    finally:
        connection.close()
