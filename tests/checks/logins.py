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
    "a space after the password": {"username": "admin", "password": "password "},
    "SQL as name": {"username": "admin' --", "password": "password"},
    "a NUL in the name": {"username": "admin\0", "password": "password"},
    "half a character in the name": {"username": "admin\ud800", "password": "password"},
    "half a character in the password": {"username": "admin", "password": "password\udfff"},
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


def forwarded(number: int) -> dict[str, str]:
    """Headers with which a client claims to sit at another address."""
    address = f"203.0.113.{number}"
    return {name: f"for={address}" if name == "Forwarded" else address for name in FORWARDED}


def ways_to_bring(token: str) -> dict[str, dict]:
    """Ways other than the Authorization header, as options of a request."""
    cookies = "; ".join(f"{name}={token}" for name in ("token", "access_token", "session", "jwt"))
    fields = dict.fromkeys(("token", "access_token", "jwt", "Authorization"), token)
    headers = ("X-Access-Token", "X-Auth-Token", "Token", "Proxy-Authorization", "X-Authorization")
    return {
        "without a token": {},
        "with the token in the query": {"params": fields},
        "with the token in a cookie": {"headers": {"Cookie": cookies}},
        "with the token in the body": {"json": fields},
        "with the token in another header": {
            "headers": {name: f"Bearer {token}" for name in headers}
        },
        "with X-HTTP-Method-Override": {
            "headers": {"X-HTTP-Method-Override": "GET", "X-Requested-With": "XMLHttpRequest"}
        },
    }
