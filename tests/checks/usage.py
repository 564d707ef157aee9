"""What an app uses, with its children."""

import psutil


def family(app) -> list[psutil.Process]:
    process = psutil.Process(app.server.process.pid)
    return [process, *process.children(recursive=True)]


def memory(app) -> float:
    """In MiB."""
    return sum(process.memory_info().rss for process in family(app)) / 2**20


def open_files(app) -> int:
    """Files and sockets."""
    return sum(process.num_fds() for process in family(app))


def threads(app) -> int:
    return sum(process.num_threads() for process in family(app))
