"""A backup that is killed, or whose disk or server fails: nothing bad is ever listed, and what was there stays."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from backup import dump, folder
from backup.errors import DumpFailed
from backup.folder import Entry
from backup.manifest import DumpFormat
from migrations import bootstrap
from tests import postgres
from tests.postgres import Database

pytestmark = pytest.mark.postgres
ROOT = Path(__file__).resolve().parents[2]
Counts = Callable[[int, int], int]
Record = Callable[[str, str], None]

# Says when it begins, so that the kill can come at any moment of the work itself.
CHILD = """
import os, pathlib
from backup import dump, folder
place = pathlib.Path(os.environ["PLACE"])
with folder.locked(place, "./gaia backup"):
    print("begun", flush=True)
    dump.make(place, url=os.environ["URL"], stack="local", binaries=pathlib.Path(os.environ["BINARIES"]),
              dump_format=os.environ["FORM"])
"""
ROWS = """
INSERT INTO auth.users (username, email) SELECT 'user' || n, n || '@example.invalid' FROM generate_series(1, 50) n;
INSERT INTO game.campaigns (owner_id, name) SELECT user_id, username FROM auth.users;
INSERT INTO game.chat_history (campaign_id, user_id, role, content, created_at)
    SELECT campaign_id, owner_id, 'user', encode(sha512(n::text::bytea), 'hex'), now() + n % 6 * interval '1 month'
    FROM game.campaigns, generate_series(1, 400) n;
"""


@pytest.fixture(scope="module")
def own_server() -> Iterator[Database]:
    """A server that may be killed, with a database that has rows."""
    if (reason := postgres.unavailable()) is not None:
        pytest.skip(reason)
    with postgres.running() as server:
        database = server.create("gaia")
        bootstrap.apply(database.url, passwords=postgres.PASSWORDS, identity_keys=[postgres.IDENTITY_KEY])
        with database.connect() as connection:
            connection.execute(ROWS)
        yield database


def back_up(database: Database, place: Path, dump_format: DumpFormat = "directory") -> Entry:
    with folder.locked(place, "a test"):
        return dump.make(
            place, url=database.url, stack="local", binaries=database.server.binaries, dump_format=dump_format
        )


def begin(database: Database, place: Path, dump_format: DumpFormat) -> subprocess.Popen[str]:
    """A backup in a process of its own, from the moment on at which it has the folder."""
    environment = {**os.environ, "PLACE": str(place), "URL": database.url, "FORM": dump_format}
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD],
        cwd=ROOT,
        env={**environment, "BINARIES": str(database.server.binaries)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout and process.stdout.readline() == "begun\n"
    return process


def end(process: subprocess.Popen[str]) -> int:
    """Wait for it, and return how it ended."""
    assert process.stdout
    process.stdout.close()
    return process.wait(timeout=60)


def whole_time(database: Database, place: Path, dump_format: DumpFormat) -> float:
    """Seconds of a backup that nobody disturbs."""
    process = begin(database, place, dump_format)
    started = time.monotonic()
    assert end(process) == 0
    return time.monotonic() - started


def require_good(place: Path, before: set[str]) -> set[str]:
    """All that is listed is whole, and all that was is listed still."""
    listed = folder.entries(place)
    assert [entry.name for entry in listed if not entry.verified] == []
    for entry in listed:
        folder.check(entry)
    names = {entry.name for entry in listed}
    assert before <= names
    return names


def require_clean(place: Path) -> None:
    """The next command finds nothing in its way, and leaves only what is listed."""
    with folder.locked(place, "the next"):
        folder.clear(place)
    assert [path.name for path in place.iterdir() if path.name.startswith(".") and path.name != ".lock"] == []
    assert [process.pid for process in psutil.process_iter() if _dumps_into(process, place)] == []


def _dumps_into(process: psutil.Process, place: Path) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.name() == "pg_dump" and any(str(place) in word for word in process.cmdline())
    return False


def wait_until_it_answers(database: Database) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with database.connect() as connection:
                connection.execute("SELECT 1")
            return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@pytest.mark.timeout(1800)
def test_killed_at_any_moment_it_leaves_nothing_on_the_list(
    own_server: Database, tmp_path: Path, counts: Counts, record: Record
) -> None:
    dice, times = random.Random(), counts(5, 50)
    names = {back_up(own_server, tmp_path).name, back_up(own_server, tmp_path, "sql.gz").name}
    whole = min(whole_time(own_server, tmp_path, form) for form in ("directory", "sql.gz"))
    names, killed = require_good(tmp_path, names), 0
    for number in range(times):
        process = begin(own_server, tmp_path, "sql.gz" if number % 2 else "directory")
        time.sleep(dice.uniform(0, whole) if number else 0)
        process.send_signal(signal.SIGKILL)
        killed += end(process) == -signal.SIGKILL
        names = require_good(tmp_path, names)
        require_clean(tmp_path)
        names = require_good(tmp_path, names)
    assert killed
    back_up(own_server, tmp_path)
    record(
        "SIGKILL of a backup", f"{times} at random moments, {killed} before its end: nothing bad listed, old ones whole"
    )


@pytest.mark.timeout(1800)
def test_when_its_server_crashes_it_says_so_and_leaves_nothing(
    own_server: Database, tmp_path: Path, counts: Counts, record: Record
) -> None:
    dice, times = random.Random(), counts(3, 20)
    whole = min(whole_time(own_server, tmp_path, form) for form in ("directory", "sql.gz"))
    names = require_good(tmp_path, set())
    failed = 0
    for number in range(times):
        victim = psycopg.connect(own_server.url)
        process = begin(own_server, tmp_path, "sql.gz" if number % 2 else "directory")
        time.sleep(dice.uniform(0, whole) if number else 0)
        # One backend killed: PostgreSQL ends all the others and recovers.
        os.kill(victim.info.backend_pid, signal.SIGKILL)
        failed += end(process) != 0
        victim.close()
        names = require_good(tmp_path, names)
        assert [path.name for path in tmp_path.iterdir() if path.name.endswith((".partial", ".unfinished"))] == []
        wait_until_it_answers(own_server)
    assert failed
    back_up(own_server, tmp_path)
    record("server killed during a backup", f"{times} times, {failed} backups failed: none listed, old ones whole")


def test_on_a_full_disk_it_says_so_and_leaves_nothing(
    own_server: Database, tmp_path: Path, counts: Counts, record: Record
) -> None:
    dice, times = random.Random(), counts(3, 20)
    place = tmp_path / "disk"
    place.mkdir()
    needed = sum(
        file.stat().st_size for file in back_up(own_server, tmp_path / "roomy").path.rglob("*") if file.is_file()
    )
    full = 0
    for number in range(times):
        # Room for one of them, and for a random part of the next.
        with disk(place, needed + 300_000 + int(needed * (dice.uniform(0, 0.8) if number else 0))):
            names = {back_up(own_server, place).name}
            with contextlib.suppress(DumpFailed):
                back_up(own_server, place, "sql.gz" if number % 2 else "directory")
            full += len(folder.entries(place)) == 1
            require_good(place, names)
            require_clean(place)
    assert full
    record("disk full during a backup", f"{times} times, {full} before its end: nothing bad listed, the old one whole")


@contextlib.contextmanager
def disk(place: Path, size: int) -> Iterator[None]:
    """A small disk at ``place``."""
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("needs the right to mount a small disk: root, on Linux")
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)
