"""The shop with class-based views: one class for each resource."""

import os
import time
from datetime import UTC, datetime

from flask import Flask, abort, url_for
from flask.views import MethodView
from sqlalchemy import NullPool, make_url

import api
import shop

SUPPLIER_DELAY = float(os.getenv("SUPPLIER_DELAY", "0.1"))  # seconds
DATABASE = make_url(os.environ["DATABASE_URL"])

app = Flask(__name__, static_folder=None)
app.config["SQLALCHEMY_DATABASE_URI"] = DATABASE.set(drivername="postgresql+psycopg2")
app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"poolclass": NullPool}
api.init_app(app)
shop.db.init_app(app)


class Index(MethodView):
    def get(self):
        return {"step": "step01_basic", "technique": "plain Flask, class-based views"}


class Supplier(MethodView):
    def get(self):
        time.sleep(SUPPLIER_DELAY)
        return {"message": "This is a synchronous API response!"}


class Product(MethodView):
    def get(self, product_id):
        product = shop.find_product(product_id)
        if product is None:
            abort(404, "There is no such product.")
        return product


class Quote(Product):
    def get(self, product_id):
        product = super().get(product_id)
        shop.db.session.close()
        time.sleep(SUPPLIER_DELAY)
        return {"product_id": product_id, "price_cents": product["price_cents"]}


class Report(MethodView):
    def get(self):
        return {"report": shop.sales_report(), "generated_at": datetime.now(UTC).isoformat()}


class Orders(MethodView):
    def post(self):
        product_id, quantity = api.json_fields(product_id=int, quantity=int)
        if product_id < 1 or quantity < 1:
            abort(400, "product_id and quantity must be positive.")
        try:
            order = shop.place_order(product_id, quantity, key=api.idempotency_key())
        except shop.OutOfStock:
            abort(409, "There are not that many.")
        except shop.KeyReused:
            abort(422, "That key belongs to another order.")
        if order is None:
            abort(404, "There is no such product.")
        return order, 201, {"Location": url_for("order", order_id=order["id"])}


class Order(MethodView):
    def get(self, order_id):
        order = shop.find_order(order_id)
        if order is None:
            abort(404, "There is no such order.")
        return order


for path, view in {
    "/": Index,
    "/async": Supplier,
    "/products/<id:product_id>": Product,
    "/quote/<id:product_id>": Quote,
    "/data": Report,
    "/orders": Orders,
    "/orders/<id:order_id>": Order,
}.items():
    app.add_url_rule(path, view_func=view.as_view(view.__name__.lower()))

if __name__ == "__main__":
    app.run(os.getenv("HOST", "127.0.0.1"), int(os.environ["PORT"]), threaded=False)
