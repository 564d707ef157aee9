"""Serve the app with gevent: one greenlet for each connection, and no wait stops the others."""

from gevent import monkey

monkey.patch_all()  # before every other import: a module keeps the blocking calls that it found

import signal
import socket

import gevent
from gevent.pywsgi import WSGIHandler, WSGIServer
from gevent.socket import wait_read, wait_write
from psycopg2 import OperationalError, extensions

from app import app

GRACE = 4  # seconds for the requests in flight when SIGTERM comes
# Seconds. PostgreSQL itself ends what takes longer than STATEMENT_TIMEOUT, unless it hangs.
SILENCE = app.config["STATEMENT_TIMEOUT"] + 2


def wait_for_postgres(connection):
    """Let other greenlets run while PostgreSQL works: psycopg2 is C, out of reach for patching."""
    while (state := connection.poll()) != extensions.POLL_OK:
        wait = wait_read if state == extensions.POLL_READ else wait_write
        wait(connection.fileno(), SILENCE, OperationalError("PostgreSQL is silent."))


extensions.set_wait_callback(wait_for_postgres)


class Handler(WSGIHandler):
    in_flight = 0
    stopping = False

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
            self.close_connection = self.close_connection or Handler.stopping


def stop(server):
    """Accept nobody new, answer what is in flight, then end. Idle connections are cut."""
    server.stop_accepting()
    server.socket.close()
    Handler.stopping = True  # a kept connection gets its answer, and no other
    with gevent.Timeout(GRACE, False):
        while Handler.in_flight:
            gevent.sleep(0.02)
    server.stop()


def main():
    address = app.config["HOST"], app.config["PORT"]
    # log=None: no line for each request. The backlog holds a thousand clients that come at once.
    server = WSGIServer(address, app, handler_class=Handler, log=None, backlog=1024)
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, stop, server)
    server.serve_forever()


if __name__ == "__main__":
    main()
