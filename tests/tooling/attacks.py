"""What other clients get while one attacks the finished shop.

    python tests/tooling/attacks.py [attack …]

Each attack runs for some seconds against step 5, under pywsgi and under gunicorn with one worker.
Meanwhile the load driver asks for GET /; its requests/s and its longest wait stand beside those
without an attack. To add an attack, write a function that attacks a port until it is stopped, and
name it in ATTACKS.
"""

import multiprocessing
import socket
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "checks"))

import rawhttp

from workshop.load import load_sync
from workshop.services import private
from workshop.steps import step
from workshop.target import Target, serve

SECONDS = 4  # of each measurement
CONNECTIONS = 10
SLOW_CLIENTS = 2100
TIMEOUT = 3  # seconds until another client gives up
SERVERS = {"pywsgi": (), "gunicorn": ("-m", "gunicorn")}


def pipelining(port: int) -> None:
    """One connection on which the next requests have always been sent already."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        threading.Thread(target=_discard, args=[client], daemon=True).start()
        while True:
            client.sendall(rawhttp.GET * 500)


def upgrade(port: int) -> None:
    """Requests that offer an upgrade, each of which once held a connection forever."""
    while True:
        _send(port, rawhttp.post("/login", b"{}", "Connection: upgrade"))


def desync(port: int) -> None:
    """Malformed requests, one connection each."""
    while True:
        for data in rawhttp.MALFORMED_HEADS.values():
            _send(port, data)


def slow_bodies(port: int) -> None:
    """More clients than there are places, each with half a request; new ones follow."""
    clients = []
    while True:
        clients.append(_send(port, rawhttp.HALF_A_BODY, keep=True))
        if len(clients) > SLOW_CLIENTS:
            clients.pop(0).close()


ATTACKS = {attack.__name__: attack for attack in (pipelining, upgrade, desync, slow_bodies)}


def _discard(client: socket.socket) -> None:
    with suppress(OSError):
        while client.recv(1 << 16):
            pass


def _send(port: int, data: bytes, keep: bool = False) -> socket.socket:
    client = socket.socket()
    client.settimeout(0.2)
    with suppress(OSError):
        client.connect(("127.0.0.1", port))
        client.sendall(data)
        if not keep:
            client.recv(1 << 16)
    if not keep:
        client.close()
    return client


@contextmanager
def attacked(port: int, attack):
    """The attack runs in a process of its own until the block ends."""
    process = multiprocessing.get_context("spawn").Process(target=attack, args=[port], daemon=True)
    process.start()
    time.sleep(1)
    try:
        yield
    finally:
        process.kill()
        process.join()


def measure(url: str) -> str:
    """Requests/s, longest wait and errors of well-behaved clients."""
    result = load_sync(
        f"{url}/", connections=CONNECTIONS, seconds=SECONDS, timeout=TIMEOUT, progress=False
    )
    longest = max(result.latencies.longest, result.longest_unfinished * 1000)
    return (
        f"{result.throughput:8,.0f} requests/s   longest wait {longest:7,.0f} ms   "
        f"errors {result.error_count}"
    )


def main(names: list[str]) -> None:
    unknown = set(names) - set(ATTACKS)
    if unknown:
        sys.exit(f"There is no attack {', '.join(unknown)}: they are {', '.join(ATTACKS)}.")
    with private() as services, TemporaryDirectory() as logs, ExitStack() as stack:
        for server_name, arguments in SERVERS.items():
            target = Target(server_name, step(5).path, arguments=arguments)
            log = Path(logs) / f"{server_name}.log"
            server = stack.enter_context(serve(target, services, log, WORKERS=1))
            print(f"{server_name:10} {'no attack':12} {measure(server.url)}", flush=True)
            for name in names or ATTACKS:
                with attacked(server.port, ATTACKS[name]):
                    print(f"{server_name:10} {name:12} {measure(server.url)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
