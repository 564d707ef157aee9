"""What a server must refuse: the rules of HTTP/1.1 that gevent's pywsgi doesn't enforce.

pywsgi's documentation says that it isn't hardened against malicious clients. GuardedHandler makes
sure that the app only ever sees whole, well-formed requests, that a client can't keep the server
waiting, and that no client can keep the others from being served. RFC 9112 defines HTTP/1.1.
"""

import io
import json
import os
import re
import resource
import socket
from contextlib import contextmanager, suppress
from http import HTTPStatus
from time import monotonic

import gevent
from gevent.pywsgi import Input, WSGIHandler

REQUEST_TIMEOUT = float(os.getenv("REQUEST_TIMEOUT", "10"))  # seconds for a whole request
KEEP_ALIVE_TIMEOUT = float(os.getenv("KEEP_ALIVE_TIMEOUT", "60"))  # seconds until the next one
LINGER_TIMEOUT = 1  # seconds for a refused client to read the refusal
OWN_FILES = 200  # files that the process needs besides clients: PostgreSQL, Redis, its modules
MAX_LINE_BYTES = 8 * 1024
MAX_HEADERS = 99  # the standard library's parser takes 100 lines, the empty one included
MAX_HEAD_BYTES = 32 * 1024
MAX_BODY_BYTES = 64 * 1024  # on the wire; the app sets its own limit, below this one

# What RFC 9112 allows in a line; a bare LF, a control character or a folded line match nowhere.
NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
REQUEST_LINE = re.compile(rf"{NAME} [!-~]+ HTTP/1\.[0-9]\r\n")
HEADER_LINE = re.compile(rf"{NAME}:[\t -~\x80-\xff]*\r\n".encode())
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})[\t ]*(?:;[\t -~\x80-\xff]*)?\r\n")
LENGTH = re.compile(r"[0-9]{1,18}")


class Refused(Exception):
    """A request that the server answers itself, without asking the app, and then hangs up."""

    def __init__(self, status, message):
        self.status, self.message = HTTPStatus(status), message

    def response(self):
        """The answer as bytes, with a JSON body like all answers of the API."""
        body = json.dumps({"message": self.message})
        head = (
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Connection: close",
        )
        return "\r\n".join((*head, "", body)).encode()


class ClientReader(io.RawIOBase):
    """The bytes that a client sends, until `deadline`, a moment of the monotonic clock."""

    def __init__(self, sock, deadline=None):
        self.socket, self.deadline = sock, deadline

    def readable(self):
        return True

    def readinto(self, buffer):
        """Read what has come; raises TimeoutError once the deadline has passed."""
        # A timeout for each recv() alone would never end a client that sends a byte a second.
        left = self.deadline - monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self.socket.settimeout(left)
        return self.socket.recv_into(buffer)


class Clients:
    """The clients that are connected: `limit` of them at most, so that files and memory suffice."""

    def __init__(self, limit):
        self.limit, self.connected = limit, 0
        self.waiting = {}  # sockets without a whole request yet; the first has waited longest

    @contextmanager
    def admit(self, sock):
        """Count a client in until the block ends; at the limit, another one has to leave."""
        self.connected += 1
        try:
            if self.connected > self.limit:
                self.make_room()
            self.await_request(sock)
            yield
        finally:
            self.connected -= 1
            self.request_arrived(sock)

    def await_request(self, sock):
        self.waiting[sock] = None

    def request_arrived(self, sock):
        self.waiting.pop(sock, None)

    def make_room(self):
        """Disconnect the client that has kept the server waiting for the longest time.

        Under attack that is a slow client of the attacker's; otherwise it is an idle one, which
        connects again. A client whose request is being answered is never cut off.
        """
        if oldest := next(iter(self.waiting), None):
            self.request_arrived(oldest)
            with suppress(OSError):
                # gevent's own shutdown() would raise an error in the greenlet that reads.
                oldest._sock.shutdown(socket.SHUT_RDWR)


def clients_that_fit(wanted):
    """Raise the limit of open files for `wanted` clients; returns how many of them it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = wanted + OWN_FILES
    if soft != resource.RLIM_INFINITY and soft < files:
        files = files if hard == resource.RLIM_INFINITY else min(files, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return files - OWN_FILES


class GuardedHandler(WSGIHandler):
    """One client's connection: refuses what is malformed, too large or too slow."""

    # A client that doesn't read its answer is treated like one that hung up.
    ignored_socket_errors = (*WSGIHandler.ignored_socket_errors, "timed out")
    clients = Clients(clients_that_fit(int(os.getenv("MAX_CLIENTS", "2000"))))

    def __init__(self, sock, address, server):
        self.reader = ClientReader(sock)
        super().__init__(sock, address, server, io.BufferedReader(self.reader))

    def handle(self):
        with self.clients.admit(self.socket):
            super().handle()

    def handle_one_request(self):
        # A client that pipelines requests always has the next one ready, so its greenlet would
        # never wait, and no other would run: let the others run first.
        gevent.sleep(0)
        try:
            result = super().handle_one_request()
        except Refused as refusal:
            result = self._handle_client_error(refusal)
        if isinstance(result, tuple):
            _, response = result
            hang_up(self.socket, response)
            return None
        return result

    def read_requestline(self):
        """Wait for the next request, then read its first line (RFC 9112 section 3)."""
        self.clients.await_request(self.socket)
        self.reader.deadline = monotonic() + KEEP_ALIVE_TIMEOUT
        self.rfile.peek(1)
        self.reader.deadline = monotonic() + REQUEST_TIMEOUT
        line = self.rfile.readline(MAX_LINE_BYTES)
        if line == b"\r\n":  # Section 2.2 asks servers to skip an empty line before a request.
            line = self.rfile.readline(MAX_LINE_BYTES)
        if len(line) == MAX_LINE_BYTES:
            raise Refused(414, "The URL is too long.")
        return line.decode("latin-1")

    def read_request(self, raw_requestline):
        """Read the rest of the request, body included: the app sees whole requests only."""
        if not REQUEST_LINE.fullmatch(raw_requestline):
            raise Refused(400, "The request line is malformed.")
        super().read_request(raw_requestline)
        if "close" in comma_separated(self.headers, "Connection"):
            self.close_connection = True
        self.body = self.read_body()
        self.clients.request_arrived(self.socket)
        return True

    def MessageClass(self, rfile, *options):
        """Read the header lines; pywsgi calls this after the request line."""
        lines = read_header_lines(rfile)
        headers = super().MessageClass(io.BytesIO(b"".join(lines)), *options)
        check_framing(headers, self.request_version)
        return headers

    def read_body(self):
        """The whole body as bytes, without its chunked coding."""
        chunked = "Transfer-Encoding" in self.headers
        if not chunked and not self.content_length:
            return b""
        if not chunked and self.content_length > MAX_BODY_BYTES:
            raise Refused(413, "The body is too large.")
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if chunked:
            body = read_chunks(self.rfile)
            del self.headers["Transfer-Encoding"]
            self.headers["Content-Length"] = str(len(body))
            return body
        body = self.rfile.read(self.content_length)
        if len(body) < self.content_length:
            raise Refused(400, "The body ended too early.")
        return body

    def get_environ(self):
        """The request as WSGI has it, with the body that was read before.

        For a request with `Connection: upgrade`, pywsgi would hand the bare socket to the app,
        which would then read on until the client hangs up. A server may ignore that header
        (RFC 9110 section 7.8), and proxies add it to ordinary requests: answer as usual.
        """
        environ = super().get_environ()
        self.wsgi_input = Input(io.BytesIO(self.body), len(self.body))
        environ["wsgi.input"] = self.wsgi_input
        return environ

    def handle_one_response(self):
        self.socket.settimeout(REQUEST_TIMEOUT)  # for a client that doesn't read its answer
        super().handle_one_response()

    def finalize_headers(self):
        super().finalize_headers()
        if self.close_connection:  # Section 9.6 asks servers to say that they will close.
            others = [pair for pair in self.response_headers if pair[0].lower() != b"connection"]
            self.response_headers = [*others, (b"Connection", b"close")]

    def _handle_client_error(self, error):
        """The refusal for what went wrong, logged without a word of what the client sent.

        A misread request may well contain a user's password.
        """
        if isinstance(error, TimeoutError):
            error = Refused(408, "The request took too long to arrive.")
        elif not isinstance(error, Refused):
            error = Refused(400, "The request is malformed.")
        client = self.client_address[0]
        self.server.error_log.write(f"Refused a request from {client}: {error.message}\n")
        return str(error.status.value), error.response()


def hang_up(sock, response):
    """Send a refusal and end the connection.

    Bytes of the client that are left unread would make the kernel reset the connection, and the
    client might never see the answer: end our side first, and read on for a moment (RFC 9112
    section 9.6).
    """
    reader = ClientReader(sock, monotonic() + LINGER_TIMEOUT)
    buffer = bytearray(16 * 1024)
    with suppress(OSError):
        sock.settimeout(LINGER_TIMEOUT)
        sock.sendall(response)
        sock.shutdown(socket.SHUT_WR)
        while reader.readinto(buffer):
            gevent.sleep(0)


def read_header_lines(rfile):
    """The header lines up to the empty one, each of the form that RFC 9112 section 5 allows."""
    lines, size = [], 0
    while (line := rfile.readline(MAX_LINE_BYTES)) != b"\r\n":
        lines.append(line)
        size += len(line)
        if len(line) == MAX_LINE_BYTES or size > MAX_HEAD_BYTES or len(lines) > MAX_HEADERS:
            raise Refused(431, "The headers are too large.")
        if not HEADER_LINE.fullmatch(line):
            raise Refused(400, "A header line is malformed.")
    return lines


def check_framing(headers, version):
    """Refuse a request whose end is unclear (RFC 9112 sections 3.2, 6.1 and 6.3).

    A proxy and a server that disagree on where a request ends let an attacker smuggle a second
    request past the proxy, inside of the first one's body.
    """
    lengths = headers.get_all("Content-Length", [])
    codings = headers.get_all("Transfer-Encoding", [])
    if len(headers.get_all("Host", [])) != 1 and version != "HTTP/1.0":
        raise Refused(400, "A request needs exactly one Host header.")
    if len(lengths) > 1 or (lengths and not LENGTH.fullmatch(lengths[0].strip(" \t"))):
        raise Refused(400, "The Content-Length must be one whole number.")
    if codings and (lengths or version == "HTTP/1.0"):
        raise Refused(400, "A chunked body has no Content-Length, and needs HTTP/1.1.")
    if codings and [coding.strip(" \t").lower() for coding in codings] != ["chunked"]:
        raise Refused(400, "The only transfer coding that this server knows is chunked.")


def read_chunks(rfile):
    """Decode a chunked body (RFC 9112 section 7.1); extensions and trailers are dropped."""
    body, size = [], 0
    while True:
        line = rfile.readline(MAX_LINE_BYTES)
        chunk = CHUNK_LINE.fullmatch(line)
        if not chunk:
            raise Refused(400, "The chunked body is malformed.")
        length = int(chunk[1], 16)
        size += len(line) + length
        if size > MAX_BODY_BYTES:
            raise Refused(413, "The body is too large.")
        if length == 0:
            read_header_lines(rfile)  # the trailers
            return b"".join(body)
        data = rfile.read(length + 2)
        if not data.endswith(b"\r\n") or len(data) < length + 2:
            raise Refused(400, "The chunked body is malformed.")
        body.append(data[:length])


def comma_separated(headers, name):
    """The members of a header that is a list, in lower case."""
    return [
        member.strip(" \t").lower() for member in ",".join(headers.get_all(name, [])).split(",")
    ]
