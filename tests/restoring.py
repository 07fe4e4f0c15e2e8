"""What the tests of restores share: one backup of made-up rows, copies of it to spoil, and restores of them."""

import dataclasses
import datetime as dt
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from backup import databases, dump, folder, manifest, restore, source
from backup.folder import Entry
from backup.manifest import DumpFormat, Manifest
from db.seed.plan import Plan
from migrations import roles
from ops import seed
from ops.report import Report
from tests.postgres import IDENTITY_KEY, PASSWORDS, Database, Server

PLAN = Plan.of(users=30, messages=1_000, campaigns=12, until=dt.datetime.now(dt.UTC).date())


def quiet(_line: str) -> None: ...


def back_up(database: Database, place: Path, dump_format: DumpFormat = "directory") -> Entry:
    with folder.locked(place, "a test"):
        return dump.make(
            place,
            url=database.url,
            stack="local",
            binaries=database.server.binaries,
            dump_format=dump_format,
        )


_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def backed_up(server: Server, template: Database) -> Iterator[Entry]:
    """A backup of a database with rows in every table."""
    database = server.create(f"backed_up_{next(_numbers)}", template=template.name)
    roles.apply(database.url, PASSWORDS)
    seed.fill(Report(), database.url, PLAN, add=False)
    with tempfile.TemporaryDirectory(prefix="gaia-backups-") as place:
        yield back_up(database, Path(place))


@pytest.fixture
def copy(backed_up: Entry, tmp_path: Path) -> Entry:
    """A copy of that backup, to be spoilt."""
    return folder.look(shutil.copytree(backed_up.path, tmp_path / backed_up.name))


def rewritten(entry: Entry, **changes: Any) -> Entry:
    """The same backup with another manifest, which says of itself that it is right."""
    assert entry.manifest is not None
    manifest.write(dataclasses.replace(entry.manifest, **changes), entry.manifest_file)
    return folder.look(entry.path)


def put_back(
    database: Database,
    entry: Entry,
    *,
    replace: bool = False,
    say: Callable[[str], None] = quiet,
    now: Callable[[str], None] = quiet,
) -> restore.Restored:
    """Read the backup in full, then put it in the database's place: as the command does."""
    return restore.restore(
        database.url,
        source.verified(entry),
        binaries=database.server.binaries,
        identity_keys=[IDENTITY_KEY],
        replace=replace,
        jobs=2,
        say=say,
        now=now,
    )


def manifest_of(entry: Entry) -> Manifest:
    assert entry.manifest is not None
    return entry.manifest


def named_after(database: Database) -> list[str]:
    """The databases that restores of this one made, and itself."""
    with psycopg.connect(database.server.url()) as connection:
        rows = connection.execute(
            "SELECT datname FROM pg_database WHERE starts_with(datname, %s) ORDER BY 1", (database.name,)
        ).fetchall()
    return [name for (name,) in rows if name == database.name or name.startswith(f"{database.name}_")]


def drop_kept(database: Database) -> None:
    with psycopg.connect(database.server.url(), autocommit=True) as connection:
        for kept in databases.kept(connection, database.name):
            databases.drop(connection, kept.name)
