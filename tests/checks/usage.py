"""What an app uses, with its children."""

import psutil


def family(app) -> list[psutil.Process]:
    process = psutil.Process(app.server.process.pid)
    return [process, *process.children(recursive=True)]


def cpu_seconds(app) -> float:
    """Seconds that the processor has worked for it, up to now."""
    return sum(sum(process.cpu_times()[:2]) for process in family(app))


def wakeups(app) -> int:
    """How often the system has woken its main thread from a wait, up to now."""
    return sum(process.num_ctx_switches().voluntary for process in family(app))


def memory(app) -> float:
    """In MiB."""
    return sum(process.memory_info().rss for process in family(app)) / 2**20


def open_files(app) -> int:
    """Files and sockets."""
    return sum(process.num_fds() for process in family(app))


def is_connected(app, port: int) -> bool:
    """Whether the app still holds its connection to the client that has this port."""
    peers = [c.raddr for process in family(app) for c in process.net_connections("tcp") if c.raddr]
    return any(peer.port == port for peer in peers)


def threads(app) -> int:
    return sum(process.num_threads() for process in family(app))
