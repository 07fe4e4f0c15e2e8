"""Every question of ``./gaia stats`` on a real PostgreSQL: it answers, it shows what was made, it waits for nobody."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from db.begin import opening
from ops import stats
from ops.stacks import Login
from ops.statistics import live, look
from ops.statistics.look import Answer
from ops.statistics.section import Section
from ops.statistics.sections import SECTIONS
from tests.integration.test_migrations_schema import STATISTICS_QUERIES
from tests.postgres import PASSWORDS, SUPERUSER, Database

pytestmark = pytest.mark.postgres

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 10.0


@contextlib.contextmanager
def looking(database: Database, user: str = SUPERUSER) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    login = Login(
        host="127.0.0.1",
        port=database.server.port,
        database=database.name,
        user=user,
        password=database.server.password if user == SUPERUSER else PASSWORDS[user],
    )
    with stats.connect(login) as connection:
        yield connection


def asked(database: Database, *names: str, user: str = SUPERUSER) -> list[Answer]:
    with looking(database, user) as connection:
        return list(look.take(connection, stats.chosen(names)).answers)


def rows(database: Database, name: str) -> list[dict[str, Any]]:
    (answer,) = asked(database, name)
    assert not answer.error
    return answer.document()["rows"]


def until(database: Database, name: str, count: int) -> list[dict[str, Any]]:
    """The rows of a section once there are so many: a session takes a moment to begin to wait."""
    deadline = time.monotonic() + WAIT_S
    while len(found := rows(database, name)) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


@contextlib.contextmanager
def waiting(database: Database, statement: str, name: str) -> Iterator[None]:
    """A session that runs a statement it has to wait for; cancelled at the end."""
    with psycopg.connect(database.url, application_name=name) as connection:

        def run() -> None:
            with contextlib.suppress(psycopg.Error):
                connection.execute(statement.encode())

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            connection.cancel_safe()
            thread.join()


@pytest.mark.parametrize("user", [SUPERUSER, "gaia_readonly", "gaia_app", "gaia_migrator"])
def test_every_section_is_answered_as_any_login(database: Database, user: str) -> None:
    for answer in asked(database, user=user):
        assert answer.error == "", answer.section.name
        assert all(len(row) == len(answer.section.columns) for row in answer.rows)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
def test_a_sections_columns_are_those_of_its_queries(database: Database, section: Section) -> None:
    with looking(database) as connection:
        for sql in filter(None, (section.sql.replace("'gaia'", "current_database()"), section.otherwise)):
            view = "(SELECT 1 calls, 1.0 total_exec_time, 1.0 mean_exec_time, 1 rows, '' query, 0 dbid) AS v"
            found = connection.execute(sql.replace("{view}", view).encode()).description
            assert [column.name for column in found or []] == list(section.columns)


def test_the_documents_three_queries_are_asked_as_printed() -> None:
    printed = [" ".join(part.split()) for part in STATISTICS_QUERIES.split(";")]
    for section, title in zip(stats.chosen(["database,tables,connections"]), printed, strict=False):
        assert title == f"-- {section.title} {' '.join(section.sql.split())}"


def test_the_database_need_not_have_the_documents_name(database: Database) -> None:
    assert database.name != "gaia"
    assert rows(database, "database")[0]["size_mb"] > 0
    assert database.name in [row["datname"] for row in rows(database, "connections")]


def test_an_empty_database_can_be_looked_at(empty_database: Database) -> None:
    assert [answer.section.name for answer in asked(empty_database) if answer.error] == []


def test_the_look_reads_alone(database: Database) -> None:
    with looking(database) as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.execute("DELETE FROM auth.users")


def test_it_is_seen_who_blocks_whom_and_with_what(database: Database) -> None:
    with psycopg.connect(database.url, application_name="holder") as holder:
        holder.execute("LOCK TABLE auth.users IN SHARE MODE")
        pid = str(holder.info.backend_pid)
        with waiting(database, "UPDATE auth.users SET username = 'secret'", "first"):
            found = until(database, "locks", 1)
            with waiting(database, "UPDATE auth.users SET email = 'secret'", "second"):
                both = until(database, "locks", 2)
    (row,) = found
    assert (row["by"], row["by_state"], row["lock"], row["on"]) == (
        pid,
        "idle in transaction",
        "RowExclusive",
        "auth.users",
    )
    assert row["blocked_runs"] == "UPDATE auth.users SET username = ?"
    assert row["by_runs"] == "LOCK TABLE auth.users IN SHARE MODE"
    assert len(both) == 2 and {row["by"] for row in both} == {pid}


def test_who_waits_for_a_row_is_seen_too(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("INSERT INTO auth.users (username, email) VALUES ('a', 'a@example.com')")
    with psycopg.connect(database.url) as holder:
        holder.execute("UPDATE auth.users SET is_admin = true")
        with waiting(database, "DELETE FROM auth.users", "deletes"):
            (row,) = until(database, "locks", 1)
        assert row["on"] == "transactionid" and row["by"] == str(holder.info.backend_pid)


def test_locked_tables_make_nobody_wait_and_the_rest_is_still_told(database: Database) -> None:
    began_s = time.monotonic()
    asked(database)
    free_s = time.monotonic() - began_s
    with psycopg.connect(database.url) as holder:
        holder.execute("LOCK TABLE auth.users")
        holder.execute("LOCK TABLE game.chat_history")
        began_s = time.monotonic()
        answers = asked(database)
        took_s = time.monotonic() - began_s
    assert {answer.section.name: answer.error for answer in answers if answer.error} == {}
    sizes = {row[1]: row[2] for answer in answers if answer.section.name == "tables" for row in answer.rows}
    assert sizes["users"] == sizes["chat_history"] == "locked"
    assert sizes["campaigns"].endswith(("kB", "bytes"))
    assert took_s < 2 + 5 * free_s, "it waits for none of them"


def test_it_holds_no_lock_between_its_questions(database: Database) -> None:
    with looking(database) as connection:
        look.take(connection, SECTIONS)
        with connection.transaction():
            for section in SECTIONS:
                look._answer(connection, section, database.name)
            held = connection.execute(
                "SELECT relation::regclass::text FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation'"
            ).fetchall()
    assert held == [("pg_locks",)], "of the query that asks for them"


def test_a_long_transaction_is_listed_with_what_it_ran_last(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(database.url, application_name="importer") as connection:
        connection.execute("SELECT count(*) FROM auth.users WHERE email <> 'secret'")
        time.sleep(0.2)
        assert rows(database, "long-transactions") == []
        (section,) = stats.chosen(["long-transactions"])
        short = section.sql.replace("interval '10 s'", "interval '0.1 s'")
        with looking(database) as looks:
            answer = look._asked(looks, section, short, database.name)
    (row,) = answer.document()["rows"]
    assert row["application_name"] == "importer" and row["state"] == "idle in transaction" and row["open_s"] > 0.1
    assert row["runs"] == "SELECT count(*) FROM auth.users WHERE email <> ?"


def test_an_identity_in_a_running_statement_is_not_shown(database: Database) -> None:
    with psycopg.connect(database.url, application_name="backend") as connection:
        connection.execute(opening("BEGIN", "v1.tok3n", 0).encode())
        (section,) = stats.chosen(["long-transactions"])
        with looking(database) as looks:
            seen = looks.execute("SELECT query FROM pg_stat_activity WHERE application_name = 'backend'").fetchone()
            answer = look._asked(looks, section, section.sql.replace("'10 s'", "'0 s'"), database.name)
        connection.rollback()
    assert seen and "tok3n" in seen[0]
    (row,) = answer.document()["rows"]
    assert row["runs"] == "BEGIN; RESET ALL; CLOSE ALL; COMMIT; BEGIN; SELECT set_config(?,?,true)"


def test_an_index_that_does_what_another_does_is_named_with_the_other(database: Database) -> None:
    assert rows(database, "duplicate-indexes") == []
    with database.connect() as connection:
        connection.execute("CREATE TABLE game.t (a int, b int, c text, UNIQUE (a, b))")
        connection.execute("CREATE INDEX same_1 ON game.t (b, c)")
        connection.execute("CREATE INDEX same_2 ON game.t (b, c)")
        connection.execute("CREATE INDEX beginning ON game.t (a)")
        connection.execute("CREATE INDEX like_the_key ON game.t (a, b)")
        connection.execute("CREATE INDEX other_order ON game.t (a DESC)")
        connection.execute("CREATE INDEX other_class ON game.t (c text_pattern_ops)")
        connection.execute("CREATE INDEX some_rows ON game.t (b) WHERE a > 0")
        connection.execute("CREATE INDEX expression ON game.t (lower(c))")
        connection.execute("CREATE UNIQUE INDEX guards ON game.t (b)")
        connection.execute("CREATE INDEX second_of_partitioned ON game.chat_history (user_id)")
    found = {row["index"]: (row["because_of"], row["how"]) for row in rows(database, "duplicate-indexes")}
    assert found == {
        "game.same_2": ("game.same_1", "same"),
        "game.beginning": ("game.t_a_b_key", "its beginning"),
        "game.like_the_key": ("game.t_a_b_key", "same"),
        "game.second_of_partitioned": ("game.ix_chat_history_user_id", "same"),
    }
    assert all(row["size_bytes"] > 0 for row in rows(database, "duplicate-indexes"))


def test_an_index_is_unused_until_it_is_used_and_what_keeps_rows_unique_is_never_listed(database: Database) -> None:
    def listed() -> set[str]:
        return {row["index"] for row in rows(database, "unused-indexes")}

    with database.connect() as connection:
        connection.execute("CREATE TABLE game.t (a int PRIMARY KEY, b int)")
        connection.execute("INSERT INTO game.t SELECT n, n FROM generate_series(1, 1000) n")
        connection.execute("CREATE INDEX used ON game.t (b)")
        assert "game.used" in listed() and "game.t_pkey" not in listed()
        connection.execute("SET enable_seqscan = off")
        connection.execute("SELECT a FROM game.t WHERE b = 5")
        connection.execute("SELECT pg_stat_force_next_flush()")
        connection.execute("SELECT 1")
    assert "game.used" not in listed()
    assert "game.ix_chat_history_user_id" in listed(), "of partitions only the whole is listed"
    assert [name for name in listed() if "chat_history_20" in name] == []


def test_bloat_is_near_what_vacuum_full_gives_back(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("CREATE TABLE game.t (a bigint PRIMARY KEY, b text, c timestamptz DEFAULT now())")
        connection.execute("INSERT INTO game.t SELECT n, repeat('x', 40 + n % 20) FROM generate_series(1, 60000) n")
        connection.execute("ANALYZE game.t")
        assert [row for row in rows(database, "bloat") if "game.t" in row["relation"]] == []
        connection.execute("DELETE FROM game.t WHERE a % 2 = 0")
        connection.execute("VACUUM ANALYZE game.t")
        found = {row["relation"]: row for row in rows(database, "bloat")}
        before = _size(connection, "game.t")
        connection.execute("VACUUM FULL game.t")
        given_back = before - _size(connection, "game.t")
    assert found["game.t"]["wasted_bytes"] == pytest.approx(given_back, rel=0.2)
    assert found["game.t"]["kind"] == "table"


def test_dead_rows_and_the_last_vacuum_are_told(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("CREATE TABLE game.t AS SELECT n FROM generate_series(1, 100) n")
        connection.execute("DELETE FROM game.t WHERE n <= 40")
        connection.execute("SELECT pg_stat_force_next_flush()")
        connection.execute("SELECT 1")
        before = {row["table"]: row for row in rows(database, "vacuum")}["game.t"]
        connection.execute("VACUUM game.t")
        after = {row["table"]: row for row in rows(database, "vacuum")}["game.t"]
    assert (before["live"], before["dead"], before["dead_percent"], before["vacuumed"]) == (60, 40, 40.0, None)
    assert after["dead"] == 0 and after["vacuumed"]


def test_sequential_scans_and_index_scans_are_counted_for_a_partitioned_table_as_one(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("SELECT count(*) FROM game.chat_history")
        connection.execute("SELECT pg_stat_force_next_flush()")
        connection.execute("SELECT 1")
    found = {row["table"]: row for row in rows(database, "index-use")}
    assert found["game.chat_history"]["by_scan"] >= 13
    assert [name for name in found if "chat_history_20" in name] == []


def test_the_next_missing_month_is_named(database: Database) -> None:
    def missing() -> dict[str, str]:
        return {row["parent"]: row["missing"] for row in rows(database, "partitions")}

    before = rows(database, "partitions")
    assert {row["parent"] for row in before} == {"game.chat_history", "audit.security_events"}
    assert all(row["partitions"] >= 13 and row["size_bytes"] > 0 for row in before)
    assert all(month > row["last"] for row, month in zip(before, missing().values(), strict=True))
    last = before[0]["last"]
    with database.connect() as connection:
        partition = f"{before[0]['parent']}_{last.replace('-', '_')}"
        connection.execute(f"ALTER TABLE {before[0]['parent']} DETACH PARTITION {partition}".encode())
    assert missing()[before[0]["parent"]] == last


def test_rows_in_a_default_partition_are_counted(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("CREATE TABLE game.p (a int) PARTITION BY RANGE (a)")
        connection.execute("CREATE TABLE game.p_default PARTITION OF game.p DEFAULT")
        connection.execute("INSERT INTO game.p SELECT generate_series(1, 7)")
        connection.execute("SELECT pg_stat_force_next_flush()")
        connection.execute("SELECT 1")
    found = {row["parent"]: row for row in rows(database, "partitions")}["game.p"]
    assert (found["in_default"], found["rows"], found["missing"]) == (7, 7, None)


def test_cache_and_transaction_ids_are_told(database: Database) -> None:
    assert [row["what"] for row in rows(database, "cache")] == ["tables", "indexes"]
    ages = {row["what"]: row for row in rows(database, "freeze")}
    assert 0 < ages[f"database {database.name}"]["age"] < 10_000_000
    with psycopg.connect(database.url) as holder:
        holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        holder.execute("SELECT 1")
        assert f"snapshot of pid {holder.info.backend_pid}" in {row["what"] for row in rows(database, "freeze")}


def test_a_slot_that_nobody_reads_is_listed(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("SELECT pg_create_physical_replication_slot('left_over', true)")
        try:
            (row,) = rows(database, "replication")
        finally:
            connection.execute("SELECT pg_drop_replication_slot('left_over')")
    assert row["what"] == "slot left_over" and row["state"] == "not active" and row["behind_bytes"] >= 0


def test_without_the_extension_one_line_says_how_to_get_it(database: Database) -> None:
    (answer,) = asked(database, "statements")
    assert answer.rows == () and "CREATE EXTENSION pg_stat_statements" in answer.absent


def test_where_the_view_of_the_extension_is_its_statements_come_by_their_time(database: Database) -> None:
    """A view of the same shape: the environment's PostgreSQL has no contrib."""
    with database.connect() as connection:
        connection.execute("CREATE SCHEMA ext")
        connection.execute(
            "CREATE VIEW ext.pg_stat_statements AS SELECT d.oid AS dbid, v.* FROM pg_database d, (VALUES"
            " (2::bigint, 100.0::float8, 50.0::float8, 2::bigint, 'SELECT $1'),"
            " (1, 9000.0, 9000.0, 0, 'ALTER ROLE x PASSWORD ''secret''')"
            ") AS v (calls, total_exec_time, mean_exec_time, rows, query)"
        )
    assert rows(database, "statements") == [
        {"calls": 1, "total_s": 9.0, "mean_ms": 9000.0, "rows": 0, "runs": "ALTER ROLE x …"},
        {"calls": 2, "total_s": 0.1, "mean_ms": 50.0, "rows": 2, "runs": "SELECT $1"},
    ]


def test_a_section_that_fails_is_told_in_its_place_and_the_others_are_answered(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("CREATE VIEW game.pg_stat_statements AS SELECT 1 AS calls")
    broken, fine = asked(database, "statements", "sessions")
    assert "does not exist" in broken.error and not fine.error and fine.rows


def test_a_live_view_goes_on_when_the_server_drops_its_session(database: Database) -> None:
    login = Login(
        host="127.0.0.1",
        port=database.server.port,
        database=database.name,
        user=SUPERUSER,
        password=database.server.password,
    )
    watched = live.Watched(lambda: stats.connect(login), stats.chosen(["traffic"]))
    try:
        first = watched.look()
        with database.connect() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s",
                (stats.APPLICATION_NAME,),
            )
        again = watched.look()
        assert watched.lost and again and first and again.taken_s == first.taken_s
        found = watched.look()
    finally:
        watched.close()
    assert not watched.lost and found
    assert list(found.answers[0].section.columns) == ["what", "total", "per_second"]


@contextlib.contextmanager
def live_view(database: Database) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The live view in a terminal of 80 columns; with the end that a person sits at."""
    code = (
        "import os; from ops import stats; from ops.statistics import live; from ops.stacks import Login;"
        f"login = Login(host='127.0.0.1', port={database.server.port}, database='{database.name}', user='{SUPERUSER}',"
        " password=os.environ['SECRET']);"
        "live.watch(lambda: stats.connect(login), stats.chosen([]), where='here', every_s=0.3, every_row=False)"
    )
    person, program = pty.openpty()
    fcntl.ioctl(program, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {**os.environ, "SECRET": database.server.password, "TERM": "xterm"}
    environment.pop("COLUMNS", None)
    environment.pop("LINES", None)
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, stdin=program, stdout=program, stderr=program
    )
    try:
        yield process, person
    finally:
        process.kill()
        process.wait()
        os.close(program)
        os.close(person)


def read_until(terminal: int, words: bytes) -> bytes:
    """What a program showed, up to these words."""
    seen, deadline = b"", time.monotonic() + 60
    while words not in seen and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            seen += os.read(terminal, 65536)
    return seen


@pytest.mark.parametrize("end", ["q", "SIGINT", "SIGTERM"])
def test_the_live_view_leaves_the_terminal_as_it_was(database: Database, end: str) -> None:
    with live_view(database) as (process, terminal):
        before = termios.tcgetattr(terminal)
        seen = read_until(terminal, b"q ends")
        assert b"\x1b[?1049h" in seen and b"here: PostgreSQL 16" in seen and b"page 1 of " in seen
        assert termios.tcgetattr(terminal) != before, "keys are read without Enter"
        os.write(terminal, b" ")
        assert b"page 2 of " in read_until(terminal, b"page 2 of ")
        if end == "q":
            os.write(terminal, b"q")
        else:
            process.send_signal(signal.Signals[end])
        assert b"\x1b[?1049l" in read_until(terminal, b"\x1b[?1049l")
        assert process.wait(timeout=30) == 0
        assert termios.tcgetattr(terminal) == before


def test_all_of_it_takes_less_than_half_a_second(database: Database) -> None:
    with looking(database) as connection:
        taken = [look.take(connection, SECTIONS).seconds for _ in range(3)]
    assert min(taken) < 0.5


def test_a_server_that_does_not_answer_is_said_with_the_way_out(database: Database) -> None:
    from ops.exits import Missing

    login = Login(host="127.0.0.1", port=1, database="gaia", user="gaia", password="hush" * 4)
    with pytest.raises(Missing, match=r"no connection to 127.0.0.1:1 as gaia: .*: run ./gaia up") as caught:
        stats.connect(login)
    assert "hush" not in str(caught.value)


def _size(connection: psycopg.Connection[Any], table: str) -> int:
    row = connection.execute("SELECT pg_relation_size(%s::regclass)", (table,)).fetchone()
    assert row
    return int(row[0])
