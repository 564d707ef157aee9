"""A package small enough to install in a test, with a lock and a folder of wheels around it."""

import base64
import hashlib
import zipfile
from pathlib import Path

MODULE = "def main():\n    print('tiny runs')\n"
ENTRY = "[console_scripts]\ntiny-command = tiny:main\n"
METADATA = "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def wheel(folder: Path) -> Path:
    """Write tiny-1.0-py3-none-any.whl, always with the same bytes."""
    info = "tiny-1.0.dist-info"
    files = {
        "tiny.py": MODULE,
        f"{info}/METADATA": METADATA,
        f"{info}/WHEEL": WHEEL,
        f"{info}/entry_points.txt": ENTRY,
    }
    lines = []
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        lines.append(f"{name},sha256={digest.decode()},{len(text)}\n")
    files[f"{info}/RECORD"] = "".join(lines) + f"{info}/RECORD,,\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return path


def lock(file: Path, *wheels: Path, marker: str = "") -> Path:
    """Write a lock of tiny 1.0 with the digests of these files."""
    hashes = " \\\n".join(f"    --hash=sha256:{digest(path)}" for path in wheels)
    file.write_text(f"tiny==1.0{marker} \\\n{hashes}\n")
    return file


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
