"""The checks are run by workshop/checking/runner.py, each time against one app folder."""

import signal

collect_ignore = ["checks"]

# A shell's background jobs and nohup ignore these, and all that is started from there inherits
# that: commands under test could not be interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
