"""The rules of http_guard.py for gunicorn, whose parser already refuses what is malformed.

What gunicorn leaves open: the time and the size of a body, clients that pipeline requests, clients
that fill all places, and errors that tell the log what the client sent.
"""

import errno
import io

import gevent
from gevent.server import StreamServer
from gunicorn.http.body import Body
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException
from gunicorn.workers.ggevent import GeventWorker

from http_guard import MAX_BODY_BYTES, REQUEST_TIMEOUT, Clients, Refused, hang_up

SPARE_PLACES = 10  # of worker_connections; without a free one gunicorn accepts no client
# In a flood of new clients, take turns between accepting and answering. gunicorn sets this itself,
# but only where there are several workers.
StreamServer.max_accept = 1
STATUSES = {
    LimitRequestLine: (414, "The URL is too long."),
    LimitRequestHeaders: (431, "The headers are too large."),
}


class GuardedWorker(GeventWorker):
    def init_process(self):
        self.clients = Clients(self.worker_connections - SPARE_PLACES)
        super().init_process()

    def handle(self, listener, client, addr):
        with self.clients.admit(client):
            super().handle(listener, client, addr)

    def handle_request(self, listener_name, req, sock, addr):
        """Answer one request, once it is whole and the other clients have had a turn."""
        gevent.sleep(0)
        receive_body(req, sock)
        self.clients.request_arrived(sock)
        try:
            return super().handle_request(listener_name, req, sock, addr)
        finally:
            self.clients.await_request(sock)

    def handle_error(self, req, client, addr, error):
        """Refuse a request as http_guard.py does, without telling the log what the client sent."""
        if isinstance(error, gevent.GreenletExit):
            return  # The worker ends and this client is idle: it has asked nothing.
        if not isinstance(error, ParseException):
            super().handle_error(req, client, addr, error)
            return
        refusal = Refused(*STATUSES.get(type(error), (400, "The request is malformed.")))
        self.log.warning("Refused a request from %s: %s", addr[0], refusal.message)
        hang_up(client, refusal.response())


def receive_body(req, sock):
    """Read the whole body, up to MAX_BODY_BYTES, before the app sees the request.

    Raises ConnectionResetError when that takes longer than REQUEST_TIMEOUT; gunicorn then closes
    the connection without an answer.
    """
    if req._expected_100_continue:
        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        req._expected_100_continue = False
    received = io.BytesIO()
    with gevent.Timeout(REQUEST_TIMEOUT, ConnectionResetError(errno.ECONNRESET, "too slow")):
        while received.tell() <= MAX_BODY_BYTES and (piece := req.body.read(1024)):
            received.write(piece)
            gevent.sleep(0)
    if received.tell() > MAX_BODY_BYTES:
        req.force_close()  # The app answers 413; the rest of the body is never read.
    received.seek(0)
    req.body = Body(received)
