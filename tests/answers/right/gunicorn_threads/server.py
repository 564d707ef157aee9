"""Become gunicorn, which serves the app with threads: each waits for itself."""

import os
import sys

ADDRESS = f"{os.getenv('HOST', '127.0.0.1')}:{os.getenv('PORT', '8002')}"

os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "-c", "workers.py", "-b", ADDRESS])
