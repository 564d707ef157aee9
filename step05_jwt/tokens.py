"""JSON Web Tokens: a user's name and an expiry, signed. The bearer is that user until then."""

import os
import secrets
import time
from functools import lru_cache

import jwt

DEFAULTS = {"TOKEN_TTL": 3600}  # seconds
ALGORITHM = "HS256"
ISSUER, AUDIENCE = "flask-workshop", "shop"
REQUIRED_CLAIMS = ["sub", "iat", "exp", "iss", "aud", "jti"]
MIN_SECRET_BYTES = 32  # HS256 is no stronger than its key, and a short key can be guessed offline
MAX_TOKEN_CHARS = 1024  # Ours have about 230, and verifying 2 MB takes 0.1 s.
VERIFY_CACHE_SIZE = 1000  # tokens whose signature needn't be verified again
MAX_USERNAME_CHARS = 64


class Tokens:
    """Signs with the first of `accepted_keys`, and accepts what any of them has signed."""

    def __init__(self, accepted_keys, ttl):
        self.accepted_keys, self.ttl = accepted_keys, ttl
        self._decode_once = lru_cache(VERIFY_CACHE_SIZE)(self._decode)

    def sign(self, username):
        """A token that says for `ttl` seconds who its bearer is."""
        issued_at = int(time.time())  # Seconds since 1970 in UTC, whatever the time zone here is.
        claims = {
            "sub": username,
            "iat": issued_at,
            "exp": issued_at + self.ttl,
            "iss": ISSUER,
            "aud": AUDIENCE,
            "jti": secrets.token_urlsafe(9),
        }
        return jwt.encode(claims, self.accepted_keys[0], ALGORITHM)

    def verify(self, token):
        """The user's name, or None if the token isn't one that we would issue now."""
        if len(token) > MAX_TOKEN_CHARS:
            return None
        try:
            username, expires_at = self._decode_once(token)
        except jwt.PyJWTError:
            return None
        # A signature stays right, so it is verified once; the time is compared for each request.
        return username if time.time() < expires_at else None

    def _decode(self, token):
        """The user's name and the expiry in seconds since 1970.

        Raises PyJWTError, which lru_cache doesn't remember: invalid tokens push no good one out.
        """
        for key in self.accepted_keys:
            try:
                claims = jwt.decode(
                    token,
                    key,
                    algorithms=[ALGORITHM],  # Never the one that the token itself names.
                    issuer=ISSUER,
                    audience=AUDIENCE,
                    options={"require": REQUIRED_CLAIMS, "strict_aud": True},
                )
            except jwt.InvalidSignatureError:
                continue
            if self._claims_are_valid(claims):
                return claims["sub"], claims["exp"]
        raise jwt.InvalidTokenError

    def _claims_are_valid(self, claims):
        """Whether we would have written these. PyJWT accepts times as texts, and any lifetime."""
        issued_at, expires_at = claims["iat"], claims["exp"]
        return (
            type(issued_at) is type(expires_at) is int
            and expires_at - issued_at <= self.ttl
            and is_username(claims["sub"])
        )


def is_username(text):
    """Whether this could be a user's name. JSON can hold texts that PostgreSQL and UTF-8 can't."""
    return 0 < len(text) <= MAX_USERNAME_CHARS and text.isprintable()


def accepted_keys_from(environ):
    """JWT_SECRET, which signs, then JWT_SECRET_PREVIOUS, which is still accepted; [] if unset.

    Raises SystemExit with a sentence if one of them can't be used.
    """
    if "JWT_SECRET" not in environ:
        return []
    names = [name for name in ("JWT_SECRET", "JWT_SECRET_PREVIOUS") if name in environ]
    return [usable_key(name, os.fsencode(environ[name])) for name in names]


def usable_key(name, key):
    """The key. Raises SystemExit with a sentence if it is too short or can't sign."""
    if len(key) < MIN_SECRET_BYTES:
        raise SystemExit(
            f"{name} has under {MIN_SECRET_BYTES} bytes: make one with `openssl rand -hex 32`."
        )
    try:
        jwt.encode({}, key, ALGORITHM)
    except jwt.PyJWTError:  # It is half of a key pair, for instance.
        raise SystemExit(
            f"{name} can't sign with {ALGORITHM}: make another with `openssl rand -hex 32`."
        ) from None
    return key
