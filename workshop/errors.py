"""The one kind of error that a user of the workshop sees."""


class WorkshopError(Exception):
    """What went wrong and what to do about it, in one sentence; shown without a traceback."""
