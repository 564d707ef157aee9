"""Put load on a server, and compare servers under load."""

import click

from workshop.errors import WorkshopError
from workshop.steps import step


@click.command()
@click.option("--url", envvar="URL", help="What to GET.")
@click.option("--step", "number", envvar="N", type=int, help="The step to load, where no URL is.")
@click.option("--port", envvar="PORT", type=int, help="Where the step serves, if elsewhere.")
@click.option("-c", "connections", envvar="C", type=int, default=50, help="Connections.")
@click.option("-s", "seconds", envvar="S", type=float, default=5, help="Seconds.")
@click.option("--rate", envvar="RATE", type=float, help="Requests/s: an open loop.")
def load(url: str | None, number: int | None, port: int | None, connections: int, seconds, rate):
    """Put load on a URL, or on GET / of a step that runs."""
    from workshop.load import main

    if not url and not number:
        raise WorkshopError("Say what to load: make load URL=http://127.0.0.1:8002/async C=50 S=5")
    if not url:
        url = f"http://127.0.0.1:{port or step(number).port}/"
    raise SystemExit(main(url, connections, seconds, rate))


@click.command()
@click.argument("numbers", envvar="N", type=str)
@click.option("--path", envvar="URL", default="/products/7", help="What to GET of both.")
@click.option("-c", "connections", envvar="C", type=int, default=10, help="Connections.")
@click.option("-s", "seconds", envvar="S", type=float, default=1, help="Seconds of each round.")
def compare(numbers: str, path: str, connections: int, seconds: float):
    """Serve two or more steps and compare their throughput, in interleaved rounds."""
    from workshop.compare import compare_sync
    from workshop.target import served

    chosen = [step(int(number)) for number in numbers.split()]
    if len(chosen) < 2:
        raise WorkshopError("Name two steps or more: make compare 2 3")
    with served(*chosen) as servers:
        urls = {s.folder: server.url for s, server in zip(chosen, servers, strict=True)}
        click.echo(str(compare_sync(urls, path=path, connections=connections, seconds=seconds)))


@click.command()
@click.option("--quick", envvar="QUICK", is_flag=True, help="Under a minute, to try it out.")
@click.option("--draw", is_flag=True, help="Charts and tables from the results that are there.")
def bench(quick: bool, draw: bool):
    """Measure all steps and each technique; renew docs/bench/ and the table in README.md."""
    from workshop.bench import suite
    from workshop.paths import ROOT

    if draw:
        suite.redraw()
        return
    folder = suite.main(quick)
    click.echo(f"Results and charts are in {folder.relative_to(ROOT)}/.")
