"""The pool: connections stay open, and a request borrows one for as long as it needs it."""

from sqlalchemy.exc import TimeoutError as PoolTimeout

DEFAULTS = {
    "POOL_SIZE": 10,
    "MAX_OVERFLOW": 5,  # beyond POOL_SIZE, closed when they come back and POOL_SIZE are idle
    "POOL_TIMEOUT": 2,  # whole seconds to wait for a connection before the answer is 503
    "STATEMENT_TIMEOUT": 10.0,  # seconds until PostgreSQL gives up a query
}


def engine_options(config, name):
    """What SQLAlchemy's create_engine takes; `name` is what pg_stat_activity shows."""
    return {
        "pool_size": config["POOL_SIZE"],
        "max_overflow": config["MAX_OVERFLOW"],
        "pool_timeout": config["POOL_TIMEOUT"],
        "pool_pre_ping": True,  # a connection that died in the pool is replaced
        "connect_args": {
            "application_name": name,
            "options": f"-c statement_timeout={config['STATEMENT_TIMEOUT'] * 1000:.0f}",
        },
    }


def init_app(app):
    app.register_error_handler(PoolTimeout, pool_is_full)


def pool_is_full(error):
    return {"message": "All connections are in use. Try again."}, 503, {"Retry-After": "1"}
