"""Checks against an app folder: run, reported, on every save, on many learners' work; mistakes."""
