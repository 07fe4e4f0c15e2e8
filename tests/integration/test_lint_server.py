"""What our rules say of rewrites and scans is what the server does, which says so at DEBUG1."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from migrations.lint import rules, scripts
from migrations.lint.render import Emitted, Rendered
from migrations.revisions import Revision
from tests.postgres import Database

pytestmark = pytest.mark.postgres

TABLES = (
    "CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (1), (5);"
    "CREATE TABLE t (id int, name text); INSERT INTO t SELECT 1, 'x' FROM generate_series(1, 10)"
)
LONG_WORK = ("rewriting table", "verifying table", "validating foreign key")
RULES = {"GAIA020", "GAIA021", "GAIA022", "GAIA023", "GAIA027"}


@pytest.fixture
def connection(empty_database: Database) -> Iterator[psycopg.Connection[Any]]:
    with empty_database.connect() as connection:
        connection.execute(TABLES.encode())
        connection.execute("SET client_min_messages = debug1")
        yield connection


def works_long(connection: psycopg.Connection[Any], sql: str) -> bool:
    """Whether the server reads or writes the whole table for ``sql``."""
    said: list[str] = []
    connection.add_notice_handler(lambda notice: said.append(notice.message_primary or ""))
    connection.execute(sql.encode())
    return any(message.startswith(LONG_WORK) for message in said)


def is_found(sql: str) -> bool:
    revision = Revision(id="0001", down=None, title="", path=Path("0001.py"))
    emitted = (Emitted(text=sql, line=1, block=0),)
    up = Rendered(revision=revision, up=True, emitted=emitted)
    found = rules.findings([scripts.parse(up)], {"0001": "0001.py"})
    return bool(RULES & {f.id for f in found})


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE t ADD COLUMN c int",
        "ALTER TABLE t ADD COLUMN c int DEFAULT 5 NOT NULL",
        "ALTER TABLE t ADD COLUMN c timestamptz DEFAULT now()",
        "ALTER TABLE t ADD COLUMN c text DEFAULT to_char(now(), 'YYYY')",
        "ALTER TABLE t ADD COLUMN c uuid DEFAULT gen_random_uuid()",
        "ALTER TABLE t ADD COLUMN c timestamptz DEFAULT clock_timestamp()",
        "ALTER TABLE t ADD COLUMN c serial",
        "ALTER TABLE t ADD COLUMN c int GENERATED ALWAYS AS IDENTITY",
        "ALTER TABLE t ADD COLUMN c int GENERATED ALWAYS AS (id + 1) STORED",
        "ALTER TABLE t ADD COLUMN c int CHECK (c > 0)",
        "ALTER TABLE t ADD COLUMN c int DEFAULT 5 CHECK (c > 0)",
        "ALTER TABLE t ADD COLUMN c int REFERENCES u",
        "ALTER TABLE t ADD COLUMN c int DEFAULT 5 REFERENCES u",
        "ALTER TABLE t ADD FOREIGN KEY (id) REFERENCES u",
        "ALTER TABLE t ADD FOREIGN KEY (id) REFERENCES u NOT VALID",
        "ALTER TABLE t ALTER COLUMN id TYPE bigint",
        "ALTER TABLE t ALTER COLUMN name SET DEFAULT ''",
        "ALTER TABLE t ALTER COLUMN id SET NOT NULL",
    ],
)
def test_the_rules_and_the_server_agree(connection: psycopg.Connection[Any], sql: str) -> None:
    assert is_found(sql) == works_long(connection, sql)


def test_a_validated_check_saves_the_scan_for_not_null(connection: psycopg.Connection[Any]) -> None:
    add = "ALTER TABLE t ADD CONSTRAINT c CHECK (id IS NOT NULL)"
    connection.execute(add.encode())
    sql = "ALTER TABLE t ALTER COLUMN id SET NOT NULL"
    assert not works_long(connection, sql)
    assert not is_found(f"{add}; {sql}")
