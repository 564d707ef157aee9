"""Jupyter on the Python of this project: no kernel or setting of the user's own counts."""

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from workshop.errors import WorkshopError
from workshop.paths import ROOT, STATE
from workshop.steps import step

NOTEBOOKS = ROOT / "notebooks"
COPIES = ROOT / "work" / "notebooks"
SECONDS = 300  # for one cell; a slow machine may take its time


def notebooks() -> list[Path]:
    """All notebooks, in the order of their steps."""
    return sorted(NOTEBOOKS.glob("*.ipynb"))


def notebook(number: int) -> Path:
    """The notebook of a step; raises WorkshopError when there is none."""
    chosen = step(number)
    for path in notebooks():
        if path.name.startswith(f"{number:02}_"):
            return path
    raise WorkshopError(f"There is no notebook for {chosen.folder}.")


def copies() -> list[str]:
    """Lay the learner's copies where there are none; returns the names of the new ones.

    They are the learner's to fill in: what the project brings stays without outputs, and an update
    touches no work.
    """
    COPIES.mkdir(parents=True, exist_ok=True)
    new = [path for path in notebooks() if not (COPIES / path.name).exists()]
    for path in new:
        shutil.copyfile(path, COPIES / path.name)
    return [path.name for path in new]


def environment() -> dict[str, str]:
    """Variables for Jupyter and its kernels: "python3" is the Python that runs this."""
    home = STATE / "jupyter"
    kernel = home / "kernels" / "python3"
    kernel.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {
        "argv": argv,
        "display_name": "Python 3 (workshop)",
        "language": "python",
        "metadata": {"debugger": True, "supported_encryption": ["curve"]},  # as ipykernel's own
    }
    text = json.dumps(spec)
    if not (kernel / "kernel.json").exists() or (kernel / "kernel.json").read_text() != text:
        (kernel / "kernel.json").write_text(text)
    return {
        "JUPYTER_PATH": str(home),
        "JUPYTER_DATA_DIR": str(home),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "IPYTHONDIR": str(home / "ipython"),
        "PYTHONDONTWRITEBYTECODE": "",  # a kernel imports much: it starts sooner once compiled
    }


def executed(path: Path, extra: str = "", **variables: str) -> Any:
    """The notebook with the outputs of a run from top to bottom, on servers of its own.

    `extra` is the source of a cell to add at the end. Raises nbclient's CellExecutionError.
    """
    import nbformat
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpecManager
    from nbclient import NotebookClient

    found = nbformat.read(path, as_version=4)
    if extra:
        found.cells.append(nbformat.v4.new_code_cell(extra))
    settings = environment()
    specs = KernelSpecManager(kernel_dirs=[str(Path(settings["JUPYTER_PATH"]) / "kernels")])
    manager = AsyncKernelManager(
        kernel_name="python3", kernel_spec_manager=specs, transport_encryption="auto"
    )
    client = NotebookClient(
        found,
        km=manager,
        timeout=SECONDS,
        resources={"metadata": {"path": str(path.parent)}},
    )
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    client.execute(cleanup_kc=True, env=kept | settings | {"WORKSHOP_OWN_SERVERS": "1"} | variables)
    return found


def page(notebook: Any, title: str) -> str:
    """An executed notebook as one HTML file that needs nothing from elsewhere.

    Of cells with the tag `prose`, which only write text, the text is shown and not the code.
    """
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    config = Config({"TagRemovePreprocessor": {"enabled": True, "remove_input_tags": {"prose"}}})
    exporter = HTMLExporter(
        config=config, mathjax_url="", require_js_url="", jquery_url="", mermaid_js_url=""
    )
    text, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": title}})
    return re.sub(r"<script[^>]+src=[^>]*>\s*</script>", "", text)
