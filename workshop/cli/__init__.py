"""The commands, one module for each thing that people do."""

import click


def _required(context: click.Context, parameter: click.Parameter, value: int | None) -> int:
    if value is None:
        raise click.UsageError(f"Say which step, for instance: make {context.info_name} 2")
    return value


number = click.argument(
    "number", type=int, envvar="N", metavar="N", required=False, callback=_required
)
