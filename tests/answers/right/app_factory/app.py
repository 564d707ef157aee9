"""The shop by an application factory, its routes in a blueprint."""

import os
import time
from datetime import UTC, datetime

from flask import Blueprint, Flask, abort, current_app, url_for
from sqlalchemy import make_url

import api
import pool
import shop

routes = Blueprint("shop", __name__)


class Settings:
    HOST = os.getenv("HOST", "127.0.0.1")
    PORT = int(os.getenv("PORT", "8003"))
    SUPPLIER_DELAY = float(os.getenv("SUPPLIER_DELAY", "0.1"))  # seconds
    SQLALCHEMY_DATABASE_URI = make_url(os.environ["DATABASE_URL"]).set(
        drivername="postgresql+psycopg2"
    )


for name, default in pool.DEFAULTS.items():
    setattr(Settings, name, type(default)(os.getenv(name, default)))


def create_app(settings=Settings):
    made = Flask(__name__, static_folder=None)
    made.config.from_object(settings)
    made.config["SQLALCHEMY_ENGINE_OPTIONS"] = pool.engine_options(made.config, "step03_pooling")
    api.init_app(made)
    pool.init_app(made)
    shop.db.init_app(made)
    made.register_blueprint(routes)
    return made


@routes.get("/")
def index():
    return {"step": "step03_pooling", "technique": "a pool, and an application factory"}


@routes.get("/async")
def supplier():
    time.sleep(current_app.config["SUPPLIER_DELAY"])
    return {"message": "This is an asynchronous API response!"}


@routes.get("/products/<id:product_id>")
def product(product_id):
    return shop.find_product(product_id) or abort(404, "There is no such product.")


@routes.get("/quote/<id:product_id>")
def quote(product_id):
    found = product(product_id)
    shop.db.session.remove()
    supplier()
    return {"product_id": product_id, "price_cents": found["price_cents"]}


@routes.get("/data")
def data():
    return {"report": shop.sales_report(), "generated_at": datetime.now(UTC).isoformat()}


@routes.post("/orders")
def place_order():
    product_id, quantity = api.json_fields(product_id=int, quantity=int)
    if min(product_id, quantity) < 1:
        abort(400, "product_id and quantity must be positive.")
    placed = shop.place_order(product_id, quantity, key=api.idempotency_key())
    if placed is None:
        abort(404, "There is no such product.")
    return placed, 201, {"Location": url_for(".order", order_id=placed["id"])}


@routes.get("/orders/<id:order_id>")
def order(order_id):
    return shop.find_order(order_id) or abort(404, "There is no such order.")


@routes.app_errorhandler(shop.OutOfStock)
def out_of_stock(error):
    return {"message": "There are not that many."}, 409


@routes.app_errorhandler(shop.KeyReused)
def key_reused(error):
    return {"message": "That key belongs to another order."}, 422


app = create_app()
