"""Serve the app with gevent, at most 1,000 connections at once."""

from gevent import monkey

monkey.patch_all()

import os
import signal
import socket

import gevent
import psycopg2
from gevent.lock import BoundedSemaphore
from gevent.pool import Pool
from gevent.pywsgi import WSGIServer
from gevent.select import select
from psycopg2 import extensions
from sqlalchemy import Engine, event

from app import app
from http_guard import GuardedHandler

GRACEFUL_TIMEOUT = float(os.getenv("GRACEFUL_TIMEOUT", "4"))  # seconds
connecting = BoundedSemaphore(app.config["DB_CONNECTIONS"])
idle = set()  # the sockets of clients that have no request under way
draining = False


def wait_for_postgres(connection):
    while (state := connection.poll()) != extensions.POLL_OK:
        files = [connection.fileno()]
        select(*([files, [], []] if state == extensions.POLL_READ else [[], files, []]))


extensions.set_wait_callback(wait_for_postgres)


class Connection(extensions.connection):
    """A connection that lets the next one be opened when it is closed."""

    has_slot = True

    def close(self):
        if self.has_slot:  # `closed` is set, too, once PostgreSQL has ended the connection.
            self.has_slot = False
            connecting.release()
        super().close()


@event.listens_for(Engine, "do_connect")
def connect(dialect, record, args, options):
    connecting.acquire()
    try:
        return psycopg2.connect(*args, connection_factory=Connection, **options)
    except BaseException:
        connecting.release()
        raise


class Handler(GuardedHandler):
    def handle(self):
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().handle()

    def read_requestline(self):
        if draining:
            return ""  # as if the client had closed the connection
        idle.add(self.socket)
        try:
            return super().read_requestline()
        finally:
            idle.discard(self.socket)


def drain(server):
    """End idle connections; the pool is empty once the last answer is sent."""
    global draining
    draining = True
    server.stop_accepting()
    server.socket.close()
    for client in list(idle):
        client.shutdown(socket.SHUT_RDWR)
    server.pool.join(GRACEFUL_TIMEOUT)
    server.stop(timeout=0.1)


def main():
    server = WSGIServer(
        (app.config["HOST"], app.config["PORT"]),
        app,
        backlog=1024,
        spawn=Pool(1000),
        handler_class=Handler,
        log=None,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, drain, server)
    server.serve_forever()


if __name__ == "__main__":
    main()
