"""A restored database is what was backed up, or nothing was touched."""

import dataclasses
import gzip
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from backup import contents, databases, folder, restore
from backup.contents import TableContent
from backup.errors import BackupBusy, BackupDamaged, BackupMissing, BackupRefused, RestoreFailed
from backup.folder import Entry
from backup.manifest import DumpFormat
from migrations import ddl_audit, guards, identity, partitions, roles, runner
from tests.postgres import IDENTITY_KEY, Database
from tests.restoring import back_up, drop_kept, manifest_of, named_after, put_back, rewritten

pytestmark = pytest.mark.postgres

MARK = "a user who was there before"


@pytest.fixture
def target(database: Database) -> Iterator[Database]:
    """A database at head, without rows; what restores put aside goes at the end."""
    yield database
    drop_kept(database)


@pytest.fixture
def full(target: Database) -> Database:
    """The same with a row that no backup has."""
    with target.connect() as connection:
        connection.execute("INSERT INTO auth.users (username, email) VALUES (%s, 'b@example.invalid')", (MARK,))
    return target


def untouched(database: Database) -> bool:
    """Whether the database has its row, and no other one was made of it."""
    with database.connect() as connection:
        row = connection.execute("SELECT array_agg(username) FROM auth.users").fetchone()
    return row == ([MARK],) and named_after(database) == [database.name]


def test_the_restored_database_is_the_one_that_was_backed_up(full: Database, backed_up: Entry) -> None:
    said: list[str] = []
    done = put_back(full, backed_up, replace=True, say=said.append)

    known = manifest_of(backed_up)
    assert (done.revision, done.rows, done.tables) == (known.revision, known.rows, len(known.tables))
    assert said[-1] == "swapping the names"
    with full.connect() as connection:
        found = contents.contents(connection)
        assert contents.differences(known.tables, found) == []
        assert guards.missing(connection) == []
        assert ddl_audit.missing(connection) == []
        assert partitions.missing(connection) == []
        assert roles.missing(connection) == []
        assert identity.missing(connection, [IDENTITY_KEY]) == []
        row = connection.execute("SELECT count(*) > 0 FROM pg_stats WHERE schemaname = 'game'").fetchone()
        assert row == (True,), "nothing was analyzed"
    assert done.kept is not None and named_after(full) == [full.name, done.kept]
    with psycopg.connect(full.server.url(done.kept)) as connection:
        assert connection.execute("SELECT username FROM auth.users").fetchall() == [(MARK,)]
    with full.connect("gaia_app") as connection:
        assert connection.execute("SELECT count(*) FROM auth.users").fetchone() == (0,), "policies don't hold"


@pytest.mark.parametrize("form", ["directory", "sql.gz"])
def test_an_empty_database_needs_no_replace_and_is_not_kept(target: Database, tmp_path: Path, form: DumpFormat) -> None:
    with target.connect() as connection:
        connection.execute(f"INSERT INTO auth.users (username, email) VALUES ('{MARK}', 'b@example.invalid')".encode())
    entry = back_up(target, tmp_path / "backups", form)
    with target.connect() as connection:
        connection.execute("DELETE FROM auth.users")

    assert put_back(target, entry).kept is None
    assert untouched(target)


def test_a_file_of_plain_sql_without_manifest_is_restored_too(target: Database, tmp_path: Path) -> None:
    entry = back_up(target, tmp_path / "backups", "sql.gz")
    entry.manifest_file.unlink()

    done = put_back(target, folder.look(entry.path))
    assert (done.revision, done.tables) == (runner.head(), len(manifest_of(entry).tables))


def test_a_backup_from_before_the_newest_revision_stays_at_its_own(target: Database, tmp_path: Path) -> None:
    before = runner.history()[-2].id
    runner.downgrade(target.url, before)
    entry = back_up(target, tmp_path / "backups")
    runner.upgrade(target.url, "head")

    assert put_back(target, entry).revision == before
    assert runner.current(target.url) == before
    runner.upgrade(target.url, "head")
    with target.connect() as connection:
        assert guards.missing(connection) == []


def test_a_database_with_rows_is_refused_without_replace(full: Database, backed_up: Entry) -> None:
    with pytest.raises(BackupRefused, match=r"is not empty \(rows in auth.users\): .* --replace"):
        put_back(full, backed_up)
    assert untouched(full)


def test_a_damaged_backup_is_refused(full: Database, copy: Entry) -> None:
    file = next(file for file in (copy.path / "dump").iterdir() if file.stat().st_size > 1000)
    content = bytearray(file.read_bytes())
    content[500] ^= 1
    file.write_bytes(content)
    with pytest.raises(BackupDamaged, match=f"{file.name}"):
        put_back(full, copy, replace=True)
    assert untouched(full)


def test_a_backup_of_a_newer_major_version_is_refused(full: Database, copy: Entry) -> None:
    with pytest.raises(BackupRefused, match="was made by PostgreSQL 17, this server is PostgreSQL 16"):
        put_back(full, rewritten(copy, postgres_version="17.1"), replace=True)
    assert untouched(full)


def test_a_backup_that_needs_a_role_which_is_missing_is_refused(full: Database, copy: Entry) -> None:
    known = manifest_of(copy)
    with pytest.raises(BackupRefused, match=r"the server lacks grafana, which .* CREATE ROLE"):
        put_back(full, rewritten(copy, roles=(*known.roles, "grafana")), replace=True)
    assert untouched(full)


def test_a_backup_at_a_revision_that_nobody_here_knows_is_refused(full: Database, copy: Entry) -> None:
    with pytest.raises(BackupRefused, match="is at revision 9999, which this checkout doesn't have"):
        put_back(full, rewritten(copy, revision="9999"), replace=True)
    assert untouched(full)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-- Dumped from database version 17.2", "was made by PostgreSQL 17"),
        ("CREATE TABLE public.alembic_version (version_num text); INSERT INTO public.alembic_version VALUES ('9999');",
         "is at revision 9999"),
        ("SELECT 1/0;", "division by zero"),
    ],
)  # fmt: skip
def test_plain_sql_that_does_not_fit_touches_nothing(full: Database, tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "gaia_backup_20260101_000000.sql.gz"
    file.write_bytes(gzip.compress(f"--\n{line}\n--\n-- PostgreSQL database dump complete\n--\n".encode()))
    with pytest.raises((BackupRefused, RestoreFailed), match=said):
        put_back(full, folder.look(file), replace=True)
    assert untouched(full)


@pytest.mark.parametrize("share", [0.3, 0.999, None])
def test_plain_sql_that_was_cut_is_refused(full: Database, tmp_path: Path, share: float | None) -> None:
    entry = back_up(full, tmp_path / "backups", "sql.gz")
    entry.manifest_file.unlink()
    packed = entry.path.read_bytes()
    # None: the text was cut before it was packed, as by a pg_dump that was killed in a pipe.
    cut = packed[: int(len(packed) * share)] if share else gzip.compress(gzip.decompress(packed)[:5000])
    entry.path.write_bytes(cut)
    with pytest.raises(BackupDamaged, match="is missing; take another backup"):
        put_back(full, folder.look(entry.path), replace=True)
    assert untouched(full)


def test_rows_other_than_the_manifest_says_never_become_the_database(full: Database, copy: Entry) -> None:
    tables = dict(manifest_of(copy).tables)
    users = tables["auth.users"]
    tables["auth.users"] = TableContent(rows=users.rows + 1, hash=users.hash)
    tables["auth.sessions"] = dataclasses.replace(tables["auth.sessions"], hash="0" * 32)
    said = r"auth.sessions has .* other values in them; auth.users has 30 rows instead of 31"
    with pytest.raises(RestoreFailed, match=said):
        put_back(full, rewritten(copy, tables=tables), replace=True)
    assert untouched(full)


def test_a_sequence_that_is_behind_never_becomes_the_database(full: Database, copy: Entry) -> None:
    known = manifest_of(copy)
    name = next(iter(known.sequences))
    with pytest.raises(RestoreFailed, match=f"the sequence {name} is at .*, before {10**15}"):
        put_back(full, rewritten(copy, sequences={**known.sequences, name: 10**15}), replace=True)
    assert untouched(full)


def test_a_policy_other_than_the_manifest_says_never_becomes_the_database(full: Database, copy: Entry) -> None:
    known = manifest_of(copy)
    name = next(name for name in known.guards if name.startswith("policy"))
    with pytest.raises(RestoreFailed, match=f"{name} is another"):
        put_back(full, rewritten(copy, guards={**known.guards, name: "0" * 16}), replace=True)
    assert untouched(full)


def test_what_a_killed_restore_left_is_named_and_removed(full: Database, backed_up: Entry) -> None:
    left = f"{full.name}_restore_20260101_000000"
    full.server.create(left)
    said: list[str] = []
    with psycopg.connect(full.server.url(left)):  # what it had started may still be at work
        done = put_back(full, backed_up, replace=True, say=said.append)
    assert said[0] == f"removing {left}, which a killed restore left"
    assert named_after(full) == [full.name, done.kept]


STEPS = ["loading", "table game.", "comparing", "compared game.", "roles", "swapping"]


@pytest.mark.parametrize(
    ("form", "step"), [*(("directory", step) for step in STEPS), ("sql.gz", "100 %"), ("sql.gz", "comparing")]
)
def test_ctrl_c_at_any_step_leaves_the_old_database_and_nothing_else(
    full: Database, backed_up: Entry, tmp_path: Path, step: str, form: DumpFormat
) -> None:
    def interrupt(line: str) -> None:
        if line.startswith(step):
            raise KeyboardInterrupt

    entry = backed_up if form == "directory" else back_up(full, tmp_path / "backups", form)
    with pytest.raises(KeyboardInterrupt):
        put_back(full, entry, replace=True, say=interrupt, now=interrupt)
    assert untouched(full)


def test_the_database_that_was_put_aside_can_serve_again(full: Database, backed_up: Entry) -> None:
    kept = put_back(full, backed_up, replace=True).kept
    assert kept is not None
    with pytest.raises(BackupRefused, match="--replace"):
        restore.bring_back(full.url, kept, replace=False)
    with pytest.raises(BackupMissing, match=f"there is: {kept}"):
        restore.bring_back(full.url, f"{full.name}_before_20200101_000000", replace=True)
    other = restore.bring_back(full.url, kept, replace=True)
    assert named_after(full) == [full.name, other]
    with full.connect() as connection:
        assert connection.execute("SELECT username FROM auth.users").fetchall() == [(MARK,)]


def test_a_second_restore_waits_for_nobody(full: Database, backed_up: Entry) -> None:
    with databases.alone(full.url), pytest.raises(BackupBusy, match="another restore"):
        put_back(full, backed_up, replace=True)
    assert untouched(full)


def test_a_restore_that_is_over_is_in_nobodys_way(full: Database) -> None:
    for _ in range(100):
        with databases.alone(full.url):
            pass


def test_rows_that_are_written_into_an_empty_database_meanwhile_are_kept(target: Database, backed_up: Entry) -> None:
    def write(line: str) -> None:
        if line == "swapping the names":
            with target.connect() as connection:
                connection.execute("INSERT INTO auth.users (username, email) VALUES (%s, 'b@example.invalid')", (MARK,))

    done = put_back(target, backed_up, say=write)
    assert done.kept is not None
    with psycopg.connect(target.server.url(done.kept)) as connection:
        assert connection.execute("SELECT username FROM auth.users").fetchall() == [(MARK,)]


def test_what_moves_between_tables_while_it_is_backed_up_is_neither_lost_nor_there_twice(
    target: Database, tmp_path: Path
) -> None:
    """Money moves from one table to another all the time: the sum is the same in every snapshot."""
    accounts, sum_of_all = 20, 20 * 2 * 100
    with target.connect() as connection:
        for table in ("purse", "bank"):
            connection.execute(f"CREATE TABLE game.{table} (id int PRIMARY KEY, gold int NOT NULL)".encode())
            connection.execute(f"INSERT INTO game.{table} SELECT n, 100 FROM generate_series(1, {accounts}) n".encode())
            connection.execute(f"ALTER TABLE game.{table} OWNER TO gaia_owner".encode())
            connection.execute(f"GRANT SELECT ON game.{table} TO gaia_backup".encode())
    done, moves = threading.Event(), [0] * 4

    def move(number: int) -> None:
        with psycopg.connect(target.url, autocommit=True) as connection:
            while not done.is_set():
                gold, which = (1 if moves[number] % 2 else -1), 1 + (moves[number] * 7 + number) % accounts
                with connection.transaction():
                    for table, sign in (("purse", -1), ("bank", 1)):  # in this order: no deadlock
                        connection.execute(
                            f"UPDATE game.{table} SET gold = gold + {sign * gold} WHERE id = {which}".encode()
                        )
                moves[number] += 1

    writers = [threading.Thread(target=move, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    try:
        entry = back_up(target, tmp_path / "backups")
    finally:
        done.set()
        for writer in writers:
            writer.join()

    put_back(target, entry, replace=True)
    with target.connect() as connection:
        row = connection.execute(
            "SELECT (SELECT sum(gold) FROM game.purse) + (SELECT sum(gold) FROM game.bank)"
        ).fetchone()
    assert row == (sum_of_all,)
    assert min(moves) > 0
