"""The finished shop on all cores: gunicorn with several gevent workers.

Run it in the step's folder. The workers need one JWT_SECRET, to accept one another's tokens:
    JWT_SECRET=$(openssl rand -hex 32) gunicorn
"""

import os

wsgi_app = "app:app"
bind = f"{os.getenv('HOST', '127.0.0.1')}:{os.getenv('PORT', '8005')}"
worker_class = "gunicorn_guard.GuardedWorker"
workers = int(os.getenv("WORKERS", os.cpu_count() or 2))
worker_connections = 1000  # clients of each worker
graceful_timeout = 4  # seconds
keepalive = 3  # seconds; shorter, so that idle clients have left before a worker ends
control_socket_disable = True  # a file in the home folder, which nothing here needs

# Each worker has a pool of its own: together they must stay under PostgreSQL's 100 connections.
share = max(1, min(15, 90 // workers))
os.environ.setdefault("POOL_SIZE", str(share - share // 3))
os.environ.setdefault("MAX_OVERFLOW", str(share // 3))

# Refused here, this is printed once. A worker that refused it would be started again and again.
given = [os.getenv("JWT_SECRET", ""), os.getenv("JWT_SECRET_PREVIOUS")]
if any(secret is not None and len(os.fsencode(secret)) < 32 for secret in given):
    raise SystemExit("JWT_SECRET must have 32 bytes or more, the same ones for all workers.")


def post_fork(arbiter, worker):
    import server  # noqa: F401  patches, and makes psycopg2 cooperative, in this worker
