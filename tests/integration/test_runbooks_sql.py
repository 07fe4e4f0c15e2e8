"""The SQL of the runbooks and of docs/production.md, as it stands there, on a real PostgreSQL."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.postgres import Database

pytestmark = pytest.mark.postgres

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "docs" / "production.md", *sorted((ROOT / "docs" / "runbooks").glob("*.md"))]
QUERIES = [
    (page.stem, sql.strip())
    for page in PAGES
    for found in re.findall(
        r"psql\.sh (?:<<'SQL'\n(.*?)^SQL$|-c \"([^\"]*)\")", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    for sql in found
    if sql.strip()
]
MENDING = [
    (page.stem, sql)
    for page in PAGES
    for sql in re.findall(r"`((?:SELECT|SET ROLE) [^`]*)`", page.read_text(encoding="utf-8"))
    if "…" not in sql
]


@pytest.mark.parametrize(("page", "sql"), QUERIES, ids=[page for page, _ in QUERIES])
def test_what_a_page_looks_at_can_be_looked_at(shared_database: Database, page: str, sql: str) -> None:
    here = sql.replace("'gaia'", "current_database()")
    with shared_database.connect() as connection:
        for statement in filter(str.strip, here.split(";")):
            connection.execute(statement.encode())


@pytest.mark.parametrize(("page", "sql"), MENDING, ids=[page for page, _ in MENDING])
def test_what_a_page_mends_with_is_sql(shared_database: Database, page: str, sql: str) -> None:
    with shared_database.connect() as connection:
        for statement in filter(str.strip, sql.split(";")):
            if statement.strip().startswith("SELECT"):
                one = statement.replace("<pid>", "0").replace("<name>", "x")
                connection.execute(b"EXPLAIN " + one.encode())
            else:
                connection.execute(statement.encode())


def test_every_page_that_needs_the_database_has_sql_here() -> None:
    assert len(QUERIES) >= 10 and len({page for page, _ in QUERIES}) >= 8
