"""Drills: a backup restored where nothing can be lost, and the record of how that went, beside the backups."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backup import comparing, databases, files, restore
from migrations import connection as connections
from migrations import roles

if TYPE_CHECKING:
    from backup.restore import Say
    from backup.source import Source

FILE = "drills.json"
KEPT = 100
"""So many drills are remembered."""
FRESH = timedelta(days=7)
"""A good drill that is older says little of the backups made since."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drill:
    """One drill, as it is recorded."""

    time: datetime
    """When it began."""
    backup: str
    ok: bool
    seconds: float
    """From the first look at the backup to a database that could serve: the recovery time."""
    age_s: float | None
    """How old the backup's rows were then: what would be lost. None where nothing says when it was made."""
    fault: str | None = None
    """Why it failed."""


def rehearse(url: str, source: Source, *, binaries: Path, jobs: int, say: Say, now: Say) -> comparing.Content:
    """Restore into the empty database of a superuser's ``url``, on a server that is there for this alone.

    Raises what ``restore.restore`` raises.
    """
    roles.apply(url, {})
    with connections.connect(databases.at(url, databases.MAINTENANCE)) as server:
        _make_strangers(server, source)
        restore.require_fit(server, source)
    found = restore.fill(url, source, binaries=binaries, jobs=jobs, say=say, now=now)
    restore.complete(url, source, identity_keys=(), say=say)
    return found


def record(folder: Path, drill: Drill) -> None:
    """Add a drill to the folder's history. A clone in which an export is drilled may have no such folder yet."""
    folder.mkdir(mode=files.FOLDER_MODE, parents=True, exist_ok=True)
    kept = [*history(folder), drill][-KEPT:]
    document = {"drills": [_plain(one) for one in kept]}
    files.write(folder / FILE, (json.dumps(document, indent=2) + "\n").encode())


def history(folder: Path) -> list[Drill]:
    """The drills of a folder, oldest first; none where the record can't be read: it then begins anew."""
    try:
        document = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return [Drill(**{**one, "time": datetime.fromisoformat(one["time"])}) for one in document["drills"]]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def last_good(folder: Path) -> Drill | None:
    """The newest drill that went well."""
    return max((drill for drill in history(folder) if drill.ok), key=lambda drill: drill.time, default=None)


def _make_strangers(server: Any, source: Source) -> None:
    """Roles that the backup knows and the table of roles doesn't: superusers, as they may own what only those may."""
    from psycopg import sql

    wanted = source.manifest.roles if source.manifest else restore.OF_CLOUD_SQL
    rows = server.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", (list(wanted),)).fetchall()
    for role in sorted({*wanted} - {row[0] for row in rows}):
        server.execute(sql.SQL("CREATE ROLE {} SUPERUSER NOLOGIN").format(sql.Identifier(role)))


def _plain(drill: Drill) -> dict[str, Any]:
    return {**dataclasses.asdict(drill), "time": drill.time.astimezone(UTC).isoformat(timespec="seconds")}
