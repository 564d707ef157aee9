"""Serve a step, and look after its services."""

import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from workshop import server as servers
from workshop.cli import number
from workshop.errors import WorkshopError
from workshop.learning import learner, progress
from workshop.paths import HANDOUT, ROOT, STATE, shown
from workshop.steps import Step
from workshop.steps import step as find_step
from workshop.urls import libpq_url


@click.command()
@number
@click.option("--app", envvar="APP", help="Serve this folder instead of the step's own.")
def step(number: int, app: str | None) -> None:
    """Serve a step on its port, until Ctrl-C."""
    from workshop.services import shared

    chosen = find_step(number)
    folder = Path(app).resolve() if app else chosen.path
    services = shared()
    services.start(log=click.echo)
    own = learner.folder(chosen)
    yours = [f"To serve your copy: make step {number} APP={shown(own)}"]
    serve(chosen, folder, services.environment(), after=yours if not app and own.is_dir() else [])


def serve(
    chosen: Step,
    folder: Path,
    environment: dict[str, str],
    tries: list[str] | None = None,
    after: Iterable[str] = (),
) -> None:
    """Serve `folder` as that step until Ctrl-C; prints what to try, and then `after`."""
    port = int(os.environ.get("PORT") or chosen.port)
    log = STATE / f"{chosen.folder}.log"
    with servers.Server(folder, environment, log, port) as server:
        click.secho(f"\nStep {chosen.number}: {chosen.title}", bold=True)
        click.echo(f"{shown(folder)} runs at {click.style(server.url, fg='green', bold=True)}")
        click.echo("Try in another terminal:")
        for command in tries or chosen.tries:
            click.echo("  " + command.format(url=server.url))
        for line in after:
            click.echo(line)
        click.echo(f"Its output is in {shown(log)}. Ctrl-C ends it.")
        for number in (signal.SIGTERM, signal.SIGHUP):  # SIGHUP: the terminal was closed
            signal.signal(number, lambda *_: sys.exit(0))
        try:
            code = server.process.wait()
        except KeyboardInterrupt:
            click.echo("\nStopping …", err=True)
            return
    raise WorkshopError(f"The app ended with exit code {code}: its output is in {shown(log)}.")


@click.command()
def services() -> None:
    """Start PostgreSQL and Valkey and fill the database; prints what an app needs to reach them.

    Only that goes to stdout: `eval "$(make services)"` sets it in a shell.
    """
    from workshop.services import shared

    running = shared()
    running.start(log=_note)
    _note("PostgreSQL and Valkey run. An app that you start by hand needs these settings:")
    for name, url in running.environment().items():
        click.echo(f"export {name}={shlex.quote(url)}")


def _note(text: str) -> None:
    click.echo(text, err=True)


@click.command()
def stop() -> None:
    """Stop PostgreSQL and Valkey, and servers of checks that were killed."""
    from workshop.checking.leftovers import end_orphans
    from workshop.services import shared

    shared().stop()
    end_orphans()
    click.echo(
        "PostgreSQL and Valkey are stopped, and their data is kept. Start them: make services"
    )


@click.command()
@click.option("--service", envvar="SERVICE", type=click.Choice(["valkey", "postgres"]))
def pause(service: str | None) -> None:
    """Let one of our servers hang: it accepts connections and doesn't answer."""
    from workshop.services import shared

    if not service:
        raise WorkshopError("Name a server: make pause SERVICE=valkey, or SERVICE=postgres.")
    server = getattr(shared(), service, None)
    if server is None:
        raise WorkshopError("DATABASE_URL or REDIS_URL is set: only our own servers can be paused.")
    if not server.pause():
        raise WorkshopError(f"{server.title} doesn't run: start it with `make services`.")
    click.echo(f"{server.title} hangs now. Wake it up: make services")


@click.command()
def psql() -> None:
    """A PostgreSQL prompt on the shop."""
    import psycopg2.extensions

    from workshop.services import shared
    from workshop.services.postgres import installation

    running = shared()
    running.start(log=_note)
    url = libpq_url(running.environment()["DATABASE_URL"])
    # On the command line, every user of the machine could read the password.
    parameters = psycopg2.extensions.parse_dsn(url)
    environment = os.environ | {"PGPASSWORD": parameters.pop("password", "")}
    address = psycopg2.extensions.make_dsn(**parameters)
    program = str(installation() / "bin" / "psql")
    os.execve(program, [program, address], environment)  # noqa: S606


@click.command("redis-cli")
def redis_cli() -> None:
    """A Redis prompt on the cache."""
    from workshop.learning.prompt import run
    from workshop.services import shared

    running = shared()
    running.start(log=_note)
    run(running.environment()["REDIS_URL"])


@click.command()
def clean() -> None:
    """Stop the services and remove all that the workshop generated; your work/ stays."""
    from workshop.services import shared

    shared().stop()
    mine = (progress.FILE, *progress.FILE.parent.glob(f"{progress.FILE.stem}.unreadable*"))
    generated = [path for path in STATE.glob("*") if path not in mine]
    caches = [path for path in ROOT.rglob("__pycache__") if ".venv" not in path.parts]
    caches += [ROOT / f".{tool}_cache" for tool in ("pytest", "ruff", "mypy")]
    for path in (*generated, *caches, HANDOUT):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    click.echo("Removed what was generated. Your work/, progress, marks and .venv/ are kept.")
