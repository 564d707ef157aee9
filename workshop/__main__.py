"""`python -m workshop COMMAND`: what the Makefile calls."""

import errno
import os
import sys
from importlib import import_module
from io import TextIOWrapper

import click

from workshop.errors import WorkshopError

# Which module holds a command: imported only when the command runs, so that each starts quickly.
COMMANDS = {
    "serve": ["step", "services", "pause", "stop", "psql", "redis-cli", "clean"],
    "check": ["check", "watch", "mistake", "mark", "test-flakiness", "mutants"],
    "learn": ["start", "reset", "hint", "diff", "solution", "progress"],
    "measure": ["load", "compare", "bench"],
    "notebooks": ["notebooks", "notebook", "handout"],
    "machine": ["doctor", "wheelhouse"],
    "maintain": ["dev-check", "prose"],
}
# What the system refuses, whatever the command does.
NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)


class Commands(click.Group):
    def list_commands(self, context):
        return [name for names in COMMANDS.values() for name in names]

    def get_command(self, context, name):
        for module, names in COMMANDS.items():
            if name in names:
                commands = import_module(f"workshop.cli.{module}")
                return next(
                    command
                    for command in vars(commands).values()
                    if isinstance(command, click.Command) and command.name == name
                )
        return None


@click.group(cls=Commands)
def workshop():
    """The workshop on high-performance Flask APIs."""


def main() -> int:
    """Run one command; an error is one sentence on stderr and exit code 1."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # in a pipe, too, lines come in their order
    colour = False if os.environ.get("NO_COLOR") else None  # None: where it is a terminal
    try:
        return workshop.main(standalone_mode=False, color=colour) or 0
    except WorkshopError as error:
        click.secho(f"✗ {error}", fg="red", err=True, color=colour)
        return 1
    except OSError as error:
        if error.errno not in NOT_OURS:
            raise
        message = (
            f"✗ Cannot use {error.filename or 'a file'} ({error.strerror}): check who owns it and "
            "whether its disk is full, or move the clone to a folder where you may write."
        )
        click.secho(message, fg="red", err=True, color=colour)
        return 1
    except click.ClickException as error:
        click.secho(f"✗ {error.format_message()}", fg="red", err=True, color=colour)
        return 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("\nStopped.", err=True)
        return 130


if __name__ == "__main__":
    sys.exit(main())
