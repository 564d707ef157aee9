"""What all routes share: ids in paths, JSON in, errors as JSON. The same file in all five steps."""

import re

from flask import abort, current_app, jsonify, request
from psycopg2.errors import ReadOnlySqlTransaction
from sqlalchemy.exc import DataError, DBAPIError, OperationalError
from werkzeug.exceptions import HTTPException
from werkzeug.routing import IntegerConverter

import shop

MAX_BODY_BYTES = 16 * 1024


class IdConverter(IntegerConverter):
    # \d would match the digits of every script. Python refuses to read an int of 5,000 digits.
    regex = r"[0-9]{1,18}"


def init_app(app):
    # Werkzeug silently truncates a chunked body at its limit: one byte more tells us that it did.
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES + 1
    app.url_map.merge_slashes = False  # "//" is unknown, rather than redirected to a page.
    app.url_map.converters["id"] = IdConverter
    app.register_error_handler(HTTPException, handle_http_error)
    app.register_error_handler(DBAPIError, handle_database_error)
    app.register_error_handler(shop.OutcomeUnknown, handle_unknown_outcome)


def json_fields(**field_types):
    """The named fields of the JSON body, in that order, each of the type given (int or str)."""
    if not request.is_json:
        abort(415, "The Content-Type must be application/json.")
    read_body()
    try:
        body = request.get_json(silent=True)  # None if it isn't JSON.
    except RecursionError:  # Ten thousand opening brackets do this.
        body = None
    if not isinstance(body, dict):
        abort(400, "The body must be a JSON object.")
    for name, field_type in field_types.items():
        if type(body.get(name)) is not field_type:  # isinstance would let true pass as an int.
            abort(400, f"{name} must be {'a whole number' if field_type is int else 'a text'}.")
    return [body[name] for name in field_types]


def read_body():
    """Read the body, which Flask then keeps; 413 if it is too long, 400 if it can't be read."""
    try:
        body = request.get_data()
    except HTTPException:
        raise
    except Exception:  # Each server has an exception of its own for malformed chunks.
        abort(400, "The body could not be read.")
    if len(body) > MAX_BODY_BYTES:
        abort(413)


def idempotency_key():
    """The Idempotency-Key header, or None without one; 400 if it can't be a key."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not re.fullmatch("[!-~]{1,255}", key):
        abort(400, "The Idempotency-Key must have 1 to 255 ASCII characters and no spaces.")
    return key


def handle_http_error(error):
    response = error.get_response()  # It keeps headers such as Allow.
    response.data = jsonify(message=error.description).data
    response.content_type = "application/json"
    return response


def handle_database_error(error):
    if isinstance(error, DataError):  # For instance a total that doesn't fit into its column.
        return {"message": "A number is too large."}, 400
    is_read_only = isinstance(error.orig, ReadOnlySqlTransaction)  # as it may be after a failover
    if not (error.connection_invalidated or is_read_only or isinstance(error, OperationalError)):
        raise error  # It is a mistake in this code, not PostgreSQL's absence.
    current_app.logger.warning("PostgreSQL: %s", error.orig)
    return {"message": "The database does not answer. Try again."}, 503, {"Retry-After": "1"}


def handle_unknown_outcome(error):
    """503 without Retry-After: a client that simply tried again might order twice."""
    current_app.logger.warning("PostgreSQL, during COMMIT: %s", error.__cause__.orig)
    message = (
        "The order may have been placed: repeat the request only if it has an Idempotency-Key."
    )
    return {"message": message}, 503
