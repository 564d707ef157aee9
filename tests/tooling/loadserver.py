"""A server for the tests of the load driver, in a process of its own: `with serving() as url:`.

It is fair: it answers in the order of arrival. Each path is a behaviour:
  /ok  /work (busy for 0.2 ms)  /wait (10 ms)  /pause (50 ms)  /never (no answer)
  /missing (404)  /busy (503)  /closing (HTTP/1.1, Connection: close)  /old (HTTP/1.0, no length)
  /drop (answers, then closes without a word)  /reset (closes without an answer)  /garbage
  /chunked  /slow-chunked (a piece at a time)  /continue (100 first)  /empty (204)
  /stall?at=1&for=0.5 (after 1 s of asking, the whole server stands still for 0.5 s, once)
  /login (POST)  /counts (how often each was asked); any other path tells what it got
"""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

asked: Counter = Counter()
stalls: dict[str, float] = {}
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n"
)
PLAIN = {
    "/ok": OK,
    "/chunked": CHUNKED,
    "/missing": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    "/busy": b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
    "/garbage": b"SSH-2.0-OpenSSH\r\n\r\n",
    "/continue": b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
    "/empty": b"HTTP/1.1 204 No Content\r\n\r\n",
}
CLOSING = {
    "/closing": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
    "/old": b"HTTP/1.0 200 OK\r\n\r\n{}",
    "/drop": OK,
    "/reset": b"",
}


class Server(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.buffer = transport, b""

    def data_received(self, data):
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].decode()
            length = 0
            for line in head.splitlines():
                if line.lower().startswith("content-length:"):
                    length = int(line.split(":")[1])
            if len(self.buffer) < end + 4 + length:
                return
            body, self.buffer = self.buffer[end + 4 :][:length], self.buffer[end + 4 + length :]
            self.answer(head, body)

    def answer(self, head, body):
        method, target, _ = head.splitlines()[0].split()
        path = urlsplit(target).path
        asked[f"{method} {target}"] += 1
        if path in PLAIN:
            self.transport.write(PLAIN[path])
        elif path in CLOSING:
            self.transport.write(CLOSING[path])
            self.transport.close()
        elif path == "/work":
            until = time.perf_counter() + 0.0002
            while time.perf_counter() < until:
                pass
            self.transport.write(OK)
        elif path == "/wait":
            asyncio.get_running_loop().call_later(0.01, self.transport.write, OK)
        elif path == "/pause":
            asyncio.get_running_loop().call_later(0.05, self.transport.write, OK)
        elif path == "/slow-chunked":
            for at in range(0, len(CHUNKED), 7):
                piece = CHUNKED[at : at + 7]
                asyncio.get_running_loop().call_later(at / 10_000, self.transport.write, piece)
        elif path == "/stall":
            self.stall(target)
        elif path != "/never":
            self.transport.write(self.told(head, path, body))

    def stall(self, target):
        query = parse_qs(urlsplit(target).query)
        begun = stalls.setdefault(target, time.perf_counter())
        if time.perf_counter() - begun > float(query["at"][0]):
            stalls[target] = float("inf")
            time.sleep(float(query["for"][0]))
        self.transport.write(OK)

    def told(self, head, path, body):
        said = {"/counts": asked, "/login": {"token": "secret"}}.get(path)
        if said is None:
            said = {"head": head, "body": body.decode()}
            asked[f"head {head}"] += 1
            asked[f"body {body.decode()}"] += 1
        text = json.dumps(said).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\n\r\n"
        return head.encode() + text


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Server, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def serving():
    """The URL of a new server on a free port."""
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(main())
