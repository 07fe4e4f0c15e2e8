"""Connections of the migrations: where the URL comes from, how one connects, and as whom."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from migrations.errors import BadSetting, ConnectionFailed, NoDatabaseUrl, RoleError

if TYPE_CHECKING:
    import psycopg
    import sqlalchemy

URL_VARIABLES = ("GAIA_MIGRATIONS_URL", "DATABASE_URL")
"""Where the URL comes from, first match first; never an argument, which every user of the machine could read."""

APPLICATION_NAME = "gaia-migrations"
OWNER = "gaia_owner"
CONNECT_TIMEOUT_S = 10
LOCK_TIMEOUT_MS = 1_000
"""A statement that waits longer for a lock gives up: whoever queues behind it would wait as long."""
STATEMENT_TIMEOUT_S = 15 * 60
STATEMENT_TIMEOUT_VARIABLE = "GAIA_MIGRATIONS_STATEMENT_TIMEOUT_S"
MOST_SECONDS = 7 * 24 * 3600


def url_from_environment(environment: Mapping[str, str] = os.environ) -> str:
    """The database's URL; raises NoDatabaseUrl."""
    for name in URL_VARIABLES:
        if url := environment.get(name):
            return url
    raise NoDatabaseUrl(
        f"no database: set {URL_VARIABLES[0]} or {URL_VARIABLES[1]} (postgresql://user:password@host/db)"
    )


def login_url(*, user: str, password: str, host: str, port: int, database: str) -> str:
    """A login as a URL, percent-encoded, password included."""
    return f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@{host}:{port}/{database}"


def plain_url(url: str) -> str:
    """``url`` as libpq knows it: without the driver that SQLAlchemy's URLs name."""
    scheme, separator, rest = url.partition("://")
    if separator and scheme.split("+")[0] in {"postgresql", "postgres"}:
        return f"postgresql://{rest}"
    raise NoDatabaseUrl("the database URL must begin with postgresql://")


def connect(url: str) -> "psycopg.Connection[tuple[Any, ...]]":
    """A connection in autocommit mode; raises ConnectionFailed with a sentence free of the password."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        parameters: dict[str, Any] = dict(conninfo_to_dict(plain_url(url)))
    except psycopg.ProgrammingError:  # its text may quote a piece of the password
        raise NoDatabaseUrl("the database URL can't be read: percent-encode what is special in it") from None
    defaults: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "fallback_application_name": APPLICATION_NAME,
        "keepalives_idle": 30,
    }
    try:
        return psycopg.connect(**{**defaults, **parameters}, autocommit=True)
    except psycopg.OperationalError as error:
        where = f"{parameters.get('host', 'the local socket')}:{parameters.get('port', 5432)}"
        said = one_sentence(_without(str(error), str(parameters.get("password") or "")))
        raise ConnectionFailed(f"no connection to {where} as {parameters.get('user')}: {said}") from None


def become_owner(connection: "psycopg.Connection[Any]") -> bool:
    """Go on as gaia_owner, so that it owns what is made; False where that role doesn't exist yet.

    Raises RoleError if the role exists and this login may not take it.
    """
    row = connection.execute(
        "SELECT CASE WHEN pg_has_role(session_user, oid, 'SET') THEN set_config('role', rolname, false) END,"
        " session_user FROM pg_roles WHERE rolname = %s",
        (OWNER,),
    ).fetchone()
    if row is None:
        return False
    if row[0] is None:
        raise RoleError(f"{row[1]} may not migrate: it is no member of {OWNER}; connect as gaia_migrator")
    return True


def exists(connection: "psycopg.Connection[Any]", table: str) -> bool:
    """Whether a table of this name (``schema.table``) is there."""
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (table,)).fetchone()
    return bool(row and row[0])


def set_timeouts(
    connection: "psycopg.Connection[Any]",
    lock_timeout_ms: int = LOCK_TIMEOUT_MS,
    statement_timeout_s: float | None = None,
) -> None:
    """Bound, for the whole session, how long a statement waits for a lock and how long it runs.

    ``statement_timeout_s`` is the environment's where it isn't given; 0 is no bound. Raises BadSetting. The server
    looks each second whether this process still lives: a killed runner's statement ends then, not when it is done.
    """
    seconds = statement_timeout_from_environment() if statement_timeout_s is None else statement_timeout_s
    connection.execute(
        "SELECT set_config('lock_timeout', %s, false), set_config('statement_timeout', %s, false),"
        " set_config('client_connection_check_interval', '1s', false)",
        (str(lock_timeout_ms), str(round(seconds * 1000))),
    )


def statement_timeout_from_environment(environment: Mapping[str, str] = os.environ) -> float:
    """How long a statement may run, in seconds; raises BadSetting."""
    given = environment.get(STATEMENT_TIMEOUT_VARIABLE) or str(STATEMENT_TIMEOUT_S)
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MOST_SECONDS:
        raise BadSetting(
            f"{STATEMENT_TIMEOUT_VARIABLE} is {given!r}: give seconds, 0 for no bound, at most {MOST_SECONDS}"
        )
    return seconds


def revision_of(connection: "psycopg.Connection[Any]") -> str | None:
    """The revision of the database that this connection leads to; None for base."""
    row = connection.execute("SELECT to_regclass('public.alembic_version') IS NOT NULL").fetchone()
    if not row or not row[0]:
        return None
    found = connection.execute("SELECT version_num FROM public.alembic_version").fetchall()
    return str(found[0][0]) if found else None


@contextmanager
def sqlalchemy_connection(connection: "psycopg.Connection[Any]") -> "Iterator[sqlalchemy.Connection]":
    """The same session as SQLAlchemy (and so Alembic) sees it; in autocommit mode again afterwards."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: connection,
        poolclass=sqlalchemy.StaticPool,
        use_native_hstore=False,  # saves a round trip
    )
    connection.autocommit = False
    try:
        with engine.connect() as wrapped:
            yield wrapped
    finally:
        if not connection.closed:
            connection.rollback()
            connection.autocommit = True


def one_sentence(message: str) -> str:
    """What libpq or PostgreSQL gave as the reason, without what it puts before and after."""
    lines = [line.strip() for line in message.splitlines() if line.strip()] or ["no reason given"]
    refused = next((line for line in lines if " failed: " in line), None)
    line = refused.rpartition(" failed: ")[2] if refused else lines[-1]
    for prefix in ("FATAL:", "ERROR:"):
        _, found, rest = line.partition(prefix)
        line = rest.strip() if found else line
    return line


def _without(message: str, secret: str) -> str:
    if not secret:
        return message
    return message.replace(secret, "***").replace(quote(secret, safe=""), "***")
