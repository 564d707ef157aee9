"""The shop: its tables and its queries. The same file in all five steps."""

from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session
from sqlalchemy import BigInteger, ForeignKey, func, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Mapped, mapped_column


class ShopSession(Session):
    def close(self):
        """Give the connection back, even one that has died since its last query.

        Flask closes the session when the answer is already made: an error here would replace it.
        """
        try:
            super().close()
        except DBAPIError:  # What was not committed died with the connection.
            self.invalidate()


db = SQLAlchemy(session_options={"class_": ShopSession})


class User(db.Model):
    __tablename__ = "users"
    username: Mapped[str] = mapped_column(primary_key=True)
    password_hash: Mapped[str]


class Product(db.Model):
    __tablename__ = "products"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    category: Mapped[str]
    price_cents: Mapped[int]
    stock: Mapped[int]


class Order(db.Model):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"))
    quantity: Mapped[int]
    total_cents: Mapped[int]
    customer: Mapped[str | None] = mapped_column(ForeignKey("users.username"))
    idempotency_key: Mapped[str | None]  # unique for each customer


class OutOfStock(Exception):
    """Fewer items are left than the order asks for."""


class KeyReused(Exception):
    """The idempotency key belongs to an earlier order of something else."""


class OutcomeUnknown(Exception):
    """The connection ended during COMMIT: the order may have been placed."""


def find_product(product_id):
    """The product as a dict, or None."""
    return as_dict(
        db.session.get(Product, product_id), "id", "name", "category", "price_cents", "stock"
    )


def sales_report():
    """Orders and revenue (cents) of each category, over all orders."""
    rows = db.session.execute(
        select(
            Product.category,
            func.count().label("orders"),
            func.sum(Order.total_cents).label("revenue_cents"),
        )
        .join(Order, Order.product_id == Product.id)
        .group_by(Product.category)
        .order_by(Product.category)
    )
    return [dict(row) for row in rows.mappings()]


def place_order(product_id, quantity, customer=None, key=None):
    """Take the items from the stock and write the order, in one transaction.

    A client that got no answer can't know whether its order was placed. With an idempotency `key`
    it may safely repeat the request: it then gets the order that it placed the first time.

    Returns the order as a dict, or None if there is no such product. Raises OutOfStock, KeyReused
    or OutcomeUnknown.
    """
    if key and (earlier := find_order_by_key(key, customer)):
        if (earlier.product_id, earlier.quantity) != (product_id, quantity):
            raise KeyReused
        return order_as_dict(earlier)
    # One statement compares and takes, so no other buyer can come between the two.
    price = db.session.scalar(
        update(Product)
        .where(Product.id == product_id, Product.stock >= quantity)
        .values(stock=Product.stock - quantity)
        .returning(Product.price_cents)
    )
    if price is None and find_product(product_id) is None:
        return None
    if price is None:
        raise OutOfStock
    order = Order(
        product_id=product_id,
        quantity=quantity,
        total_cents=price * quantity,
        customer=customer,
        idempotency_key=key,
    )
    db.session.add(order)
    db.session.flush()  # PostgreSQL gives the order its id.
    placed = order_as_dict(order)
    try:
        db.session.commit()
    except DBAPIError as error:  # PostgreSQL may have committed before the connection ended.
        raise OutcomeUnknown from error
    return placed


def find_order_by_key(key, customer):
    """The order that this customer has placed with this key, or None.

    Requests with the same key take turns: each takes a lock, which PostgreSQL holds until its
    transaction ends. A second request waits for it, and then sees the order of the first.
    """
    lock = func.hashtextextended(f"{customer} {key}", 0)  # PostgreSQL numbers such locks.
    db.session.execute(select(func.pg_advisory_xact_lock(lock)))
    return db.session.scalar(
        select(Order).where(Order.customer == customer, Order.idempotency_key == key)
    )


def find_order(order_id, customer=None):
    """The order as a dict, or None; None too if it belongs to another customer."""
    order = db.session.get(Order, order_id)
    if order and customer is not None and order.customer != customer:
        return None
    return order_as_dict(order)


def password_hash(username):
    """The user's password hash, or None."""
    return db.session.scalar(select(User.password_hash).where(User.username == username))


def order_as_dict(order):
    return as_dict(order, "id", "product_id", "quantity", "total_cents")


def as_dict(row, *columns):
    return row and {column: getattr(row, column) for column in columns}
