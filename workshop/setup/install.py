"""Installs what the workshop needs into `.venv`: run by make with the system's Python.

Standard library only. A stamp, written last, says that all is in place, so that nothing is
installed twice; an install that failed or was killed is finished by the next run. With WHEELHOUSE
set (a folder, or the address of a web server that shows one), everything comes from there and no
network is needed.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import time

# -I leaves the project out of the path.
sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")))
from workshop.setup.stamp import ROOT, VERSION, Stamp, read

OLDEST_UV = (0, 5)
AGAIN = "run make again to go on from there."
NO_NETWORK = re.compile(
    r"(?i)failed to fetch|connection|resolution|dns error|timed out|no matching"
)
# What servers and checks import: compiled once, every later start is sooner by a second. Python
# does that by itself, except where PYTHONDONTWRITEBYTECODE is set, as it is in many containers.
USED = (
    "flask, flask_sqlalchemy, psycopg2.extras, sqlalchemy.dialects.postgresql.psycopg2, redis, "
    "jwt, gevent.monkey, gevent.pywsgi, gevent.threadpool, pytest, httpx, aiohttp, psutil, click, "
    "rich"
)
EXEC = """#!/bin/sh
'''exec' "%s/bin/python" "$0" "$@"
' '''
"""


class InstallError(Exception):
    """One sentence for the user: what is wrong and what to do."""


class Install(Stamp):
    """Makes the `.venv` under a root folder complete."""

    def __init__(self, root: str = ROOT, wheelhouse: str = ""):
        super().__init__(root)
        self.wheelhouse = source(wheelhouse)

    def run(self, say=print) -> None:
        """Installs what is missing. Of two at once, the second waits. Raises InstallError."""
        state = os.path.join(self.root, ".workshop")
        os.makedirs(state, exist_ok=True)
        with open(os.path.join(state, "install.lock"), "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("Another terminal is installing; waiting for it …")
                fcntl.flock(lock, fcntl.LOCK_EX)
            os.set_inheritable(lock.fileno(), True)  # a uv that outlives us still holds it
            self.mend_place(say)
            if self.complete():
                return
            uv = found_uv(self.venv)
            self.make_venv(uv, say)
            self.install_packages(uv or self.own_uv(say), say)
            self.compile_packages()
            write(self.stamp, self.wanted())

    def make_venv(self, uv: str | None, say) -> None:
        """Makes the venv anew if it is half made, or its Python is gone or another version."""
        library = os.path.join(self.venv, "lib", f"python{VERSION}", "site-packages")
        finished = read(self.place) == self.venv and not os.path.exists(self.started)
        if finished and os.path.isdir(library) and works(self.python):
            return
        say(f"Making .venv with Python {VERSION} …")
        options = ["--clear", "--without-pip"] if uv else ["--clear"]
        done = quiet(base_python(), "-m", "venv", *options, self.venv)
        if done.returncode and "ensurepip" in done.stdout + done.stderr:
            raise InstallError(
                "This Python cannot make virtual environments: install its venv module (Debian, "
                f"Ubuntu: sudo apt install python{VERSION}-venv), then run make again."
            )
        if done.returncode:
            raise InstallError(f"Making .venv failed ({last_line(done.stderr)}); {AGAIN}")
        write(self.place, self.venv)

    def own_uv(self, say) -> str:
        """uv, as pinned in the lock, put into the venv by pip."""
        uv = os.path.join(self.venv, "bin", "uv")
        if works(uv):
            return uv
        say("Installing uv …")
        if not works(self.python, "-m", "pip"):
            quiet(self.python, "-m", "ensurepip")
        pin = os.path.join(self.venv, "uv.txt")
        write(pin, block(self.lock, "uv"))
        pip = [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if "://" in self.wheelhouse:  # pip wants leave for plain http; the hashes see to the rest
            pip += ["--trusted-host", self.wheelhouse.split("/")[2]]
        done = quiet(*pip, "--retries", "2", "--force-reinstall", *self.options(), "-r", pin)
        if done.returncode:
            raise self.failure(done.stderr)
        return uv

    def install_packages(self, uv: str, say) -> None:
        """Lays down the locked packages. What is fetched stays in uv's cache if this fails."""
        command = [uv, "pip", "install", "--python", self.python, *self.options(), "-r", self.lock]
        write(self.started, "")
        say("Installing the locked packages …")
        code, errors = shown(command)
        if code and not self.wheelhouse and NO_NETWORK.search(errors):
            code = quiet(*command, "--offline").returncode  # uv's cache may hold everything
        if code == 0 or NO_NETWORK.search(errors):  # uv lays nothing down before it has all
            os.remove(self.started)
        if code:
            raise self.failure(errors)

    def compile_packages(self) -> None:
        quiet(self.python, "-I", "-c", f"import {USED}")  # -I: whatever the variable says

    def options(self) -> list[str]:
        local = ["--no-index", "--find-links", self.wheelhouse] if self.wheelhouse else []
        return ["--require-hashes", *local]

    def failure(self, errors: str) -> InstallError:
        if self.wheelhouse:
            return InstallError(
                f"WHEELHOUSE={self.wheelhouse} cannot be reached or lacks wheels for this machine "
                f"({last_line(errors)}): make it again with make wheelhouse."
            )
        if NO_NETWORK.search(errors):
            return InstallError(
                "The packages cannot be fetched: connect to the network and run make again, "
                "or install from a folder of wheels with WHEELHOUSE=folder."
            )
        return InstallError(f"The install failed ({last_line(errors)}); {AGAIN}")

    def mend_place(self, say) -> None:
        """Gives the venv's scripts their new path after the workshop's folder was moved."""
        old, scripts = read(self.place), os.path.join(self.venv, "bin")
        if not old or old == self.venv or not os.path.isdir(scripts):
            return
        say("The workshop's folder has moved: mending .venv …")
        quiet(base_python(), "-m", "venv", "--without-pip", self.venv)  # activate and its like
        for name in os.listdir(scripts):
            path = os.path.join(scripts, name)
            if os.path.islink(path) or head(path) != b"#!":
                continue
            text = read(path)
            if text.startswith(f"#!{old}/bin/python"):
                # A first line allows no spaces and no long path; a shell's exec allows both.
                text = EXEC % self.venv + text.partition("\n")[2]
            write(path, text.replace(old, self.venv))
        write(self.place, self.venv)


def source(wheelhouse: str) -> str:
    """WHEELHOUSE as pip and uv take it. Raises InstallError when the folder is not there."""
    if not wheelhouse or "://" in wheelhouse:
        return wheelhouse
    if not os.path.isdir(wheelhouse):
        raise InstallError(f"WHEELHOUSE={wheelhouse} is not a folder: make wheelhouse makes one.")
    return os.path.abspath(wheelhouse)


def base_python() -> str:
    """The Python that runs this; inside an active venv, the one that the venv was made with."""
    return getattr(sys, "_base_executable", sys.executable)


def found_uv(venv: str) -> str | None:
    """The uv on the PATH, if it is new enough and not the venv's own."""
    uv = shutil.which("uv")
    if not uv or uv.startswith(venv):
        return None
    numbers = re.findall(r"\d+", quiet(uv, "--version").stdout)
    return uv if tuple(map(int, numbers[:2])) >= OLDEST_UV else None


def block(lock: str, name: str) -> str:
    """The lines of one package in the lock: its pin and its hashes."""
    found = re.search(rf"^{name}==.*(\n    --hash=.*)+", read(lock), re.MULTILINE)
    return found[0] + "\n" if found else f"{name}\n"


def shown(command: list[str]) -> tuple[int, str]:
    """Runs uv with one line of progress. Returns its exit code and what it wrote to stderr."""
    begun, seen, terminal = time.monotonic(), [], sys.stderr.isatty()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, close_fds=False) as process:
        for line in process.stderr:
            seen.append(line)
            if terminal:
                text = f"\r\033[K{time.monotonic() - begun:3.0f} s  {line.strip()[:70]}"
                print(text, end="", file=sys.stderr, flush=True)
            elif line.startswith(("Prepared", "Installed")):
                print(line.rstrip(), file=sys.stderr)
    if terminal:
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    return process.returncode, "".join(seen)


def quiet(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True)


def works(*command: str) -> bool:
    try:
        return quiet(*command, "--version").returncode == 0
    except OSError:
        return False


def last_line(text: str) -> str:
    lines = [line.strip(" .") for line in text.splitlines() if line.strip(" .")]
    return re.sub(r"(?i)^(error|caused? by|cause): ", "", lines[-1])[:150] if lines else "no reason"


def head(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(2)


def write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def main() -> int:
    try:
        Install(wheelhouse=os.environ.get("WHEELHOUSE", "")).run()
        return 0
    except InstallError as error:
        print(f"✗ {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"✗ The install failed ({error}); {AGAIN}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\n✗ Interrupted; {AGAIN}", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
