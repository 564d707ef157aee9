"""Tokens: POST /login gives one, and `required` lets in whoever brings it."""

import os
import secrets
import time
from functools import wraps
from uuid import uuid4

import jwt
from flask import abort, current_app, g, request
from gevent.threadpool import ThreadPool
from sqlalchemy.exc import IntegrityError
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.security import check_password_hash, generate_password_hash

import shop

DEFAULTS = {
    "TOKEN_TTL": 3600,  # seconds
    "LOGIN_TRIES": 10,  # in each window, for a user from an address
    "LOGIN_WINDOW": 60,  # seconds
}
ALGORITHM, ISSUER, AUDIENCE = "HS256", "flask-workshop", "shop"
CLAIMS = ["sub", "iat", "exp", "iss", "aud", "jti"]
LONGEST = 2048  # characters of a token: a check of 2 MB would take 0.1 s

NOBODY = generate_password_hash(secrets.token_hex())  # so that no user takes as long as one
# Hashing is work, not waiting: beside the hub, not in it.
hashing = ThreadPool(os.cpu_count() or 2)


def init_app(app, cache):
    """Take the secrets from the environment, and the cache's Redis to count failed logins."""
    app.extensions["auth_cache"] = cache
    app.extensions["auth_secrets"] = current, *_ = secrets_from_environment()
    if current not in os.environ.values():
        app.logger.warning("JWT_SECRET is not set: tokens end with this process.")
    app.register_error_handler(IntegrityError, user_is_gone)


def secrets_from_environment():
    """The secret that signs, then one that is still accepted while it is replaced."""
    names = [name for name in ("JWT_SECRET", "JWT_SECRET_PREVIOUS") if os.getenv(name)]
    for name in names:
        if len(os.environ[name].encode()) < 32:
            raise SystemExit(
                f"{name} must have 32 bytes or more: `openssl rand -hex 32` makes one."
            )
    if "JWT_SECRET" not in names:
        return [secrets.token_hex(32)]
    return [os.environ[name] for name in names]


def login(username, password):
    """A token, 401 where name or password is wrong, 429 after too many tries."""
    # JSON can hold what neither PostgreSQL nor UTF-8 can.
    known = username.isprintable() and len(username) <= 64
    tries = f"login:{request.remote_addr}:{username if known else '?'}"
    refuse_many(tries)
    stored = shop.password_hash(username) if known else None
    shop.db.session.close()  # no connection is held while the hash is computed
    password = password.encode(errors="replace").decode()
    right = hashing.apply(check_password_hash, (stored or NOBODY, password))
    if not (right and stored):
        unauthorized("Invalid credentials")
    cache = current_app.extensions["auth_cache"]
    cache.attempt(lambda: cache.redis.delete(tries))
    ttl = current_app.config["TOKEN_TTL"]
    return {"token": new_token(username, ttl), "token_type": "Bearer", "expires_in": ttl}


def refuse_many(tries):
    """429 after too many tries. Each counts before it is checked: many at once count too."""
    cache, window = current_app.extensions["auth_cache"], current_app.config["LOGIN_WINDOW"]

    def count():
        pipe = cache.redis.pipeline()
        pipe.incr(tries)
        pipe.expire(tries, window, nx=True)
        pipe.ttl(tries)
        number, _, rest = pipe.execute()
        return number, rest

    number, rest = cache.attempt(count) or (0, 0)  # without Redis, nobody is locked out
    if number > current_app.config["LOGIN_TRIES"]:
        abort(429, "Too many tries. Wait a little.", retry_after=max(rest, 1))


def new_token(username, ttl):
    now = int(time.time())  # UTC, whatever the time zone
    claims = {"sub": username, "iat": now, "exp": now + ttl, "jti": uuid4().hex}
    claims |= {"iss": ISSUER, "aud": AUDIENCE}
    return jwt.encode(claims, current_app.extensions["auth_secrets"][0], ALGORITHM)


def required(view):
    """Let in only who brings a valid token; the user's name is in g.username."""

    @wraps(view)
    def protected(*args, **kwargs):
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            unauthorized("A token is needed: Authorization: Bearer …")
        g.username = user_of(token) or unauthorized("The token is not valid.")
        return view(*args, **kwargs)

    return protected


def user_of(token):
    """The user's name, or None where the token is not one that we would give out."""
    if len(token) > LONGEST or not token.isascii():
        return None
    for secret in current_app.extensions["auth_secrets"]:
        try:
            claims = jwt.decode(
                token,
                secret,
                algorithms=[ALGORITHM],  # never the algorithm that the token names
                issuer=ISSUER,
                audience=AUDIENCE,
                options={"require": CLAIMS},
            )
        except jwt.InvalidSignatureError:
            continue
        except (jwt.InvalidTokenError, ValueError, TypeError, OverflowError, RecursionError):
            return None
        return claims["sub"] if ours(claims) else None
    return None


def ours(claims):
    """What PyJWT does not look at: times that are texts or too far apart, a name that is none."""
    iat, exp, sub = claims["iat"], claims["exp"], claims["sub"]
    times = type(iat) is int and type(exp) is int
    return times and exp - iat <= current_app.config["TOKEN_TTL"] and sub and sub.isprintable()


def unauthorized(message):
    abort(401, message, www_authenticate=WWWAuthenticate("bearer"))


def user_is_gone(error):
    """An order for a user who is no longer in the table."""
    shop.db.session.rollback()
    return {"message": "The token's user is gone."}, 401, {"WWW-Authenticate": "Bearer"}
