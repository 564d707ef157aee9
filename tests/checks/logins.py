"""Logins, good and bad, and many at once."""

import http.client
import json
import select

from blackbox import expect
from werkzeug.security import generate_password_hash

JSON = {"Content-Type": "application/json"}
ADMIN = {"username": "admin", "password": "password"}
ALICE = {"username": "alice", "password": "wonderland"}
WRONG = {"username": "admin", "password": "letmein"}

QUICK = {
    user["username"]: generate_password_hash(user["password"], "scrypt:1024:8:1")
    for user in (ADMIN, ALICE)
}

# In all of these, the name or the password is simply wrong.
WRONG_LOGINS = {
    "a wrong password": WRONG,
    "another user's password": {"username": "admin", "password": "wonderland"},
    "an unknown user": {"username": "nobody", "password": "password"},
    "an empty name": {"username": "", "password": "password"},
    "an empty password": {"username": "admin", "password": ""},
}

# These look like a user's name or password, or hold what a library can't take.
ODD_LOGINS = {
    "other capitals in the name": {"username": "Admin", "password": "password"},
    "a space after the name": {"username": "admin ", "password": "password"},
    "a space before the name": {"username": " admin", "password": "password"},
    "a tab after the name": {"username": "admin\t", "password": "password"},
    "the name in wide letters": {
        "username": "\uff41\uff44\uff4d\uff49\uff4e",
        "password": "password",
    },
    "an invisible letter in the name": {"username": "ad\u200bmin", "password": "password"},
    "other capitals in the password": {"username": "admin", "password": "Password"},
    "a letter more in the password": {"username": "admin", "password": "passwords"},
    "a letter less in the password": {"username": "admin", "password": "passwor"},
    "a space after the password": {"username": "admin", "password": "password "},
    "SQL as name": {"username": "admin' --", "password": "password"},
    "a NUL in the name": {"username": "admin\0", "password": "password"},
    "half a character in the name": {"username": "admin\ud800", "password": "password"},
    "half a character in the password": {"username": "admin", "password": "password\udfff"},
    "a pattern as name": {"username": "adm%", "password": "password"},
    "a pattern as password": {"username": "admin", "password": "%"},
    "a NUL in the password": {"username": "admin", "password": "password\0"},
    "a name of 10,000 letters": {"username": "a" * 10000, "password": "password"},
    "a password of 10,000 letters": {"username": "admin", "password": "p" * 10000},
}

PADDED = ("a NUL in the password",)  # which scrypt takes for the password itself

# Body, headers, and the status of the answer.
BAD_LOGINS = {
    "no body": (b"", JSON, 400),
    "no JSON": (b"username=admin&password=password", JSON, 400),
    "a list": (b'["admin", "password"]', JSON, 400),
    "no password": (b'{"username": "admin"}', JSON, 400),
    "no name": (b'{"password": "password"}', JSON, 400),
    "a number as name": (b'{"username": 1, "password": "password"}', JSON, 400),
    "null as password": (b'{"username": "admin", "password": null}', JSON, 400),
    "a list as password": (b'{"username": "admin", "password": ["password"]}', JSON, 400),
    "a form": (
        b"username=admin&password=password",
        {"Content-Type": "application/x-www-form-urlencoded"},
        415,
    ),
}


def store(db, hashes: dict[str, str]) -> None:
    for username, stored in hashes.items():
        db.query("UPDATE users SET password_hash = %s WHERE username = %s", stored, username)


class Logins:
    """Logins sent at once, each on its own connection, without waiting for the answers."""

    def __init__(self, app, number: int, body: dict = ADMIN):
        self.clients = [
            http.client.HTTPConnection("127.0.0.1", app.server.port, timeout=20)
            for _ in range(number)
        ]
        for client in self.clients:
            client.connect()
        for client in self.clients:
            client.request("POST", "/login", json.dumps(body), JSON)

    def under_way(self) -> bool:
        """Whether an answer is still to come."""
        ready = select.select([client.sock for client in self.clients], [], [], 0)[0]
        return len(ready) < len(self.clients)

    def hang_up(self) -> None:
        """Close all connections without waiting for an answer."""
        for client in self.clients:
            client.close()

    def expect_tokens(self, did: str) -> None:
        statuses = [client.getresponse().status for client in self.clients]
        for client in self.clients:
            client.close()
        expect(statuses == [200] * len(statuses), did, statuses, "200 for each login")


FORWARDED = ("X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Client-IP", "True-Client-IP")
CHOSEN = ("User-Agent", "Accept-Language", "Origin", "Referer", "X-Request-Id", "X-Device-Id")


def forwarded(number: int) -> dict[str, str]:
    """Headers with which a client claims to be another one, at another address."""
    address = f"203.0.113.{number}"
    claims = {name: f"for={address}" if name == "Forwarded" else address for name in FORWARDED}
    return claims | {name: f"client-{number}" for name in CHOSEN} | {"Cookie": f"id={number}"}


FIELDS = ("token", "access_token", "jwt", "Authorization")
TOKEN_HEADERS = (
    "X-Access-Token", "X-Auth-Token", "X-Token", "Token", "X-JWT", "X-Api-Key", "Authentication",
    "Proxy-Authorization", "X-Authorization", "X-Forwarded-Authorization",
)  # fmt: skip
NAME_FIELDS = ("username", "user", "user_id", "customer", "sub", "owner", "as", "admin", "debug")
NAME_HEADERS = (
    "X-Remote-User", "Remote-User", "X-User", "X-User-Id", "X-Username", "X-Forwarded-User",
    "X-Auth-Request-User", "X-Authenticated-User", "X-Customer", "From", "Sub",
)  # fmt: skip
INSIDE = {name: "127.0.0.1" for name in ("X-Forwarded-For", "X-Real-IP", "Client-IP")} | {
    "Host": "localhost",
    "X-Internal": "1",
    "X-Debug": "1",
    "X-Original-URL": "/",
    "X-Rewrite-URL": "/",
    "User-Agent": "kube-probe/1.30",
}


def ways_to_bring(token: str, name: str = "admin") -> dict[str, dict]:
    """Ways other than the Authorization header to be this user, as options of a request."""
    fields = dict.fromkeys(FIELDS, token)
    cookies = "; ".join(f"{field}={token}" for field in ("token", "access_token", "session", "jwt"))
    return {
        "without a token": {},
        "with the token in the query": {"params": fields},
        "with the token in a cookie": {"headers": {"Cookie": cookies}},
        "with the token in the body": {"json": fields},
        "with the token in another header": {
            "headers": {header: f"Bearer {token}" for header in TOKEN_HEADERS}
        },
        "with the token alone in another header": {"headers": dict.fromkeys(TOKEN_HEADERS, token)},
        "with the name in the query": {"params": dict.fromkeys(NAME_FIELDS, name)},
        "with the name in a cookie": {
            "headers": {"Cookie": "; ".join(f"{field}={name}" for field in NAME_FIELDS)}
        },
        "with the name in the body": {"json": dict.fromkeys(NAME_FIELDS, name)},
        "with the name in a header": {"headers": dict.fromkeys(NAME_HEADERS, name)},
        "from an address inside": {"headers": INSIDE},
        "with X-HTTP-Method-Override": {
            "headers": {"X-HTTP-Method-Override": "GET", "X-Requested-With": "XMLHttpRequest"}
        },
    }


# Where a name and a password are no login; as options of a request.
MISPLACED_LOGINS = {
    "in the query": {"params": ADMIN},
    "in the query, with an empty object": {"params": ADMIN, "json": {}},
    "in Basic": {"auth": (ADMIN["username"], ADMIN["password"])},
    "in Basic, with an empty object": {
        "auth": (ADMIN["username"], ADMIN["password"]),
        "json": {},
    },
    "in headers": {"headers": {"X-Username": "admin", "X-Password": "password"}},
    "in cookies": {"headers": {"Cookie": "username=admin; password=password"}},
    "in a form": {"data": ADMIN},
    "in a form of parts": {"files": {name: (None, text) for name, text in ADMIN.items()}},
    "as text": {"content": json.dumps(ADMIN), "headers": {"Content-Type": "text/plain"}},
}
