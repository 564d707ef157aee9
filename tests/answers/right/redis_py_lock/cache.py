"""The report in Redis: a Lock lets one request compute, a version tells an old report."""

import json
import time
from contextlib import suppress
from datetime import UTC, datetime
from math import ceil

from flask import Response, current_app, jsonify
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.exceptions import LockError
from redis.retry import Retry

DEFAULTS = {"REDIS_URL": "redis://127.0.0.1:6379/0", "CACHE_TTL": 60}
OPEN_FOR = 1.0  # seconds without Redis after a failure


class Cache:
    def __init__(self, url, key, ttl):
        seconds = {"socket_timeout": 0.1, "socket_connect_timeout": 0.1}
        self.redis = Redis.from_url(url, protocol=2, retry=Retry(NoBackoff(), 1), **seconds)
        self.key, self.version, self.ttl = key, f"{key}:version", ttl
        self.closed_until = 0.0
        self.orders = self.orders_told = 0

    def get_or_compute(self, compute):
        deadline = time.monotonic() + 3  # Then an order has come during each report.
        while time.monotonic() < deadline:
            state = self.attempt(self.look)
            if state is None:
                break
            body, version = state
            if (left := self.seconds_left(body)) > 0:
                return answer(body, "HIT", left)
            lock = self.redis.lock(f"{self.key}:lock", timeout=1.8, thread_local=False)
            leased = self.attempt(lambda lock=lock: lock.acquire(blocking=False))
            if leased:
                return self.compute_and_store(compute, lock, version)
            if leased is None:
                break
            time.sleep(0.02)
        return answer(jsonify(compute()).data, "BYPASS", self.ttl)

    def look(self):
        return self.redis.mget(self.key, self.version)

    def compute_and_store(self, compute, lock, version):
        # Another request may have stored a report between our look and our lease.
        state = self.attempt(self.look)
        if state and (left := self.seconds_left(state[0])) > 0:
            self.attempt(lambda: release(lock))
            return answer(state[0], "HIT", left)
        try:
            body = jsonify(compute()).data
            version = state[1] if state else version
            self.attempt(lambda: self.store(body, version))
        finally:
            self.attempt(lambda: release(lock))
        return answer(body, "MISS", self.ttl)

    def store(self, body, version):
        with self.redis.pipeline() as pipe:
            pipe.watch(self.version)
            if pipe.get(self.version) == version:
                pipe.multi()
                pipe.set(self.key, body, ex=self.ttl)
                pipe.execute()

    def invalidate(self):
        self.orders += 1
        self.attempt(lambda: None)

    def tell_orders(self):
        orders = self.orders
        pipe = self.redis.pipeline(transaction=False)  # a full Redis still deletes
        pipe.incr(self.version).expire(self.version, 3600).delete(self.key)
        pipe.execute()
        self.orders_told = orders

    def attempt(self, command):
        if time.monotonic() < self.closed_until:
            return None
        try:
            if self.closed_until:
                self.closed_until = time.monotonic() + OPEN_FOR
            if self.orders_told < self.orders:
                self.tell_orders()
            result = command()
            self.closed_until = 0.0
            return result
        except RedisError as error:
            self.closed_until = time.monotonic() + OPEN_FOR
            current_app.logger.warning("Redis: %s", error)
            return None

    def seconds_left(self, body):
        """How long this report may still be shown; 0 for what is none."""
        with suppress(TypeError, ValueError, KeyError, RecursionError):
            made = datetime.fromisoformat(json.loads(body)["generated_at"])
            left = ceil(self.ttl - (datetime.now(UTC) - made).total_seconds())
            return left if left <= self.ttl else 0
        return 0


def release(lock):
    with suppress(LockError):  # it has ended by itself
        lock.release()


def answer(body, state, left):
    headers = {"X-Cache": state, "Cache-Control": f"public, max-age={left}"}
    return Response(body, mimetype="application/json", headers=headers)
