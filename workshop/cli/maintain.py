"""What a maintainer of the course runs."""

import click


@click.command("dev-check")
def dev_check():
    """Say what a new step, check or mistake still lacks."""
    from workshop.checking.completeness import findings

    found = list(findings())
    for finding in found:
        click.secho(f"✗ {finding}", fg="red")
    click.echo(f"{len(found)} to do." if found else "Nothing is missing.")
    if found:
        raise SystemExit(1)
