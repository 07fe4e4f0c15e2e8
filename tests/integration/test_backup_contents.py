"""What is in a table, as a count and a hash: whoever asks, whatever their settings, and nothing else makes it equal."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from backup import contents
from backup.contents import TableContent, differences
from tests.postgres import Database

pytestmark = pytest.mark.postgres

KINDS = """
CREATE TYPE public.mood AS ENUM ('fine', 'bad');
CREATE DOMAIN public.short AS text CHECK (length(VALUE) < 9);
CREATE TABLE public.kinds (
    a bigint, b text, c jsonb, d timestamptz, e numeric, f float8, g bytea, h inet, i interval, j uuid, k tsvector,
    l public.mood, m public.short, n public.mood[], o regclass, p text[], q money, "r ""s"" t" date, t "char",
    made text GENERATED ALWAYS AS (b || '!') STORED)
"""
ROW = """
INSERT INTO public.kinds VALUES (1, 'ü', '{"a": 1.10}', '2026-11-23 12:00+00', 1.50, 0.1, '\\x00ff', '10.0.0.1/8',
    '1 mon 2 days', '00000000-0000-0000-0000-000000000001', 'a:1 b:2', 'fine', 'short', '{bad,fine}', 'pg_class',
    '{"a b",NULL}', 12.34, '2026-11-23', 'x')
"""


def of(connection: psycopg.Connection[Any], name: str) -> TableContent:
    return contents.contents(connection, [name])[name]


def test_the_order_of_rows_does_not_count_but_each_row_does(empty_database: Database) -> None:
    with empty_database.connect() as connection:
        connection.execute("CREATE TABLE public.t (a int, b text)")
        seen = []
        for rows in (
            *("(1,'x'),(2,'y')", "(2,'y'),(1,'x')", "(1,'x'),(2,'y'),(2,'y')", "(1,'y'),(2,'x')", "(1,'x'),(2,NULL)"),
            "(1,'x')",
        ):
            connection.execute(f"TRUNCATE public.t; INSERT INTO public.t VALUES {rows}".encode())
            seen.append(of(connection, "public.t"))
    assert seen[0] == seen[1]
    assert len({content.hash[:16] for content in seen}) == len({content.hash[16:] for content in seen}) == 5
    assert [content.rows for content in seen] == [2, 2, 3, 2, 2, 1]


def test_two_equal_rows_are_not_none_and_null_is_not_the_empty_text(empty_database: Database) -> None:
    with empty_database.connect() as connection:
        connection.execute("CREATE TABLE public.t (a text, b text)")
        hashes = set()
        for rows in ("('','')", "(NULL,'')", "('',NULL)", "(NULL,NULL)", "('','a'),('','a')", "('a',''),('a','')"):
            connection.execute(f"TRUNCATE public.t; INSERT INTO public.t VALUES {rows}".encode())
            hashes.add(of(connection, "public.t").hash)
    assert len(hashes) == 6


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("a", "2"), ("b", "'u'"), ("c", """'{"a": 1.1}'"""), ("d", "d + interval '1 microsecond'"), ("e", "1.5")),
        *(("f", "0.1 + 1e-17 * 4"), ("g", r"'\x00fe'"), ("h", "'10.0.0.1/9'"), ("i", "'32 days'"), ("k", "'a:1 b:3'")),
        *(("l", "'bad'"), ("m", "'shorT'"), ("n", "'{fine,bad}'"), ("o", "'pg_type'"), ("p", '\'{"a b","NULL"}\'')),
        *(("q", "12.35"), ('"r ""s"" t"', "'2026-11-24'"), ("t", "'y'"), ("j", "NULL")),
    ],
)
def test_the_smallest_change_of_any_kind_of_value_is_seen(empty_database: Database, column: str, value: str) -> None:
    with empty_database.connect() as connection:
        connection.execute(KINDS.encode())
        connection.execute(ROW.encode())
        before = of(connection, "public.kinds")
        connection.execute(f"UPDATE public.kinds SET {column} = {value}".encode())
        assert of(connection, "public.kinds").hash != before.hash


def test_neither_settings_nor_the_numbers_and_order_of_things_change_it(empty_database: Database) -> None:
    with empty_database.connect() as connection:
        connection.execute(KINDS.encode())
        connection.execute(ROW.encode())
        before = of(connection, "public.kinds")
        for setting in (
            *("TimeZone = 'Asia/Tokyo'", "DateStyle = 'German'", "IntervalStyle = 'iso_8601'"),
            *(
                "bytea_output = 'escape'",
                "extra_float_digits = 0",
                "search_path = 'public'",
                "client_encoding = 'LATIN1'",
            ),
        ):
            connection.execute(f"SET {setting}".encode())
        assert of(connection, "public.kinds") == before
        # The same table, its types and columns made anew: other numbers, another order, a column that was dropped.
        connection.execute("DROP TABLE public.kinds; DROP DOMAIN public.short; DROP TYPE public.mood")
        connection.execute(KINDS.replace("a bigint, b text,", "gone int, b text, a bigint,").encode())
        connection.execute("ALTER TABLE public.kinds DROP COLUMN gone; SET client_encoding = 'UTF8'; RESET TimeZone")
        connection.execute("RESET IntervalStyle; RESET DateStyle")
        connection.execute(ROW.replace("VALUES (1, 'ü',", "VALUES ('ü', 1,").encode())
        assert of(connection, "public.kinds") == before
        connection.execute("RESET ALL")


def test_a_table_without_columns_has_its_rows_counted(empty_database: Database) -> None:
    with empty_database.connect() as connection:
        connection.execute("CREATE TABLE public.t (); INSERT INTO public.t DEFAULT VALUES")
        assert of(connection, "public.t").rows == 1


def test_the_backup_role_the_owner_and_the_superuser_find_the_same(database: Database) -> None:
    with database.connect() as connection:
        connection.execute(
            "INSERT INTO auth.users (username, email)"
            " SELECT 'user' || n, n || '@example.invalid' FROM generate_series(1, 50) n"
        )
        connection.execute(
            "INSERT INTO audit.security_events (event_type, created_at)"
            " SELECT 'login', now() - n * interval '1 hour' FROM generate_series(1, 20) n"
        )
        found = []
        for role in ("NONE", "gaia_owner", "gaia_backup"):
            connection.execute(f"SET ROLE {role}".encode())
            found.append(contents.contents(connection))
    assert found[0] == found[1] == found[2]
    assert found[0]["auth.users"].rows == 50


def test_every_partition_and_the_revision_are_in_it_and_the_keys_are_not(database: Database) -> None:
    with database.connect() as connection:
        row = connection.execute(
            "SELECT min(inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = 'game.chat_history'::regclass"
        )
        (partition,) = row.fetchone() or ("",)
        connection.execute(f"ALTER TABLE game.chat_history DETACH PARTITION {partition}".encode())
        found = contents.contents(connection)
    assert {partition, "auth.users", "public.alembic_version"} <= set(found)
    assert not {"auth.identity_keys", "game.chat_history"} & set(found)


def test_a_difference_is_a_sentence() -> None:
    before = {name: TableContent(rows=2, hash=name * 8) for name in "abc"}
    now = {"a": before["a"], "b": TableContent(rows=3, hash="x"), "c": TableContent(rows=2, hash="x"), "d": before["a"]}
    assert differences(before, before) == []
    assert differences(before, now) == [
        "b has 3 rows instead of 2",
        "c has 2 rows, as it should, but other values in them",
        "d is one too many",
    ]
    assert differences(before, {}) == ["a is missing", "b is missing", "c is missing"]
