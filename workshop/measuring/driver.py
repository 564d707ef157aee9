"""The process that makes the load: one thread and one selector, to outrun the servers.

Run as `python -m workshop.measuring.driver`: it reads one line of JSON from stdin (see `load.py`)
and writes lines of JSON to stdout: progress, then the result. When stdin closes, it stops and
reports what it has, so it never outlives the process that asked for the load.
"""

import gc
import json
import select
import selectors
import sys
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from workshop.files import raise_open_files_limit
from workshop.measuring.connection import Connection, ConnectionClosed
from workshop.measuring.http1 import SEQUENCE_LENGTH, BadAnswer, request_sequence
from workshop.measuring.usage import CpuUsage

SECOND = 1_000_000_000
CHECK_INTERVAL = SECOND // 20  # between two looks for timeouts, and at stdin
RETRY_DELAY = SECOND // 20  # before a refused connection is tried again
OPEN_SOCKETS = 10_240

clock = time.perf_counter_ns


class Driver:
    """One run. All times are in nanoseconds of `clock`."""

    def __init__(self, job: dict[str, Any]):
        self.job = job
        self.sequence = request_sequence(job)
        self.sent = 0
        self.selector = selectors.DefaultSelector()
        self.connections = [
            Connection(self.selector, job["address"]) for _ in range(job["connections"])
        ]
        self.idle = deque(self.connections)
        self.backlog: deque[int] = deque()  # intended starts that no connection was free for
        self.paused: deque[tuple[int, Connection]] = deque()
        self.latencies_ns = [array("q") for _ in job["requests"]]
        self.errors: list[Counter[str]] = [Counter() for _ in job["requests"]]
        self.answers_in_window = 0
        self.reconnects = self.retries = 0
        self.timeout_ns = int(job["timeout"] * SECOND)
        self.interval_ns = int(SECOND / job["rate"]) if job["rate"] else 0  # 0: a closed loop
        self.window_start = self.window_end = self.next_due = 0

    def run(
        self, on_progress: Callable[[float, int], None], stop_requested: Callable[[], bool]
    ) -> dict[str, Any]:
        """Make the load, and end early once `stop_requested()`.

        It calls `on_progress(fraction, answers)` now and then.
        """
        started_at = self.next_due = clock()
        self.window_start = started_at + int(self.job["warmup"] * SECOND)
        self.window_end = self.window_start + int(self.job["seconds"] * SECOND)
        if not self.interval_ns:
            self.backlog.extend([started_at] * len(self.connections))
        gc.disable()

        def check(now: int) -> bool:
            fraction = (now - started_at) / (self.window_end - started_at)
            on_progress(min(1.0, fraction), self.answers_in_window)
            return stop_requested()

        stopped = self.run_while(lambda now: now < self.window_start, check)
        usage = CpuUsage()
        stopped = stopped or self.run_while(lambda now: now < self.window_end, check)
        ended_at, cpu_shares = min(clock(), self.window_end), usage.shares()
        if self.interval_ns and not stopped:  # follow what was due to its answer or its timeout
            stopped = self.run_while(lambda now: self.has_pending(), check)
        return self.result(ended_at, stopped) | cpu_shares

    def run_while(self, condition: Callable[[int], bool], check: Callable[[int], bool]) -> bool:
        """Send and receive while `condition(now)`; True when `check(now)` ended it before."""
        checked_at = clock()
        while condition(now := clock()):
            self.send_due(now)
            self.poll_once(now)
            if now - checked_at > CHECK_INTERVAL:
                checked_at = now
                self.expire_timeouts(now)
                if check(now):
                    return True
        return False

    def has_pending(self) -> bool:
        return bool(self.backlog) or len(self.idle) + len(self.paused) < len(self.connections)

    def send_due(self, now: int) -> None:
        """Give every request that is due to a free connection."""
        while self.interval_ns and self.next_due <= now and self.next_due < self.window_end:
            self.backlog.append(self.next_due)
            self.next_due += self.interval_ns
        while self.paused and self.paused[0][0] <= now:
            self.idle.append(self.paused.popleft()[1])
        while self.backlog and self.idle:
            self.send(self.idle.popleft(), self.backlog.popleft())

    def poll_once(self, now: int) -> None:
        """Wait for sockets, no longer than until the next thing to do, and read from them."""
        deadline = now + CHECK_INTERVAL
        if self.interval_ns and self.idle and self.next_due < self.window_end:
            deadline = min(deadline, self.next_due)
        if deadline > now and self.interval_ns:
            # epoll counts in whole milliseconds and select in microseconds: with epoll an intended
            # start could be missed by one.
            select.select([self.selector.fileno()], [], [], (deadline - now) / SECOND)
            deadline = now
        ready = self.selector.select(max(0, deadline - now) / SECOND)
        # All of them arrived by now: reading the others first is our time, not the server's.
        received_at = clock()
        for key, _ in ready:
            self.receive(key.data, received_at)

    def send(self, connection: Connection, started_at: int) -> None:
        index, method, request = self.sequence[self.sent % SEQUENCE_LENGTH]
        self.sent += 1
        connection.index, connection.method = index, method
        connection.request, connection.started_at = request, started_at
        try:
            connection.send()
        except OSError as error:
            self.handle_broken(connection, error)

    def receive(self, connection: Connection, received_at: int) -> None:
        if not connection.busy:  # the server closed a connection that was idle
            connection.close()
            self.reconnects += 1
            return
        try:
            head = connection.receive()
        except (OSError, ConnectionClosed, BadAnswer) as error:
            self.handle_broken(connection, error)
            return
        if head is None:
            return
        if head.status >= 400:
            self.count_error(connection, f"status {head.status}")
        else:
            self.answers_in_window += self.window_start <= received_at < self.window_end
            if self.is_counted(connection, received_at):
                latency = received_at - connection.started_at
                self.latencies_ns[connection.index].append(latency)
        if not head.keep_alive:
            connection.close()
            self.reconnects += 1
        self.reuse(connection, clock())

    def reuse(self, connection: Connection, now: int) -> None:
        if self.interval_ns:
            self.idle.append(connection)
            self.send_due(now)
        elif now < self.window_end:
            self.send(connection, now)

    def is_counted(self, connection: Connection, now: int) -> bool:
        """Closed loop: what ends in the window; open loop: what was due in it."""
        moment = connection.started_at if self.interval_ns else now
        return self.window_start <= moment < self.window_end

    def count_error(self, connection: Connection, kind: str) -> None:
        if self.is_counted(connection, clock()):
            self.errors[connection.index][kind] += 1

    def handle_broken(self, connection: Connection, error: Exception) -> None:
        """Send again over a new connection where that is allowed, else count an error."""
        retry, connecting = connection.may_retry(error), bool(connection.unsent)
        connection.close()
        if retry:
            self.retries += 1
            try:
                connection.send()
                return
            except OSError as second_error:
                error, connecting = second_error, True
        self.count_error(connection, error_kind(error))
        if connecting:
            self.pause(connection)
        else:
            self.reuse(connection, clock())

    def pause(self, connection: Connection) -> None:
        retry_at = clock() + RETRY_DELAY
        self.paused.append((retry_at, connection))
        if not self.interval_ns:
            self.backlog.append(retry_at)

    def expire_timeouts(self, now: int) -> None:
        """Give up requests that have waited longer than the timeout, sent or not."""
        while self.interval_ns and self.backlog and now - self.backlog[0] > self.timeout_ns:
            started_at = self.backlog.popleft()
            if self.window_start <= started_at < self.window_end:
                self.errors[0]["timeout"] += 1  # never sent, so of no kind of request yet
        for connection in self.connections:
            if connection.busy and now - connection.started_at > self.timeout_ns:
                connection.close()
                self.count_error(connection, "timeout")
                self.reuse(connection, now)

    def result(self, ended_at: int, stopped: bool) -> dict[str, Any]:
        unfinished = [ended_at - each.started_at for each in self.connections if each.busy]
        return {
            "seconds": max(0, ended_at - self.window_start) / SECOND,
            "answers_in_window": self.answers_in_window,
            "latencies": [latency_counts(each) for each in self.latencies_ns],
            "errors": [dict(each) for each in self.errors],
            "reconnects": self.reconnects,
            "retries": self.retries,
            "longest_unfinished": max(unfinished, default=0) / SECOND,
            "complete": not stopped,
        }


def latency_counts(latencies_ns: array) -> list[tuple[int, int]]:
    """Pairs of microseconds and how often, in ascending order."""
    return sorted(Counter(three_digits(value // 1000) for value in latencies_ns).items())


def three_digits(microseconds: int) -> int:
    """To three significant digits, as HDR histograms keep them: it keeps the report small."""
    return round(microseconds, 3 - len(str(microseconds))) if microseconds > 999 else microseconds


def error_kind(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, (ConnectionError, ConnectionClosed)):
        return "reset"
    return "bad answer" if isinstance(error, BadAnswer) else f"{type(error).__name__}: {error}"


def main() -> None:
    job = json.loads(sys.stdin.readline())
    raise_open_files_limit(OPEN_SOCKETS)

    def write_message(message: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()

    def on_progress(fraction: float, answers: int) -> None:
        write_message({"fraction": fraction, "answers": answers})

    def stop_requested() -> bool:
        return bool(select.select([sys.stdin], [], [], 0)[0])

    write_message({"result": Driver(job).run(on_progress, stop_requested)})


if __name__ == "__main__":
    main()
