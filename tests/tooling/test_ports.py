"""Ports for servers: free, and for one only."""

import random
import re
import socket
import subprocess
import sys

import pytest

from workshop.errors import WorkshopError
from workshop.paths import ROOT
from workshop.services import ports
from workshop.services.daemon import listening
from workshop.services.ports import free_port, release
from workshop.services.services import POSTGRES_PORT, REDIS_PORT

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


def test_no_outgoing_connection_and_no_free_port_takes_the_port_of_a_shared_server():
    for port in (POSTGRES_PORT, REDIS_PORT):
        assert port < 32768  # where Linux begins; macOS does at 49152
        assert port not in ports.PORTS
    assert ports.PORTS.stop <= 32768


def test_steps_and_compose_file_name_the_ports_of_the_shared_servers():
    address = re.compile(r"(postgresql|redis)://[^\s/]*127\.0\.0\.1:(\d+)/")
    for path in [*ROOT.glob("step0*/*.py"), ROOT / "compose.yaml"]:
        named = set(address.findall(path.read_text()))
        assert named <= {("postgresql", str(POSTGRES_PORT)), ("redis", str(REDIS_PORT))}, path
