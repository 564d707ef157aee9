"""Step 5: the same shop with tokens (auth.py). Customers log in before they order."""

import os
from datetime import UTC, datetime
from time import sleep

from flask import Flask, abort, g, url_for
from sqlalchemy import make_url

import api
import auth
import cache
import pool
import shop

STEP = "step05_jwt"
TECHNIQUE = "HS256 tokens that expire after an hour"
DEFAULTS = {
    "HOST": "127.0.0.1",
    "PORT": 8005,
    "DATABASE_URL": "postgresql://workshop:workshop@127.0.0.1:19432/shop",
    "SUPPLIER_DELAY": 0.1,  # seconds
    **pool.DEFAULTS,
    **cache.DEFAULTS,
    **auth.DEFAULTS,
}

app = Flask(__name__, static_folder=None)
# Each setting may come from the environment; it keeps the type of its default.
app.config.update({key: type(value)(os.getenv(key, value)) for key, value in DEFAULTS.items()})
app.config.update(
    # For SQLAlchemy "postgresql" means psycopg 3: name the driver.
    SQLALCHEMY_DATABASE_URI=make_url(app.config["DATABASE_URL"]).set(
        drivername="postgresql+psycopg2"
    ),
    SQLALCHEMY_ENGINE_OPTIONS=pool.engine_options(app.config, name=STEP),
)
api.init_app(app)
pool.init_app(app)
shop.db.init_app(app)
report_cache = cache.Cache(app.config["REDIS_URL"], "data_response", app.config["CACHE_TTL"])
auth.init_app(app, report_cache)


@app.get("/")
def index():
    return {"step": STEP, "technique": TECHNIQUE}


@app.get("/async")
def supplier():
    ask_supplier()
    return {"message": "This is an asynchronous API response!"}


@app.get("/products/<id:product_id>")
def product(product_id):
    return shop.find_product(product_id) or abort(404, "There is no such product.")


@app.get("/quote/<id:product_id>")
def quote(product_id):
    product = shop.find_product(product_id) or abort(404, "There is no such product.")
    shop.db.session.close()  # no connection is held during the wait
    ask_supplier()
    return {"product_id": product["id"], "price_cents": product["price_cents"]}


@app.get("/data")
def data():
    return report_cache.get_or_compute(build_report)


@app.post("/orders")
@auth.login_required
def place_order():
    product_id, quantity = api.json_fields(product_id=int, quantity=int)
    if product_id < 1 or quantity < 1:
        abort(400, "product_id and quantity must be 1 or more.")
    try:
        order = shop.place_order(
            product_id, quantity, customer=g.username, key=api.idempotency_key()
        )
    except shop.OutOfStock:
        abort(409, "Not enough items are left.")
    except shop.KeyReused:
        abort(422, "This Idempotency-Key belongs to another order: use a new key for a new order.")
    except shop.OutcomeUnknown:
        report_cache.invalidate()  # The order may be in the report.
        raise
    if order is None:
        abort(404, "There is no such product.")
    report_cache.invalidate()
    return order, 201, {"Location": url_for("order", order_id=order["id"])}


@app.get("/orders/<id:order_id>")
@auth.login_required
def order(order_id):
    return shop.find_order(order_id, customer=g.username) or abort(404, "There is no such order.")


@app.post("/login")
def login():
    username, password = api.json_fields(username=str, password=str)
    return auth.login(username, password)


@app.get("/me")
@auth.login_required
def me():
    return {"username": g.username}


def build_report():
    rows = shop.sales_report()
    shop.db.session.close()  # no connection is held while Redis is asked
    return {"report": rows, "generated_at": datetime.now(UTC).isoformat()}


def ask_supplier():
    sleep(app.config["SUPPLIER_DELAY"])
