"""The same app under gunicorn's gevent workers, one for each core.

Run it in the step's folder: gunicorn -c alternatives/gunicorn.conf.py
"""

import os
from pathlib import Path

wsgi_app = "app:app"
chdir = str(Path(__file__).resolve().parent.parent)
bind = f"{os.getenv('HOST', '127.0.0.1')}:{os.getenv('PORT', '8002')}"
worker_class = "gevent"
workers = os.cpu_count()
worker_connections = 1000  # each worker
graceful_timeout = 4  # seconds

# The workers share what PostgreSQL takes.
os.environ.setdefault("DB_CONNECTIONS", str(90 // workers))


def post_fork(arbiter, worker):
    import server  # noqa: F401  patches, and makes psycopg2 cooperative, in this worker
