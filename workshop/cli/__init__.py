"""The commands, one module for each thing that people do."""

import click

number = click.argument("number", type=int, envvar="N", metavar="N")
