"""Serve a step, and look after its services."""

import os
import shutil
import signal
import sys
from pathlib import Path

import click

from workshop import server as servers
from workshop.cli import number
from workshop.errors import WorkshopError
from workshop.learning import progress
from workshop.paths import ROOT, STATE
from workshop.steps import step as find_step


@click.command()
@number
@click.option("--app", envvar="APP", help="Serve this folder instead of the step's own.")
def step(number: int, app: str | None):
    """Serve a step on its port, until Ctrl-C."""
    from workshop.services import shared

    chosen = find_step(number)
    folder = Path(app).resolve() if app else chosen.path
    services = shared()
    services.start(say=click.echo)
    serve(chosen, folder, services.environment())


def serve(chosen, folder: Path, environment: dict[str, str], tries=None, after=()):
    """Serve `folder` as that step until Ctrl-C, once it is said what to try, and `after` that."""
    port = int(os.environ.get("PORT") or chosen.port)
    log = STATE / f"{chosen.folder}.log"
    with servers.Server(folder, environment, log, port) as server:
        click.secho(f"\nStep {chosen.number}: {chosen.title}", bold=True)
        click.echo(f"{folder.name} runs at {click.style(server.url, fg='green', bold=True)}")
        click.echo("Try in another terminal:")
        for command in tries or chosen.tries:
            click.echo("  " + command.format(url=server.url))
        for line in after:
            click.echo(line)
        click.echo(f"Its output is in {_shown(log)}. Ctrl-C ends it.")
        for number in (signal.SIGTERM, signal.SIGHUP):  # SIGHUP: the terminal was closed
            signal.signal(number, lambda *_: sys.exit(0))
        try:
            code = server.process.wait()
        except KeyboardInterrupt:
            click.echo("\nStopping …", err=True)
            return
    raise WorkshopError(f"The app ended with exit code {code}: its output is in {_shown(log)}.")


@click.command()
def services():
    """Start PostgreSQL and Valkey and fill the database."""
    from workshop.services import shared

    running = shared()
    running.start(say=click.echo)
    for name, url in running.environment().items():
        click.echo(f"{name}={url}")


@click.command()
def stop() -> None:
    """Stop PostgreSQL and Valkey, and servers of checks that were killed."""
    from workshop.checking.leftovers import end_orphans
    from workshop.services import shared

    shared().stop()
    end_orphans()
    click.echo("PostgreSQL and Valkey are stopped; their data is kept.")


@click.command()
def psql():
    """A PostgreSQL prompt on the shop."""
    from workshop.services import shared
    from workshop.services.postgres import installation

    running = shared()
    running.start(say=lambda text: click.echo(text, err=True))
    url = running.environment()["DATABASE_URL"].replace("+psycopg2", "")
    program = str(installation() / "bin" / "psql")
    os.execv(program, [program, url])  # noqa: S606


@click.command("redis-cli")
def redis_cli():
    """A Redis prompt on the cache."""
    from workshop.learning.prompt import run
    from workshop.services import shared

    running = shared()
    running.start(say=lambda text: click.echo(text, err=True))
    run(running.environment()["REDIS_URL"])


@click.command()
def clean():
    """Stop the services and remove all that the workshop generated; your work/ stays."""
    from workshop.services import shared

    shared().stop()
    generated = [path for path in STATE.glob("*") if path != progress.FILE]
    caches = [path for path in ROOT.rglob("__pycache__") if ".venv" not in path.parts]
    for path in (*generated, *caches, ROOT / "build", ROOT / ".pytest_cache"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    click.echo("Removed what was generated. Your work/, your progress and .venv/ are kept.")


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
