"""Free TCP ports, each for one only, however many look for one at once."""

import random
import socket

from workshop.errors import WorkshopError
from workshop.services.daemon import HOST, port_taken

# Below the ports that systems give to outgoing connections: a server that is stopped finds its port
# free when it is started again, even while a load test opens connections by the thousand.
PORTS = range(20000, 32000)
_claims: dict[int, socket.socket] = {}


def free_port() -> int:
    """A port that no other process of the workshop is given until we release it, or end.

    A server takes seconds to come up: a second one on its way to the same port would be taken for
    it. The claim is the UDP port of that number, which leaves the TCP port to the server. Raises
    WorkshopError where no port is free.
    """
    for port in random.sample(PORTS, len(PORTS)):
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind((HOST, port))
        except OSError:
            claim.close()
            continue
        if not port_taken(port):
            _claims[port] = claim
            return port
        claim.close()
    raise WorkshopError(
        f"No port from {PORTS.start} to {PORTS.stop} is free: end some of the programs that run."
    )


def release(port: int) -> None:
    """Let others have the port, if it was a free_port of ours."""
    if claim := _claims.pop(port, None):
        claim.close()
