"""Keep a response in Redis: one request computes it, the others get the same bytes.

Redis may be away, hung, full or hold rubbish. The response is then computed, as without a cache.
"""

import json
import time
import uuid
from datetime import UTC, datetime
from math import ceil

from flask import Response, current_app
from redis import BlockingConnectionPool, Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

DEFAULTS = {
    "REDIS_URL": "redis://127.0.0.1:63790/0",
    "CACHE_TTL": 60,  # seconds
}
TIMEOUT = 0.1  # seconds for any word of Redis
BREAK = 1.0  # seconds that Redis is left alone after it failed
LOCK_TTL = 2  # seconds: so long others wait for a process that died while it computed
POLL = 0.05  # seconds between two looks at another's computation

# Keep the body only while the lock is still ours: an order deletes both, so that a report
# computed before the order is not kept after it.
KEEP = """
if redis.call('get', KEYS[2]) ~= ARGV[1] then return end
if ARGV[2] ~= '' then redis.call('set', KEYS[1], ARGV[2], 'EX', ARGV[3]) end
redis.call('del', KEYS[2])
"""


class Cache:
    """One response, kept under `key` for `ttl` whole seconds."""

    def __init__(self, url, key, ttl):
        connections = BlockingConnectionPool.from_url(
            url,
            max_connections=50,
            timeout=TIMEOUT,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 0),  # the default retries for seconds
        )
        self.redis = Redis(connection_pool=connections)
        self.keep = self.redis.register_script(KEEP)
        self.key, self.lock, self.ttl = key, f"{key}:lock", ttl
        self.retry_at = 0  # when Redis is asked again; 0 while it answers

    def response(self, compute):
        """The kept response, or else that of compute(): a dict that has generated_at."""
        body, token = self.attempt(self._body_or_lock) or (None, None)
        state = "HIT" if body else "MISS" if token else "BYPASS"
        if not body:
            body = self._computed(compute, token)
        headers = {"X-Cache": state, "Cache-Control": f"max-age={self._rest(body)}"}
        return Response(body, mimetype="application/json", headers=headers)

    def forget(self):
        """Drop what is kept, after the commit: before it, the old state would be kept again."""
        self.attempt(lambda: self.redis.delete(self.key, self.lock))

    def _body_or_lock(self):
        """(body, None), or (None, token) for the one request that shall compute it."""
        body = self.redis.get(self.key)
        token, deadline = uuid.uuid4().hex, time.monotonic() + LOCK_TTL
        while not self._rest(body) and time.monotonic() < deadline:
            if self.redis.set(self.lock, token, nx=True, ex=LOCK_TTL):
                body = self.redis.get(self.key)  # kept between our look and our lock?
                if not self._rest(body):
                    return None, token
                self.keep([self.key, self.lock], [token, "", 0])
            else:
                body = self._next_look()
        return (body, None) if self._rest(body) else (None, token)

    def _next_look(self):
        """The body once it is there, or None once nobody computes it any more."""
        deadline = time.monotonic() + LOCK_TTL
        while time.monotonic() < deadline:
            time.sleep(POLL)
            body, holder = self.redis.mget(self.key, self.lock)
            if body or not holder:
                return body
        return None

    def _computed(self, compute, token):
        body = b""
        try:
            body = current_app.json.dumps(compute()).encode()
        finally:  # an error is not kept, but the lock is given back
            if token:
                self.attempt(lambda: self.keep([self.key, self.lock], [token, body, self.ttl]))
        return body

    def _rest(self, body):
        """Whole seconds until the body is out of date; 0 where it is none of ours."""
        try:
            made = datetime.fromisoformat(json.loads(body)["generated_at"])
            return max(0, ceil(self.ttl - (datetime.now(UTC) - made).total_seconds()))
        except (TypeError, ValueError, KeyError):
            return 0

    def attempt(self, command):
        """command(), or None where Redis fails, or failed less than BREAK ago."""
        if time.monotonic() < self.retry_at:
            return None
        try:
            if self.retry_at:  # one request asks again; the others go on without
                self.retry_at = time.monotonic() + BREAK
                self.redis.delete(self.key)  # orders may have come that Redis did not hear of
                self.retry_at = 0
            return command()
        except RedisError as error:
            self.retry_at = time.monotonic() + BREAK
            current_app.logger.warning("Redis: %s", error)
            return None
