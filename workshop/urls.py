"""A database's URL, as libpq and as SQLAlchemy read it."""

DRIVER = "postgresql+psycopg2://"
SCHEMES = (DRIVER, "postgresql://", "postgres://")


def libpq_url(url: str) -> str:
    """The URL as libpq, psql and psycopg2 read it: without SQLAlchemy's driver."""
    return url.replace(DRIVER, "postgresql://", 1)


def sqlalchemy_url(url: str) -> str:
    """The URL as SQLAlchemy reads it: with the driver. Raises ValueError for another scheme."""
    for scheme in SCHEMES:
        if url.startswith(scheme):
            return DRIVER + url.removeprefix(scheme)
    raise ValueError("must begin with postgresql:// (or postgres://, postgresql+psycopg2://)")
