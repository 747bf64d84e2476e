"""The server that the tests of PostgreSQL run on."""

import pytest

from .postgres_server import PostgresServer

psycopg = pytest.importorskip("psycopg")


def test_each_test_has_an_empty_database_of_its_own(postgres_dsn: str, postgres_server: PostgresServer) -> None:
    other = postgres_server.new_database()
    with psycopg.connect(postgres_dsn) as connection:
        connection.execute("CREATE TABLE mine (id int)")
    with psycopg.connect(other) as connection, pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("SELECT * FROM mine")


def test_what_was_committed_outlives_a_crash(postgres_dsn: str, postgres_server: PostgresServer) -> None:
    with psycopg.connect(postgres_dsn) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS id")
    postgres_server.crash()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(postgres_dsn)
    postgres_server.start()
    with psycopg.connect(postgres_dsn) as connection:
        assert connection.execute("SELECT id FROM kept").fetchone() == (42,)
