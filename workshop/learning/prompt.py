"""A Redis prompt: the cache server's wheel brings no redis-cli."""

import contextlib
import readline  # noqa: F401  gives input() its history and editing
import shlex

import click
import redis

HELP = "Try: KEYS *   GET data_response   TTL data_response   DEL data_response   (Ctrl-D ends)"


def run(url: str) -> None:
    """Read commands and print the answers, until Ctrl-D."""
    client = redis.Redis.from_url(url, decode_responses=True)
    host = client.connection_pool.connection_kwargs
    click.echo(HELP)
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            line = input(f"{host['host']}:{host['port']}> ")
            if line.strip():
                click.echo(answer(client, line))
    click.echo()


def answer(client: redis.Redis, line: str) -> str:
    """What Redis says to one line, as text."""
    try:
        return shown(client.execute_command(*shlex.split(line)))
    except (redis.RedisError, ValueError, UnicodeDecodeError) as error:
        return f"(error) {error}"


def shown(value) -> str:
    if value is None:
        return "(nil)"
    if isinstance(value, dict):
        value = [item for pair in value.items() for item in pair]
    if isinstance(value, list | tuple | set):
        lines = [f"{number}) {shown(item)}" for number, item in enumerate(value, 1)]
        return "\n".join(lines) or "(empty)"
    return str(value)
