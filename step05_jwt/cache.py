"""Cache-aside: look in Redis first; on a miss compute the response, store it, and send it.

Redis holds copies, PostgreSQL the truth. So the cache fails open: whatever is wrong with Redis,
the response is computed as if there were no cache (X-Cache: BYPASS).
"""

import json
from datetime import UTC, datetime
from math import ceil
from uuid import uuid4

from flask import Response, jsonify
from redis import BlockingConnectionPool, Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from circuit_breaker import CircuitBreaker
from coalescer import Coalescer
from lease import LEASE_GRANTED, LEASE_HELD, UNAVAILABLE, Lease, wait_while_held

DEFAULTS = {"REDIS_URL": "redis://127.0.0.1:19379/0", "CACHE_TTL": 60}  # seconds
REDIS_TIMEOUT = 0.1  # seconds to wait for one reply of Redis


class Cache:
    """One response, cached under `key` for `ttl` whole seconds."""

    def __init__(self, url, key, ttl):
        self.key, self.ttl = key, ttl
        self.redis = connect(url)
        self.lease = Lease(self.redis, key)
        self.breaker = CircuitBreaker(RedisError)
        self.coalescer = Coalescer()
        self.invalidations_requested = self.invalidations_applied = 0

    def get_or_compute(self, compute):
        """The cached response, or else that of compute(), a dict with generated_at.

        X-Cache says which: HIT, MISS, or BYPASS if it was computed without storing it.
        """
        body, ttl_left, cache_status = self.coalescer.call(lambda: self._get_or_compute(compute))
        headers = {"X-Cache": cache_status, "Cache-Control": f"max-age={ttl_left}"}
        return Response(body, mimetype="application/json", headers=headers)

    def _get_or_compute(self, compute):
        token = uuid4().hex
        found = wait_while_held(lambda: self.call_redis(lambda: self._look(token), UNAVAILABLE))
        if isinstance(found, tuple):
            return *found, "HIT"
        if found is not LEASE_GRANTED:
            return body_of(compute), self.ttl, "BYPASS"
        try:
            body = body_of(compute)
        except BaseException:  # An error isn't cached, and other requests needn't wait for it.
            self.call_redis(lambda: self.lease.release(token))
            raise
        stored = self.call_redis(lambda: self.lease.store(token, body, self.ttl))
        return body, self.ttl, "MISS" if stored else "BYPASS"

    def _look(self, token):
        """The cached body and the seconds that it has left, or LEASE_GRANTED, or LEASE_HELD."""
        body = self.lease.value_or_lease(token)
        if not isinstance(body, bytes):
            return body
        if ttl_left := seconds_left(body, self.ttl):
            return body, ttl_left
        self.redis.delete(self.key)  # It isn't a report of ours: the next look finds nothing.
        return LEASE_HELD

    def invalidate(self):
        """Delete the cached response. Call this after the commit, or the old state is cached again.

        The lease goes too, so that a report computed before the commit isn't stored after it.
        """
        self.invalidations_requested += 1
        self.call_redis(lambda: None)

    def call_redis(self, command, default=None):
        """What command() returns, or `default` while Redis is away.

        Invalidations that Redis missed are replayed before any other command.
        """

        def replay_and_call():
            if self.invalidations_applied != (requested := self.invalidations_requested):
                self.redis.delete(*self.lease.keys)
                self.invalidations_applied = requested
            return command()

        return self.breaker.call(replay_and_call, default)


def connect(url):
    """A client that gives up soon: what Redis would save isn't worth a long wait."""
    connections = BlockingConnectionPool.from_url(
        url,
        protocol=2,  # With protocol 3 the client looks for push messages before each command.
        timeout=REDIS_TIMEOUT / 2,  # for a free connection
        socket_timeout=REDIS_TIMEOUT,
        socket_connect_timeout=REDIS_TIMEOUT,
        # Retry once, because the delay may be on our side. The default retries for seconds.
        retry=Retry(NoBackoff(), 1),
    )
    return Redis(connection_pool=connections)


def body_of(compute):
    """The bytes that are sent and stored: a hit repeats the miss byte for byte."""
    return jsonify(compute()).data


def seconds_left(body, ttl):
    """How long the report may still be served; 0 if it is too old or is no report at all."""
    try:
        generated_at = datetime.fromisoformat(json.loads(body)["generated_at"])
        age = (datetime.now(UTC) - generated_at).total_seconds()
    except (TypeError, ValueError, KeyError, RecursionError):
        return 0  # What is read from a cache is input: anything may have written it.
    return ceil(ttl - age) if 0 <= age < ttl else 0
