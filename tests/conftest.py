"""The checks are run by workshop/checking.py, each time against one app folder."""

collect_ignore = ["checks"]
