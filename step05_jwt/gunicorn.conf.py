"""The finished shop on all cores: gunicorn with several gevent workers.

Run it in the step's folder, with JWT_SECRET set: the workers must share it.
    gunicorn
"""

import os

wsgi_app = "app:app"
bind = f"{os.getenv('HOST', '127.0.0.1')}:{os.getenv('PORT', '8005')}"
worker_class = "gevent"
workers = int(os.getenv("WORKERS", os.cpu_count() or 2))  # workers × 15 connections < 100
worker_connections = 1000  # each worker
graceful_timeout = 4  # seconds

if not os.getenv("JWT_SECRET"):
    raise SystemExit("Set JWT_SECRET: without it each worker would sign with a secret of its own.")


def post_fork(arbiter, worker):
    import server  # noqa: F401  patches, and makes psycopg2 cooperative, in this worker
