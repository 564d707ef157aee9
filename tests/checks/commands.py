"""What Redis is asked to do, seen from outside: its own counts, and MONITOR."""

from collections.abc import Iterator
from contextlib import contextmanager

from blackbox import expect

EXPIRIES = {"EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT"}
WITH_EXPIRY = {"EX", "PX", "EXAT", "PXAT", "KEEPTTL"}


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
    """No key gets its expiry in a command after the one that set it, or none at all.

    In a script or between MULTI and EXEC no process can die between the two.
    """
    in_transaction, late = set(), []
    for command in seen:
        client = (command["client_address"], command["client_port"])
        words = command["command"].split()
        name = words[0].upper() if words else ""
        if name in ("MULTI", "EXEC"):
            (in_transaction.add if name == "MULTI" else in_transaction.discard)(client)
        elif command["client_type"] == "lua" or client in in_transaction:
            continue
        elif name in EXPIRIES or _sets_without_expiry(name, words):
            late.append(" ".join(words[:2]))
    expect(
        not late,
        f"{did}; watched the commands that Redis got",
        f"{', '.join(late)}, a command that sets the value or the expiry alone",
        "value and expiry set together: a process may die between two commands",
    )


def _sets_without_expiry(name: str, words: list[str]) -> bool:
    return name == "SETNX" or (name == "SET" and WITH_EXPIRY.isdisjoint(map(str.upper, words[2:])))
