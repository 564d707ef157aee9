"""What Redis is asked to do, seen from outside: its own counts, and MONITOR."""

from collections.abc import Iterator
from contextlib import contextmanager

from blackbox import expect

EXPIRIES = {"EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT"}


def command_count(redis) -> int:
    """How many commands Redis has run, those inside of scripts too."""
    return sum(counted["calls"] for counted in redis.info("commandstats").values())


@contextmanager
def watched(redis) -> Iterator[list[dict]]:
    """Gives a list that holds, after the block, each command that Redis got meanwhile."""
    seen: list[dict] = []
    with redis.monitor() as monitor:
        yield seen
        redis.echo("the block is over")
        for command in monitor.listen():
            if "the block is over" in command["command"]:
                break
            seen.append(command)


def expect_expiry_with_value(seen: list[dict], did: str) -> None:
    """No key gets its expiry in a command after the one that set it.

    In a script or between MULTI and EXEC no process can die between the two.
    """
    in_transaction, late = set(), []
    for command in seen:
        client = (command["client_address"], command["client_port"])
        words = command["command"].split()
        name = words[0].upper() if words else ""
        if name in ("MULTI", "EXEC"):
            (in_transaction.add if name == "MULTI" else in_transaction.discard)(client)
        elif name in EXPIRIES and command["client_type"] != "lua" and client not in in_transaction:
            late.append(" ".join(words[:2]))
    expect(
        not late,
        f"{did}; watched the commands that Redis got",
        f"{', '.join(late)}, as a command after the one that set the key",
        "value and expiry set together: a process may die between two commands",
    )
