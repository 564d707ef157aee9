"""Whether `.venv` is complete: run before every command, so it imports little.

It is complete for one lock, one Python and one place: its scripts hold the path of the folder.
Run as a program it exits with 0 or 1.
"""

import hashlib
import os
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


class Stamp:
    """The paths of one `.venv` under a root folder, and what they say."""

    def __init__(self, root: str = ROOT):
        self.root = root
        self.lock = os.path.join(root, "requirements.txt")
        self.venv = os.path.join(root, ".venv")
        self.python = os.path.join(self.venv, "bin", "python")
        # The first is written last; the second says where the venv was made; the third is there
        # while packages are laid down, and stays if that is killed.
        self.stamp = os.path.join(self.venv, "installed")
        self.place = os.path.join(self.venv, "place")
        self.started = os.path.join(self.venv, "installing")

    def wanted(self) -> str:
        """The stamp's text for the present lock and the Python that runs this."""
        with open(self.lock, "rb") as file:
            return f"{hashlib.sha256(file.read()).hexdigest()}\npython {VERSION}\n"

    def complete(self) -> bool:
        return read(self.place) == self.venv and read(self.stamp) == self.wanted()


def read(path: str) -> str:
    """The file's text, or none if it cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(not Stamp().complete())
