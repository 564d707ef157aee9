"""Installs what the workshop needs into `.venv`: run by make with the system's Python, standard library only.

A stamp, written last, says that all is in place, so that nothing is installed twice; an install that failed or was
killed is finished by the next run. With WHEELHOUSE set (a folder, or the address of a web server that shows one),
everything comes from there and no network is needed.
"""

import fcntl
import hashlib
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OLDEST_UV = (0, 5)
AGAIN = "run make again to go on from there."


class InstallError(Exception):
    """One sentence for the user: what is wrong and what to do."""


class Install:
    """One `.venv` under a root folder, and the three facts that make it usable: lock, Python and place."""

    def __init__(self, root: str = ROOT, wheelhouse: str = ""):
        self.root, self.wheelhouse = root, source(wheelhouse)
        self.lock = os.path.join(root, "requirements.txt")
        self.venv = os.path.join(root, ".venv")
        self.python = os.path.join(self.venv, "bin", "python")
        self.stamp = os.path.join(self.venv, "installed")  # written last
        self.place = os.path.join(
            self.venv, "place"
        )  # where the venv was made: its scripts hold that path
        self.started = os.path.join(
            self.venv, "installing"
        )  # there while packages are being laid down

    def wanted(self) -> str:
        """The stamp's text for the present lock and the Python that runs this."""
        with open(self.lock, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        return f"{digest}\npython {sys.version_info[0]}.{sys.version_info[1]}\n"

    def complete(self) -> bool:
        return read(self.place) == self.venv and read(self.stamp) == self.wanted()

    def run(self, say=print) -> None:
        """Installs what is missing. Raises InstallError; of two at once, the second waits for the first."""
        os.makedirs(os.path.join(self.root, ".workshop"), exist_ok=True)
        with open(os.path.join(self.root, ".workshop", "install.lock"), "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("Another terminal is installing; waiting for it …")
                fcntl.flock(lock, fcntl.LOCK_EX)
            self.mend_place(say)
            if self.complete():
                return
            uv = found_uv()
            self.make_venv(uv, say)
            self.install_packages(uv or self.own_uv(say), say)
            write(self.stamp, self.wanted())

    def make_venv(self, uv: str | None, say) -> None:
        """A venv that was never finished, whose Python is gone or is another version, is made anew."""
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        library = os.path.join(self.venv, "lib", f"python{version}", "site-packages")
        if read(self.place) == self.venv and os.path.isdir(library) and works(self.python):
            return
        say(f"Making .venv with Python {version} …")
        pip = ["--without-pip"] if uv else []
        done = quiet(sys.executable, "-m", "venv", "--clear", *pip, self.venv)
        if done.returncode:
            no_pip = "ensurepip" in done.stdout + done.stderr
            raise InstallError(
                f"This Python cannot make a virtual environment: install its venv module "
                f"(Debian, Ubuntu: sudo apt install python{version}-venv), then run make again."
                if no_pip
                else f"Making .venv failed ({last_line(done)}); {AGAIN}"
            )
        write(self.place, self.venv)

    def own_uv(self, say) -> str:
        """uv, as pinned in the lock, put into the venv by pip."""
        uv = os.path.join(self.venv, "bin", "uv")
        if works(uv):
            return uv
        say("Installing uv …")
        if not works(self.python, "-m", "pip"):
            quiet(self.python, "-m", "ensurepip")
        part = os.path.join(self.venv, "uv.txt")
        write(part, block(self.lock, "uv"))
        options = ["--quiet", "--disable-pip-version-check", "--retries", "2", "--force-reinstall"]
        self.checked(
            quiet(self.python, "-m", "pip", "install", *options, *self.options(), "-r", part)
        )
        return uv

    def install_packages(self, uv: str, say) -> None:
        """Lays down the locked packages; those of an install that was killed are laid down once more."""
        command = [uv, "pip", "install", "--python", self.python, *self.options(), "-r", self.lock]
        if os.path.exists(self.started):
            command.append("--reinstall")
        write(self.started, "")
        if not self.wheelhouse and not online(uv):
            self.checked(quiet(*command, "--offline"))  # uv's cache may hold everything
        else:
            say("Installing the locked packages …")
            if subprocess.run(command).returncode:
                raise InstallError(f"The install did not finish, for the reason above; {AGAIN}")
        os.remove(self.started)

    def options(self) -> list[str]:
        local = ["--no-index", "--find-links", self.wheelhouse] if self.wheelhouse else []
        return ["--require-hashes", *local]

    def checked(self, done: subprocess.CompletedProcess) -> None:
        if done.returncode == 0:
            return
        if self.wheelhouse:
            raise InstallError(
                f"The wheelhouse {self.wheelhouse} cannot be used ({last_line(done)})."
            )
        raise InstallError(
            "The packages cannot be fetched: connect to the network and run make again, "
            "or install from a folder of wheels with WHEELHOUSE=folder."
        )

    def mend_place(self, say) -> None:
        """After the folder was moved or copied, the venv's scripts still name the old one: they get the new path."""
        old, scripts = read(self.place), os.path.join(self.venv, "bin")
        if not old or old == self.venv or not os.path.isdir(scripts):
            return
        say("The workshop's folder has moved: mending .venv …")
        for name in os.listdir(scripts):
            path = os.path.join(scripts, name)
            if os.path.islink(path) or not (
                name.lower().startswith("activate") or head(path) == b"#!"
            ):
                continue
            with open(path, encoding="utf-8") as file:
                text = file.read()
            plain = f"#!{old}/bin/python"
            if text.startswith(
                plain
            ):  # this form allows no spaces and no long paths; the shell's does
                rest = text.partition("\n")[2]
                text = (
                    f"#!/bin/sh\n'''exec' \"{self.venv}/bin/python\" \"$0\" \"$@\"\n' '''\n{rest}"
                )
            write(path, text.replace(old, self.venv))
        write(self.place, self.venv)


def source(wheelhouse: str) -> str:
    """WHEELHOUSE as pip and uv take it. Raises InstallError when the folder is not there."""
    if not wheelhouse or "://" in wheelhouse:
        return wheelhouse
    if not os.path.isdir(wheelhouse):
        raise InstallError(f"WHEELHOUSE={wheelhouse} is not a folder: `make wheelhouse` makes one.")
    return os.path.abspath(wheelhouse)


def online(uv: str) -> bool:
    """Whether the package index answers, asked for one small package."""
    command = [uv, "pip", "compile", "--quiet", "--no-deps", "--refresh", "-"]
    return subprocess.run(command, input="click", text=True, capture_output=True).returncode == 0


def found_uv() -> str | None:
    """The uv on the PATH, if it is new enough."""
    try:
        answer = subprocess.run(["uv", "--version"], capture_output=True, text=True).stdout.split()
        numbers = tuple(int(part) for part in answer[1].split(".")[:2])
    except (OSError, IndexError, ValueError):
        return None
    return "uv" if numbers >= OLDEST_UV else None


def block(lock: str, name: str) -> str:
    """The lines of one package in the lock: its pin and its hashes."""
    lines, inside = [], False
    for line in read(lock).splitlines():
        if not line.startswith((" ", "#")):
            inside = line.startswith(f"{name}==")
        if inside and not line.lstrip().startswith("#"):
            lines.append(line)
    return "\n".join(lines) + "\n"


def works(*command: str) -> bool:
    try:
        return quiet(*command, "--version").returncode == 0
    except OSError:
        return False


def quiet(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True)


def last_line(done: subprocess.CompletedProcess) -> str:
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else f"exit code {done.returncode}"


def head(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(2)


def read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def main() -> int:
    try:
        if sys.argv[1:] == ["--check"]:
            return 0 if Install().complete() else 1
        Install(wheelhouse=os.environ.get("WHEELHOUSE", "")).run()
    except InstallError as error:
        print(f"✗ {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"✗ The install cannot write here: {error}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\n✗ Interrupted; {AGAIN}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
