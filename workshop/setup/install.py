"""Installs groups of packages into `.venv`: run by make with the system's Python.

    python -I workshop/setup/install.py core notebooks

Standard library only. A stamp, written last, says which groups are in place, so that nothing is
installed twice; an install that failed or was killed is finished by the next run. With WHEELHOUSE
set (a folder, or the address of a web server that shows one), everything comes from there and no
network is needed.
"""

import errno
import glob
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from pathlib import Path

# -I leaves the project out of the path.
sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")))

from workshop.locks import locked
from workshop.setup.stamp import ROOT, VERSION, Stamp, read

CORE = "core"
INSTALLER = "uv"
BUILD = "build"
SOURCE_ONLY = "psycogreen"  # the one package that has no wheel: what builds it is in group build
OLDEST_UV = (0, 5)
AGAIN = "run make again to go on from there."
CERTIFICATE = re.compile(r"(?i)certificate")
DISK_FULL = re.compile(r"(?i)no space left|quota exceeded")
NO_NETWORK = re.compile(
    r"(?i)failed to fetch|connection|resolution|dns error|timed out|no matching"
)
# Settings of other projects, which change where pip, uv and Python look and what they accept.
FOREIGN = (
    "PYTHONHOME", "PYTHONPATH", "PYTHONSAFEPATH", "PYTHONPLATLIBDIR", "PIP_CONSTRAINT",
    "PIP_NO_BINARY", "PIP_REQUIRE_VIRTUALENV", "UV_CONSTRAINT", "UV_OVERRIDE", "UV_EXCLUDE_NEWER",
    "UV_NO_BINARY", "UV_NO_BUILD", "UV_NO_BUILD_ISOLATION", "UV_NO_VERIFY_HASHES", "UV_PROJECT",
    "UV_BUILD_CONSTRAINT", "UV_SYSTEM_PYTHON", "UV_WORKING_DIR",
)  # fmt: skip
# uv reads the first; older ones, which may be on the PATH, the second.
SYSTEM_CERTIFICATES = {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}
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
        self.state = os.path.join(root, ".workshop")
        self.environment = environment()
        if "UV_CACHE_DIR" not in self.environment and not cache_is_writable():
            self.environment["UV_CACHE_DIR"] = os.path.join(self.state, "uv-cache")

    def run(self, groups=(CORE,), say=None) -> None:
        """Installs the groups that are missing, beside those that are there already.

        Of two at once, the second waits. Raises InstallError.
        """
        say = say or (lambda text: print(text, flush=True))
        self.check_groups(groups)
        self.check_ours()
        lock = Path(self.state, "install.lock")
        with locked(lock, lambda: say("Another terminal is installing; waiting for it …")) as held:
            os.set_inheritable(held.fileno(), True)  # a uv that outlives us still holds the lock
            self.mend_place(say)
            if self.complete(groups):
                return
            wanted = {*groups, *self.installed()}
            self.make_venv(say)
            self.sync(self.find_uv(say), sorted(wanted), say)
            write(self.stamp, self.text(wanted))

    def check_groups(self, groups) -> None:
        for group in groups:
            if not os.path.isfile(self.lock(group)):
                names = sorted(file.stem for file in Path(self.lock(group)).parent.glob("*.txt"))
                raise InstallError(f"There is no group {group}: the groups are {' '.join(names)}.")

    def check_ours(self) -> None:
        """Raises InstallError for a `.venv` that is somebody's own: it would be emptied."""
        if os.path.islink(self.venv):
            found = "a link"
        elif not os.path.lexists(self.venv) or self.is_ours():
            return
        else:
            found = "not the workshop's own"
        raise InstallError(
            f"{self.venv} is {found}, so nothing is installed into it: move it away, "
            "then run make again."
        )

    def is_ours(self) -> bool:
        known = (self.place, self.started)
        return os.path.isdir(self.venv) and (
            any(map(os.path.exists, known)) or not os.listdir(self.venv)
        )

    def make_venv(self, say) -> None:
        """Makes the venv again if it is half made, or its Python is gone or another version."""
        library = os.path.join(self.venv, "lib", f"python{VERSION}", "site-packages")
        finished = read(self.place) == self.venv and not os.path.exists(self.started)
        if finished and os.path.isdir(library) and works(self.python):
            return
        say(f"Making .venv with Python {VERSION} …")
        self.empty_venv()
        done = self.quiet(base_python(), "-I", "-m", "venv", "--without-pip", self.venv)
        if done.returncode:
            raise InstallError(f"Making .venv failed ({last_line(done.stderr)}); {AGAIN}")
        write(self.place, self.venv)
        os.remove(self.started)

    def empty_venv(self) -> None:
        """Empties the venv but for the mark that says, at any moment, that it is ours."""
        os.makedirs(self.venv, exist_ok=True)
        write(self.started, "")
        for entry in os.scandir(self.venv):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            elif entry.path != self.started:
                os.remove(entry.path)

    def find_uv(self, say=print) -> str:
        """The uv on the PATH; else the one that the lock pins, which pip puts into the venv."""
        if uv := uv_on_path(self.venv):
            return uv
        own = os.path.join(self.venv, "bin", "uv")
        [pinned] = re.findall(r"^uv==(\S+)", read(self.lock(INSTALLER)), re.MULTILINE)
        if not works(own) or f"uv {pinned} " not in self.quiet(own, "--version").stdout:
            say("Fetching uv, the installer …")
            self.fetch_uv(own)
        return own

    def fetch_uv(self, uv: str) -> None:
        """Takes the program out of its wheel: to let pip install it would take longer."""
        with tempfile.TemporaryDirectory() as folder:
            pip = [self.python, "-I", bundled_pip(), "download", "--quiet", "--no-deps"]
            pip += ["--disable-pip-version-check", "--only-binary=:all:", "--dest", folder]
            if "://" in self.wheelhouse:  # pip wants leave for plain http; hashes see to the rest
                pip += ["--trusted-host", self.wheelhouse.split("/")[2]]
            done = self.quiet(*pip, "--retries=2", *self.options(), "-r", self.lock(INSTALLER))
            if done.returncode:
                raise self.failure(done.stderr)
            [wheel] = glob.glob(os.path.join(glob.escape(folder), "uv-*.whl"))
            with zipfile.ZipFile(wheel) as files:
                [program] = [name for name in files.namelist() if name.endswith("/scripts/uv")]
                with files.open(program) as packed, open(uv + ".new", "wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)
        os.chmod(uv + ".new", 0o755)  # noqa: S103, a program for all
        os.replace(uv + ".new", uv)

    def sync(self, uv: str, groups: list[str], say) -> None:
        """Lays down what the groups' locks name, and removes what they no longer name.

        What is fetched stays in uv's cache if this fails.
        """
        command = [uv, "pip", "sync", "--python", self.python, *self.options()]
        command += ["--only-binary=:all:", f"--no-binary={SOURCE_ONLY}"]
        command += ["--build-constraint", self.lock(BUILD), *map(self.lock, groups)]
        write(self.started, "")
        say(f"Installing the locked packages ({', '.join(groups)}) …")
        code, errors = shown(command, self.environment)
        if code and CERTIFICATE.search(errors):  # a network that inspects TLS has its own
            code, errors = shown(command, self.environment | SYSTEM_CERTIFICATES)
        elif code and not self.wheelhouse and NO_NETWORK.search(errors):
            code = self.quiet(*command, "--offline").returncode  # the cache may hold everything
        if code == 0 or NO_NETWORK.search(errors):  # uv lays nothing down before it has all
            os.remove(self.started)
        if code:
            raise self.failure(errors)

    def options(self) -> list[str]:
        local = ["--no-index", "--find-links", self.wheelhouse] if self.wheelhouse else []
        return ["--require-hashes", *local]

    def quiet(self, *command: str) -> subprocess.CompletedProcess:
        return quiet(*command, env=self.environment)

    def failure(self, errors: str) -> InstallError:
        if DISK_FULL.search(errors):
            return InstallError("The disk is full: free some space, then run make again.")
        if self.wheelhouse:
            return InstallError(
                f"WHEELHOUSE={self.wheelhouse} cannot be reached or lacks wheels for this machine "
                f"({last_line(errors)}): make it again with make wheelhouse."
            )
        if CERTIFICATE.search(errors):
            return InstallError(
                "The package index's certificate was not accepted: check this machine's clock, "
                "or set SSL_CERT_FILE to the file of your network's certificates."
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
        self.quiet(base_python(), "-I", "-m", "venv", "--without-pip", self.venv)  # activate, …
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


def environment() -> dict[str, str]:
    """The environment for pip and uv: ours without FOREIGN."""
    return {name: value for name, value in os.environ.items() if name not in FOREIGN}


def cache_is_writable() -> bool:
    """Whether uv can keep its cache where it usually does: in the user's home."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.path.join(cache, "uv")
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


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


def bundled_pip() -> str:
    """The pip that comes with Python's venv module, in a wheel from which it runs as it is."""
    folders = (
        sysconfig.get_config_var("WHEEL_PKG_DIR") or "",
        os.path.join(sysconfig.get_path("stdlib"), "ensurepip", "_bundled"),
    )
    for folder in folders:
        if wheels := glob.glob(os.path.join(glob.escape(folder), "pip-*.whl")):
            return os.path.join(wheels[0], "pip")
    raise InstallError(
        "This Python lacks its venv module: install it (Debian, Ubuntu: "
        f"sudo apt install python{VERSION}-venv), then run make again."
    )


def uv_on_path(venv: str) -> str | None:
    """The uv on the PATH, if it is new enough and not the venv's own."""
    uv = shutil.which("uv")
    if not uv or uv.startswith(venv):
        return None
    numbers = re.findall(r"\d+", quiet(uv, "--version").stdout)
    return uv if tuple(map(int, numbers[:2])) >= OLDEST_UV else None


def shown(command: list[str], env: dict[str, str]) -> tuple[int, str]:
    """Runs uv with one line of progress. Returns its exit code and what it wrote to stderr."""
    begun, seen, terminal = time.monotonic(), [], sys.stderr.isatty()
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, close_fds=False, env=env
    ) as process:
        for line in process.stderr or ():
            seen.append(line)
            if terminal:
                text = f"\r\033[K{time.monotonic() - begun:3.0f} s  {line.strip()[:70]}"
                print(text, end="", file=sys.stderr, flush=True)
            elif line.startswith(("Prepared", "Installed")):
                print(line.rstrip(), file=sys.stderr)
    if terminal:
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    return process.returncode, "".join(seen)


def quiet(*command: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, env=env)


def works(*command: str) -> bool:
    try:
        return quiet(*command, "--version").returncode == 0
    except OSError:
        return False


def last_line(text: str) -> str:
    """The last line of an error: the end of a long one, where its cause stands."""
    lines = [line.strip(" .") for line in text.splitlines() if line.strip(" .")]
    line = re.sub(r"(?i)^(error|caused? by|cause): ", "", lines[-1]) if lines else "no reason"
    return line if len(line) <= 150 else f"… {line[-150:]}"


def head(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(2)


def write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def main() -> int:
    try:
        Install(wheelhouse=os.environ.get("WHEELHOUSE", "")).run(sys.argv[1:] or (CORE,))
        return 0
    except InstallError as error:
        print(f"✗ {error}", file=sys.stderr)
        return 1
    except OSError as error:
        read_only = error.errno in (errno.EACCES, errno.EROFS)
        advice = "copy the workshop to a folder where you may write." if read_only else AGAIN
        print(f"✗ The install failed ({error}): {advice}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\n✗ Interrupted; {AGAIN}", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
