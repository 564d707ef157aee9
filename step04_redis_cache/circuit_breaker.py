"""A circuit breaker: while a service fails, calls to it stop, so that few requests wait for it.

Closed, it lets calls pass. A failure opens it: no call is tried for RESET_TIMEOUT. Then it is
half-open: one call is tried. If that succeeds, the breaker closes; if it fails, it opens again.
"""

import logging
import time

RESET_TIMEOUT = 1.0  # seconds without a call after a failure

logger = logging.getLogger(__name__)


class CircuitBreaker:
    """Guards calls to one service, whose failures raise `error_class`."""

    def __init__(self, error_class):
        self.error_class = error_class
        self.open_until = 0  # by time.monotonic(); 0 while the breaker is closed

    def call(self, function, default=None):
        """What function() returns, or `default` if it fails or the breaker is open."""
        if time.monotonic() < self.open_until:
            return default
        if self.open_until:  # Half-open: this call is tried, and none of those that come meanwhile.
            self._open()
        try:
            result = function()
        except self.error_class as error:
            self._open()
            logger.warning("No calls for %s s, because of: %s", RESET_TIMEOUT, error)
            return default
        self.open_until = 0
        return result

    def _open(self):
        self.open_until = time.monotonic() + RESET_TIMEOUT
