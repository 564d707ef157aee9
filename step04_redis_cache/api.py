"""What all routes share: ids in paths, JSON in, errors as JSON. The same file in all five steps."""

from flask import abort, current_app, jsonify, request
from sqlalchemy.exc import DBAPIError, OperationalError
from werkzeug.exceptions import HTTPException
from werkzeug.routing import IntegerConverter


LIMIT = 16 * 1024  # bytes of a request's body


class Id(IntegerConverter):
    regex = r"\d{1,18}"  # Python refuses to read an int of 5,000 digits


def init_app(app):
    app.config["MAX_CONTENT_LENGTH"] = LIMIT
    app.url_map.merge_slashes = False  # no redirect to a page: "//" is unknown
    app.url_map.converters["id"] = Id
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(DBAPIError, database_error)


def json_fields(**kinds):
    """The named fields of the JSON body, in that order, each of the type given (int or str)."""
    if not request.is_json:
        abort(415, "The Content-Type must be application/json.")
    # A body in chunks tells no length: Werkzeug cuts it off at the limit.
    if request.content_length is None and len(request.get_data()) >= LIMIT:
        abort(413)
    try:
        body = request.get_json(silent=True)  # None where it is no JSON
    except RecursionError:  # ten thousand opening brackets
        body = None
    if not isinstance(body, dict):
        abort(400, "The body must be a JSON object.")
    for name, kind in kinds.items():
        if type(body.get(name)) is not kind:  # isinstance would let true pass as an int
            abort(400, f"{name} must be {'a whole number' if kind is int else 'a text'}.")
    return [body[name] for name in kinds]


def http_error(error):
    response = error.get_response()  # keeps headers such as Allow
    response.data = jsonify(message=error.description).data
    response.content_type = "application/json"
    return response


def database_error(error):
    if not (error.connection_invalidated or isinstance(error, OperationalError)):
        raise error  # a mistake in this code, not PostgreSQL's absence
    current_app.logger.warning("PostgreSQL: %s", error.orig)
    return {"message": "The database does not answer. Try again."}, 503, {"Retry-After": "1"}
