"""A package small enough to install in a test, with a lock and a folder of wheels around it."""

import base64
import hashlib
import tarfile
import zipfile
from pathlib import Path

MODULE = "def main():\n    print('{name} runs')\n"
ENTRY = "[console_scripts]\n{name}-command = {name}:main\n"
METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
PYPROJECT = """[build-system]
requires = ["maker"]
build-backend = "backend"
backend-path = ["."]
"""
BACKEND = """import shutil

def build_wheel(folder, config_settings=None, metadata_directory=None):
    shutil.copy("{wheel}", folder)
    return "{wheel}"
"""
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def wheel(folder: Path, name: str = "tiny", extra: dict[str, str] | None = None) -> Path:
    """Write tiny-1.0-py3-none-any.whl, always with the same bytes; it holds `extra` files too."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": MODULE.format(name=name),
        f"{info}/METADATA": METADATA.format(name=name),
        f"{info}/WHEEL": WHEEL,
        f"{info}/entry_points.txt": ENTRY.format(name=name),
    } | (extra or {})
    lines = []
    for file, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        lines.append(f"{file},sha256={digest.decode()},{len(text)}\n")
    files[f"{info}/RECORD"] = "".join(lines) + f"{info}/RECORD,,\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(zipfile.ZipInfo(file), text)
    return path


def sdist(folder: Path, name: str) -> Path:
    """Write <name>-1.0.tar.gz; `maker` must be there when a wheel is made of it."""
    inside = folder / f"{name}-1.0"
    made = wheel(inside, name)
    (inside / "pyproject.toml").write_text(PYPROJECT)
    (inside / "backend.py").write_text(BACKEND.format(wheel=made.name))
    (inside / "PKG-INFO").write_text(METADATA.format(name=name))
    path = folder / f"{name}-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(inside, inside.name)
    return path


def lock(file: Path, *wheels: Path, marker: str = "") -> Path:
    """Write a lock of version 1.0 of what these files hold, with their digests."""
    pins = [
        f"{path.name.split('-')[0]}==1.0{marker} \\\n    --hash=sha256:{digest(path)}\n"
        for path in wheels
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(pins))
    return file


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
