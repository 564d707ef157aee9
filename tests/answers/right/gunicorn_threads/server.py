"""Become gunicorn, which serves the app with threads: each waits for itself."""

import os
import sys

ADDRESS = f"{os.getenv('HOST', '127.0.0.1')}:{os.getenv('PORT', '8002')}"
OPTIONS = "--worker-class gthread --threads 40 --keep-alive 75 --graceful-timeout 4"

os.execv(
    sys.executable,
    [sys.executable, "-m", "gunicorn", "-b", ADDRESS, *OPTIONS.split(), "app:app"],
)
