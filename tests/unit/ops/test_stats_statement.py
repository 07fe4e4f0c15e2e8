"""A statement is shown without anything in it that could be a secret."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.begin import opening
from db.identity import sign
from ops.statistics.statement import LONGEST, shown

SECRET = "tok3n"


@pytest.mark.parametrize("hidden_bytes", [0, 1, 20, 5_000])
def test_the_message_that_begins_a_transaction_shows_no_identity(hidden_bytes: int) -> None:
    token = sign("ab" * 32, UUID(int=1), 2_000_000_000)
    message = opening("BEGIN ISOLATION LEVEL READ COMMITTED", token, hidden_bytes)
    for cut in range(len(message) - len(token) - 20, len(message) + 1):
        said = shown(message[:cut]) or ""
        assert not any(part in said for part in (token, token[:12], *token.split(".")) if len(part) > 3), said
    assert (shown(message) or "").endswith("BEGIN ISOLATION LEVEL READ COMMITTED; SELECT set_config(?,?,true)")


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT *\n FROM auth.users\tWHERE email = 'a@b' -- x", "SELECT * FROM auth.users WHERE email = ?"),
        ("SELECT a1, $1, 12.5e3, t2.x FROM t2", "SELECT a1, $1, ?, t2.x FROM t2"),
        ("select 'it''s', E'a\\'b', U&'x', $$d$$, $t$d$t$, x'ab'", "select ?, ?, U&?, ?, ?, x?"),
        ("SELECT '", "SELECT ?"),
        ("COMMIT", "COMMIT"),
        ("", ""),
    ],
)
def test_literals_go_and_the_rest_stays(sql: str, said: str) -> None:
    assert shown(sql) == said


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT '{SECRET}', E'\\'{SECRET}', $${SECRET}$$, $a${SECRET}$$ {SECRET}$a$",
        f"SELECT 'cut off {SECRET}",
        f"SELECT $q$cut off {SECRET}",
        f"SELECT E'cut \\' off {SECRET}",
        f"SELECT 1 /* cut off {SECRET}",
        f"SELECT 1 /* a /* b */ {SECRET} */",
        f"SELECT 1 -- {SECRET}\n, 2",
        f"SELECT '\\', '{SECRET}'",
        f"SELECT '\\'{SECRET}'",
        f"SET app.identity = {SECRET}",
        f"SET LOCAL app.identity TO {SECRET}; SELECT 1",
        f"BEGIN; SET app.identity TO {SECRET}",
        f"/* x */ ALTER ROLE gaia_app PASSWORD '{SECRET}'",
        f"ALTER ROLE gaia_app SET app.identity TO {SECRET}",
        f"CREATE USER x IN ROLE y PASSWORD '{SECRET}'",
        f"ALTER SYSTEM SET primary_conninfo = {SECRET}",
        f"CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql SET app.identity TO {SECRET} AS 'SELECT 1'",
        f"DO $$ BEGIN PERFORM {SECRET}; END $$",
        f"PREPARE p AS SELECT {SECRET}",
        f"CREATE USER MAPPING FOR x SERVER y OPTIONS (password '{SECRET}')",
    ],
)
def test_no_secret_is_shown(sql: str) -> None:
    assert SECRET not in (shown(sql) or "")


@given(text=st.text(alphabet="ab1 '\"$;/*-\\E\n\x1b\0", max_size=60))
def test_whatever_comes_is_one_line_that_is_not_too_long(text: str) -> None:
    said = shown(text * 8)
    assert said is not None and len(said) <= LONGEST and said.isprintable()


@given(secret=st.text(alphabet="xyz", min_size=4, max_size=8), before=st.text(alphabet="ab ,()$1;\n", max_size=20))
def test_what_stands_in_quotes_is_never_shown(secret: str, before: str) -> None:
    assert secret not in (shown(f"SELECT {before} '{secret}', $q${secret}$q$, E'\\'{secret}'") or "")
