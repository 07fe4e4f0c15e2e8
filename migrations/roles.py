"""The database's roles, their memberships, passwords and what they own: made, and compared with what is live."""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from migrations import grants, scram
from migrations.connection import OWNER, connect
from migrations.errors import RoleError
from migrations.grants import quoted

if TYPE_CHECKING:
    import psycopg

    ConnectionOrUrl = str | psycopg.Connection[Any]

LOCK_KEY = (0x67616961, 2)
"""Advisory lock of the roles: "gaia" in ASCII, 2."""

_ATTEMPTS = 5
"""Roles are shared by all databases of a server, advisory locks are not: two databases may create them at once."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Role:
    """One role of the table."""

    name: str
    login: bool
    member_of: str | None = None
    inherits: bool = False
    """Whether it has the rights of ``member_of`` as it is."""
    may_set: bool = False
    """Whether it may ``SET ROLE`` to ``member_of``."""


ROLES = (
    Role(name="gaia_owner", login=False),
    Role(name="gaia_migrator", login=True, member_of="gaia_owner", may_set=True),
    Role(name="gaia_backend", login=False),
    Role(name="gaia_app", login=True, member_of="gaia_backend", inherits=True),
    Role(name="gaia_app_b", login=True, member_of="gaia_backend", inherits=True),
    Role(name="gaia_readonly", login=True),
    Role(name="gaia_auditor", login=True),
    Role(name="gaia_backup", login=True),
)
"""In the order in which they are made. None may more than its line says: no CREATEDB, no BYPASSRLS and so on."""

LOGINS = tuple(role.name for role in ROLES if role.login)

APP_LOGINS = tuple(role.name for role in ROLES if role.member_of == "gaia_backend")
"""The backend's, which take turns."""

_NEEDED_TO_SET_UP = frozenset({"CREATEROLE", "CREATEDB"})
"""What the login that sets up the roles keeps where it is no superuser: without CREATEROLE it could do so once."""

_OF_CLOUD_SQL = "cloudsqlsuperuser"
"""The role that Cloud SQL gives each login made through its API; the login that sets up the roles keeps it."""

_FORBIDDEN = {
    "rolsuper": "SUPERUSER",
    "rolcreaterole": "CREATEROLE",
    "rolcreatedb": "CREATEDB",
    "rolreplication": "REPLICATION",
    "rolbypassrls": "BYPASSRLS",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """One difference between the table and the server: how it is said, mended, and reported afterwards."""

    difference: str
    sql: str
    done: str


def apply(connection_or_url: "ConnectionOrUrl", passwords: Mapping[str, str]) -> tuple[str, ...]:
    """Make the roles, memberships, ownership and the outermost grants what the table says; returns what changed.

    Idempotent, one transaction. ``passwords`` maps a role (also one outside the table, if it exists) to its password;
    only SCRAM verifiers are sent. Where the stored ones can't be read (not a superuser), passwords are set each time.
    A login without a password stays without: nobody can use it. Needs a superuser, or a CREATEROLE login that owns
    the database. Raises RoleError.
    """
    import psycopg

    with _session(connection_or_url) as connection:
        if not _planned(connection, passwords) and not _outer_open(connection):
            return ()
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return _apply(connection, passwords)
            except (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateObject, psycopg.errors.InternalError):
                if attempt == _ATTEMPTS:
                    raise
            except psycopg.errors.InsufficientPrivilege as error:
                detail = (error.diag.message_detail or "").rstrip(".")
                raise RoleError(
                    f"{connection.info.user} may not set up the roles: {error.diag.message_primary}"
                    f"{f' ({detail})' if detail else ''}; use a superuser, or a CREATEROLE login that owns the "
                    "database and made the roles itself"
                ) from error
        raise AssertionError("unreachable")


def missing(connection: "psycopg.Connection[Any]", passwords: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    """Each difference between the live roles and grants and the table, as a sentence; empty when all is well.

    Passwords count where they are given; give them only with a superuser, who can read the stored verifiers.
    """
    return [
        *(change.difference for change in _role_changes(connection)),
        *(change.difference for change in _password_changes(connection, passwords)),
        *(change.difference for change in _settings_changes(connection)),
        *_default_grants(connection),
        *(change.difference for change in _membership_changes(connection)),
        *(change.difference for change in _ownership_changes(connection)),
        *grants.difference(connection).sentences(),
    ]


def _apply(connection: "psycopg.Connection[Any]", passwords: Mapping[str, str]) -> tuple[str, ...]:
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", LOCK_KEY)
        keep_out_of_the_log(connection)
        changes = _planned(connection, passwords)
        made = [change.done for change in changes]
        for change in changes:
            connection.execute(change.sql.encode())
        _become_settable(connection)
        # What depends on the roles can only be seen once they are there.
        for change in (*_membership_changes(connection), *_ownership_changes(connection)):
            connection.execute(change.sql.encode())
            made.append(change.done)
        return (*made, *grants.apply_outer(connection))


def _planned(connection: "psycopg.Connection[Any]", passwords: Mapping[str, str]) -> list[Change]:
    roles = [*_role_changes(connection), *_settings_changes(connection)]
    return [*roles, *_password_changes(connection, passwords)] + (
        [] if roles else [*_membership_changes(connection), *_ownership_changes(connection)]
    )


def _outer_open(connection: "psycopg.Connection[Any]") -> bool:
    found = grants.difference(connection)
    return any(grants.is_outer(p) for p in (*found.lacking, *found.surplus))


def _role_changes(connection: "psycopg.Connection[Any]") -> list[Change]:
    columns = ", ".join(_FORBIDDEN)
    rows = connection.execute(
        f"SELECT rolname, rolcanlogin, rolinherit, {columns} FROM pg_roles WHERE rolname = ANY(%s)".encode(),
        ([role.name for role in ROLES],),
    ).fetchall()
    live = {row[0]: row[1:] for row in rows}
    own = _sets_up(connection)
    changes: list[Change] = []
    for role in ROLES:
        login = "LOGIN" if role.login else "NOLOGIN"
        if role.name not in live:
            changes.append(
                Change(
                    difference=f"role {role.name} is missing",
                    sql=f"CREATE ROLE {role.name} {login}",
                    done=f"created role {role.name}",
                )
            )
            continue
        can_login, inherit, *forbidden = live[role.name]
        wrong = [word for word, has in zip(_FORBIDDEN.values(), forbidden, strict=True) if has]
        if role.name == own:
            wrong = [word for word in wrong if word not in _NEEDED_TO_SET_UP]
        options = [f"NO{word}" for word in wrong]
        if can_login != role.login:
            wrong.append("NOLOGIN" if role.login else "LOGIN")
            options.append(login)
        if not inherit:
            wrong.append("NOINHERIT")
            options.append("INHERIT")
        if options:
            changes.append(
                Change(
                    difference=f"role {role.name} is {', '.join(wrong)}",
                    sql=f"ALTER ROLE {role.name} {' '.join(options)}",
                    done=f"made role {role.name} {', '.join(options)}",
                )
            )
    return changes


def _password_changes(connection: "psycopg.Connection[Any]", passwords: Mapping[str, str]) -> list[Change]:
    if not passwords:
        return []
    row = connection.execute(
        "SELECT has_table_privilege('pg_authid', 'SELECT'), array(SELECT rolname::text FROM pg_roles)"
    ).fetchone()
    readable, existing = row if row else (False, [])
    known = {*existing, *(role.name for role in ROLES)}
    if unknown := sorted(set(passwords) - known):
        raise RoleError(f"a password was given for {', '.join(unknown)}, but there is no such role")
    stored: dict[str, str | None] = {}
    if readable:
        query = "SELECT rolname, rolpassword FROM pg_authid WHERE rolname = ANY(%s)"
        stored = dict(connection.execute(query, (list(passwords),)).fetchall())
    return [
        Change(
            difference=f"role {name} has another password",
            sql=f"ALTER ROLE {quoted(name)} PASSWORD '{scram.verifier(password)}'",
            done=f"password of {name}",
        )
        for name, password in sorted(passwords.items())
        if not scram.fits(password, stored.get(name))
    ]


def _membership_changes(connection: "psycopg.Connection[Any]") -> list[Change]:
    rows = connection.execute(
        "SELECT g.rolname, m.rolname, a.inherit_option, a.set_option, a.admin_option, b.rolname FROM pg_auth_members a"
        " JOIN pg_roles g ON g.oid = a.roleid JOIN pg_roles m ON m.oid = a.member JOIN pg_roles b ON b.oid = a.grantor"
        " WHERE m.rolname = ANY(%s)",
        ([role.name for role in ROLES],),
    ).fetchall()
    wanted = {(r.member_of, r.name): (r.inherits, r.may_set, False) for r in ROLES if r.member_of}
    own = _sets_up(connection)
    changes: list[Change] = []
    for group, member, inherit, may_set, admin, grantor in rows:
        if member == own and (admin or group == _OF_CLOUD_SQL):
            continue  # who makes a role is its ADMIN, and nobody but a superuser can take that away
        if wanted.get((group, member)) == (inherit, may_set, admin):
            wanted.pop((group, member))
            continue
        what = f"membership of {member} in {group} (INHERIT {inherit}, SET {may_set}, ADMIN {admin})"
        changes.append(
            Change(
                difference=f"the {what} is not the table's",
                sql=f"REVOKE {quoted(group)} FROM {quoted(member)} GRANTED BY {quoted(grantor)} CASCADE",
                done=f"revoked the {what}",
            )
        )
    for (group, member), (inherit, may_set, _) in wanted.items():
        options = f"INHERIT {str(inherit).upper()}, SET {str(may_set).upper()}"
        changes.append(
            Change(
                difference=f"{member} is no member of {group} with {options}",
                sql=f"GRANT {group} TO {member} WITH ADMIN FALSE, {options}",
                done=f"granted {group} to {member}",
            )
        )
    return changes


def _sets_up(connection: "psycopg.Connection[Any]") -> str | None:
    """The login that sets up the roles, where it is no superuser and one of the table itself (Cloud SQL)."""
    row = connection.execute("SELECT rolname FROM pg_roles WHERE rolname = session_user AND NOT rolsuper").fetchone()
    return str(row[0]) if row else None


def _ownership_changes(connection: "psycopg.Connection[Any]") -> list[Change]:
    rows = connection.execute(_FOREIGN_OWNED, {"schemas": list(grants.SCHEMAS), "owner": OWNER}).fetchall()
    return [
        Change(
            difference=f"{kind.lower()} {name} belongs to {owner}, not to {OWNER}",
            sql=f"ALTER {kind} {name} OWNER TO {OWNER}",
            done=f"gave {kind.lower()} {name} to {OWNER}",
        )
        for kind, name, owner in rows
    ]


def _settings_changes(connection: "psycopg.Connection[Any]") -> list[Change]:
    """A login may give itself settings and default privileges, and so might whoever smuggles a statement in."""
    rows = connection.execute(
        "SELECT r.rolname, d.datname FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = setrole"
        " LEFT JOIN pg_database d ON d.oid = setdatabase"
        " WHERE r.rolname = ANY(%s) AND (setdatabase = 0 OR d.datname = current_database()) ORDER BY 1, 2",
        ([role.name for role in ROLES],),
    ).fetchall()
    return [
        Change(
            difference=f"role {role} has settings of its own" + (f" in database {database}" if database else ""),
            sql=f"ALTER ROLE {quoted(role)}" + (f" IN DATABASE {quoted(database)}" if database else "") + " RESET ALL",
            done=f"reset the settings of {role}",
        )
        for role, database in rows
    ]


def _default_grants(connection: "psycopg.Connection[Any]") -> list[str]:
    """Who of ours, but for the owner, gives away what it makes: told, not mended, for it makes nothing."""
    rows = connection.execute(
        "SELECT DISTINCT rolname FROM pg_default_acl JOIN pg_roles r ON r.oid = defaclrole"
        " WHERE rolname = ANY(%s) AND rolname <> %s ORDER BY 1",
        ([role.name for role in ROLES], OWNER),
    ).fetchall()
    return [f"role {role} has default privileges of its own: ALTER DEFAULT PRIVILEGES … REVOKE" for (role,) in rows]


def _become_settable(connection: "psycopg.Connection[Any]") -> None:
    """A CREATEROLE login is ADMIN of the roles it makes, but may not SET ROLE until it grants itself that."""
    row = connection.execute("SELECT pg_has_role(current_user, %s, 'SET')", (OWNER,)).fetchone()
    if row and not row[0]:
        connection.execute(f"GRANT {OWNER} TO CURRENT_USER WITH SET TRUE, INHERIT FALSE".encode())


def keep_out_of_the_log(connection: "psycopg.Connection[Any]") -> None:
    """Nobody needs secrets in a log, nor what is made of them; only a superuser may ask for that."""
    connection.execute(
        "SELECT set_config('log_statement', 'none', true), set_config('log_min_duration_statement', '-1', true),"
        " set_config('log_min_error_statement', 'panic', true)"
        " FROM pg_roles WHERE rolname = current_user AND rolsuper"
    )


@contextmanager
def _session(connection_or_url: "ConnectionOrUrl") -> "Iterator[psycopg.Connection[Any]]":
    if isinstance(connection_or_url, str):
        with connect(connection_or_url) as connection:
            yield connection
    else:
        yield connection_or_url


_FOREIGN_OWNED = """
WITH schemas AS (SELECT oid, nspname, nspowner FROM pg_namespace WHERE nspname = ANY(%(schemas)s)),
thing (kind, name, owner) AS (
    SELECT 'SCHEMA', quote_ident(nspname), nspowner FROM schemas
  UNION ALL
    SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
           ELSE 'TABLE' END,
           format('%%I.%%I', n.nspname, relname), relowner
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE relkind IN ('r', 'p', 'v', 'm', 'S')
      AND (n.oid IN (SELECT oid FROM schemas) OR (n.nspname = 'public' AND relname = 'alembic_version'))
      -- A sequence that belongs to a column follows its table.
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE relkind = 'S' AND d.classid = 'pg_class'::regclass
                      AND d.objid = c.oid AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0)
  UNION ALL
    SELECT 'ROUTINE', format('%%I.%%I(%%s)', nspname, proname, pg_get_function_identity_arguments(p.oid)), proowner
    FROM pg_proc p JOIN schemas n ON n.oid = pronamespace
)
SELECT kind, name, r.rolname FROM thing JOIN pg_roles r ON r.oid = owner
WHERE r.rolname <> %(owner)s AND EXISTS (SELECT FROM pg_roles WHERE rolname = %(owner)s)
ORDER BY 1, 2
"""
