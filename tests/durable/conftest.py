"""What the tests of durable runs share."""

from .postgres_server import postgres_dsn, postgres_server

__all__ = ["postgres_dsn", "postgres_server"]
