"""The shop, its pool and its server in one file."""

from gevent import monkey

monkey.patch_all()

import os
import signal
import socket
import time
from datetime import UTC, datetime

import gevent
from flask import Flask, abort, url_for
from gevent.pywsgi import WSGIServer
from gevent.socket import wait_read, wait_write
from psycopg2 import OperationalError, extensions
from sqlalchemy import make_url
from sqlalchemy.exc import TimeoutError as NoConnectionLeft

import api
import shop
from http_guard import GuardedHandler

NAME = "step03_pooling"
SUPPLIER_DELAY = float(os.getenv("SUPPLIER_DELAY", "0.1"))  # seconds
STATEMENT_TIMEOUT = float(os.getenv("STATEMENT_TIMEOUT", "10"))  # seconds
GRACEFUL_TIMEOUT = 4  # seconds

app = Flask(NAME, static_folder=None)
app.config["SQLALCHEMY_DATABASE_URI"] = make_url(os.environ["DATABASE_URL"]).set(
    drivername="postgresql+psycopg2"
)
app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {
    "pool_size": int(os.getenv("POOL_SIZE", "10")),
    "max_overflow": int(os.getenv("MAX_OVERFLOW", "5")),
    "pool_timeout": float(os.getenv("POOL_TIMEOUT", "2")),
    "pool_pre_ping": True,
    "connect_args": {
        "application_name": NAME,
        "options": f"-c statement_timeout={STATEMENT_TIMEOUT * 1000:.0f}",
    },
}
api.init_app(app)
shop.db.init_app(app)


@app.errorhandler(NoConnectionLeft)
def no_connection_left(error):
    return {"message": "Too many requests need the database."}, 503, {"Retry-After": "1"}


@app.get("/")
def index():
    return {"step": NAME, "technique": "a pool, in one file"}


@app.get("/async")
def supplier():
    time.sleep(SUPPLIER_DELAY)
    return {"message": "This is an asynchronous API response!"}


@app.get("/products/<id:product_id>")
def product(product_id):
    return shop.find_product(product_id) or abort(404, "There is no such product.")


@app.get("/quote/<id:product_id>")
def quote(product_id):
    price = product(product_id)["price_cents"]
    shop.db.session.close()
    time.sleep(SUPPLIER_DELAY)
    return {"product_id": product_id, "price_cents": price}


@app.get("/data")
def data():
    return {"report": shop.sales_report(), "generated_at": datetime.now(UTC).isoformat()}


@app.post("/orders")
def place_order():
    product_id, quantity = api.json_fields(product_id=int, quantity=int)
    if product_id < 1 or quantity < 1:
        abort(400, "product_id and quantity must be positive.")
    try:
        placed = shop.place_order(product_id, quantity, key=api.idempotency_key())
    except shop.OutOfStock:
        abort(409, "There are not that many.")
    except shop.KeyReused:
        abort(422, "That key belongs to another order.")
    if not placed:
        abort(404, "There is no such product.")
    return placed, 201, {"Location": url_for("order", order_id=placed["id"])}


@app.get("/orders/<id:order_id>")
def order(order_id):
    return shop.find_order(order_id) or abort(404, "There is no such order.")


@extensions.set_wait_callback
def wait_for_postgres(connection):
    while (state := connection.poll()) != extensions.POLL_OK:
        wait = wait_read if state == extensions.POLL_READ else wait_write
        silent = OperationalError("PostgreSQL is silent.")
        wait(connection.fileno(), STATEMENT_TIMEOUT + 2, silent)


class Handler(GuardedHandler):
    under_way = 0
    draining = False

    def handle(self):
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().handle()

    def handle_one_response(self):
        Handler.under_way += 1
        try:
            super().handle_one_response()
        finally:
            Handler.under_way -= 1

    def finalize_headers(self):
        self.close_connection = self.close_connection or Handler.draining
        super().finalize_headers()


def drain(server):
    Handler.draining = True
    server.stop_accepting()
    server.socket.close()
    with gevent.Timeout(GRACEFUL_TIMEOUT, False):
        while Handler.under_way:
            gevent.sleep(0.02)
    server.stop()


if __name__ == "__main__":
    address = (os.getenv("HOST", "127.0.0.1"), int(os.environ["PORT"]))
    server = WSGIServer(address, app, handler_class=Handler, log=None, backlog=1024)
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, drain, server)
    server.serve_forever()
