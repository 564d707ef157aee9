"""The settings of gunicorn."""

import math
import os
import signal

wsgi_app = "app:app"
worker_class = "gevent"
workers = 2
worker_connections = 1000
keepalive = 75  # seconds
graceful_timeout = math.ceil(float(os.getenv("GRACEFUL_TIMEOUT", "4")))  # seconds
loglevel = "error"  # A warning about a malformed request repeats what the client sent.
control_socket_disable = True


def when_ready(arbiter):
    """Make SIGINT as graceful as SIGTERM: gunicorn's own handler cuts requests off."""
    signal.signal(signal.SIGINT, lambda number, frame: arbiter.signal(signal.SIGTERM, frame))


def post_fork(arbiter, worker):
    from gevent.socket import wait_read, wait_write
    from psycopg2 import extensions

    def wait(connection):
        while (state := connection.poll()) != extensions.POLL_OK:
            (wait_read if state == extensions.POLL_READ else wait_write)(connection.fileno())

    extensions.set_wait_callback(wait)
    limit_connections(int(os.getenv("DB_CONNECTIONS", "90")) // workers)


def limit_connections(count):
    """Let requests wait for a connection once `count` are open in this worker."""
    import psycopg2
    from gevent.lock import BoundedSemaphore
    from sqlalchemy import Engine, Pool, event

    free = BoundedSemaphore(count)

    @event.listens_for(Engine, "do_connect")
    def connect(dialect, record, args, options):
        free.acquire()
        try:
            return psycopg2.connect(*args, **options)
        except BaseException:
            free.release()
            raise

    @event.listens_for(Pool, "close")
    def closed(connection, record):
        free.release()
