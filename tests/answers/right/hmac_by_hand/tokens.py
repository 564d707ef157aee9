"""Tokens from the standard library: HS256 is a few lines of hmac."""

import base64
import hmac
import json
import os
import secrets
import time

DEFAULTS = {"TOKEN_TTL": 3600}  # seconds
MIN_SECRET_BYTES = 32
HEADER = {"alg": "HS256", "typ": "JWT"}
FIXED = {"iss": "flask-workshop", "aud": "shop"}
KINDS = {"sub": str, "iat": int, "exp": int, "iss": str, "aud": str, "jti": str}


class Tokens:
    def __init__(self, accepted_keys, ttl):
        self.keys, self.ttl = accepted_keys, ttl

    def sign(self, username):
        now = int(time.time())
        claims = FIXED | {"sub": username, "iat": now, "exp": now + self.ttl}
        claims["jti"] = secrets.token_hex(8)
        text = f"{pack(HEADER)}.{pack(claims)}"
        return f"{text}.{signature(text, self.keys[0])}"

    def verify(self, token):
        try:
            if len(token) > 1000:
                raise ValueError("too long")
            text, _, given = token.rpartition(".")
            header, claims = map(unpack, text.split("."))
        except (ValueError, RecursionError):
            return None
        signed = any(
            hmac.compare_digest(given.encode(), signature(text, key).encode()) for key in self.keys
        )
        if not signed or header != HEADER or not isinstance(claims, dict):
            return None
        return claims["sub"] if self.is_ours(claims) else None

    def is_ours(self, claims):
        """Whether it has the six claims that we write, no other, and is valid now."""
        if {name: type(value) for name, value in claims.items()} != KINDS:
            return False
        now = time.time()
        return (
            all(claims[name] == value for name, value in FIXED.items())
            and claims["iat"] <= now < claims["exp"] <= claims["iat"] + self.ttl
            and is_username(claims["sub"])
        )


def is_username(text):
    return 0 < len(text) <= 64 and text.isprintable()


def accepted_keys_from(environ):
    names = [name for name in ("JWT_SECRET", "JWT_SECRET_PREVIOUS") if name in environ]
    if "JWT_SECRET" not in names:
        return []
    keys = [os.fsencode(environ[name]) for name in names]
    for name, key in zip(names, keys, strict=True):
        if len(key) < MIN_SECRET_BYTES or b"-----BEGIN" in key:
            raise SystemExit(f"{name} must be a random text of {MIN_SECRET_BYTES} bytes or more.")
    return keys


def pack(part):
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def unpack(text):
    padded = text + "=" * (-len(text) % 4)
    return json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))


def signature(text, key):
    digest = hmac.digest(key, text.encode(), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
