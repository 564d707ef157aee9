"""Waiting in a notebook so that an interrupt ends it."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

WAKE_INTERVAL = 0.2  # seconds
T = TypeVar("T")


async def interruptible(work: Awaitable[T]) -> T:
    """Await `work` while waking the event loop often. Cancelled, it cancels the work.

    ipykernel hands an interrupt on to its loop without waking it, so a cell that only waits would
    notice the interrupt when its wait is over (https://github.com/ipython/ipykernel/issues/881).
    """
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=WAKE_INTERVAL)
    except asyncio.CancelledError:
        task.cancel()
        raise
    return task.result()
