"""Collects every wheel that the locks name, for a class without a network.

For each platform and Python the locks' markers say which packages are needed; what the folder lacks
is fetched by pip, which checks the hashes. Nothing is fetched twice, so a run that was interrupted
goes on where it stopped. `WHEELHOUSE=folder` then installs from the folder (see install.py). The
package SOURCE_ONLY comes as its source archive, with the wheels of group build.
"""

import hashlib
import platform
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms, parse_tag
from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename

from workshop.errors import WorkshopError
from workshop.paths import ROOT
from workshop.setup.install import (
    BUILD,
    INSTALLER,
    SOURCE_ONLY,
    InstallError,
    bundled_pip,
    environment,
)

LOCKS = ROOT / "requirements"
PYTHONS = [(3, 11), (3, 12), (3, 13), (3, 14)]
OLDEST_GLIBC = 28  # 2.28: Debian 10, RHEL 8 and all that came later
OLDEST_MACOS = (13, 0)
NO_NETWORK = re.compile(r"(?i)connection|resolution|timed out|certificate")


@dataclass(frozen=True)
class Pin:
    """One package of the lock, with the sha256 digests of its files."""

    requirement: Requirement
    hashes: frozenset[str]

    @property
    def name(self) -> str:
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> str:
        return str(self.requirement.specifier).removeprefix("==")

    def line(self) -> str:
        """As pip reads it, without the marker: pip would judge that by its own machine."""
        digests = " ".join(f"--hash=sha256:{digest}" for digest in sorted(self.hashes))
        return f"{self.name}=={self.version} {digests}"


@dataclass(frozen=True)
class Archive:
    """A wheel, or a source archive, which every target can build."""

    name: str
    version: str
    tags: frozenset[Tag]

    @classmethod
    def named(cls, file: str) -> "Archive":
        if file.endswith(".whl"):
            name, version, _, tags = parse_wheel_filename(file)
            return cls(name, str(version), tags)
        name, version = parse_sdist_filename(file)
        return cls(name, str(version), parse_tag("py3-none-any"))


@dataclass(frozen=True)
class Target:
    """A platform and a Python: ("linux" or "darwin", "x86_64" or "arm64", (3, 12))."""

    system: str
    machine: str
    python: tuple[int, int]

    def __str__(self) -> str:
        system = {"linux": "Linux", "darwin": "macOS"}[self.system]
        return f"{system} {self.machine}, Python {self.python[0]}.{self.python[1]}"

    def platforms(self) -> list[str]:
        """The platform tags that it can use, newest first."""
        if self.system == "darwin":
            return list(mac_platforms(OLDEST_MACOS, self.machine))
        arch = {"arm64": "aarch64"}.get(self.machine, self.machine)
        legacy = [f"manylinux2014_{arch}", f"manylinux2010_{arch}", f"manylinux1_{arch}"]
        newest_first = range(OLDEST_GLIBC, 4, -1)
        return [f"manylinux_2_{minor}_{arch}" for minor in newest_first] + legacy

    def tags(self) -> frozenset[Tag]:
        platforms, interpreter = self.platforms(), "cp{}{}".format(*self.python)
        return frozenset(cpython_tags(self.python, platforms=platforms)) | frozenset(
            compatible_tags(self.python, interpreter, platforms)
        )

    def needs(self, pin: Pin) -> bool:
        """Whether any release of this Python needs it: some markers look at the third number."""
        version = "{}.{}".format(*self.python)
        arch = "aarch64" if (self.system, self.machine) == ("linux", "arm64") else self.machine
        environment = {
            "sys_platform": self.system,
            "platform_system": self.system.title(),
            "platform_machine": arch,
            "platform_python_implementation": "CPython",
            "implementation_name": "cpython",
            "os_name": "posix",
            "python_version": version,
        }
        marker = pin.requirement.marker
        return marker is None or any(
            marker.evaluate(environment | {"python_full_version": f"{version}.{release}"})
            for release in (0, 99)
        )

    def pip_options(self) -> list[str]:
        options = ["--only-binary=:all:", f"--no-binary={SOURCE_ONLY}", "--implementation=cp"]
        options += ["--python-version={}.{}.99".format(*self.python)]  # for Requires-Python
        return options + [f"--platform={tag}" for tag in self.platforms()]


def collect(folder: Path, pins: list[Pin], this_machine: bool = False, say=print) -> int:
    """Fetch into `folder` what is missing of the pins for all targets, or for this machine alone.

    Returns the size in bytes of the wheels that the pins name. Raises WorkshopError when something
    cannot be fetched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_broken(folder, pins)
    for target in [here()] if this_machine else everywhere():
        needed = [pin for pin in pins if target.needs(pin)]
        missing = lacking(needed, target, folder)
        say(f"{target}: {len(needed)} packages, {len(missing)} to fetch")
        while missing:  # pip takes one version of a package at a time
            batch = {pin.name: pin for pin in missing}
            fetch(list(batch.values()), target, folder)
            missing = [pin for pin in missing if pin is not batch[pin.name]]
    sizes = [path.stat().st_size for path, _ in archives(folder, pins)]
    size = sum(sizes)
    say(
        f"{folder} holds {len(sizes)} wheels, {size / 1e6:,.0f} MB. Install from it on any machine:"
    )
    say(f"  make step 1 WHEELHOUSE={shlex.quote(str(folder))}")
    return size


def everywhere() -> list[Target]:
    machines = [(s, m) for s in ("linux", "darwin") for m in ("x86_64", "arm64")]
    return [Target(*machine, python) for machine in machines for python in PYTHONS]


def here() -> Target:
    machine = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return Target(sys.platform, machine, sys.version_info[:2])


def locked(*groups: str, locks: Path = LOCKS) -> list[Pin]:
    """The pins of these groups, or of all, and of the installer and what builds SOURCE_ONLY.

    Raises WorkshopError when a group does not exist.
    """
    there = sorted(file.stem for file in locks.glob("*.txt"))
    pins = {}
    for group in {*groups, INSTALLER, BUILD} if groups else there:
        if group not in there:
            raise WorkshopError(f"There is no group {group}: the groups are {' '.join(there)}.")
        text = (locks / f"{group}.txt").read_text()
        for line, hashes in re.findall(r"^([a-z0-9].*?) \\\n((?:    --hash=.*\n)+)", text, re.M):
            digests = frozenset(re.findall(r"sha256:([0-9a-f]{64})", hashes))
            pins[line] = Pin(Requirement(line), digests)
    return list(pins.values())


def archives(folder: Path, pins: list[Pin]) -> Iterator[tuple[Path, Archive]]:
    """The files in the folder that the pins name; others are left alone."""
    names = {(pin.name, pin.version) for pin in pins}
    for path in sorted([*folder.glob("*.whl"), *folder.glob(f"{SOURCE_ONLY}-*.tar.gz")]):
        archive = Archive.named(path.name)
        if (archive.name, archive.version) in names:
            yield path, archive


def remove_broken(folder: Path, pins: list[Pin]) -> None:
    """A wheel that was half copied has no hash of the pins: it is removed, to be fetched again."""
    hashes = frozenset().union(*(pin.hashes for pin in pins))
    for path, _ in list(archives(folder, pins)):
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() not in hashes:
                path.unlink()


def lacking(needed: list[Pin], target: Target, folder: Path) -> list[Pin]:
    """The pins for which the folder has nothing that the target can use."""
    tags, there = target.tags(), set()
    for _, archive in archives(folder, needed):
        if archive.tags & tags:
            there.add((archive.name, archive.version))
    return [pin for pin in needed if (pin.name, pin.version) not in there]


def fetch(pins: list[Pin], target: Target, folder: Path) -> None:
    """pip downloads the pins' wheels for the target. Raises WorkshopError."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as names:
        names.write("\n".join(pin.line() for pin in pins))
        names.flush()
        command = [sys.executable, "-I", pip(), "download", "--disable-pip-version-check"]
        command += ["--no-deps", "--require-hashes", "--progress-bar=off", "--dest", str(folder)]
        command += ["--no-build-isolation"]  # pip asks SOURCE_ONLY for its name, with group build
        code, output = watched([*command, *target.pip_options(), "-r", names.name])
    if code == 0:
        return
    absent = re.search(r"No matching distribution found for (\S+)", output)
    if NO_NETWORK.search(output) or not absent:
        reason = [line for line in output.splitlines() if line.strip()][-1:]
        raise WorkshopError(
            f"The wheels cannot be fetched ({' '.join(reason).strip('. ')}): "
            "look at the network and run make wheelhouse again, it goes on from here."
        )
    raise WorkshopError(
        f"{absent[1]} has no wheel for {target}: bound its version in pyproject.toml, "
        "then run make lock and make wheelhouse."
    )


def pip() -> str:
    try:
        return bundled_pip()
    except InstallError as error:
        raise WorkshopError(str(error)) from error


def watched(command: list[str]) -> tuple[int, str]:
    """Run pip, showing on a terminal which file it is at. Returns exit code and output."""
    seen, terminal = [], sys.stderr.isatty()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
    ) as process:
        for line in process.stdout or ():
            seen.append(line)
            if terminal and line.lstrip().startswith("Downloading"):
                text = f"\r\033[K  {line.strip()[:75]}"
                print(text, end="", file=sys.stderr, flush=True)
    if terminal:
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    return process.returncode, "".join(seen)
