"""The one moment that a backup is of: a snapshot that several sessions share, and what is known of it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from backup import contents
from backup.contents import Table, TableContent
from backup.errors import DumpFailed, TableLocked
from migrations import connection as connections
from migrations import guards

if TYPE_CHECKING:
    import psycopg

ROLE = "gaia_backup"
"""Reads every row, through policies of its own; writes nothing."""
LOCK_TIMEOUT_MS = 3_000
"""Longer than a migration waits for a lock: whoever waits for one that we hold, and keeps pg_dump from it, gives up."""
_ATTEMPTS = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moment:
    """A snapshot, held by the session that took it."""

    connection: psycopg.Connection[Any]
    snapshot: str
    """For ``pg_dump --snapshot``."""
    made_at: datetime
    """Just before it was taken: all that was committed by then is in it."""
    tables: tuple[Table, ...]
    left_out: tuple[str, ...]
    database: str
    postgres_version: str
    revision: str | None
    roles: tuple[str, ...]
    extensions: Mapping[str, str]
    sequences: Mapping[str, int]
    guards: Mapping[str, str]

    @property
    def bytes(self) -> int:
        return sum(table.bytes for table in self.tables)

    def content(self, table: Table) -> TableContent:
        """What is in a table. Raises ``DumpFailed`` where a policy hides a row of it."""
        found = contents.content(self.connection, table)
        if table.secured and (rows := _all_rows(self.connection, table)) not in (None, found.rows):
            raise DumpFailed(
                f"{ROLE} sees {found.rows:,} of the {rows:,} rows of {table.name}: a policy hides the others, and no "
                "backup was made; ./gaia verify says which policy is missing"
            )
        return found

    def hang_up(self) -> None:
        """End the session from another thread, whatever it is at."""
        with contextlib.suppress(Exception), socket.socket(fileno=os.dup(self.connection.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def taken(url: str) -> Iterator[Moment]:
    """Take a snapshot as a superuser who acts as ``gaia_backup``; every table is locked against changes of its shape.

    Raises ``DumpFailed``, and ``ConnectionFailed`` where there is no server.
    """
    with said_plainly(), contextlib.closing(connections.connect(url)) as connection:
        connection.execute(_session().encode())
        yield _take(connection)


@contextlib.contextmanager
def said_plainly() -> Iterator[None]:
    """What PostgreSQL refuses, as a sentence."""
    import psycopg

    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        raise TableLocked(locked(_primary(error))) from None
    except psycopg.errors.InsufficientPrivilege as error:
        raise DumpFailed(
            f"{ROLE} may not read everything ({_primary(error)}): run ./gaia up, or grant it where the table isn't ours"
        ) from None
    except (psycopg.errors.UndefinedObject, psycopg.errors.InvalidParameterValue) as error:
        raise DumpFailed(f"{_primary(error)}: run ./gaia up, which makes the roles") from None
    except psycopg.OperationalError as error:
        raise DumpFailed(server_gone(connections.one_sentence(str(error)))) from None
    except psycopg.Error as error:
        raise DumpFailed(f"no backup was made: {_primary(error)}") from None


def locked(said: str) -> str:
    """The sentence for a lock that couldn't be had."""
    return f"a table is locked by somebody who changes it ({said}): wait for that to end, then run it again"


def server_gone(said: str) -> str:
    """The sentence for a server that went away."""
    return f"the server went away while it was backed up ({said}), and no backup was made: ./gaia status"


def _session() -> str:
    # The server looks each second whether this process still lives: what a killed one asked for ends then.
    return f"""
SELECT set_config(name, value, false)
FROM (VALUES ('role', '{ROLE}'), ('application_name', 'gaia-backup'), ('lock_timeout', '{LOCK_TIMEOUT_MS}'),
             ('statement_timeout', '0'), ('idle_in_transaction_session_timeout', '0'),
             ('client_connection_check_interval', '1s')) v (name, value)
"""


def _take(connection: psycopg.Connection[Any]) -> Moment:
    import psycopg

    for _attempt in range(_ATTEMPTS):
        tables = contents.tables(connection)
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            # Before the snapshot: a TRUNCATE that commits in between would empty the tables within it.
            for table in tables:
                connection.execute(f"LOCK TABLE ONLY {table.sql} IN ACCESS SHARE MODE".encode())
            made_at = datetime.now(UTC)
            snapshot = _one(connection, "SELECT pg_export_snapshot()")[0]
            if [table.sql for table in contents.tables(connection)] == [table.sql for table in tables]:
                return _described(connection, snapshot, made_at)
        except psycopg.errors.UndefinedTable:
            pass  # dropped meanwhile
        connection.execute("ROLLBACK")
    raise DumpFailed("tables come and go while a backup is taken: run it again when the migration is done")


def _described(connection: psycopg.Connection[Any], snapshot: str, made_at: datetime) -> Moment:
    database, version, roles, extensions, sequences, left_out = _one(connection, _FACTS)
    return Moment(
        connection=connection,
        snapshot=snapshot,
        made_at=made_at,
        tables=tuple(contents.tables(connection)),
        left_out=tuple(left_out),
        database=database,
        postgres_version=version.split()[0],
        revision=connections.revision_of(connection),
        roles=tuple(roles),
        extensions=extensions,
        sequences=sequences,
        guards=guards.fingerprints(connection),
    )


def _all_rows(connection: psycopg.Connection[Any], table: Table) -> int | None:
    """How many rows there are, as the session's own user sees them; None where that one is no superuser."""
    connection.execute("SET LOCAL ROLE NONE")
    superuser = _one(connection, "SHOW is_superuser")[0] == "on"
    rows = _one(connection, f"SELECT count(*) FROM ONLY {table.sql}")[0] if superuser else None
    connection.execute(f"SET LOCAL ROLE {ROLE}".encode())
    return rows


def _one(connection: psycopg.Connection[Any], statement: str) -> tuple[Any, ...]:
    row = connection.execute(statement.encode(), {"left_out": list(contents.LEFT_OUT)} if "%(" in statement else None)
    return row.fetchone() or ()


def _primary(error: Any) -> str:
    return error.diag.message_primary or connections.one_sentence(str(error))


# Whoever owns something or is granted something is in pg_shdepend, but for the first superuser, who may own triggers.
_FACTS = r"""
SELECT current_database(), current_setting('server_version'),
       array(SELECT rolname::text FROM pg_shdepend JOIN pg_roles r ON r.oid = refobjid
             WHERE refclassid = 'pg_authid'::regclass
               AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
             UNION SELECT evtowner::regrole::text FROM pg_event_trigger ORDER BY 1),
       (SELECT coalesce(json_object_agg(extname, extversion), '{}') FROM pg_extension),
       (SELECT coalesce(json_object_agg(schemaname || '.' || sequencename, coalesce(last_value, 0)), '{}')
        FROM pg_sequences WHERE schemaname !~ '^pg_' AND increment_by > 0),
       array(SELECT name FROM unnest(%(left_out)s::text[]) name WHERE to_regclass(name) IS NOT NULL)
"""
