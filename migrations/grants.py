"""Who may do what in the database: the table of grants, compared with the live ones and turned into SQL."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from migrations.connection import OWNER

if TYPE_CHECKING:
    import psycopg

Kind = Literal["database", "schema", "table", "sequence", "function", "default"]
Privileges = tuple[str, ...]

PUBLIC = "PUBLIC"
SCHEMAS = ("auth", "game", "audit")
ROLES = (
    "gaia_owner",
    "gaia_migrator",
    "gaia_backend",
    "gaia_app",
    "gaia_app_b",
    "gaia_readonly",
    "gaia_auditor",
    "gaia_backup",
)

READ: Privileges = ("SELECT",)
REMOVE: Privileges = ("SELECT", "DELETE")
"""INSERT and UPDATE are granted column by column: no time, and no owner, key or right of one's own to change."""
RUN: Privileges = ("EXECUTE",)

# The table. What is not in it is revoked from PUBLIC and from our roles; gaia_owner owns the objects and needs no line.
# gaia_app and gaia_app_b have nothing of their own: they inherit from gaia_backend.

DATABASE: Mapping[str, Privileges] = {
    "gaia_owner": ("CONNECT", "CREATE", "TEMPORARY"),
    "gaia_migrator": ("CONNECT",),
    "gaia_backend": ("CONNECT",),
    "gaia_readonly": ("CONNECT",),
    "gaia_auditor": ("CONNECT",),
    "gaia_backup": ("CONNECT",),
}
"""On the database itself."""

SCHEMA: Mapping[str, Mapping[str, Privileges]] = {
    "public": {"gaia_owner": ("USAGE", "CREATE"), "gaia_readonly": ("USAGE",), "gaia_backup": ("USAGE",)},
    "auth": {"gaia_backend": ("USAGE",), "gaia_readonly": ("USAGE",), "gaia_backup": ("USAGE",)},
    "game": {"gaia_backend": ("USAGE",), "gaia_readonly": ("USAGE",), "gaia_backup": ("USAGE",)},
    "audit": {"gaia_backend": ("USAGE",), "gaia_auditor": ("USAGE",), "gaia_backup": ("USAGE",)},
}
"""On schemas. Tools look for ``alembic_version`` in public; nothing else lies there."""

TABLE: Mapping[str, Mapping[str, Privileges]] = {
    "public.alembic_version": {"gaia_readonly": READ},
    "auth.users": {"gaia_backend": REMOVE},
    "auth.oauth_accounts": {"gaia_backend": REMOVE},
    "auth.sessions": {"gaia_backend": REMOVE},
    "auth.access_control": {"gaia_backend": REMOVE, "gaia_readonly": READ},
    "game.campaigns": {"gaia_backend": REMOVE, "gaia_readonly": READ},
    "game.campaign_participants": {"gaia_backend": REMOVE, "gaia_readonly": READ},
    "game.chat_history": {"gaia_backend": REMOVE, "gaia_readonly": READ},
    "audit.security_events": {"gaia_auditor": READ},
}
"""On tables. A new table gets a line here, or only gaia_backup can read it."""

COLUMN: Mapping[str, Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    # gaia_readonly sees no password hash, no token and no token's hash.
    "auth.users": {
        "gaia_backend": {"UPDATE": ("username", "email", "password_hash", "email_verified_at", "updated_at")},
        "gaia_readonly": {
            "SELECT": (
                "user_id",
                "username",
                "email",
                "is_admin",
                "is_active",
                "email_verified_at",
                "last_login_at",
                "created_at",
                "updated_at",
            )
        },
    },
    "auth.oauth_accounts": {
        "gaia_backend": {
            "INSERT": (
                "oauth_account_id",
                "user_id",
                "provider",
                "provider_account_id",
                "email",
                "access_token_encrypted",
                "refresh_token_encrypted",
                "encryption_key_id",
                "token_expires_at",
                "scopes",
            ),
            "UPDATE": (
                "email",
                "access_token_encrypted",
                "refresh_token_encrypted",
                "encryption_key_id",
                "token_expires_at",
                "scopes",
                "updated_at",
            ),
        },
        "gaia_readonly": {
            "SELECT": (
                "oauth_account_id",
                "user_id",
                "provider",
                "provider_account_id",
                "email",
                "encryption_key_id",
                "token_expires_at",
                "scopes",
                "created_at",
                "updated_at",
            )
        },
    },
    "auth.sessions": {
        "gaia_backend": {"UPDATE": ("last_seen_at", "revoked_at")},
        "gaia_readonly": {
            "SELECT": (
                "session_id",
                "user_id",
                "ip",
                "user_agent",
                "created_at",
                "last_seen_at",
                "expires_at",
                "revoked_at",
            )
        },
    },
    "auth.access_control": {
        "gaia_backend": {
            "INSERT": (
                "access_control_id",
                "user_id",
                "resource_type",
                "resource_id",
                "permission_level",
                "granted_by",
                "expires_at",
            ),
            "UPDATE": ("permission_level", "expires_at"),
        }
    },
    "game.campaigns": {
        "gaia_backend": {
            "INSERT": ("campaign_id", "owner_id", "name", "description", "settings", "state", "is_active"),
            "UPDATE": ("name", "description", "settings", "state", "is_active", "updated_at"),
        }
    },
    "game.campaign_participants": {
        "gaia_backend": {
            "INSERT": ("campaign_id", "user_id", "role", "character_name", "left_at"),
            "UPDATE": ("role", "character_name", "left_at"),
        }
    },
    # Not created_at: nobody writes into the past.
    "game.chat_history": {
        "gaia_backend": {
            "INSERT": ("campaign_id", "user_id", "role", "content", "metadata", "language"),
            "UPDATE": ("content", "metadata"),
        }
    },
    # Not source: what the database wrote itself can be told from what the backend says.
    "audit.security_events": {
        "gaia_backend": {
            "INSERT": ("event_id", "event_type", "user_id", "ip", "user_agent", "details", "created_at"),
        }
    },
}
"""On single columns of a table: role → privilege → columns."""

FUNCTION: Mapping[str, Mapping[str, Privileges]] = {
    "auth.current_user_id()": {"gaia_backend": RUN},
    "auth.is_admin()": {"gaia_backend": RUN},
    "auth.knows_key(text)": {"gaia_backend": RUN},
    "auth.find_login(text)": {"gaia_backend": RUN},
    "auth.find_oauth_login(text, text)": {"gaia_backend": RUN},
    "auth.register(text, text, text)": {"gaia_backend": RUN},
    "auth.open_session(uuid, bytea, timestamp with time zone, inet, text)": {"gaia_backend": RUN},
    "auth.resume_session(bytea)": {"gaia_backend": RUN},
    "auth.record_failed_login(text, inet, text)": {"gaia_backend": RUN},
    "game.my_campaigns(text)": {"gaia_backend": RUN},
    "game.members(uuid)": {"gaia_backend": RUN},
    "game.leave_campaign(uuid)": {"gaia_backend": RUN},
    "game.set_character(uuid, text)": {"gaia_backend": RUN},
    "game.transfer_campaign(uuid, uuid)": {"gaia_backend": RUN},
    "game.post_reply(uuid, text, text, jsonb, text)": {"gaia_backend": RUN},
    "game.search_messages(uuid, text, text, boolean, integer, real, bigint)": {"gaia_backend": RUN},
    "game.search_vector(text, uuid, text)": {"gaia_backend": RUN},
}
"""On functions, by the types of their arguments. A new function gets a line here, or only its owner runs it."""

EVERY: Mapping[Kind, Mapping[str, Privileges]] = {"table": {"gaia_backup": READ}, "sequence": {"gaia_backup": READ}}
"""On every table (partitions too) and sequence: a backup leaves nothing out."""

DEFAULT: Mapping[str, Mapping[str, Privileges]] = {
    "TABLES": {"gaia_backup": READ},
    "SEQUENCES": {"gaia_backup": READ},
    "FUNCTIONS": {},
}
"""On what gaia_owner makes from now on (ALTER DEFAULT PRIVILEGES). PostgreSQL's own default: PUBLIC runs functions."""


@dataclasses.dataclass(frozen=True, kw_only=True, order=True)
class Privilege:
    """One privilege of one role on one thing."""

    kind: Kind
    name: str
    """Database, schema, ``schema.table``, ``schema.function(arguments)`` or, for defaults, TABLES and so on."""
    role: str
    privilege: str
    column: str = ""

    def __str__(self) -> str:
        column = f" ({self.column})" if self.column else ""
        return f"{self.privilege}{column} on {_thing(self.kind, self.name)}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """What the live grants lack, and what they have too much."""

    lacking: tuple[Privilege, ...]
    surplus: tuple[Privilege, ...]
    """Of PUBLIC and our roles."""
    foreign: tuple[Privilege, ...]
    """Of other roles on our objects: reported, never revoked."""

    def sentences(self) -> list[str]:
        """One sentence per difference."""
        return [
            *(f"{p.role} lacks {p}" for p in self.lacking),
            *(f"{p.role} has {p}, which the table of grants doesn't give" for p in (*self.surplus, *self.foreign)),
        ]


def expected(database: str, tables: Iterable[str], sequences: Iterable[str]) -> set[Privilege]:
    """The table of grants, spelled out for the tables and sequences that exist."""
    tables = set(tables)
    every: dict[Kind, Iterable[str]] = {"table": tables, "sequence": sequences}
    return {
        *_spell("database", {database: DATABASE}),
        *_spell("schema", SCHEMA),
        *_spell("table", {name: roles for name, roles in TABLE.items() if name in tables}),
        *_spell("function", FUNCTION),
        *_spell("default", DEFAULT),
        *(p for kind, roles in EVERY.items() for p in _spell(kind, dict.fromkeys(every[kind], roles))),
        *(
            Privilege(kind="table", name=name, role=role, privilege=privilege, column=column)
            for name, roles in COLUMN.items()
            if name in tables
            for role, privileges in roles.items()
            for privilege, columns in privileges.items()
            for column in columns
        ),
    }


def difference(connection: "psycopg.Connection[Any]") -> Difference:
    """Compare the live grants with the table. What doesn't exist (a role, a table, a column) is left out."""
    rows = connection.execute(_LIVE, {"schemas": list(SCHEMAS), "owner": OWNER}).fetchall()
    roles = {PUBLIC, *ROLES}
    things: dict[Kind, set[str]] = {}
    live: set[Privilege] = set()
    surplus: set[Privilege] = set()
    foreign: set[Privilege] = set()
    existing = set(rows[0][8]) if rows else set()
    columns = set(rows[0][9]) if rows else set()
    for kind, name, column, role, privilege, grantable, owns, reported, *_ in rows:
        things.setdefault(kind, set()).add(name)
        if role is None:  # a thing on which nobody has anything
            continue
        has = Privilege(kind=kind, name=name, role=role, privilege=privilege, column=column or "")
        live.add(has)
        if owns:
            continue
        group = surplus if role in roles else foreign
        if role in roles or reported:
            group.add(has)
            if grantable:
                group.add(dataclasses.replace(has, privilege=f"GRANT OPTION FOR {privilege}"))
    database = next(iter(things.get("database", set())), "")
    wanted = {
        p
        for p in expected(database, things.get("table", set()), things.get("sequence", set()))
        if p.role in existing
        and p.name in things.get(p.kind, set())
        and (not p.column or f"{p.name}.{quoted(p.column)}" in columns)
    }
    return Difference(
        lacking=tuple(sorted(wanted - live)),
        surplus=tuple(sorted(surplus - wanted)),
        foreign=tuple(sorted(foreign)),
    )


def apply(connection: "psycopg.Connection[Any]") -> tuple[str, ...]:
    """Bring the owner's grants (schemas, tables, defaults) to the table's, in one transaction; says what changed.

    Needs gaia_owner, or a superuser. What belongs to the database's owner is :func:`apply_outer`'s.
    """
    return _apply(connection, outer=False)


def apply_outer(connection: "psycopg.Connection[Any]") -> tuple[str, ...]:
    """Bring the grants on the database and on schema public to the table's; needs the database's owner."""
    return _apply(connection, outer=True)


def statements(lacking: Iterable[Privilege], surplus: Iterable[Privilege]) -> list[str]:
    """The SQL that takes ``surplus`` away and gives ``lacking``."""
    return [*_sentences("REVOKE", surplus), *_sentences("GRANT", lacking)]


def _apply(connection: "psycopg.Connection[Any]", *, outer: bool) -> tuple[str, ...]:
    found = difference(connection)
    lacking = [p for p in found.lacking if is_outer(p) == outer]
    surplus = [p for p in found.surplus if is_outer(p) == outer]
    if not lacking and not surplus:
        return ()
    sql = statements(lacking, surplus)
    with connection.transaction():
        connection.execute(";\n".join(sql).encode())
    return tuple(sql)


def is_outer(privilege: Privilege) -> bool:
    """Whether it belongs to the database's owner, not to gaia_owner."""
    return privilege.kind == "database" or (privilege.kind == "schema" and privilege.name == "public")


def _sentences(verb: Literal["GRANT", "REVOKE"], privileges: Iterable[Privilege]) -> Iterator[str]:
    def group(p: Privilege) -> tuple[str, str, str, str]:
        option, _, _ = p.privilege.rpartition(" FOR ")
        return p.kind, p.name, p.role, option

    for (kind, name, role, option), members in groupby(sorted(privileges, key=lambda p: (group(p), p)), key=group):
        listed: dict[str, list[str]] = {}
        for p in members:
            columns = listed.setdefault(p.privilege.rpartition(" FOR ")[2], [])
            if p.column:
                columns.append(quoted(p.column))
        what = ", ".join(f"{p} ({', '.join(columns)})" if columns else p for p, columns in listed.items())
        who = role if role == PUBLIC else quoted(role)
        direction = "TO" if verb == "GRANT" else "FROM"
        if option:
            what = f"{option} FOR {what}"
        if kind == "default":
            prefix = f"ALTER DEFAULT PRIVILEGES FOR ROLE {quoted(OWNER)} "
            yield f"{prefix}{verb} {what} ON {name} {direction} {who}"
        else:
            yield f"{verb} {what} ON {_sql_thing(kind, name)} {direction} {who}"


def quoted(name: str) -> str:
    """``name`` as an SQL identifier."""
    return name if name.isidentifier() and name.islower() and name.isascii() else _in_quotes(name)


def _in_quotes(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _sql_thing(kind: str, name: str) -> str:
    # Tables and functions come from the catalog already quoted.
    word = "ROUTINE" if kind == "function" else kind.upper()  # procedures are among them
    if kind == "database":
        return f"{word} {_in_quotes(name)}"  # its name is a setting, which may be a word of SQL's own
    return f"{word} {quoted(name) if kind == 'schema' else name}"


def _thing(kind: Kind, name: str) -> str:
    return f"{name.lower()} made later" if kind == "default" else f"{kind} {name}"


def _spell(kind: Kind, names: Mapping[str, Mapping[str, Privileges]]) -> Iterator[Privilege]:
    for name, roles in names.items():
        for role, privileges in roles.items():
            for privilege in privileges:
                yield Privilege(kind=kind, name=name, role=role, privilege=privilege)


_LIVE = """
WITH schemas AS (SELECT oid, nspname, nspowner, nspacl FROM pg_namespace WHERE nspname = ANY(%(schemas)s)),
thing (kind, name, col, owner, acl, reported) AS (
    SELECT 'database', datname::text, NULL, datdba, coalesce(datacl, acldefault('d', datdba)), false
    FROM pg_database WHERE datname = current_database()
  UNION ALL
    SELECT 'schema', nspname::text, NULL, nspowner, coalesce(nspacl, acldefault('n', nspowner)), nspname <> 'public'
    FROM pg_namespace WHERE nspname = 'public' OR oid IN (SELECT oid FROM schemas)
  UNION ALL
    SELECT CASE relkind WHEN 'S' THEN 'sequence' ELSE 'table' END, format('%%I.%%I', n.nspname, relname), NULL,
           relowner, coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)), true
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
      AND (n.oid IN (SELECT oid FROM schemas) OR (n.nspname = 'public' AND relname = 'alembic_version'))
  UNION ALL
    SELECT 'table', format('%%I.%%I', n.nspname, relname), attname, relowner, attacl, true
    FROM pg_attribute JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace
    WHERE attacl IS NOT NULL AND NOT attisdropped
      AND (n.oid IN (SELECT oid FROM schemas) OR (n.nspname = 'public' AND relname = 'alembic_version'))
  UNION ALL
    SELECT 'function', format('%%I.%%I(%%s)', nspname, proname, oidvectortypes(proargtypes)), NULL,
           proowner, coalesce(proacl, acldefault('f', proowner)), true
    FROM pg_proc p JOIN schemas n ON n.oid = pronamespace
  UNION ALL
    SELECT 'default', objects, NULL, r.oid, coalesce(defaclacl, acldefault(builtin::"char", r.oid)), true
    FROM pg_roles r
    CROSS JOIN (VALUES ('TABLES', 'r', 'r'), ('SEQUENCES', 'S', 's'), ('FUNCTIONS', 'f', 'f'))
        v (objects, stored, builtin)
    LEFT JOIN pg_default_acl ON defaclrole = r.oid AND defaclnamespace = 0 AND defaclobjtype = stored::"char"
    WHERE r.rolname = %(owner)s
)
SELECT kind, name, col, CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE r.rolname END, x.privilege_type,
       coalesce(x.is_grantable, false), coalesce(x.grantee = owner, false), reported,
       (SELECT array_agg(rolname::text) FROM pg_roles),
       array(SELECT format('%%I.%%I.%%I', n.nspname, c.relname, attname) FROM pg_attribute
             JOIN pg_class c ON c.oid = attrelid JOIN schemas n ON n.oid = c.relnamespace
             WHERE attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'p') AND NOT relispartition)
FROM thing LEFT JOIN LATERAL aclexplode(acl) x ON true LEFT JOIN pg_roles r ON r.oid = x.grantee
"""
