"""Tokens and headers that must not be believed.

The tokens are made by hand, as a library refuses to make most of them: from the claims of a real
token, so that only what is forged differs from one that the app would accept.
"""

import base64
import hmac
import json
import re
import time
from contextlib import suppress

from blackbox import JWT_SECRET

HEADER = {"alg": "HS256", "typ": "JWT"}
YEAR = 365 * 86400


def encoded(part) -> str:
    """base64url without padding, of JSON or of bytes as they are."""
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def read(token: str) -> tuple[dict, dict]:
    """Header and claims of a token, unverified; ({}, {}) where it is none."""
    try:
        parts = [base64.urlsafe_b64decode(part + "===") for part in token.split(".")[:2]]
        header, claims = map(json.loads, parts)
    except ValueError:
        return {}, {}
    return header, claims


def signature(text: str, secret: str | bytes, digest: str = "sha256") -> str:
    key = secret.encode() if isinstance(secret, str) else secret
    return encoded(hmac.digest(key, text.encode(), digest))


def keys_in(text: str) -> set[bytes]:
    """All that somebody who reads this might try as a key: each word, as it is and decoded."""
    keys = set()
    for word in re.findall(r"[!-~]{16,}", text):
        for bare in {word, word.strip("'\"`,.;:()[]{}<>"), word.rpartition("=")[2], word[2:-1]}:
            keys.add(bare.encode())
            for decode in (bytes.fromhex, base64.b64decode, _from_base64url):
                with suppress(ValueError):
                    keys.add(decode(bare))
    return keys


def _from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "===")


class Forge:
    """Makes tokens like the real one given."""

    def __init__(self, real: str):
        self.real = real
        self.head, self.body, self.signature = [*real.split("."), "", ""][:3]
        self.claims = read(real)[1]

    def token(self, claims=None, header=None, secret=JWT_SECRET, digest="sha256") -> str:
        """A token with other claims or another header (dict or bytes), signed."""
        text = f"{encoded(header or HEADER)}.{encoded(claims or self.claims)}"
        return f"{text}.{signature(text, secret, digest)}"

    def signed_with(self, secret) -> bool:
        """Whether the real token is."""
        return self.signature == signature(f"{self.head}.{self.body}", secret)

    def but(self, **changes) -> str:
        """A well signed token with some claims changed; None takes a claim away."""
        claims = self.claims | changes
        return self.token({k: v for k, v in claims.items() if v is not None})

    def header(self, make) -> str:
        """The Authorization header with the token of a case below."""
        return f"Bearer {make(self)}"

    def headed(self, **changes) -> str:
        """A well signed token with some fields of the header changed."""
        return self.token(header=HEADER | changes)

    def unsigned(self, alg) -> str:
        return f"{encoded({'alg': alg, 'typ': 'JWT'})}.{self.body}."


def other(text: str) -> str:
    """The text with another first letter."""
    return ("A" if text[:1] != "A" else "B") + text[1:]


# What each case does with a Forge. All of these are signed wrongly or not at all, or ask to be.
FORGED = {
    "another user under the old signature": lambda f: (
        f"{f.head}.{encoded(f.claims | {'sub': 'alice'})}.{f.signature}"
    ),
    "a foreign key": lambda f: f.token(secret="x" * 45),
    "HS384": lambda f: f.token(header=HEADER | {"alg": "HS384"}, digest="sha384"),
    "HS512": lambda f: f.token(header=HEADER | {"alg": "HS512"}, digest="sha512"),
    "the algorithm none": lambda f: f.unsigned("none"),
    "the algorithm None": lambda f: f.unsigned("None"),
    "the algorithm NONE": lambda f: f.unsigned("NONE"),
    "the algorithm nOnE": lambda f: f.unsigned("nOnE"),
    "no signature": lambda f: f"{f.head}.{f.body}.",
    "the algorithm none and a good signature": lambda f: f.headed(alg="none"),
    "no algorithm": lambda f: f.token(header={"typ": "JWT"}),
    "an empty algorithm": lambda f: f.headed(alg=""),
    "null as algorithm": lambda f: f.headed(alg=None),
    "a list as algorithm": lambda f: f.headed(alg=["HS256"]),
    "the algorithm hs256": lambda f: f.headed(alg="hs256"),
    "RS256 named over an HMAC": lambda f: f.headed(alg="RS256"),
    "ES256 named over an HMAC": lambda f: f.headed(alg="ES256"),
    "an empty key": lambda f: f.token(secret=""),
    "the key 'secret'": lambda f: f.token(secret="secret"),
    "a foreign key in its header": lambda f: f.token(
        header=HEADER | {"jwk": {"kty": "oct", "k": encoded(b"x" * 45)}}, secret="x" * 45
    ),
    "a kid that is the path of an empty file": lambda f: f.token(
        header=HEADER | {"kid": "../../../../dev/null"}, secret=""
    ),
    "another header over the old signature": lambda f: (
        f"{encoded(HEADER | {'kid': '1'})}.{f.body}.{f.signature}"
    ),
    "another first letter in its signature": lambda f: f"{f.head}.{f.body}.{other(f.signature)}",
    "half of its signature": lambda f: f"{f.head}.{f.body}.{f.signature[:21]}",
    "two parts": lambda f: f"{f.head}.{f.body}",
    "a demand (crit) that nobody knows": lambda f: f.headed(crit=["never-heard-of"]),
    "an unencoded payload (b64)": lambda f: f.headed(b64=False, crit=["b64"]),
}


def now() -> int:
    return int(time.time())


# Well signed, with JWT_SECRET, but a claim is missing, has ended, or names another service.
CLAIMS = {
    "no exp": lambda f: f.but(exp=None),
    "no iat": lambda f: f.but(iat=None),
    "no iss": lambda f: f.but(iss=None),
    "no aud": lambda f: f.but(aud=None),
    "no sub": lambda f: f.but(sub=None),
    "no jti": lambda f: f.but(jti=None),
    "an exp that has passed": lambda f: f.but(iat=now() - 600, exp=now() - 1),
    "another iss": lambda f: f.but(iss="https://elsewhere.example"),
    "another aud": lambda f: f.but(aud="another-shop"),
}


def claim_hint(name: str) -> str:
    """Which hint fits when a token with this case of CLAIMS is accepted."""
    if name.startswith("no "):
        return "missing_claim"
    return "expired" if "exp " in name else "foreign_claim"


# Well signed too, with claims that the app would never have written.
ODD_CLAIMS = {
    "an exp of ten years": lambda f: f.but(exp=now() + 10 * YEAR),
    "an exp as text": lambda f: f.but(exp=str(f.claims["exp"])),
    "an exp of true": lambda f: f.but(exp=True),
    "an exp as list": lambda f: f.but(exp=[f.claims["exp"]]),
    "an exp of Infinity": lambda f: f.but(exp=float("inf")),
    "an exp of NaN": lambda f: f.but(exp=float("nan")),
    "an exp of 400 digits": lambda f: f.token(
        json.dumps(f.claims | {"exp": "E"}).replace('"E"', "9" * 400).encode()
    ),
    "an iat in the future": lambda f: f.but(iat=now() + 600, exp=now() + 1200),
    "an iat as text": lambda f: f.but(iat=str(f.claims["iat"])),
    "an nbf in the future": lambda f: f.but(nbf=now() + 600),
    "an nbf as text": lambda f: f.but(nbf="soon"),
    "an iss as list": lambda f: f.but(iss=[f.claims["iss"]]),
    "an empty aud": lambda f: f.but(aud=[]),
    "a number as sub": lambda f: f.but(sub=1),
    "an empty sub": lambda f: f.but(sub=""),
    "an object as sub": lambda f: f.but(sub={"name": "admin"}),
    "a sub with a NUL": lambda f: f.but(sub="admin\0"),
    "a sub with half a character": lambda f: f.but(sub="admin\ud800"),
    "a number as jti": lambda f: f.but(jti=1),
    "a list as claims": lambda f: f.token([f.claims]),
    "null as claims": lambda f: f.token(b"null"),
    "a token as claims": lambda f: f.token(f.real.encode()),
    "claims that are no JSON": lambda f: f.token(b"sub=admin"),
    "claims that are no UTF-8": lambda f: f.token(b'{"sub": "\xff\xfe"}'),
    "700 brackets as claims": lambda f: f.token(b"[" * 700),
    "6,000 letters": lambda f: f.but(note="x" * 4500),
}

# Authorization headers, several where it is a list. The token in them is good.
HEADERS = {
    "that is empty": lambda t: "",
    "with the scheme alone": lambda t: "Bearer",
    "without a scheme": lambda t: t,
    "with the scheme Basic": lambda t: f"Basic {t}",
    "with Basic credentials": lambda t: "Basic YWRtaW46cGFzc3dvcmQ=",
    "with the scheme Token": lambda t: f"Token {t}",
    "with the scheme Bearer:": lambda t: f"Bearer: {t}",
    "without the space": lambda t: f"Bearer{t}",
    "with parameters": lambda t: f'Bearer token="{t}"',
    "with the token twice": lambda t: f"Bearer {t} {t}",
    "with the token doubled": lambda t: f"Bearer {t}{t}",
    "with two tokens and a comma": lambda t: f"Bearer {t}, {t}",
    "that comes twice, the second foreign": lambda t: [f"Bearer {t}", "Bearer a.b.c"],
    "that comes twice, the first foreign": lambda t: ["Bearer a.b.c", f"Bearer {t}"],
    "with a token in quotes": lambda t: f'Bearer "{t}"',
    "with half a token": lambda t: f"Bearer {t[: len(t) // 2]}",
    "with a token and a letter more": lambda t: f"Bearer {t}A",
    "with a token less its last letter": lambda t: f"Bearer {t[:-1]}",
    "with dots alone": lambda t: "Bearer ..",
    "with letters that are no base64": lambda t: "Bearer !.?.*",
    "with bytes that are no ASCII": lambda t: f"Bearer {t}".encode() + b"\xff\xfe",
    "with half a character": lambda t: b"Bearer \xed\xa0\x80." + t.encode(),
    "with 6,000 dots": lambda t: "Bearer " + "." * 6000,
}


def authorization(value) -> list[tuple[bytes, bytes]]:
    """The header, or headers, as httpx takes them."""
    values = value if isinstance(value, list) else [value]
    return [(b"Authorization", v if isinstance(v, bytes) else v.encode()) for v in values]
