"""Whether `.venv` holds the groups of packages that a command needs.

    python -I -S workshop/setup/stamp.py core notebooks

exits with 0 or 1. It runs before every command, so it imports little.
"""

import hashlib
import os
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


class Stamp:
    """The paths of the `.venv` and of the locks under a root folder, and what they say."""

    def __init__(self, root: str = ROOT):
        self.root = root
        self.venv = os.path.join(root, ".venv")
        self.python = os.path.join(self.venv, "bin", "python")
        # The first is written last; the second says where the venv was made; the third is there
        # while packages are laid down, and stays if that is killed.
        self.stamp = os.path.join(self.venv, "installed")
        self.place = os.path.join(self.venv, "place")
        self.started = os.path.join(self.venv, "installing")

    def lock(self, group: str) -> str:
        """The file that pins the packages of a group (`make lock`)."""
        return os.path.join(self.root, "requirements", f"{group}.txt")

    def text(self, groups) -> str:
        """The stamp's text for the Python that runs this and these groups, as locked at present."""
        lines = [f"python {VERSION}"]
        for group in sorted(groups):
            digest = hashlib.sha256(read(self.lock(group)).encode()).hexdigest()
            lines.append(f"{group} {digest}")
        return "\n".join(lines) + "\n"

    def installed(self) -> set[str]:
        """The groups that the stamp names, whatever the state of their locks."""
        lines = read(self.stamp).splitlines()
        return {line.split()[0] for line in lines if os.path.isfile(self.lock(line.split()[0]))}

    def complete(self, groups) -> bool:
        """Whether the venv has all of these groups, as they are locked at present."""
        stamp = read(self.stamp).splitlines()
        return (
            read(self.place) == self.venv
            and not os.path.exists(self.started)
            and all(line in stamp for line in self.text(groups).splitlines())
        )


def read(path: str) -> str:
    """The file's text, or none if it cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(not Stamp().complete(sys.argv[1:]))
