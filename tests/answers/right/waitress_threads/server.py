"""Serve the app with waitress: one loop for all sockets, and threads for the answers."""

import os
import signal
import threading
import time

from waitress import create_server

from app import app

GRACEFUL_TIMEOUT = float(os.getenv("GRACEFUL_TIMEOUT", "4"))  # seconds


def drain(server):
    """Accept no new client, wait for the answers under way, then end."""
    server.del_channel()
    server.socket.close()
    deadline = time.monotonic() + GRACEFUL_TIMEOUT
    while time.monotonic() < deadline and any(map(busy, list(server.active_channels.values()))):
        time.sleep(0.02)
    os._exit(0)  # the loop is in select(), which no exception reaches


def busy(channel):
    return channel.requests or channel.total_outbufs_len


def main():
    server = create_server(
        app,
        host=app.config["HOST"],
        port=app.config["PORT"],
        threads=min(40, app.config["DB_CONNECTIONS"]),  # Each opens one connection at a time.
        connection_limit=2000,
        backlog=1024,
        max_request_body_size=2**20,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=drain, args=[server]).start())
    server.run()


if __name__ == "__main__":
    main()
