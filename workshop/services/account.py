"""The account that the servers run under.

PostgreSQL refuses to run as root. For a learner who is root we therefore use the existing user
`nobody`, create nothing and open no folder: the kernel capability CAP_DAC_OVERRIDE, given to the
server alone, lets it reach a clone that lies in a folder of root's. The server cannot become root
with it, and its data belong to nobody.
"""

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from workshop.errors import WorkshopError

# access() asks what the real user may do and leaves capabilities out of account, unless the bit
# no_setuid_fixup is set; initdb looks for its programs with access().
SETPRIV = ("--securebits", "+no_setuid_fixup", "--clear-groups")
SETPRIV += ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")


@dataclass(frozen=True)
class Account:
    """`prefix` goes before a command, `options` into subprocess.run; uid and gid own the data."""

    uid: int
    gid: int
    prefix: tuple = ()
    options: dict = field(default_factory=dict)

    def own(self, path: Path) -> None:
        """Give `path`, and all that is in it, to this account."""
        if os.geteuid() != 0:
            return
        for folder, _, files in os.walk(path):
            os.chown(folder, self.uid, self.gid)
            for name in files:
                os.chown(
                    os.path.join(folder, name),
                    self.uid,
                    self.gid,
                    follow_symlinks=False,
                )
        if path.is_file():
            os.chown(path, self.uid, self.gid)


def account(program: Path, folder: Path) -> Account:
    """Return the account under which `program` can run and reach `folder`.

    Raises WorkshopError where root has no other account that could.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    uid, gid = _unprivileged(folder)
    setpriv = shutil.which("setpriv")
    if setpriv and _works(prefix := (setpriv, f"--reuid={uid}", f"--regid={gid}", *SETPRIV)):
        return Account(uid, gid, prefix)
    options = {"user": uid, "group": gid, "extra_groups": []}
    if _reaches(program, folder, options):
        return Account(uid, gid, (), options)
    raise WorkshopError(
        f"As root, the servers run as the user {pwd.getpwuid(uid).pw_name}, who cannot reach "
        f"{folder}: install setpriv (package util-linux, Linux only), or run this as an "
        "ordinary user."
    )


def _unprivileged(folder: Path) -> tuple[int, int]:
    """The owner of `folder`, so that an ordinary user's data stay theirs; else nobody."""
    owner = folder.stat()
    if owner.st_uid != 0:
        return owner.st_uid, owner.st_gid
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _works(prefix: tuple) -> bool:
    """False for a setpriv that lacks the options, and where a container forbids capabilities."""
    return subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0


def _reaches(program: Path, folder: Path, options: dict) -> bool:
    test = ["/bin/sh", "-c", 'test -x "$0" && cd "$1"', str(program), str(folder)]
    return (
        subprocess.run(test, cwd="/", capture_output=True, check=False, **options).returncode == 0
    )
