"""The process that keeps a notebook's servers, and ends them once the notebook is gone.

It reads calls from stdin and writes answers to stdout, a line of JSON each (see `lab.py`). When
stdin ends, because the kernel stopped, was restarted or was killed, everything is ended: nothing
outlives the notebook, and nothing is patched or blocked in its kernel.
"""

import json
import sys
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from workshop.checking import mistakes
from workshop.errors import WorkshopError
from workshop.files import raise_open_files_limit
from workshop.server import Server
from workshop.services import Services, private
from workshop.target import serve


class Keeper:
    """What can be called; arguments and results are plain JSON."""

    def __init__(self, services: Services, folder: Path):
        self.services, self.folder = services, folder
        self.servers: dict[int, Server] = {}  # by their process ids
        self.numbers = count(1)

    def about(self) -> dict:
        """Where the services are, and the process ids of all that runs."""
        pids = [*self.servers, *self.services.postgres.pids(), *self.services.valkey.pids()]
        return self.services.environment() | {"pids": pids}

    def serve(self, folder: str, number: int, mistake: str | None, settings: dict) -> dict:
        """Serve an app folder, or step `number` with a mistake in it."""
        name = f"{next(self.numbers)}"
        app = Path(folder)
        if mistake:
            app = mistakes.apply(mistakes.mistake(number, mistake), self.folder / name)
        server = serve(app, self.services, self.folder / f"{name}.log", **settings).start()
        self.servers[server.process.pid] = server
        return {"url": server.url, "pid": server.process.pid, "log": str(server.log)}

    def stop(self, pid: int) -> None:
        if server := self.servers.pop(pid, None):
            server.stop()

    def redis(self, up: bool) -> None:
        """Start or stop the cache server."""
        if up:
            self.services.start_valkey(lambda text: None)
        else:
            self.services.valkey.stop()

    def kill(self) -> None:
        """End all apps at once: nobody waits for their answers any more."""
        while self.servers:
            self.servers.popitem()[1].kill()


def answer(keeper: Keeper, line: str) -> dict:
    """The answer to one call; an error is told, not raised."""
    call = json.loads(line)
    try:
        return {"id": call["id"], "result": getattr(keeper, call["name"])(**call["arguments"])}
    except WorkshopError as error:
        return {"id": call["id"], "error": str(error)}


def tell(message: dict) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main() -> None:
    raise_open_files_limit()
    try:
        with TemporaryDirectory() as folder, private(lambda text: tell({"say": text})) as services:
            keeper = Keeper(services, Path(folder))
            try:
                tell({"id": 0, "result": keeper.about()})
                for line in sys.stdin:
                    tell(answer(keeper, line))
            finally:
                keeper.kill()
    except WorkshopError as error:
        tell({"id": 0, "error": str(error)})
    except (BrokenPipeError, KeyboardInterrupt):
        sys.stdout = None  # nobody reads any more: leave without a word
        sys.exit(1)


if __name__ == "__main__":
    main()
