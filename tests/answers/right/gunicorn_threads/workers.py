"""The settings of gunicorn."""

import math
import os
import signal

wsgi_app = "app:app"
worker_class = "gthread"
threads = min(40, int(os.getenv("DB_CONNECTIONS", "90")))  # Each opens one connection at a time.
keepalive = 75  # seconds
graceful_timeout = math.ceil(float(os.getenv("GRACEFUL_TIMEOUT", "4")))  # seconds
loglevel = "error"  # A warning about a malformed request repeats what the client sent.


def when_ready(arbiter):
    """Make SIGINT as graceful as SIGTERM: gunicorn's own handler cuts requests off."""
    signal.signal(signal.SIGINT, lambda number, frame: arbiter.signal(signal.SIGTERM, frame))
