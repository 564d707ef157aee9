"""The account that the servers run under.

PostgreSQL refuses to run as root. For a learner who is root we create no account and open no
folder: the servers run under a user id that no account has, so that no other process shares it, and
own nothing but their data. Where the clone is in a folder of root's, the server alone gets the
kernel capability CAP_DAC_READ_SEARCH, which lets it reach the clone and write nowhere.
"""

import grp
import os
import pwd
import shutil
import subprocess
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from workshop.errors import WorkshopError

# access() asks what the real user may do and leaves capabilities out of account, unless the bit
# no_setuid_fixup is set; initdb looks for its programs with access().
SETPRIV = (
    "--securebits", "+no_setuid_fixup", "--clear-groups",
    "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
)  # fmt: skip
UNUSED_IDS = range(59_000, 60_000)  # the last that systems give to people, counting up from 1000


@dataclass(frozen=True)
class Account:
    """`prefix` goes before a command, `options` into subprocess.run; uid and gid own the data."""

    uid: int
    gid: int
    prefix: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    def own(self, path: Path) -> None:
        """Give the path, and all that is in it, to this account; links are not followed."""
        if os.geteuid() != 0:
            return
        os.chown(path, self.uid, self.gid, follow_symlinks=False)
        for _, folders, files, descriptor in os.fwalk(path):
            for name in folders + files:
                os.chown(name, self.uid, self.gid, dir_fd=descriptor, follow_symlinks=False)


def account(program: Path, folder: Path) -> Account:
    """The account under which the server `program` can run and reach `folder`.

    It gets no capability where it needs none. Raises WorkshopError where root has no such account.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    ids = _ids(folder)
    found = _plain(ids, program, folder) or _with_capability(ids)
    return found or _fail(ids, folder)


def named_account(program: Path, folder: Path) -> Account:
    """The same for initdb, which demands an account with a name: the owner's, or else nobody's.

    The capability lets it reach a folder that is closed to every other process of that user.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    ids = _ids(folder)
    if not _is_known(pwd.getpwuid, ids[0]):
        ids = _nobody()
    found = _with_capability(ids) or _plain(ids, program, folder)
    return found or _fail(ids, folder)


def _fail(ids: tuple[int, int], folder: Path) -> NoReturn:
    raise WorkshopError(
        f"As root, the servers run under the user id {ids[0]}, which can't reach {folder}: install "
        "setpriv (package util-linux, Linux only), or run this as an ordinary user."
    )


def _plain(ids: tuple[int, int], program: Path, folder: Path) -> Account | None:
    """These ids and nothing else, if they can run the program and reach the folder."""
    options: dict[str, Any] = {"user": ids[0], "group": ids[1], "extra_groups": []}
    test = ["/bin/sh", "-c", 'test -x "$0" && cd "$1"', str(program), str(folder)]
    done = subprocess.run(test, cwd="/", capture_output=True, check=False, **options)
    return None if done.returncode else Account(*ids, (), options)


def _with_capability(ids: tuple[int, int]) -> Account | None:
    """These ids and the capability; None without setpriv, or where a container forbids it."""
    setpriv = shutil.which("setpriv")
    if not setpriv:
        return None
    prefix = (setpriv, f"--reuid={ids[0]}", f"--regid={ids[1]}", *SETPRIV)
    done = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    return None if done.returncode else Account(*ids, prefix)


def _ids(folder: Path) -> tuple[int, int]:
    """The owner of the folder, so that data stays with its owner; else ids that nothing has.

    Data of the user nobody is from a time when the servers ran as nobody: it goes to such ids too.
    """
    owner = folder.stat()
    if owner.st_uid not in (0, _nobody()[0]):
        return owner.st_uid, owner.st_gid
    first = zlib.crc32(os.fsencode(folder)) % len(UNUSED_IDS)  # so that clones have different ones
    ids = [*UNUSED_IDS[first:], *UNUSED_IDS[:first]]
    id = next(id for id in ids if not _is_known(pwd.getpwuid, id) | _is_known(grp.getgrgid, id))
    return id, id


def _nobody() -> tuple[int, int]:
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _is_known(look_up: Callable[[int], object], id: int) -> bool:
    try:
        look_up(id)
    except KeyError:
        return False
    return True
