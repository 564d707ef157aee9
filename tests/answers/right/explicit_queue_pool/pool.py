"""A pool of connections that a function of ours opens."""

import psycopg2
from flask import jsonify
from sqlalchemy import QueuePool, make_url
from sqlalchemy.exc import TimeoutError as NoConnectionLeft

DEFAULTS = {"POOL_SIZE": 10, "MAX_OVERFLOW": 5, "POOL_TIMEOUT": 2.0, "STATEMENT_TIMEOUT": 10.0}


def engine_options(config, name):
    address = make_url(config["DATABASE_URL"]).translate_connect_args(
        username="user", database="dbname"
    )

    def connect():
        connection = psycopg2.connect(**address, application_name=name)
        with connection.cursor() as cursor:
            milliseconds = int(config["STATEMENT_TIMEOUT"] * 1000)
            cursor.execute("SELECT set_config('statement_timeout', %s, false)", [str(milliseconds)])
        connection.commit()
        return connection

    return {
        "creator": connect,
        "poolclass": QueuePool,
        "pool_size": config["POOL_SIZE"],
        "max_overflow": config["MAX_OVERFLOW"],
        "pool_timeout": config["POOL_TIMEOUT"],
        "pool_use_lifo": True,
        "pool_pre_ping": True,
    }


def init_app(app):
    @app.errorhandler(NoConnectionLeft)
    def busy(error):
        response = jsonify(message="Too many requests need the database: try again soon.")
        response.status_code = 503
        response.retry_after = 2
        return response
