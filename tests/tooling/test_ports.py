"""Ports for servers: free, and for one only."""

import random
import socket
import subprocess
import sys

import pytest

from workshop.errors import WorkshopError
from workshop.services import ports
from workshop.services.daemon import listening
from workshop.services.ports import free_port, release

HOLD = """
import sys
from workshop.services import ports
ports.PORTS = range(int(sys.argv[1]), int(sys.argv[1]) + 2)
port = ports.free_port()
print(port, flush=True)
sys.stdin.read()
"""


def holder(first: int) -> subprocess.Popen:
    """A process that keeps one of two ports."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(first)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def pair():
    """The first of two neighbouring ports that are free, and that nobody else is given."""
    beyond = range(ports.PORTS.stop, 32_766, 2)
    return next(
        first
        for first in random.sample(beyond, len(beyond))
        if not any(map(ports.port_taken, (first, first + 1)))
    )


def test_a_port_is_for_one_process_only(pair, monkeypatch):
    one, two = holder(pair), holder(pair)
    held = {int(process.stdout.readline()) for process in (one, two)}
    assert held == {pair, pair + 1}
    monkeypatch.setattr(ports, "PORTS", range(pair, pair + 2))
    with pytest.raises(WorkshopError, match="No port"):
        free_port()
    one.communicate()
    left = free_port()
    assert left in held
    with pytest.raises(WorkshopError):
        free_port()
    release(left)
    assert free_port() == left
    release(left)
    two.communicate()


def test_a_claim_leaves_the_port_to_its_server():
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        assert listening(port)
    release(port)


def test_a_port_where_something_listens_is_not_free(pair, monkeypatch):
    monkeypatch.setattr(ports, "PORTS", range(pair, pair + 1))
    with socket.create_server(("127.0.0.1", pair)), pytest.raises(WorkshopError):
        free_port()
    assert free_port() == pair
    release(pair)
