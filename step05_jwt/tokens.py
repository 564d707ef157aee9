"""Tokens: a user's name and an end, signed. Whoever has one is that user until it ends."""

import os
import secrets
import time
from functools import lru_cache

import jwt

DEFAULTS = {"TOKEN_TTL": 3600}  # seconds
ALGORITHM, ISSUER, AUDIENCE = "HS256", "flask-workshop", "shop"
CLAIMS = ["sub", "iat", "exp", "iss", "aud", "jti"]
SHORTEST = 32  # bytes of a secret: as many as HS256 signs with
LONGEST = 1024  # characters of a token; ours have about 230, and a check of 2 MB takes 0.1 s
REMEMBERED = 1000  # tokens whose signature need not be verified again


class Tokens:
    """Signs with the first of the secrets, accepts what any of them signed."""

    def __init__(self, secrets, ttl):
        self.secrets, self.ttl = secrets, ttl
        self.verified = lru_cache(REMEMBERED)(self._verified)

    def sign(self, username):
        """A token that says for `ttl` seconds who its bearer is."""
        now = int(time.time())  # seconds since 1970 in UTC, whatever the time zone here
        claims = {"sub": username, "iat": now, "exp": now + self.ttl}
        claims |= {"iss": ISSUER, "aud": AUDIENCE, "jti": secrets.token_urlsafe(9)}
        return jwt.encode(claims, self.secrets[0], ALGORITHM)

    def username(self, token):
        """The user's name, or None where the token is none that we would give out now."""
        if len(token) > LONGEST or not token.isascii():
            return None
        try:
            name, end = self.verified(token)
        except jwt.PyJWTError:
            return None
        return name if time.time() < end else None  # of a token we know, the end alone is news

    def _verified(self, token):
        """Name and end; raises PyJWTError, which is not remembered."""
        for secret in self.secrets:
            try:
                claims = jwt.decode(
                    token,
                    secret,
                    algorithms=[ALGORITHM],  # never the one that the token names
                    issuer=ISSUER,
                    audience=AUDIENCE,
                    options={"require": CLAIMS, "strict_aud": True},
                )
            except jwt.InvalidSignatureError:
                continue
            if self._ours(claims):
                return claims["sub"], claims["exp"]
        raise jwt.InvalidTokenError

    def _ours(self, claims):
        """What PyJWT lets pass: times as texts, a life longer than ours, names that are none."""
        iat, exp, name = claims["iat"], claims["exp"], claims["sub"]
        return type(iat) is type(exp) is int and exp - iat <= self.ttl and is_name(name)


def is_name(text):
    """JSON can hold texts that neither PostgreSQL nor UTF-8 can."""
    return 0 < len(text) <= 64 and text.isprintable()


def secrets_from(environ):
    """The secret that signs, then the one before it while that is being replaced; may be empty.

    Raises SystemExit with a sentence where one of them cannot be used.
    """
    if "JWT_SECRET" not in environ:
        return []
    names = [name for name in ("JWT_SECRET", "JWT_SECRET_PREVIOUS") if name in environ]
    return [usable(name, os.fsencode(environ[name])) for name in names]


def usable(name, secret):
    if len(secret) < SHORTEST:
        raise SystemExit(
            f"{name} is under {SHORTEST} bytes: `openssl rand -hex 32` makes a good one."
        )
    try:
        jwt.encode({}, secret, ALGORITHM)
    except jwt.PyJWTError as error:  # half of a key pair, for instance
        raise SystemExit(f"{name} cannot sign: {error}") from None
    return secret
