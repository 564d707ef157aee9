"""Put load on a server, and compare servers under load."""

from pathlib import Path
from urllib.parse import urlsplit

import click

from workshop.errors import WorkshopError
from workshop.paths import shown
from workshop.steps import step

TRY_LOAD = "make load 2, make load APP=folder, or make load URL=http://127.0.0.1:8002/async"
TRY_COMPARE = "make compare 2 3, make compare 3 APP=folder, or make compare 3 URL=http://…"

app_option = click.option("--app", envvar="APP", help="An app folder, which we start.")
url_option = click.option("--url", envvar="URL", help="What runs already, or a path to GET.")


@click.command()
@url_option
@app_option
@click.option("--step", "number", envvar="N", type=int, help="The step to load.")
@click.option("--port", envvar="PORT", type=int, help="Where the step runs, if elsewhere.")
@click.option("-c", "connections", envvar="C", type=int, default=50, help="Connections.")
@click.option("-s", "seconds", envvar="S", type=float, default=5, help="Seconds.")
@click.option("--rate", envvar="RATE", type=float, help="Requests/s: an open loop.")
def load(
    url: str | None,
    app: str | None,
    number: int | None,
    port: int | None,
    connections: int,
    seconds: float,
    rate: float | None,
) -> None:
    """Put load on a step, an app folder or a URL.

    A step that runs already gets the load where it runs; another one is started for it.
    """
    from workshop.load import load_sync
    from workshop.target import Target, answers_as, reached

    running, path = _base_and_path(url)
    if running:
        target = Target.at(running)
    elif app:
        target = Target.of(Path(app).resolve())
    elif number:
        address = f"http://127.0.0.1:{port or step(number).port}"
        runs = port or answers_as(step(number), address)
        target = Target.at(address) if runs else Target.of(step(number))
    else:
        raise WorkshopError(f"Name what to load: {TRY_LOAD}.")
    with reached(target, log=click.echo) as [base]:
        result = load_sync(
            base + (path or "/"), connections=connections, seconds=seconds, rate=rate
        )
    click.echo(str(result))
    if not result.complete:
        raise SystemExit(130)


@click.command()
@click.argument("numbers", envvar="N", type=int, nargs=-1)
@url_option
@app_option
@click.option("-c", "connections", envvar="C", type=int, default=10, help="Connections.")
@click.option("-s", "seconds", envvar="S", type=float, default=1, help="Seconds of each round.")
def compare(
    numbers: tuple[int, ...], url: str | None, app: str | None, connections: int, seconds: float
) -> None:
    """Serve steps, or an app folder, and compare their throughput in interleaved rounds."""
    from workshop.compare import compare_sync
    from workshop.target import Target, reached

    running, path = _base_and_path(url)
    targets = [Target.of(step(number)) for number in numbers]
    targets += [Target.of(Path(app).resolve())] if app else []
    targets += [Target.at(running)] if running else []
    names = [shown(target.folder) if target.folder else target.name for target in targets]
    if len(set(names)) < 2:
        raise WorkshopError(f"Name two different servers or more: {TRY_COMPARE}.")
    with reached(*targets, log=click.echo) as urls:
        sides = dict(zip(names, urls, strict=True))
        comparison = compare_sync(
            sides, path=path or "/products/7", connections=connections, seconds=seconds
        )
    click.echo(str(comparison))


@click.command()
@click.option("--quick", envvar="QUICK", is_flag=True, help="Under a minute, to try it out.")
@click.option("--draw", is_flag=True, help="Charts and tables from the results that are there.")
def bench(quick: bool, draw: bool) -> None:
    """Measure all steps and each technique; renew docs/bench/ and the table in README.md."""
    from workshop.bench import suite

    if draw:
        suite.redraw()
        return
    click.echo(f"Results and charts are in {shown(suite.main(quick))}/.")


def _base_and_path(url: str | None) -> tuple[str, str]:
    """http://host/path is a server and what to GET of it; /path alone is what to GET of all."""
    if not url or url.startswith("/"):
        return "", url or ""
    parts = urlsplit(url)
    if not parts.netloc:
        return url, ""  # which load() refuses in a sentence
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}", parts.path + query
