"""A backup becomes the database: always beside the one that serves, compared with its manifest, then in its place."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backup import comparing, databases, load
from backup.errors import BackupMissing, BackupRefused, RestoreFailed
from backup.source import Source
from backup.swap import swap
from migrations import bootstrap, grants, runner
from migrations import connection as connections
from migrations.errors import MigrationError

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What a restore did."""

    revision: str | None
    tables: int
    rows: int
    seconds: float
    """From the first look at the server until the names were swapped."""
    kept: str | None
    """The old database's new name; None where it was empty and is gone."""


def restore(
    url: str,
    source: Source,
    *,
    binaries: Path,
    identity_keys: Sequence[str],
    replace: bool,
    jobs: int,
    say: Say,
    now: Say,
) -> Restored:
    """Put ``source`` in the place of the database that the superuser's ``url`` leads to.

    The old one serves until the new one is complete, and whatever goes wrong it is the one that goes on. Raises
    BackupRefused where it would lose data or can't fit, BackupBusy, RestoreFailed. ``say`` is told of the
    steps, ``now`` of what is done in them.
    """
    started, database = time.monotonic(), databases.name_of(url)
    with databases.alone(url) as server:
        for name in databases.left(server, database):
            say(f"removing {name}, which a killed restore left")
            databases.drop(server, name)
        require_fit(server, source)
        there = databases.exists(server, database)
        rows_in = _rows_in(url) if there else []
        if rows_in and not replace:
            raise BackupRefused(
                f"the database {database} is not empty (rows in {_some(rows_in)}): put the backup in its place with "
                "--replace; it is kept beside the new one until --discard-old"
            )
        new = databases.free_name(server, database, databases.NEW)
        try:
            databases.create_like(server, database, new)
            if there:
                databases.carry_over(server, database, new)
            content = fill(databases.at(url, new), source, binaries=binaries, jobs=jobs, say=say, now=now)
            complete(databases.at(url, new), source, identity_keys=identity_keys, say=say)
            say("swapping the names")
            kept = databases.free_name(server, database, databases.KEPT) if there else None
            swap(server, live=database, new=new, kept=kept)
        except BaseException:
            _clear(url, new)
            raise
        seconds = time.monotonic() - started
        # Somebody may have written into it meanwhile.
        if kept and not rows_in and not _rows_in(databases.at(url, kept)):
            databases.drop(server, kept)
            kept = None
    return Restored(
        revision=content.revision,
        tables=content.tables,
        rows=content.rows,
        seconds=round(seconds, 2),
        kept=kept,
    )


def bring_back(url: str, kept: str, *, replace: bool) -> str:
    """Give a database that a restore put aside its name again; returns the name of the one that served until now.

    Raises BackupMissing, BackupRefused, BackupBusy, RestoreFailed.
    """
    database = databases.name_of(url)
    with databases.alone(url) as server:
        there = [one.name for one in databases.kept(server, database)]
        if kept not in there:
            raise BackupMissing(f"no restore has put {kept} aside; there is: {', '.join(there) or 'none'}")
        if not replace:
            raise BackupRefused(f"{kept} can take the place of {database} with --replace, which is then kept in turn")
        aside = databases.free_name(server, database, databases.KEPT)
        swap(server, live=database, new=kept, kept=aside)
    return aside


def require_fit(server: Connection, source: Source) -> None:
    """Raise BackupRefused for what no restore could make good: version, roles, a revision that nobody here knows."""
    manifest, here = source.manifest, server.info.server_version // 10000
    if source.major_version is not None and source.major_version > here:
        raise BackupRefused(
            f"{source.name} was made by PostgreSQL {source.major_version}, this server is PostgreSQL {here}: "
            f"restore it into PostgreSQL {source.major_version}"
        )
    if manifest is None:
        return
    rows = server.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", (list(manifest.roles),)).fetchall()
    if lacking := sorted({*manifest.roles} - {row[0] for row in rows}):
        raise BackupRefused(
            f"the server lacks {_some(lacking)}, which {source.name} grants to or gives tables to: make "
            "the roles of this checkout with ./gaia up, others with CREATE ROLE"
        )
    rows = server.execute(
        "SELECT name FROM pg_available_extensions WHERE name = ANY(%s)", (list(manifest.extensions),)
    ).fetchall()
    if lacking := sorted({*manifest.extensions} - {row[0] for row in rows}):
        raise BackupRefused(f"the server lacks the extension {_some(lacking)}, which {source.name} needs: install it")
    _require_known(source.name, manifest.revision)


def fill(url: str, source: Source, *, binaries: Path, jobs: int, say: Say, now: Say) -> comparing.Content:
    """Load the dump into the empty database of ``url`` and compare it with the manifest. Raises RestoreFailed."""
    say(f"loading {source.name}")
    load.load(url, source, binaries=binaries, jobs=jobs, now=now)
    say("comparing the rows with the manifest" if source.manifest else "counting the rows")
    found = comparing.look(url, jobs=jobs, now=now)
    if differing := comparing.differences(source.manifest, found):
        raise RestoreFailed(
            f"what was restored isn't what {source.name} says: {_some(differing, '; ')}; take another backup"
        )
    return found


OF_CLOUD_SQL = ("cloudsqladmin", "cloudsqlsuperuser")
"""Roles that only Google's servers have; an export from there gives them rights."""


def complete(url: str, source: Source, *, identity_keys: Sequence[str], say: Say) -> None:
    """Grants, keys, event triggers, partitions to come; then look whether they are as they should. The revision stays.

    Raises RestoreFailed, BackupRefused.
    """
    say("roles, grants and keys")
    with connections.connect(url) as connection:
        revision = connections.revision_of(connection)
    _require_known(source.name, revision)
    bootstrap.complete(url, identity_keys=identity_keys)
    with connections.connect(url) as connection:
        found = grants.difference(connection)
        wrong = [f"{p.role} lacks {p}" for p in found.lacking]
        wrong += [f"{p.role} has {p}" for p in found.surplus if p.role not in OF_CLOUD_SQL]
    if wrong:
        raise RestoreFailed(f"{source.name} is restored, but {_some(wrong, '; ')}: take another backup")


def _rows_in(url: str) -> list[str]:
    with connections.connect(url) as connection:
        return databases.rows_in(connection)


def _require_known(name: str, revision: str | None) -> None:
    if revision is not None and revision not in {known.id for known in runner.history()}:
        raise BackupRefused(f"{name} is at revision {revision}, which this checkout doesn't have: update the checkout")


def _clear(url: str, new: str) -> None:
    """Remove the half-made database, on a session of its own: the other one may be what broke."""
    # Where the server is gone, the next restore removes it.
    with contextlib.suppress(MigrationError), connections.connect(databases.at(url, databases.MAINTENANCE)) as server:
        databases.drop(server, new)


def _some(things: Sequence[str], between: str = ", ") -> str:
    more = f"{between}and {len(things) - 3} more" if len(things) > 3 else ""
    return between.join(things[:3]) + more
