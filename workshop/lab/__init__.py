"""What the notebooks call, and the Jupyter that runs them."""

from workshop.lab.calls import Call, call, calls, calls_meanwhile, peak_threads
from workshop.lab.costs import connection_costs_ms, password_hash_ms, token_verification_ms
from workshop.lab.database import count_sessions, query_rows
from workshop.lab.lab import Lab, LabServer
from workshop.lab.pictures import bars, curves, timeline
from workshop.lab.predictions import reveal, show_markdown
from workshop.measuring.formatting import format_number
from workshop.measuring.machine import cores

__all__ = [
    "Call",
    "Lab",
    "LabServer",
    "bars",
    "call",
    "calls",
    "calls_meanwhile",
    "connection_costs_ms",
    "cores",
    "count_sessions",
    "curves",
    "format_number",
    "password_hash_ms",
    "peak_threads",
    "query_rows",
    "reveal",
    "show_markdown",
    "timeline",
    "token_verification_ms",
]
