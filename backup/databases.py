"""The databases that a restore works with: the new one, made as the old one is; what was left; what is kept."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, LiteralString
from urllib.parse import quote, unquote, urlsplit

from backup.errors import BackupBusy
from migrations import connection as connections

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

NEW, KEPT = "restore", "before"
MAINTENANCE = "postgres"
"""The database that one is connected to while others are made, renamed and removed."""
_NAME_BYTES = 63
_STAMP = "%Y%m%d_%H%M%S"
_PRIVILEGES: dict[str, LiteralString] = {"CREATE": "CREATE", "TEMPORARY": "TEMPORARY", "CONNECT": "CONNECT"}


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A database that an earlier restore put aside."""

    name: str
    bytes: int


def at(url: str, database: str) -> str:
    """The same login in another database of its server."""
    return urlsplit(url)._replace(path=f"/{quote(database, safe='')}").geturl()


def name_of(url: str) -> str:
    """The database that a URL leads to."""
    return unquote(urlsplit(url).path.removeprefix("/"))


@contextlib.contextmanager
def alone(url: str) -> Iterator[Connection]:
    """A session beside the URL's database that keeps every other restore of it away. Raises BackupBusy.

    The lock ends with the session: a killed restore holds nobody up.
    """
    import psycopg

    database = name_of(url)
    key = (f"gaia restore of {database}",)
    with connections.connect(at(url, MAINTENANCE)) as server:
        if server.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", key).fetchone() != (True,):
            raise BackupBusy(f"another restore of {database} is at work: wait for it to end")
        try:
            yield server
        finally:
            # Not left to the session's end, which comes a moment after its client has hung up.
            with contextlib.suppress(psycopg.Error):
                server.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", key)


def exists(server: Connection, database: str) -> bool:
    return bool(server.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone())


def free_name(server: Connection, database: str, kind: str) -> str:
    """A name such as ``gaia_restore_20260131_120000`` (UTC) that no database has."""
    moment = dt.datetime.now(dt.UTC)
    while exists(server, name := f"{_stem(database, kind)}{moment.strftime(_STAMP)}"):
        moment += dt.timedelta(seconds=1)
    return name


def left(server: Connection, database: str) -> list[str]:
    """What killed restores of ``database`` left; call it with the lock of :func:`alone`."""
    return _named(server, database, NEW)


def kept(server: Connection, database: str) -> list[Kept]:
    """What restores of ``database`` put aside, newest first."""
    return [Kept(name=name, bytes=_size(server, name)) for name in sorted(_named(server, database, KEPT), reverse=True)]


def drop(server: Connection, database: str) -> None:
    """Remove a database, whoever is connected to it."""
    from psycopg import sql

    server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))


def create_like(server: Connection, pattern: str, new: str) -> None:
    """Make ``new`` empty, with the encoding, locale, owner, place and limit of ``pattern``, or of the server."""
    from psycopg import sql

    row = server.execute(
        "SELECT pg_encoding_to_char(encoding), datlocprovider::text, datcollate, datctype, daticulocale,"
        " pg_get_userbyid(datdba), spcname, datconnlimit FROM pg_database d JOIN pg_tablespace t ON t.oid ="
        " dattablespace WHERE datname = ANY(%s) ORDER BY datname = %s LIMIT 1",
        ([pattern, "template1"], "template1"),
    ).fetchone()
    assert row is not None  # every server has template1
    encoding, provider, collate, ctype, icu, owner, space, limit = row
    options: list[tuple[Any, Any]] = [
        (sql.SQL("ENCODING"), sql.Literal(encoding)),
        (sql.SQL("LOCALE_PROVIDER"), sql.SQL("icu" if provider == "i" else "libc")),
        (sql.SQL("LC_COLLATE"), sql.Literal(collate)),
        (sql.SQL("LC_CTYPE"), sql.Literal(ctype)),
        *([(sql.SQL("ICU_LOCALE"), sql.Literal(icu))] if icu else []),
        (sql.SQL("OWNER"), sql.Identifier(owner)),
        (sql.SQL("TABLESPACE"), sql.Identifier(space)),
        (sql.SQL("CONNECTION LIMIT"), sql.Literal(limit)),
    ]
    parts = [sql.SQL("{} {}").format(word, value) for word, value in options]
    # A dump holds what differs from template0.
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE template0 {}")
    server.execute(statement.format(sql.Identifier(new), sql.SQL(" ").join(parts)))


def carry_over(server: Connection, old: str, new: str) -> None:
    """Give ``new`` what hangs on a database's name and is in no dump: who may connect, settings, comment."""
    with server.transaction():
        _carry_grants(server, old, new)
        _carry_settings(server, old, new)
        _carry_comment(server, old, new)


def _carry_grants(server: Connection, old: str, new: str) -> None:
    from psycopg import sql

    rows = server.execute(
        "SELECT r.rolname, x.privilege_type, x.is_grantable FROM pg_database d,"
        " aclexplode(coalesce(datacl, acldefault('d', datdba))) x LEFT JOIN pg_roles r ON r.oid = x.grantee"
        " WHERE datname = %s",
        (old,),
    ).fetchall()
    database = sql.Identifier(new)
    server.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    for role, privilege, grantable in rows:
        who = sql.Identifier(role) if role else sql.SQL("PUBLIC")
        server.execute(
            sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(
                sql.SQL(_PRIVILEGES[privilege]), database, who, sql.SQL(" WITH GRANT OPTION" if grantable else "")
            )
        )


def _carry_settings(server: Connection, old: str, new: str) -> None:
    from psycopg import sql

    rows = server.execute(
        "SELECT r.rolname, split_part(entry, '=', 1), substr(entry, strpos(entry, '=') + 1) FROM pg_db_role_setting s"
        " JOIN pg_database d ON d.oid = setdatabase LEFT JOIN pg_roles r ON r.oid = setrole"
        " CROSS JOIN unnest(setconfig) entry WHERE datname = %s",
        (old,),
    ).fetchall()
    for role, name, value in rows:
        whose = sql.SQL("ROLE {} IN ").format(sql.Identifier(role)) if role else sql.SQL("")
        # By way of the session: a list such as search_path is stored as one text, which SET would quote as a whole.
        server.execute("SELECT set_config(%s, %s, true)", (name, value))
        server.execute(
            sql.SQL("ALTER {}DATABASE {} SET {} FROM CURRENT").format(
                whose, sql.Identifier(new), sql.SQL(".").join(map(sql.Identifier, name.split(".")))
            )
        )


def _carry_comment(server: Connection, old: str, new: str) -> None:
    from psycopg import sql

    row = server.execute(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", (old,)
    ).fetchone()
    if row and row[0]:
        server.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(new), sql.Literal(row[0])))


def rows_in(connection: Connection) -> list[str]:
    """The tables of this database with rows that ``up`` didn't put there, by ``schema.table``."""
    from psycopg import sql

    tables = connection.execute(
        "SELECT nspname, relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE relkind IN ('r', 'p') AND NOT relispartition AND nspname <> 'information_schema'"
        " AND nspname !~ '^pg_'"
        " AND (nspname, relname) NOT IN (('public', 'alembic_version'), ('auth', 'identity_keys'))"
        " ORDER BY 1, 2"
    ).fetchall()
    found = []
    for schema, table in tables:
        # What `up` makes is in the audit log, as all DDL is.
        condition = "to_jsonb(t) ->> 'event_type' IS DISTINCT FROM 'ddl'" if schema == "audit" else "true"
        query = sql.SQL("SELECT EXISTS (SELECT FROM {} t WHERE {})").format(
            sql.Identifier(schema, table), sql.SQL(condition)
        )
        if connection.execute(query).fetchone() == (True,):
            found.append(f"{schema}.{table}")
    return found


def _stem(database: str, kind: str) -> str:
    end = f"_{kind}_"
    room = _NAME_BYTES - len(end) - len("20260131_120000")
    return database.encode()[:room].decode(errors="ignore") + end


def _named(server: Connection, database: str, kind: str) -> list[str]:
    pattern = re.compile(re.escape(_stem(database, kind)) + r"\d{8}_\d{6}")
    rows = server.execute("SELECT datname FROM pg_database ORDER BY 1").fetchall()
    return [row[0] for row in rows if pattern.fullmatch(row[0])]


def _size(server: Connection, database: str) -> int:
    row = server.execute("SELECT pg_database_size(%s)", (database,)).fetchone()
    return int(row[0]) if row else 0
