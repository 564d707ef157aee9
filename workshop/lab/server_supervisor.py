"""The process that owns a notebook's servers, and ends them once the notebook is gone.

It reads calls from stdin and writes answers to stdout, a line of JSON each (see `lab.py`). When
stdin ends, because the kernel stopped, was restarted or was killed, it ends everything: nothing
outlives the notebook, and nothing is patched or blocked in its kernel.
"""

import json
import sys
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from workshop.checking import mistakes
from workshop.errors import WorkshopError
from workshop.files import raise_open_files_limit
from workshop.server import Server
from workshop.services import Services, private
from workshop.target import serve


class ServerSupervisor:
    """What can be called; arguments and results are plain JSON."""

    def __init__(self, services: Services, folder: Path):
        self.services, self.folder = services, folder
        self.servers: dict[int, Server] = {}  # by their process ids
        self.numbers = count(1)

    def about(self) -> dict[str, Any]:
        """Where the services are, and the process ids of all that runs."""
        pids = [*self.servers, *self.services.postgres.pids(), *self.services.valkey.pids()]
        return self.services.environment() | {"pids": pids}

    def serve(
        self, folder: str, number: int, mistake: str | None, settings: dict[str, Any]
    ) -> dict[str, Any]:
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

    def start_redis(self) -> None:
        self.services.start_valkey(lambda text: None)

    def stop_redis(self) -> None:
        self.services.valkey.stop()

    def kill(self) -> None:
        """End all apps at once: no client waits for their answers any more."""
        while self.servers:
            self.servers.popitem()[1].kill()


def answer(supervisor: ServerSupervisor, line: str) -> dict[str, Any]:
    """The answer to one call, which may be an error."""
    call = json.loads(line)
    try:
        result = getattr(supervisor, call["name"])(**call["arguments"])
        return {"id": call["id"], "result": result}
    except WorkshopError as error:
        return {"id": call["id"], "error": str(error)}


def write_message(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main() -> None:
    raise_open_files_limit()
    try:
        with (
            TemporaryDirectory() as folder,
            private(lambda text: write_message({"log": text})) as services,
        ):
            supervisor = ServerSupervisor(services, Path(folder))
            try:
                write_message({"id": 0, "result": supervisor.about()})
                for line in sys.stdin:
                    write_message(answer(supervisor, line))
            finally:
                supervisor.kill()
    except WorkshopError as error:
        write_message({"id": 0, "error": str(error)})
    except (BrokenPipeError, KeyboardInterrupt):
        sys.stdout = None  # nothing reads it: leave without a word
        sys.exit(1)


if __name__ == "__main__":
    main()
