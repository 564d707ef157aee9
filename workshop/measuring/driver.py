"""The process that makes the load: one thread and one selector, to outrun the servers.

Run as `python -m workshop.measuring.driver`: one line of JSON in on stdin (see `load.py`), lines of
JSON out on stdout: progress, then the result. When stdin closes, it stops and gives what it has: so
it never outlives the one who asked.
"""

import gc
import json
import select
import selectors
import sys
import time
from array import array
from collections import Counter, deque

from workshop.files import raise_open_files_limit
from workshop.measuring.http1 import PREPARED, BadAnswer, prepared
from workshop.measuring.usage import Usage
from workshop.measuring.wire import Closed, Wire

SECOND = 1_000_000_000
SWEEP = SECOND // 20  # how often timeouts are looked for, and stdin
OPEN_SOCKETS = 10_240
PAUSE = SECOND // 20  # before a refused connection is tried again

clock = time.perf_counter_ns


class Driver:
    """One run. All times in nanoseconds of `clock`."""

    def __init__(self, job: dict):
        self.job = job
        self.sequence = prepared(job)
        self.sent = 0
        self.selector = selectors.DefaultSelector()
        self.wires = [Wire(self.selector, job["address"]) for _ in range(job["connections"])]
        self.idle = deque(self.wires)
        self.backlog: deque[int] = deque()  # intended starts that no connection was free for
        self.paused: deque[tuple[int, Wire]] = deque()
        self.taken = [array("q") for _ in job["requests"]]
        self.failed = [Counter() for _ in job["requests"]]
        self.in_window = 0
        self.reconnects = self.retries = 0
        self.timeout = int(job["timeout"] * SECOND)

    def run(self, report, stopped) -> dict:
        """Make the load; `report(fraction, requests)` now and then; ends early once `stopped()`."""
        begun = clock()
        self.opens = begun + int(self.job["warmup"] * SECOND)
        self.closes = self.opens + int(self.job["seconds"] * SECOND)
        self.every = int(SECOND / self.job["rate"]) if self.job["rate"] else 0
        self.due = begun
        if not self.every:
            self.backlog.extend([begun] * len(self.wires))
        gc.disable()

        def watch(now: int) -> bool:
            done = min(1.0, (now - begun) / (self.closes - begun))
            report(done, self.in_window)
            return stopped()

        early = self.until(lambda now: now < self.opens, watch)
        usage = Usage(clock())
        early = early or self.until(lambda now: now < self.closes, watch)
        ended, shares = min(clock(), self.closes), usage.shares()
        if self.every and not early:  # what was due is followed to its answer or its timeout
            early = self.until(lambda now: self.pending(), watch)
        return self.result(ended, early) | shares

    def until(self, going, watch) -> bool:
        """Turn while `going(now)`; True when `watch(now)` ended it before."""
        swept = clock()
        while going(now := clock()):
            self.start(now)
            self.turn(now)
            if now - swept > SWEEP:
                swept = now
                self.sweep(now)
                if watch(now):
                    return True
        return False

    def pending(self) -> bool:
        return bool(self.backlog) or len(self.idle) + len(self.paused) < len(self.wires)

    def start(self, now: int) -> None:
        """Give every request that is due to a free connection."""
        while self.every and self.due <= now and self.due < self.closes:
            self.backlog.append(self.due)
            self.due += self.every
        while self.paused and self.paused[0][0] <= now:
            self.idle.append(self.paused.popleft()[1])
        while self.backlog and self.idle:
            self.send(self.idle.popleft(), self.backlog.popleft())

    def turn(self, now: int) -> None:
        """Wait for sockets, no longer than the next thing to do, and serve them."""
        until = now + SWEEP
        if self.every and self.idle and self.due < self.closes:
            until = min(until, self.due)
        if until > now and self.every:
            # epoll counts in whole milliseconds, select in microseconds: an intended start is not
            # to be missed by one
            select.select([self.selector.fileno()], [], [], (until - now) / SECOND)
            until = now
        ready = self.selector.select(max(0, until - now) / SECOND)
        came = clock()  # not when we get to it: reading the others is our time, not the server's
        for key, _ in ready:
            self.serve(key.data, came)

    def send(self, wire: Wire, started: int) -> None:
        index, method, raw = self.sequence[self.sent % PREPARED]
        self.sent += 1
        wire.index, wire.method, wire.raw, wire.started = index, method, raw, started
        try:
            wire.send()
        except OSError as error:
            self.lost(wire, error)

    def serve(self, wire: Wire, came: int) -> None:
        if not wire.busy:  # the server gave up a connection that nobody was using
            wire.close()
            self.reconnects += 1
            return
        try:
            head = wire.ready()
        except (OSError, Closed, BadAnswer) as error:
            self.lost(wire, error)
            return
        if head is None:
            return
        if head.status >= 400:
            self.fail(wire, f"status {head.status}")
        else:
            self.in_window += self.opens <= came < self.closes
            if self.counts(wire, came):
                self.taken[wire.index].append(came - wire.started)
        if not head.keep_alive:
            wire.close()
            self.reconnects += 1
        self.next(wire, clock())

    def next(self, wire: Wire, now: int) -> None:
        if self.every:
            self.idle.append(wire)
            self.start(now)
        elif now < self.closes:
            self.send(wire, now)

    def counts(self, wire: Wire, now: int) -> bool:
        """Closed loop: what ends in the window; open loop: what was due in it."""
        return self.opens <= (wire.started if self.every else now) < self.closes

    def fail(self, wire: Wire, kind: str) -> None:
        if self.counts(wire, clock()):
            self.failed[wire.index][kind] += 1

    def lost(self, wire: Wire, error: Exception) -> None:
        """A connection broke: send again where that is allowed, else count an error."""
        again, connecting = wire.may_retry(error), bool(wire.unsent)
        wire.close()
        if again:
            self.retries += 1
            try:
                wire.send()
                return
            except OSError as second:
                error, connecting = second, True
        self.fail(wire, kind_of(error))
        if connecting:
            self.pause(wire)
        else:
            self.next(wire, clock())

    def pause(self, wire: Wire) -> None:
        now = clock()
        self.paused.append((now + PAUSE, wire))
        if not self.every:
            self.backlog.append(now + PAUSE)

    def sweep(self, now: int) -> None:
        """Give up what has waited longer than the timeout, sent or not."""
        while self.every and self.backlog and now - self.backlog[0] > self.timeout:
            started = self.backlog.popleft()
            if self.opens <= started < self.closes:
                self.failed[0]["timeout"] += 1  # of no kind yet: it was never sent
        for wire in self.wires:
            if wire.busy and now - wire.started > self.timeout:
                wire.close()
                self.fail(wire, "timeout")
                self.next(wire, now)

    def result(self, ended: int, early: bool) -> dict:
        waiting = [ended - wire.started for wire in self.wires if wire.busy]
        return {
            "seconds": max(0, ended - self.opens) / SECOND,
            "in_window": self.in_window,
            "latencies": [counted(taken) for taken in self.taken],
            "errors": [dict(failed) for failed in self.failed],
            "reconnects": self.reconnects,
            "retries": self.retries,
            "longest_unfinished": max(waiting, default=0) / SECOND,
            "complete": not early,
        }


def counted(taken: array) -> list:
    """Latencies in nanoseconds to pairs of microseconds and how often."""
    return sorted(Counter(rounded(value // 1000) for value in taken).items())


def rounded(microseconds: int) -> int:
    """To three significant digits, as HDR histograms keep them: it keeps the report small."""
    return round(microseconds, 3 - len(str(microseconds))) if microseconds > 999 else microseconds


def kind_of(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, (ConnectionError, Closed)):
        return "reset"
    return "bad answer" if isinstance(error, BadAnswer) else f"{type(error).__name__}: {error}"


def main() -> None:
    job = json.loads(sys.stdin.readline())
    raise_open_files_limit(OPEN_SOCKETS)

    def tell(message: dict) -> None:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()

    def stopped() -> bool:
        return bool(select.select([sys.stdin], [], [], 0)[0])

    result = Driver(job).run(lambda done, n: tell({"done": done, "requests": n}), stopped)
    tell({"result": result})


if __name__ == "__main__":
    main()
