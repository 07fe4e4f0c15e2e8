"""What the API does inside a server: its users and its databases."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors, sql

from rehearsal.sql.errors import OperationFailed, Refused, invalid
from rehearsal.sql.running import Instance
from rehearsal.sql.template import SYSTEM

SUPERUSER = "cloudsqlsuperuser"
BUILT_IN, IAM_USER, IAM_ACCOUNT = "BUILT_IN", "CLOUD_IAM_USER", "CLOUD_IAM_SERVICE_ACCOUNT"
_IAM_GROUPS = {IAM_USER: "cloudsqliamuser", IAM_ACCOUNT: "cloudsqliamserviceaccount"}
_OWN_DATABASES = frozenset({"cloudsqladmin", "template0", "template1"})
_LOCALE = re.compile(r"(?P<language>[a-z]{2}_[A-Z]{2})\.(UTF8|UTF-8|utf8)|C|POSIX|C\.UTF-?8|default")
CHARSETS = frozenset({"UTF8"})
DEFAULT_COLLATION = "en_US.UTF8"


@dataclass(frozen=True, kw_only=True)
class User:
    """A user as the API lists it."""

    name: str
    kind: str
    roles: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Database:
    """A database as the API lists it."""

    name: str
    charset: str
    collation: str


def make_user(
    instance: Instance, name: str, *, kind: str = BUILT_IN, password: str | None = None, roles: Sequence[str] = ()
) -> None:
    """A role that logs in: of cloudsqlsuperuser, CREATEROLE and CREATEDB, unless other roles are asked for.

    https://cloud.google.com/sql/docs/postgres/users: "All users you create using Cloud SQL are created as part of the
    cloudsqlsuperuser role". IAM users get a group of theirs, no password and no attributes.
    """
    _check_name(name)
    mighty = kind == BUILT_IN and (not roles or SUPERUSER in roles)
    groups = [_IAM_GROUPS[kind], *roles] if kind != BUILT_IN else list(roles or [SUPERUSER])
    attributes = "LOGIN CREATEROLE CREATEDB" if mighty else "LOGIN"
    with instance.session() as session:
        known = {row[0] for row in session.execute("SELECT rolname::text FROM pg_roles").fetchall()}
        if missing := [role for role in groups if role not in known]:
            raise OperationFailed(f'role "{missing[0]}" does not exist')
        if name in known:  # as in the console, a user that is there gets the new password
            _alter(session, name, password)
            return
        statement = sql.SQL("CREATE ROLE {} " + attributes + " IN ROLE {} PASSWORD {}").format(
            sql.Identifier(name),
            sql.SQL(", ").join(map(sql.Identifier, groups)),
            _verifier(session, name, password),
        )
        session.execute(statement)


def change_user(
    instance: Instance, name: str, *, password: str | None, roles: Sequence[str] = (), revoke: bool = False
) -> None:
    """Set the password, add roles; with ``revoke`` take away those that aren't named."""
    _check_name(name)
    with instance.session() as session:
        if session.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).fetchone() is None:
            raise Refused(f"User {name} does not exist.", code=404, reason="userDoesNotExist")
        if password is not None:
            _alter(session, name, password)
        had = _memberships(session).get(name, ())
        for role in roles if revoke or roles else ():
            if role not in had:
                session.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), sql.Identifier(name)))
        for role in had if revoke else ():
            if role not in roles:
                session.execute(sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(role), sql.Identifier(name)))


def drop_user(instance: Instance, name: str) -> None:
    """Raises Refused in the words of kernelci/kcidb#407 where objects depend on it."""
    _check_name(name)
    with instance.session() as session:
        try:
            session.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
        except errors.DependentObjectsStillExist as error:
            said, detail = error.diag.message_primary, error.diag.message_detail
            raise invalid(f"failed to delete user {name}: . {said} Details: {detail}.") from None
        except errors.UndefinedObject:
            raise Refused(f"User {name} does not exist.", code=404, reason="userDoesNotExist") from None


def users(instance: Instance) -> list[User]:
    """Those that log in, the system's left out."""
    with instance.session() as session:
        rows = session.execute("SELECT rolname::text FROM pg_roles WHERE rolcanlogin ORDER BY oid").fetchall()
        groups = _memberships(session)
    return [_user(name, groups.get(name, ())) for (name,) in rows if name not in SYSTEM]


def make_database(instance: Instance, name: str, *, charset: str = "UTF8", collation: str = DEFAULT_COLLATION) -> None:
    """Raises Refused; a collation that this machine hasn't is made C, and told by ``localised``."""
    if charset and charset.upper() not in CHARSETS:
        raise invalid(f"Invalid character set {charset}.")
    if collation and not _LOCALE.fullmatch(collation):
        raise invalid(f'failed to create database {name}. Detail: pq: invalid locale name: "{collation}".')
    if not name or len(name) > 63:
        raise invalid(f"Invalid database name {name!r}.")
    with instance.session() as session:
        statement = "CREATE DATABASE {} OWNER cloudsqlsuperuser TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C'"
        try:
            session.execute(sql.SQL(f"{statement} LC_CTYPE 'C.UTF-8'").format(sql.Identifier(name)))
        except errors.DuplicateDatabase:
            words = f'failed to create database {name}. Detail: pq: database "{name}" already exists'
            raise invalid(f"{words}.") from None
    instance.collations[name] = collation


def drop_database(instance: Instance, name: str) -> None:
    """Raises Refused: in the words of MobilityData/mobility-feed-api#1174 and of k8s-config-connector#2473."""
    if name in _OWN_DATABASES or name == "postgres":
        raise invalid(f"Cannot delete system database {name}.")
    with instance.session() as session:
        row = session.execute("SELECT datdba::regrole::text FROM pg_database WHERE datname = %s", [name]).fetchone()
        if row is None:
            raise Refused(f"Database {name} does not exist.", code=404, reason="databaseDoesNotExist")
        if row[0] != SUPERUSER:
            raise invalid(
                f'failed to delete database "{name}". Detail: pq: must be owner of database {name}. (Please use psql '
                f'client to delete database that is not owned by "cloudsqlsuperuser").'
            )
        try:
            session.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))
        except errors.ObjectInUse as error:
            said = f"failed to delete database {name}. Detail: pq: {error.diag.message_primary}"
            raise invalid(f"{said}.") from None


def databases(instance: Instance) -> list[Database]:
    """All but the administrator's and the templates."""
    with instance.session() as session:
        rows = session.execute(
            "SELECT datname::text, pg_encoding_to_char(encoding)::text FROM pg_database ORDER BY 1"
        ).fetchall()
    return [
        Database(name=name, charset=charset, collation=instance.collations.get(name, DEFAULT_COLLATION))
        for name, charset in rows
        if name not in _OWN_DATABASES
    ]


def localised(collation: str) -> str | None:
    """What isn't so of a database with this collation; None where all is."""
    found = _LOCALE.fullmatch(collation)
    if found and found["language"]:
        return f"the collation {collation} is C here: the order of text differs from Cloud SQL's"
    return None


def _user(name: str, roles: Sequence[str]) -> User:
    kind = next((kind for kind, group in _IAM_GROUPS.items() if group in roles), BUILT_IN)
    return User(name=name, kind=kind, roles=tuple(role for role in roles if role not in _IAM_GROUPS.values()))


def _memberships(session: psycopg.Connection[Any]) -> dict[str, tuple[str, ...]]:
    rows = session.execute(
        "SELECT member::regrole::text, array_agg(DISTINCT g.rolname::text ORDER BY g.rolname::text)"
        " FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid GROUP BY 1"
    ).fetchall()
    return {name.strip('"'): tuple(roles) for name, roles in rows}


def _alter(session: psycopg.Connection[Any], name: str, password: str | None) -> None:
    words = sql.SQL("ALTER ROLE {} PASSWORD {}")
    session.execute(words.format(sql.Identifier(name), _verifier(session, name, password)))


def _verifier(session: psycopg.Connection[Any], name: str, password: str | None) -> sql.Composable:
    """What is stored of a password: the statement itself may be logged."""
    if password is None:
        return sql.NULL
    made = session.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256")
    return sql.Literal(made.decode())


def _check_name(name: str) -> None:
    if not name or len(name) > 63:
        raise invalid(f"Invalid user name {name!r}.")
    if name in SYSTEM or name.startswith("pg_"):
        raise invalid(f"Invalid user name {name}: it is reserved.")
