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

WRONG_LOGINS = {
    "a wrong password": WRONG,
    "another user's password": {"username": "admin", "password": "wonderland"},
    "an unknown user": {"username": "nobody", "password": "password"},
    "an empty name": {"username": "", "password": "password"},
    "an empty password": {"username": "admin", "password": ""},
    "other capitals in the name": {"username": "Admin", "password": "password"},
    "a space after the name": {"username": "admin ", "password": "password"},
    "SQL as name": {"username": "admin' --", "password": "password"},
    "a NUL in the name": {"username": "admin\0", "password": "password"},
    "half a character in the name": {"username": "admin\ud800", "password": "password"},
    "half a character in the password": {"username": "admin", "password": "password\udfff"},
    "a NUL in the password": {"username": "admin", "password": "password\0"},
    "a name of 10,000 letters": {"username": "a" * 10000, "password": "password"},
    "a password of 10,000 letters": {"username": "admin", "password": "p" * 10000},
}

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

    def __init__(self, app, number: int):
        self.clients = [
            http.client.HTTPConnection("127.0.0.1", app.server.port, timeout=20)
            for _ in range(number)
        ]
        for client in self.clients:
            client.connect()
        for client in self.clients:
            client.request("POST", "/login", json.dumps(ADMIN), JSON)

    def under_way(self) -> bool:
        """Whether an answer is still to come."""
        ready = select.select([client.sock for client in self.clients], [], [], 0)[0]
        return len(ready) < len(self.clients)

    def expect_tokens(self, did: str) -> None:
        statuses = [client.getresponse().status for client in self.clients]
        for client in self.clients:
            client.close()
        expect(statuses == [200] * len(statuses), did, statuses, "200 for each login")
