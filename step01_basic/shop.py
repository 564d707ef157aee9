"""The shop: its tables and its queries. The same file in all five steps."""

from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session
from sqlalchemy import BigInteger, ForeignKey, func, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Mapped, mapped_column


class ShopSession(Session):
    def close(self):
        """Give the connection back; at the end of a request no error would find a handler."""
        try:
            super().close()
        except DBAPIError:  # it died, and with it what was not committed
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


class OutOfStock(Exception):
    """Fewer pieces are left than the order asks for."""


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


def place_order(product_id, quantity, customer=None):
    """Take the pieces and write the order, in one transaction.

    Returns the order as a dict, or None where there is no such product; raises OutOfStock.
    """
    # One statement looks and takes: no other buyer comes between the two.
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
    total = price * quantity
    order = Order(product_id=product_id, quantity=quantity, total_cents=total, customer=customer)
    db.session.add(order)
    db.session.flush()  # PostgreSQL gives the order its id
    placed = order_as_dict(order)
    db.session.commit()
    return placed


def find_order(order_id, customer=None):
    """The order as a dict, or None; for a customer, None too where it is another's."""
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
