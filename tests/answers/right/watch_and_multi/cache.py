"""The report in Redis, with transactions of Redis in place of scripts."""

import json
import secrets
import time
from datetime import UTC, datetime, timedelta

from flask import Response, current_app, jsonify
from redis import Redis, RedisError, WatchError
from redis.backoff import NoBackoff
from redis.retry import Retry

DEFAULTS = {"REDIS_URL": "redis://127.0.0.1:6379/0", "CACHE_TTL": 60}


class Unavailable(Exception):
    """Redis does not answer, or did not a moment ago."""


class Cache:
    def __init__(self, url, key, ttl):
        self.redis = Redis.from_url(
            url,
            protocol=2,
            socket_timeout=0.1,
            socket_connect_timeout=0.1,
            retry=Retry(NoBackoff(), 1),
        )
        self.key, self.lease, self.ttl = key, f"{key}:lease", ttl
        self.away_until, self.placed, self.deleted = 0, 0, 0

    def get_or_compute(self, compute):
        token = secrets.token_hex()
        try:
            body, left = self.wait_for_report(token)
        except Unavailable:
            return respond(jsonify(compute()).data, "BYPASS", self.ttl)
        if body:
            return respond(body, "HIT", left)
        try:
            body = jsonify(compute()).data
        except BaseException:
            self.attempt(lambda: self.finish(token))
            raise
        self.attempt(lambda: self.finish(token, body))
        return respond(body, "MISS", self.ttl)

    def wait_for_report(self, token):
        """(report, seconds left), or (None, 0) once the lease is ours. Raises Unavailable."""
        give_up = time.monotonic() + 10
        while time.monotonic() < give_up:
            body, leased = self.must(lambda: self.look(token))
            if left := self.seconds_left(body):
                if leased:
                    self.attempt(lambda: self.finish(token))
                return body, left
            if leased:
                return None, 0
            time.sleep(0.02)
        raise Unavailable

    def look(self, token):
        with self.redis.pipeline() as pipe:
            pipe.set(self.lease, token, nx=True, px=1800)
            pipe.mget(self.key)
            leased, [body] = pipe.execute()
        return body, leased

    def finish(self, token, body=None):
        """Give the lease back, and store the report, unless the lease is no longer ours."""
        with self.redis.pipeline() as pipe:
            try:
                pipe.watch(self.lease)
                if pipe.get(self.lease) != token.encode():
                    return
                pipe.multi()
                if body:
                    pipe.set(self.key, body, ex=self.ttl)
                pipe.delete(self.lease)
                pipe.execute()
            except WatchError:  # an order came just now
                return

    def invalidate(self):
        self.placed += 1
        self.attempt(lambda: None)

    def must(self, command):
        """What the command gives; raises Unavailable. Orders that Redis missed go first."""
        if time.monotonic() < self.away_until:
            raise Unavailable
        was_away, self.away_until = self.away_until, self.away_until and time.monotonic() + 1
        try:
            if (placed := self.placed) != self.deleted:
                self.redis.delete(self.key, self.lease)
                self.deleted = placed
            result = command()
        except RedisError as error:
            self.away_until = time.monotonic() + 1
            current_app.logger.warning("Redis: %s", error)
            raise Unavailable from error
        if was_away:
            self.away_until = 0
        return result

    def attempt(self, command):
        try:
            return self.must(command)
        except Unavailable:
            return None

    def seconds_left(self, body):
        try:
            generated = datetime.fromisoformat(json.loads(body)["generated_at"])
            left = (generated + timedelta(seconds=self.ttl) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError, KeyError, RecursionError):
            return 0
        return max(1, round(left)) if 0 < left <= self.ttl else 0


def respond(body, state, left):
    response = Response(body, mimetype="application/json")
    response.headers["X-Cache"] = state
    response.cache_control.max_age = left
    return response
