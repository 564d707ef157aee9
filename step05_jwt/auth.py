"""Who is it? POST /login gives a token (tokens.py), and `required` lets in whoever brings it."""

import os
import secrets
from functools import wraps

from flask import abort, current_app, g, request
from gevent.lock import BoundedSemaphore
from gevent.threadpool import ThreadPool
from sqlalchemy.exc import IntegrityError
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.security import check_password_hash

import shop
import tokens

DEFAULTS = {
    "LOGIN_TRIES": 10,  # in each window, for one user from one address
    "LOGIN_WINDOW": 60,  # seconds
    **tokens.DEFAULTS,
}
# Compared with where there is no such user: no password's hash, but in the form that the table has,
# so that both take the same time.
NOBODY = f"scrypt:32768:8:1${secrets.token_hex(8)}${secrets.token_hex(64)}"
# Hashing is work, not waiting: it belongs beside the hub, not in it. 32 MB for each thread.
THREADS = min(4, os.cpu_count() or 2)
hashing, turns = ThreadPool(THREADS), BoundedSemaphore(THREADS)


def init_app(app, cache):
    """Take the secrets from the environment, and the cache's Redis to count failed logins."""
    known = tokens.secrets_from(os.environ)
    if not known:
        app.logger.warning("JWT_SECRET is not set: tokens end with this process.")
    app.extensions["tokens"] = tokens.Tokens(
        known or [secrets.token_bytes(32)], app.config["TOKEN_TTL"]
    )
    app.extensions["tries"] = cache
    app.register_error_handler(IntegrityError, user_is_gone)


def login(username, password):
    """A token, or 401 where name or password is wrong, or 429 after too many tries."""
    name = username if tokens.is_name(username) else ""
    stored = shop.password_hash(name)
    shop.db.session.close()  # no connection is held while others hash, and while we do
    with turns:  # who waits here is not counted yet: many may log in at once
        tries = count_try(name)
        # JSON can hold halves of characters, which no hash takes, and NULs, with which scrypt
        # fills up: it would take "password\0" for "password".
        typed = password.replace("\0", "?").encode(errors="replace").decode()
        right = hashing.apply(check_password_hash, (stored or NOBODY, typed))
    if not (right and stored):
        unauthorized("Invalid credentials")
    cache, signer = current_app.extensions["tries"], current_app.extensions["tokens"]
    cache.attempt(lambda: cache.redis.delete(tries))
    token = {"token": signer.sign(name), "token_type": "Bearer", "expires_in": signer.ttl}
    return token, {"Cache-Control": "no-store"}


def count_try(name):
    """Count before the password is looked at: of many guesses at once none slips by.

    Returns the key; 429 after too many tries. Without Redis nobody is locked out.
    """
    cache, config = current_app.extensions["tries"], current_app.config
    key = f"login:{request.remote_addr}:{name}"

    def count():
        pipe = cache.redis.pipeline()  # all three or none: no count without an end
        pipe.set(key, 0, ex=config["LOGIN_WINDOW"], nx=True)
        pipe.incr(key)
        pipe.ttl(key)
        return pipe.execute()

    _, number, rest = cache.attempt(count) or (None, 0, 0)
    if number > config["LOGIN_TRIES"]:
        abort(429, "Too many tries. Wait a little.", retry_after=max(rest, 1))
    return key


def required(view):
    """Let in only who brings a valid token; the user's name is then in g.username."""

    @wraps(view)
    def protected(*args, **kwargs):
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            unauthorized("This needs a token, as Authorization: Bearer <token>.")
        name = current_app.extensions["tokens"].username(token)
        g.username = name or unauthorized("The token is not valid.", error="invalid_token")
        return view(*args, **kwargs)

    return protected


def unauthorized(message, **challenge):
    abort(401, message, www_authenticate=WWWAuthenticate("bearer", challenge))


def user_is_gone(error):
    """The token is still good, its user no longer there: a token does not ask the table."""
    if error.orig.diag.constraint_name != "orders_customer_fkey":
        raise error
    challenge = {"WWW-Authenticate": "Bearer error=invalid_token"}
    return {"message": "The token's user is gone."}, 401, challenge
