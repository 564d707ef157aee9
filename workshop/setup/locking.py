"""Pins the groups of packages in pyproject.toml: what `make lock` does.

All groups are resolved as one, for all Pythons and systems, so that no two locks name two versions
of a package. What is pinned stays as it is where it still fits; with UPGRADE=1 the newest is taken.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

# make starts this with -I, which leaves the project out of the path.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from workshop.setup.install import Install, InstallError

PROJECT = "pyproject.toml"


def lock(root: Path, uv: str, upgrade: bool = False) -> None:
    """Write requirements/<group>.txt for each group. Raises InstallError with uv's reason."""
    groups = list(tomllib.loads((root / PROJECT).read_text())["dependency-groups"])
    locks = root / "requirements"
    with tempfile.TemporaryDirectory() as folder:
        # uv keeps the versions that it finds in the file that it writes.
        together = Path(folder) / "together.txt"
        together.write_text("" if upgrade else pins(*locks.glob("*.txt")))
        resolve(uv, root, together, *(f"--group={group}" for group in groups))
        fresh = [Path(folder) / f"{group}.txt" for group in groups]
        for group, file in zip(groups, fresh, strict=True):
            file.write_text(pins(together))
            resolve(uv, root, file, f"--group={group}", "--generate-hashes")
        for file in locks.glob("*.txt"):
            file.unlink()
        for file in fresh:
            shutil.copy(file, locks)


def pins(*files: Path) -> str:
    """What the locks pin, each package once, without hashes."""
    lines = "".join(file.read_text() for file in files).splitlines()
    return "\n".join({line.removesuffix(" \\") for line in lines if re.match(r"[a-z0-9]", line)})


def resolve(uv: str, root: Path, file: Path, *options: str) -> None:
    command = [uv, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
    command += ["--no-emit-index-url", "--output-file", str(file), *options]
    environment = os.environ | {"UV_CUSTOM_COMPILE_COMMAND": "make lock"}
    done = subprocess.run(command, cwd=root, env=environment, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise InstallError(f"The packages cannot be locked:\n{done.stderr.strip()}")


def main() -> int:
    install = Install()
    try:
        lock(Path(install.root), install.find_uv(), upgrade=bool(os.environ.get("UPGRADE")))
    except InstallError as error:
        print(f"✗ {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
