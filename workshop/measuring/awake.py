"""Waiting in a notebook so that an interrupt ends it."""

import asyncio

OFTEN = 0.2  # seconds


async def awake(work):
    """Await `work`, the event loop woken up often. Cancelled, it cancels the work.

    ipykernel hands an interrupt on to its loop without waking it: a cell that only waits would be
    told when its wait is over (https://github.com/ipython/ipykernel/issues/881).
    """
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=OFTEN)
    except asyncio.CancelledError:
        task.cancel()
        raise
    return task.result()
