"""The checks are run by workshop/runner.py, each time against one app folder."""

collect_ignore = ["checks"]
