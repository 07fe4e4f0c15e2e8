"""A backup is of one moment, holds every row, and is there as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from backup import contents, dump, folder, moment
from backup.errors import DumpFailed
from backup.folder import Entry
from backup.manifest import DumpFormat
from migrations.errors import ConnectionFailed
from tests.postgres import Database, Server

pytestmark = pytest.mark.postgres
FORMATS: tuple[DumpFormat, ...] = ("directory", "sql.gz")

PEOPLE = """
INSERT INTO auth.users (username, email) SELECT 'user' || n, n || '@example.invalid' FROM generate_series(1, 200) n;
INSERT INTO game.campaigns (owner_id, name) SELECT user_id, username FROM auth.users;
INSERT INTO game.chat_history (campaign_id, user_id, role, content)
    SELECT campaign_id, owner_id, 'user', repeat(md5(n::text), 20) FROM game.campaigns, generate_series(1, {each}) n;
"""


MOVE = """
WITH gone AS (DELETE FROM game.purse WHERE owner = (SELECT min(owner) FROM game.purse) RETURNING *)
INSERT INTO game.vault SELECT * FROM gone
"""


def fill(database: Database, each: int = 5) -> None:
    with database.connect() as connection:
        connection.execute(PEOPLE.format(each=each).encode())


def back_up(database: Database, place: Path, dump_format: DumpFormat = "directory") -> Entry:
    with folder.locked(place, "a test"):
        return dump.make(
            place, url=database.url, stack="local", binaries=database.server.binaries, dump_format=dump_format
        )


@contextlib.contextmanager
def restored(entry: Entry, server: Server, name: str) -> Iterator[Database]:
    """What PostgreSQL's own programs make of a backup."""
    copy = server.create(name)
    try:
        if entry.packed:
            text = subprocess.run(["gzip", "-dc", entry.path], check=True, capture_output=True).stdout
            command = [server.binaries / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", copy.url]
            subprocess.run(command, input=text, check=True, stdout=subprocess.DEVNULL)
        else:
            command = [server.binaries / "pg_restore", "--exit-on-error", "-j2", "-d", copy.url, entry.archive]
            subprocess.run(command, check=True)
        yield copy
    finally:
        server.drop(name)


@pytest.mark.parametrize("dump_format", FORMATS)
def test_it_says_what_is_in_it_and_postgresql_brings_exactly_that_back(
    database: Database, tmp_path: Path, dump_format: DumpFormat
) -> None:
    fill(database)
    entry = back_up(database, tmp_path, dump_format)
    known = entry.manifest
    assert known
    assert folder.verify(entry).verified
    with database.connect() as connection:
        assert contents.contents(connection) == dict(known.tables)  # a superuser sees every row
    assert (known.stack, known.database, known.revision) == ("local", database.name, "0009")
    assert known.postgres_version.startswith("16.")
    assert {"gaia_owner", "gaia_backend", "gaia_backup", "gaia_readonly", "gaia_auditor"} <= set(known.roles)
    assert known.extensions == {"plpgsql": "1.0"}
    assert known.sequences == {"game.chat_history_message_id_seq": 1000}
    assert known.left_out == ("auth.identity_keys",)
    with restored(entry, database.server, "brought_back") as copy, copy.connect() as connection:
        assert contents.differences(known.tables, contents.contents(connection)) == []
        assert connection.execute("SELECT count(*) FROM auth.identity_keys").fetchone() == (0,)
        assert connection.execute("SELECT nextval('game.chat_history_message_id_seq')").fetchone() == (1001,)


@pytest.mark.parametrize("dump_format", FORMATS)
def test_it_is_of_one_moment_while_money_moves_and_tables_are_emptied(
    database: Database, tmp_path: Path, dump_format: DumpFormat
) -> None:
    fill(database, each=50)
    with database.connect() as connection:
        connection.execute(
            "CREATE TABLE game.purse (owner int, gold int); CREATE TABLE game.vault (owner int, gold int);"
            "INSERT INTO game.purse SELECT n, 100 FROM generate_series(1, 50) n;"
            "ALTER TABLE game.purse OWNER TO gaia_owner; ALTER TABLE game.vault OWNER TO gaia_owner;"
            "GRANT SELECT ON game.purse, game.vault TO gaia_backup"
        )
    stop, moved = threading.Event(), [0]

    def move() -> None:
        with psycopg.connect(database.url, autocommit=True) as connection:
            connection.execute("SET lock_timeout = '300ms'")  # as a migration
            while not stop.is_set():
                connection.execute(MOVE.encode())
                if moved[0] % 20 == 19:  # all back, by the one statement that no snapshot withstands
                    with contextlib.suppress(psycopg.errors.LockNotAvailable), connection.transaction():
                        connection.execute("TRUNCATE game.purse, game.vault")
                        connection.execute("INSERT INTO game.purse SELECT n, 100 FROM generate_series(1, 50) n")
                moved[0] += 1

    mover = threading.Thread(target=move)
    mover.start()
    try:
        while moved[0] < 5:
            time.sleep(0.01)
        before = moved[0]
        entry = back_up(database, tmp_path, dump_format)
        assert moved[0] > before
    finally:
        stop.set()
        mover.join()
    known = entry.manifest
    assert known
    assert known.tables["game.purse"].rows + known.tables["game.vault"].rows == 50
    with restored(entry, database.server, "money") as copy, copy.connect() as connection:
        assert contents.differences(known.tables, contents.contents(connection)) == []


@pytest.mark.parametrize("dump_format", FORMATS)
def test_all_of_it_is_for_its_owner_alone(database: Database, tmp_path: Path, dump_format: DumpFormat) -> None:
    before = os.umask(0o022)
    try:
        back_up(database, tmp_path / "backups", dump_format)
    finally:
        os.umask(before)
    for path in (tmp_path / "backups", *(tmp_path / "backups").rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_a_policy_that_hides_rows_from_the_backup_is_noticed(database: Database, tmp_path: Path) -> None:
    fill(database)
    with database.connect() as connection:
        connection.execute("DROP POLICY readers ON auth.users")
    with pytest.raises(DumpFailed, match=r"sees 0 of the 200 rows of auth\.users"):
        back_up(database, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_table_that_it_may_not_read_is_named_with_the_way_out(database: Database, tmp_path: Path) -> None:
    with database.connect() as connection:
        connection.execute("CREATE TABLE public.of_somebody (a int)")
    with pytest.raises(DumpFailed, match=r"table of_somebody.*\./gaia up, or grant it"):
        back_up(database, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_table_that_somebody_changes_keeps_it_waiting_only_so_long(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moment, "LOCK_TIMEOUT_MS", 200)
    with psycopg.connect(database.url) as other:
        other.execute("LOCK TABLE game.campaigns IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DumpFailed, match="locked by somebody who changes it"):
            back_up(database, tmp_path)


def test_without_roles_or_server_it_says_what_to_do(empty_database: Database, tmp_path: Path) -> None:
    with pytest.raises(ConnectionFailed), folder.locked(tmp_path, "a test"):
        dump.make(tmp_path, url="postgresql://gaia:x@127.0.0.1:1/gaia", stack="local", binaries=Path("/nowhere"))
    entry = back_up(empty_database, tmp_path)
    assert entry.manifest
    assert (entry.manifest.revision, entry.manifest.rows) == (None, 0)


def test_ctrl_c_leaves_nothing_and_ends_the_dump(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database)
    monkeypatch.setattr(contents, "_CONTENT", "SELECT 0, 0, 0 FROM pg_sleep(60)")  # a large table
    started = time.monotonic()

    def interrupt(_progress: dump.Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), folder.locked(tmp_path, "a test"):
        dump.make(tmp_path, url=database.url, stack="local", binaries=database.server.binaries, on_progress=interrupt)
    assert time.monotonic() - started < 30
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    with database.connect() as connection:
        deadline = time.monotonic() + 10
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'gaia-backup'"
        while connection.execute(query).fetchone() != (0,) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert connection.execute(query).fetchone() == (0,)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a megabyte."""
    place = tmp_path / "tiny"
    place.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("needs the right to mount a small disk: root, on Linux")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("dump_format", FORMATS)
def test_a_full_disk_is_said_and_what_was_there_stays(
    database: Database, tiny_disk: Path, dump_format: DumpFormat
) -> None:
    small = back_up(database, tiny_disk, dump_format)
    with database.connect() as connection:
        connection.execute("CREATE TABLE game.noise AS SELECT sha512(n::text::bytea) FROM generate_series(1, 40000) n")
        connection.execute("GRANT SELECT ON game.noise TO gaia_backup")
    with pytest.raises(DumpFailed, match=r"the disk .*is full"):
        back_up(database, tiny_disk, dump_format)
    assert [entry.name for entry in folder.entries(tiny_disk)] == [small.name]
    assert folder.verify(small).verified
    assert [path for path in tiny_disk.iterdir() if path.name.endswith(".partial")] == []


def test_the_sessions_password_is_in_no_argument(database: Database, tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def look(_progress: dump.Progress) -> None:
        import psutil

        seen.extend(child.cmdline() for child in psutil.Process().children() if child.name() == "pg_dump")

    fill(database, each=100)
    with folder.locked(tmp_path, "a test"):
        dump.make(tmp_path, url=database.url, stack="local", binaries=database.server.binaries, on_progress=look)
    assert seen
    assert not [word for words in seen for word in words if database.server.password in word]
