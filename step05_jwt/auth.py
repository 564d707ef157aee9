"""Authentication: POST /login issues a token (tokens.py), and `login_required` asks for it."""

import os
import secrets
from collections import Counter
from contextlib import contextmanager
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
    "LOGIN_ATTEMPTS": 10,  # in each window, for one user from one address
    "LOGIN_WINDOW": 60,  # seconds
    **tokens.DEFAULTS,
}
HASH_WAIT_TIMEOUT = 2.0  # seconds that a login waits for its turn to hash; then the answer is 503
# Logins of one address that may be under way at once, so that a flood from one address doesn't hold
# up the others. It counts those under way, not those of the last minute: in an office behind one
# address a login that comes too soon succeeds a second later, and nobody is locked out.
MAX_LOGINS_PER_ADDRESS = 16
# An unknown user's password is compared with this. No password has this hash, but comparing takes
# as long as with a real one: otherwise the time would tell which users exist.
DUMMY_HASH = f"scrypt:32768:8:1${secrets.token_hex(8)}${secrets.token_hex(64)}"
# Hashing is work, not waiting. In threads it leaves the event loop free; each needs 32 MB.
HASH_THREADS = min(4, os.cpu_count() or 2)
hash_pool, hash_slots = ThreadPool(HASH_THREADS), BoundedSemaphore(HASH_THREADS)
logins_under_way = Counter()  # by address; an address without any takes no memory


def init_app(app, cache):
    """Read the signing keys from the environment; count login attempts in the cache's Redis."""
    keys = tokens.accepted_keys_from(os.environ)
    if not keys:
        app.logger.warning("JWT_SECRET is not set: tokens die with this process.")
        keys = [secrets.token_bytes(tokens.MIN_SECRET_BYTES)]
    app.extensions["tokens"] = tokens.Tokens(keys, app.config["TOKEN_TTL"])
    app.extensions["login_attempts"] = cache
    app.register_error_handler(IntegrityError, handle_deleted_user)


def login(username, password):
    """A token; 401 for a wrong name or password, 429 after too many attempts, 503 when busy."""
    name = username if tokens.is_username(username) else ""
    with login_under_way(request.remote_addr):
        stored_hash = shop.password_hash(name)
        shop.db.session.close()  # No connection is held while we wait for a slot and hash.
        with hash_slot():
            # Counting here rather than on arrival lets one user log in many times at once, because
            # each success clears the count.
            attempts_key = record_login_attempt(name)
            password_matches = hash_pool.apply(
                check_password_hash, (stored_hash or DUMMY_HASH, candidate(password))
            )
    if not (password_matches and stored_hash):
        unauthorized("Invalid credentials")
    cache, signer = current_app.extensions["login_attempts"], current_app.extensions["tokens"]
    cache.call_redis(lambda: cache.redis.delete(attempts_key))
    answer = {"token": signer.sign(name), "token_type": "Bearer", "expires_in": signer.ttl}
    return answer, {"Cache-Control": "no-store"}


@contextmanager
def hash_slot():
    """Wait for a slot to hash in; 503 if none gets free in time."""
    if not hash_slots.acquire(timeout=HASH_WAIT_TIMEOUT):
        too_busy()
    try:
        yield
    finally:
        hash_slots.release()


@contextmanager
def login_under_way(address):
    """Count a login among those of its address; 503 if there are too many at once."""
    if logins_under_way[address] >= MAX_LOGINS_PER_ADDRESS:
        too_busy()
    logins_under_way[address] += 1
    try:
        yield
    finally:
        logins_under_way[address] -= 1
        if not logins_under_way[address]:
            del logins_under_way[address]


def candidate(password):
    """The password as scrypt can take it.

    JSON can hold halves of characters, which can't be encoded. And scrypt pads with NULs, so it
    would take "password\\0" for "password".
    """
    return password.replace("\0", "?").encode(errors="replace").decode()


def record_login_attempt(name):
    """Count the attempt before its password is checked: of many guesses at once none slips by.

    Returns the key of the count; 429 after too many attempts. Without Redis nobody is locked out.
    """
    cache, config = current_app.extensions["login_attempts"], current_app.config
    key = f"login:{request.remote_addr}:{name}"

    def count():
        pipe = cache.redis.pipeline()  # One transaction: a count without an expiry can't be left.
        pipe.set(key, 0, ex=config["LOGIN_WINDOW"], nx=True)
        pipe.incr(key)
        pipe.ttl(key)
        return pipe.execute()

    _, attempts, retry_after = cache.call_redis(count, default=(None, 0, 0))
    if attempts > config["LOGIN_ATTEMPTS"]:
        abort(429, "Too many attempts. Wait, then try again.", retry_after=max(retry_after, 1))
    return key


def login_required(view):
    """Let only requests with a valid token reach the view; the user's name is then g.username."""

    @wraps(view)
    def protected_view(*args, **kwargs):
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            unauthorized("This needs a token, as Authorization: Bearer <token>.")
        g.username = current_app.extensions["tokens"].verify(token)
        if g.username is None:
            unauthorized("The token is not valid.", error="invalid_token")
        return view(*args, **kwargs)

    return protected_view


def unauthorized(message, **challenge):
    abort(401, message, www_authenticate=WWWAuthenticate("bearer", challenge))


def too_busy():
    abort(503, "Too many logins are under way. Try again.", retry_after=1)


def handle_deleted_user(error):
    """A token outlives its user: verifying it doesn't ask the table, but the order's row does."""
    if error.orig.diag.constraint_name != "orders_customer_fkey":
        raise error
    challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
    return {"message": "The token's user no longer exists."}, 401, challenge
