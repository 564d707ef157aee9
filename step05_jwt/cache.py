"""Keep a response in Redis: one request computes it, the others get the same bytes.

Redis may be away, hung, full or hold rubbish. The response is then computed, as without a cache.
"""

import json
import time
from contextlib import suppress
from datetime import UTC, datetime
from math import ceil
from threading import Lock
from uuid import uuid4

from flask import Response, current_app, jsonify
from redis import BlockingConnectionPool, Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

DEFAULTS = {"REDIS_URL": "redis://127.0.0.1:19379/0", "CACHE_TTL": 60}  # seconds
TIMEOUT = 0.1  # seconds for a word of Redis; it is asked twice, for the delay may be ours
BREAK = 1.0  # seconds that Redis is left alone after it failed
LOCK_TTL = 1800  # ms that others wait for a process that died: more than the report ever takes
PATIENCE, POLL = 10.0, 0.02  # seconds to wait for others, and between two looks meanwhile

LOOK = """ -- gives the body, or else whether it is ours to compute
local body = redis.call('mget', KEYS[1])[1] -- where get fails for a value of a wrong type
if body then return body end
redis.call('set', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2])
return redis.call('mget', KEYS[2])[1] == ARGV[1] and 1 or 0
"""
# Keep the body only while the lock is still ours: an order deletes both, so that a report
# computed before the order is not kept after it. An empty body gives back the lock alone.
KEEP = """
if redis.call('mget', KEYS[2])[1] ~= ARGV[1] then return end
if ARGV[2] ~= '' then redis.call('set', KEYS[1], ARGV[2], 'EX', ARGV[3]) end
redis.call('del', KEYS[2])
"""
OURS, OTHERS = 1, 0


class Cache:
    """One response, kept under `key` for `ttl` whole seconds."""

    def __init__(self, url, key, ttl):
        connections = BlockingConnectionPool.from_url(
            url,
            protocol=2,  # in version 3 the client looks for messages before each command
            timeout=TIMEOUT / 2,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 1),  # the default retries for seconds
        )
        self.redis, self.line = Redis(connection_pool=connections), None
        self.look, self.keep = map(self.redis.register_script, (LOOK, KEEP))
        self.keys, self.ttl = [key, f"{key}:lock"], ttl
        self.retry_at = 0  # when Redis is asked again; 0 while it answers
        self.changes = self.told = 0  # calls of forget, and how many of them Redis knows
        self.turn, self.looks, self.seen = Lock(), 0, None

    def response(self, compute):
        """The kept response, or else that of compute(): a dict that has generated_at."""
        token, deadline = uuid4().hex, time.monotonic() + PATIENCE
        while (seen := self._look(token)) == OTHERS and time.monotonic() < deadline:
            time.sleep(POLL)
        body, left = seen if isinstance(seen, tuple) else (b"", self.ttl)
        state = "HIT" if body else "MISS" if seen == OURS else "BYPASS"
        try:
            body = body or jsonify(compute()).data
        finally:  # an error is not kept
            if seen == OURS:
                self.attempt(lambda: self.keep(self.keys, [token, body, self.ttl]))
        headers = {"X-Cache": state, "Cache-Control": f"max-age={left}"}
        return Response(body, mimetype="application/json", headers=headers)

    def forget(self):
        """Drop what is kept, after the commit: before it, the old state would be kept again."""
        self.changes += 1
        self.attempt(lambda: None)

    def attempt(self, command):
        """command(), or None where Redis fails, or failed less than BREAK ago."""
        if time.monotonic() < self.retry_at:
            return None
        try:
            if self.retry_at:  # one request asks again; the others go on without
                self.retry_at = time.monotonic() + BREAK
            if self.told != (changes := self.changes):
                self.redis.delete(*self.keys)
                self.told = changes
            result = command()
            self.retry_at = 0
            return result
        except RedisError as error:
            self.retry_at = time.monotonic() + BREAK
            current_app.logger.warning("Redis: %s", error)
            return None

    def _look(self, token):
        """(body, seconds left), OURS, OTHERS, or None without Redis; shared, which is cheap."""
        came = self.looks
        with self.turn:
            if self.looks > came:  # one look serves all who came before it began
                return OTHERS if self.seen == OURS else self.seen
            self.looks, self.seen = self.looks + 1, None
            self.seen = self.attempt(lambda: self._ask(token))
            return self.seen

    def _ask(self, token):
        self.line = self.line or self.redis.client()  # keeps its connection
        body = self.look(self.keys, [token, LOCK_TTL], client=self.line)
        if body in (OURS, OTHERS):
            return body
        with suppress(TypeError, ValueError, KeyError, RecursionError):
            made = datetime.fromisoformat(json.loads(body)["generated_at"])
            left = ceil(self.ttl - (datetime.now(UTC) - made).total_seconds())
            if 0 < left <= self.ttl:
                return body, left
        self.redis.delete(self.keys[0])  # rubbish
        return OTHERS
