"""Serve the app with gevent: one greenlet for each connection, and no wait blocks the others."""

from gevent import monkey

monkey.patch_all()  # before every other import: a module keeps the blocking calls that it found

import os
import signal
import socket

import gevent
from gevent.pywsgi import WSGIServer
from gevent.socket import wait_read, wait_write
from psycopg2 import OperationalError, extensions

from app import app
from http_guard import GuardedHandler

# Seconds that SIGTERM leaves to the requests in flight.
GRACEFUL_TIMEOUT = float(os.getenv("GRACEFUL_TIMEOUT", "4"))
# Seconds. PostgreSQL ends a query itself after STATEMENT_TIMEOUT, unless PostgreSQL hangs.
POSTGRES_WAIT_TIMEOUT = app.config["STATEMENT_TIMEOUT"] + 2


def wait_for_postgres(connection):
    """Let other greenlets run while PostgreSQL works: psycopg2 is C, out of reach for patching."""
    silent = OperationalError("PostgreSQL is silent.")
    while (state := connection.poll()) != extensions.POLL_OK:
        wait = wait_read if state == extensions.POLL_READ else wait_write
        wait(connection.fileno(), POSTGRES_WAIT_TIMEOUT, silent)


extensions.set_wait_callback(wait_for_postgres)


class Handler(GuardedHandler):
    in_flight = 0
    draining = False

    def handle(self):
        # Headers and body leave in two sends. Nagle's algorithm would hold back the second one
        # until the client acknowledges the first: 40 ms.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().handle()

    def handle_one_response(self):
        Handler.in_flight += 1
        try:
            super().handle_one_response()
        finally:
            Handler.in_flight -= 1

    def finalize_headers(self):
        # A client with a kept connection learns that this answer is the last one here.
        self.close_connection = self.close_connection or Handler.draining
        super().finalize_headers()


def shut_down(server):
    """Shut down gracefully: accept no new connection, answer the requests in flight, then end.

    Connections that are idle, or that have sent only part of a request, are closed at the end.
    """
    server.stop_accepting()
    server.socket.close()
    Handler.draining = True
    with gevent.Timeout(GRACEFUL_TIMEOUT, False):
        gevent.sleep(0.02)  # for requests that have arrived, but haven't been read yet
        while Handler.in_flight:
            gevent.sleep(0.02)
    server.stop()


def main():
    address = app.config["HOST"], app.config["PORT"]
    # log=None: no line for each request. The backlog holds a thousand clients that come at once.
    server = WSGIServer(address, app, handler_class=Handler, log=None, backlog=1024)
    server.max_accept = 1  # In a flood of new clients, take turns between accepting and answering.
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, shut_down, server)
    server.serve_forever()


if __name__ == "__main__":
    main()
