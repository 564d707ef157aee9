"""The same app under gunicorn's gevent workers, one for each core.

Run it in the step's folder: gunicorn -c alternatives/gunicorn.conf.py
"""

import os
from pathlib import Path

import gevent

wsgi_app = "app:app"
chdir = str(Path(__file__).resolve().parent.parent)
bind = f"{os.getenv('HOST', '127.0.0.1')}:{os.getenv('PORT', '8002')}"
worker_class = "gevent"
workers = int(os.getenv("WORKERS", os.cpu_count() or 2))
worker_connections = 1000  # clients of each worker
graceful_timeout = 4  # seconds
keepalive = 3  # seconds; less than above, so that idle clients have left when a worker ends
control_socket_disable = True  # gunicorn would create the socket in your home folder

# PostgreSQL accepts 100 connections, which all workers share.
os.environ.setdefault("DB_CONNECTIONS", str(max(1, 90 // workers)))


def post_request(worker, request, environ, response):
    gevent.sleep(0)  # Otherwise one client that pipelines requests would block the others.


def post_fork(arbiter, worker):
    import server  # noqa: F401  patches this worker and makes psycopg2 cooperative in it
