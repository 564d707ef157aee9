"""Coalescing: requests of one process that wait at the same time share one call.

Without it, a hundred waiting requests would ask Redis a hundred times for the same bytes.
"""

from concurrent.futures import Future
from threading import Lock


class Coalescer:
    """Runs one call at a time; all requests that come before it begins get its result."""

    def __init__(self):
        self.running = Lock()
        self.next_result = None  # a Future of the call that has yet to begin

    def call(self, function):
        """What function() returns or raises, called here or by another request that waits too.

        A call that has already begun is not shared: it may have read Redis before this request's
        order was committed.
        """
        if shared := self.next_result:
            return shared.result()
        result = self.next_result = Future()
        with self.running:
            self.next_result = None
            try:
                result.set_result(function())
            except BaseException as error:
                result.set_exception(error)
        return result.result()
