"""A step, or any app folder, served in a process of its own."""

import contextlib
import http.client
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from workshop.errors import WorkshopError
from workshop.services.daemon import listening
from workshop.services.ports import free_port, release

READY = 30  # seconds until the first answer
STOP = 6  # seconds from SIGTERM to SIGKILL


class Server:
    """The app in `folder`, served on 127.0.0.1.

    `env` is added to the environment; `port` is a free one unless given. Python is started with
    `arguments`, in which "{port}" stands for the port; by default with the file that serves a step.
    The output goes to the file `log`, because an unread pipe would stop the app once it is full.
    `largest` is the size in bytes up to which the app can write a file, its output included; None
    sets no limit.
    """

    def __init__(
        self,
        folder: Path,
        env: dict[str, str],
        log: Path,
        port: int | None = None,
        largest: int | None = None,
        arguments: tuple[str, ...] = (),
    ):
        self.folder, self.log, self.largest = Path(folder), Path(log), largest
        self.arguments = arguments
        self.port = port or free_port()
        self.env = env
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The app's process; raises RuntimeError before the start."""
        if self._process is None:
            raise RuntimeError(f"{self.folder} isn't served yet: call start() first.")
        return self._process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def command(self) -> list[str]:
        arguments = self.arguments or (entry_point(self.folder),)
        command = [sys.executable, *(word.format(port=self.port) for word in arguments)]
        if self.largest is None:
            return command
        return ["sh", "-c", f'ulimit -f {self.largest // 512}; exec "$@"', "sh", *command]

    def start(self) -> "Server":
        """Start, and return once GET / is answered; raises WorkshopError otherwise."""
        if listening(self.port):
            raise WorkshopError(
                f"Port {self.port} is taken. Stop what runs there, or choose another: "
                f"PORT={self.port + 10}."
            )
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._await_first_answer()
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self) -> int | None:
        """SIGTERM, then SIGKILL if need be; returns the exit code."""
        if self._process is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP)
        self.kill()
        return self.process.returncode

    def kill(self) -> None:
        """End the app and everything that it started, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        release(self.port)

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def __enter__(self) -> "Server":
        return self.start()

    def __exit__(self, *exception) -> None:
        self.stop()

    def _environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "HOST")}
        return inherited | {"PYTHONUNBUFFERED": "1"} | self.env | {"PORT": str(self.port)}

    def _await_first_answer(self) -> None:
        deadline = time.monotonic() + READY
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise WorkshopError(
                    f"The app ended with exit code {self.process.returncode} before it answered "
                    f"GET /. {self._last_line()}"
                )
            if answers(self.port):
                return
            time.sleep(0.02)
        raise WorkshopError(f"The app didn't answer GET / within {READY} s.")

    def _last_line(self) -> str:
        lines = self.output().strip().splitlines()
        return f"Its last line of output: {lines[-1].strip()}" if lines else "It printed nothing."


FRAME = re.compile(r'  File "(.+)", line (\d+)(?:, in (.+))?')


def last_traceback(output: str, folder: Path) -> list[str]:
    """The end of the last traceback in an app's output; empty where there is none.

    Gives the innermost place in the app's own code (file, line, function), what stands there, and
    the exception.
    """
    lines = output.splitlines()
    frames = [(number, found) for number, line in enumerate(lines) if (found := FRAME.match(line))]
    if not frames:
        return []
    end = next((n for n in range(frames[-1][0], len(lines)) if lines[n][:1] not in (" ", "")), None)
    if end is None:
        return []
    begin = frames[-1][
        0
    ]  # of the last traceback: frames follow one another, two lines or more each
    while begin and lines[begin - 1].startswith("  "):
        begin -= 1
    here = str(folder.resolve())
    own = [(n, f) for n, f in frames if n >= begin and f[1].startswith(here + os.sep)]
    number, frame = (own or frames)[-1]
    place = f"{frame[1].removeprefix(here + os.sep)}, line {frame[2]}"
    place += f", in {frame[3]}" if frame[3] else ""
    code = [line for line in lines[number + 1 : number + 3] if line.startswith("    ")]
    return [place, *code[:1], lines[end]]


def entry_point(folder: Path) -> str:
    """The file that serves a step: server.py from step 2, app.py before."""
    return "server.py" if (folder / "server.py").exists() else "app.py"


def answers(port: int) -> bool:
    """Whether GET / on this port gives an HTTP answer, of whatever status, within a second."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True
