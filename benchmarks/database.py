"""The cases of the database: what it does, against the same by hand, on a server of the benchmarks' own."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import database_backup, database_changes, database_package, database_reads, database_restore
from benchmarks.database_measure import Figure
from benchmarks.database_world import World

DATABASE_CASES: dict[str, Callable[[World], list[Figure]]] = {
    "db-last-50": database_reads.last_50,
    "db-security": database_reads.security,
    "db-search": database_reads.search,
    "db-sessions": database_package.sessions,
    "db-writes": database_package.writes,
    "db-migrate": database_changes.migrations,
    "db-seed": database_changes.seed,
    "backup": database_backup.verified,
    "backup-hashes": database_backup.hashes,
    "restore": database_restore.restored,
    "drill": database_restore.drilled,
}
