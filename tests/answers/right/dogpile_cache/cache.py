"""The report in a region of dogpile.cache, which lets one request compute what others wait for."""

import json
import time
from contextlib import suppress
from datetime import UTC, datetime
from math import ceil
from threading import local
from uuid import uuid4

from dogpile.cache import make_region, register_backend
from dogpile.cache.api import NO_VALUE, CacheBackend, CachedValue
from dogpile.cache.region import value_version
from flask import Response, current_app, jsonify
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

DEFAULTS = {"REDIS_URL": "redis://127.0.0.1:6379/0", "CACHE_TTL": 60}
STORE = """
if redis.call('mget', KEYS[2])[1] == ARGV[1] then
    redis.call('set', KEYS[1], ARGV[2], 'EX', ARGV[3])
end
"""
RELEASE = "if redis.call('mget', KEYS[1])[1] == ARGV[1] then redis.call('del', KEYS[1]) end"
register_backend("shop.json", __name__, "JsonBackend")


class Unavailable(Exception):
    """Redis does not answer, or did not a moment ago."""


class JsonBackend(CacheBackend):
    """Keeps bodies as they are sent, and Redis out of the way while it fails."""

    def __init__(self, arguments):
        self.redis, self.key, self.ttl = arguments["redis"], arguments["key"], arguments["ttl"]
        self.store, self.release = map(self.redis.register_script, (STORE, RELEASE))
        self.away_until, self.tokens = 0, local()
        self.asked = self.done = 0  # deletions

    def get(self, key):
        body = self.call(lambda: self.redis.mget(key)[0])
        made = generated_at(body)
        if made is None or not 0 < made + self.ttl - time.time() <= self.ttl + 1:
            return NO_VALUE
        return CachedValue(body, {"ct": made, "v": value_version})

    def set(self, key, value):
        arguments = [self.tokens.mine, value.payload, self.ttl]
        with suppress(Unavailable):
            self.call(lambda: self.store([key, f"{key}:mutex"], arguments))

    def delete(self, key):
        self.asked += 1
        with suppress(Unavailable):
            self.call(lambda: None)

    def get_mutex(self, key):
        return Mutex(self, f"{key}:mutex")

    def call(self, command):
        if time.monotonic() < self.away_until:
            raise Unavailable
        try:
            if self.away_until:  # one request tries it for all
                self.away_until = time.monotonic() + 1
            if self.done != (asked := self.asked):
                self.redis.delete(self.key, f"{self.key}:mutex")
                self.done = asked
            result = command()
            self.away_until = 0
            return result
        except RedisError as error:
            self.away_until = time.monotonic() + 1
            current_app.logger.warning("Redis: %s", error)
            raise Unavailable from error


class Mutex:
    """Held by one request of all processes, for 1.8 s at most."""

    def __init__(self, backend, key):
        self.backend, self.key = backend, key

    def acquire(self, wait=True):
        token, end = uuid4().hex, time.monotonic() + 10
        take = self.backend.redis.set
        while not self.backend.call(lambda: take(self.key, token, nx=True, px=1800)):
            if not wait or time.monotonic() > end:
                return False
            time.sleep(0.02)
        self.backend.tokens.mine = token
        return True

    def release(self):
        with suppress(Unavailable):
            self.backend.call(lambda: self.backend.release([self.key], [self.backend.tokens.mine]))


class Cache:
    def __init__(self, url, key, ttl):
        seconds = {"socket_timeout": 0.1, "socket_connect_timeout": 0.1}
        redis = Redis.from_url(url, protocol=2, retry=Retry(NoBackoff(), 1), **seconds)
        self.key, self.ttl = key, ttl
        self.region = make_region().configure(
            "shop.json", expiration_time=ttl, arguments={"redis": redis, "key": key, "ttl": ttl}
        )

    def get_or_compute(self, compute):
        computed = []

        def create():
            computed.append(jsonify(compute()).data)
            return computed[0]

        try:
            body = self.region.get_or_create(self.key, create)
            state = "MISS" if computed else "HIT"
        except Unavailable:
            body, state = jsonify(compute()).data, "BYPASS"
        left = self.ttl if state != "HIT" else ceil(generated_at(body) + self.ttl - time.time())
        headers = {"X-Cache": state, "Cache-Control": f"max-age={min(max(left, 1), self.ttl)}"}
        return Response(body, mimetype="application/json", headers=headers)

    def invalidate(self):
        self.region.delete(self.key)


def generated_at(body):
    """Seconds since 1970, or None where this is no report."""
    with suppress(TypeError, ValueError, KeyError, RecursionError):
        return datetime.fromisoformat(json.loads(body)["generated_at"]).astimezone(UTC).timestamp()
    return None
