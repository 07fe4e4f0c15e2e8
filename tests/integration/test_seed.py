"""``./gaia seed`` on a real server: every row or none, nothing overwritten, the same for the same plan."""

import datetime as dt
from typing import Any

import psycopg
import pytest

from db.seed.load import TABLES, load
from db.seed.plan import Plan
from migrations import partitions, runner
from ops import seed
from ops.exits import OpsError, Refused
from ops.report import Report
from tests.postgres import Database, Server

pytestmark = pytest.mark.postgres

PLAN = Plan.of(users=30, messages=2_000, campaigns=12, until=dt.datetime.now(dt.UTC).date())
GIVEN = {
    "auth.users": "user_id, username, email, is_admin, created_at",
    "game.campaigns": "campaign_id, owner_id, name, settings",
    "game.chat_history": "campaign_id, user_id, role, content, metadata, created_at",
}
"""What doesn't come from sequences or the time of the run."""


def counts(database: Database) -> dict[str, int]:
    with database.connect() as connection:
        return {table: _one(connection, f"SELECT count(*) FROM {table}") for table in TABLES}


def contents(database: Database) -> dict[str, str]:
    with database.connect() as connection:
        return {
            table: _one(
                connection,
                f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM (SELECT {columns} FROM {table}) t",
            )
            for table, columns in GIVEN.items()
        }


def _one(connection: psycopg.Connection[Any], query: str) -> Any:
    row = connection.execute(query.encode()).fetchone()
    assert row
    return row[0]


def fill(database: Database, plan: Plan = PLAN, *, add: bool = False) -> dict[str, int]:
    return seed.fill(Report(), database.url, plan, add=add)


def test_every_table_has_rows_and_the_messages_are_as_many_as_asked_for(database: Database) -> None:
    made = fill(database)
    there = counts(database)

    assert made["auth.users"] == there["auth.users"] == 30
    assert made["game.campaigns"] == there["game.campaigns"] == 12
    assert made["game.chat_history"] == there["game.chat_history"] == 2_000
    assert min(there.values()) > 0


def test_every_month_of_the_last_two_years_has_messages(database: Database) -> None:
    fill(database)
    with database.connect() as connection:
        months = _one(connection, "SELECT count(DISTINCT tableoid) FROM game.chat_history")
    assert months in (24, 25)  # on the first of a month the current one has none yet


def test_users_that_are_there_are_not_touched_unless_it_may_add(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("INSERT INTO auth.users (username, email) VALUES ('ada', 'ada@example.org')")
    before = counts(database)

    with pytest.raises(Refused, match=r"1 users already: add to them with --add"):
        fill(database)
    assert counts(database) == before

    fill(database, add=True)
    fill(database, add=True)
    assert counts(database)["auth.users"] == 61
    assert counts(database)["game.chat_history"] == 4_000


def test_the_same_plan_makes_the_same_database(database: Database, server: Server, template: Database) -> None:
    fill(database)
    other = server.create("seed_again", template=template.name)
    try:
        fill(other)
        assert contents(other) == contents(database)
    finally:
        server.drop(other.name)


def test_an_interrupted_seed_leaves_nothing(database: Database) -> None:
    partitions.maintain(database.url, since=PLAN.since)
    before = counts(database)  # the audit log has the partitions that were made

    def interrupt(table: str, _rows: int) -> None:
        if table == "game.chat_history":
            raise KeyboardInterrupt

    with database.connect() as connection, pytest.raises(KeyboardInterrupt):
        load(connection, PLAN, interrupt)
    assert counts(database) == before
    assert before["auth.users"] == 0

    fill(database)
    assert counts(database)["game.chat_history"] == 2_000


def test_rows_that_are_there_already_are_refused_in_a_sentence(database: Database) -> None:
    fill(database)
    with database.connect() as connection:  # as many users as before the first run, and a campaign's key taken
        connection.execute("SET session_replication_role = replica; DELETE FROM auth.users")
    before = counts(database)

    with pytest.raises(OpsError, match="nothing was changed: take another --seed"):
        fill(database)
    assert counts(database) == before


def test_a_database_behind_head_is_refused(database: Database) -> None:
    runner.downgrade(database.url, "-1")
    with pytest.raises(OpsError, match=r"run \./gaia migrate upgrade"):
        fill(database)
