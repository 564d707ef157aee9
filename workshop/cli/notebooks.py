"""JupyterLab on the notebooks, and the notebooks as pages to hand out."""

import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

from workshop.cli import number
from workshop.errors import WorkshopError
from workshop.lab import jupyter
from workshop.paths import HANDOUT, ROOT, STATE
from workshop.services.daemon import listening
from workshop.services.ports import free_port

PORT = 8888
READY = 60  # seconds until JupyterLab answers


@click.command()
def notebooks() -> None:
    """Open JupyterLab on the notebooks."""
    _lab("work/notebooks")


@click.command()
@number
def notebook(number: int) -> None:
    """Open the notebook of one step."""
    _lab(f"work/notebooks/{jupyter.notebook(number).name}")


@click.command()
def handout() -> None:
    """Run all notebooks and write them as HTML to build/handout/."""
    HANDOUT.mkdir(parents=True, exist_ok=True)
    for path in jupyter.notebooks():
        click.echo(f"{path.name} …")
        target = HANDOUT / f"{path.stem}.html"
        target.write_text(jupyter.page(_run(path), path.stem))
        click.echo(f"  {target.relative_to(ROOT)}")


def _run(path: Path) -> Any:
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    try:
        return jupyter.executed(path)
    except CellExecutionError as error:
        raise WorkshopError(
            f"{path.name} did not run to its end ({error.ename}: {error.evalue})."
        ) from error
    except (CellTimeoutError, DeadKernelError) as error:
        raise WorkshopError(f"{path.name} did not run to its end: {error}") from error


def _lab(where: str) -> None:
    """Run JupyterLab on the loopback address until Ctrl-C."""
    for name in jupyter.copies():
        click.echo(f"Your copy: work/notebooks/{name}")
    port = int(os.environ.get("PORT") or (free_port() if listening(PORT) else PORT))
    token, log = secrets.token_urlsafe(24), STATE / "jupyter.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(port, where),
            cwd=ROOT,
            env=os.environ | jupyter.environment() | {"JUPYTER_TOKEN": token},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches us alone: Jupyter would ask back
        )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        _await(process, port)
        url = f"http://127.0.0.1:{port}/lab/tree/{where}?token={token}"
        click.echo(f"JupyterLab runs at\n\n  {click.style(url, fg='green', bold=True)}\n")
        click.echo(f"What it says is in {log.relative_to(ROOT)}. Ctrl-C ends it.")
        if _has_a_screen():
            click.launch(url)
        process.wait()
    except KeyboardInterrupt:
        click.echo("\nStopping …", err=True)
    finally:
        process.terminate()
        process.wait()


def _has_a_screen() -> bool:
    """Whether a browser can be opened: else a text browser might take over the terminal."""
    screen = {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()
    return sys.stdout.isatty() and (sys.platform == "darwin" or bool(screen))


def _command(port: int, where: str) -> list[str]:
    return [
        *(sys.executable, "-m", "jupyterlab"),
        "--no-browser",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--ServerApp.root_dir={ROOT}",
        f"--LabApp.default_url=/lab/tree/{where}",
        "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        *(["--allow-root"] if os.geteuid() == 0 else []),
    ]


def _await(process: subprocess.Popen, port: int) -> None:
    """Return once JupyterLab listens. Raises WorkshopError when it ends or is too slow."""
    deadline = time.monotonic() + READY
    while not listening(port):
        if process.poll() is not None:
            raise WorkshopError("JupyterLab did not start: why is in .workshop/jupyter.log.")
        if time.monotonic() > deadline:
            raise WorkshopError(f"JupyterLab did not answer within {READY} s.")
        time.sleep(0.1)
