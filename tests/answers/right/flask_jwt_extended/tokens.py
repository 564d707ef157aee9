"""Tokens by Flask-JWT-Extended."""

import os
import time
from contextlib import suppress
from datetime import timedelta

import jwt
from flask import Flask
from flask_jwt_extended import JWTManager, create_access_token, decode_token
from flask_jwt_extended.exceptions import JWTExtendedException

DEFAULTS = {"TOKEN_TTL": 3600}  # seconds
MIN_SECRET_BYTES = 32


class Tokens:
    """The extension knows one key for each app: so each key has an app, which serves nothing."""

    def __init__(self, accepted_keys, ttl):
        self.ttl = ttl
        self.apps = [self.app_with(key) for key in accepted_keys]

    def app_with(self, key):
        app = Flask("tokens")
        app.config.update(
            JWT_SECRET_KEY=key,
            JWT_ALGORITHM="HS256",
            JWT_ACCESS_TOKEN_EXPIRES=timedelta(seconds=self.ttl),
            JWT_ENCODE_ISSUER="flask-workshop",
            JWT_DECODE_ISSUER="flask-workshop",
            JWT_ENCODE_AUDIENCE="shop",
            JWT_DECODE_AUDIENCE="shop",
        )
        JWTManager(app)
        return app

    def sign(self, username):
        with self.apps[0].app_context():
            return create_access_token(username)

    def verify(self, token):
        if len(token) > 1024 or not token.isascii():
            return None
        for app in self.apps:
            with app.app_context(), suppress(jwt.PyJWTError, JWTExtendedException, ValueError):
                return self.user_of(decode_token(token))
        return None

    def user_of(self, claims):
        """The user's name, where also what the library leaves unchecked is as we write it."""
        kinds = {"sub": str, "jti": str, "aud": str, "iat": int, "exp": int}
        if any(type(claims.get(name)) is not kind for name, kind in kinds.items()):
            return None
        lives = claims["exp"] - claims["iat"] <= self.ttl and time.time() < claims["exp"]
        return claims["sub"] if lives and is_username(claims["sub"]) else None


def is_username(text):
    return 0 < len(text) <= 64 and text.isprintable()


def accepted_keys_from(environ):
    if "JWT_SECRET" not in environ:
        return []
    return [
        usable(name, os.fsencode(environ[name]))
        for name in ("JWT_SECRET", "JWT_SECRET_PREVIOUS")
        if name in environ
    ]


def usable(name, key):
    try:
        if len(key) < MIN_SECRET_BYTES:
            raise ValueError("too short")
        jwt.encode({}, key, "HS256")
    except (ValueError, jwt.PyJWTError):
        raise SystemExit(f"{name} can't sign: choose {MIN_SECRET_BYTES} random bytes.") from None
    return key
