"""``./gaia verify``: whether the database is what it should be. The source document's verification script."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from migrations.connection import one_sentence
from ops import drill, stacks
from ops.backups import place_of
from ops.checks import Check, tell
from ops.report import Report

if TYPE_CHECKING:
    import psycopg

    from infra.local.replication import Pair, Seen
    from infra.settings import Settings

    Connection = psycopg.Connection[tuple[Any, ...]]

PASSWORD_LENGTH_MIN = 16
CONNECT_TIMEOUT_S = 5
LAG_S_MAX = 60
"""As much as a production replica may be behind before somebody is told (``gcp.alerts.replica_lag_s``)."""
MONTHS_AHEAD_MIN = 3
"""Twelve are made ahead; with fewer than these, whoever should make them has long stopped."""


def verify(report: Report, *, stack_name: str | None) -> int:
    """Run every check against the stack's server; returns the exit code."""
    import psycopg

    stack = stacks.open_stack(stack_name, report.long)
    settings = stacks.read_settings(stack.checkout, stack.name)
    logins = stacks.logins(stack)
    superuser, app = logins.superuser, logins.app
    checks = [_password("superuser", superuser.password), _password("app", app.password)]
    try:
        connection = psycopg.connect(superuser.url, connect_timeout=CONNECT_TIMEOUT_S, application_name="gaia verify")
    except psycopg.OperationalError as error:
        said = one_sentence(str(error))
        hint = f"{superuser.host}:{superuser.port} does not answer ({said}): run ./gaia up, then ./gaia logs"
        return tell(report, stack.name, [Check("server answers", False, hint), *checks])
    checks.insert(0, Check("server answers", True))
    with connection:
        connection.autocommit = True
        for check in CHECKS:
            checks += check(connection, settings)
    checks += [_revision(superuser.url), _app_login(app), _identity(app, logins.identity_key)]
    if logins.pair is not None:
        checks.append(_standby(logins.pair))
    if settings.docker is not None:
        checks.append(_container(settings.docker.container))
        if logins.pair is not None:
            checks.append(_container(settings.docker.standby_container))
    checks.append(drill.check(place_of(None)))
    return tell(report, stack.name, checks)


def _version(connection: Connection, _settings: Settings) -> Iterator[Check]:
    number = connection.info.server_version
    hint = "" if number // 10000 == 16 else f"is {number // 10000}: use an image or a data directory of PostgreSQL 16"
    yield Check("PostgreSQL 16", number // 10000 == 16, hint)


def _health(connection: Connection, _settings: Settings) -> Iterator[Check]:
    row = connection.execute("SELECT pg_is_in_recovery(), current_setting('transaction_read_only')").fetchone()
    ok = row == (False, "off")
    yield Check("server takes writes", ok, "" if ok else "it is read-only: a standby, or in recovery")


def _tables(connection: Connection, _settings: Settings) -> Iterator[Check]:
    from db.models import Base

    expected = sorted(table.fullname for table in Base.metadata.sorted_tables)
    rows = connection.execute("SELECT schemaname || '.' || tablename FROM pg_tables")
    live = {row[0] for row in rows}
    for schema in sorted({name.split(".")[0] for name in expected}):
        found = connection.execute("SELECT to_regnamespace(%s) IS NOT NULL", (schema,)).fetchone() == (True,)
        yield Check(f"schema {schema}", found, "" if found else "is missing: run ./gaia up")
    for name in expected:
        yield Check(f"table {name}", name in live, "" if name in live else "is missing: run ./gaia up")


def _roles(connection: Connection, _settings: Settings) -> Iterator[Check]:
    from migrations import roles

    differences = roles.missing(connection)
    if not differences:
        yield Check("roles and grants", True)
    for difference in differences:
        yield Check("roles and grants", False, f"{difference}: run ./gaia migrate upgrade")


def _guards(connection: Connection, _settings: Settings) -> Iterator[Check]:
    from migrations import guards, runner

    if runner.current_of(connection) != runner.head():
        return  # which another check says
    changed = guards.missing(connection)
    hint = f"{'; '.join(changed)}: run ./gaia migrate downgrade and upgrade past the revision that makes it"
    yield Check("functions, triggers and policies", not changed, hint if changed else "")


def _partitions(connection: Connection, settings: Settings) -> Iterator[Check]:
    from dataclasses import asdict

    from migrations import bootstrap, partitions

    retention = bootstrap.Retention(**asdict(settings.database.retention))
    lacking = partitions.missing(connection, ahead_months=MONTHS_AHEAD_MIN, kept=retention.kept)
    hint = "; ".join(f"{sentence}: run ./gaia up" for sentence in lacking)
    yield Check(f"partitions for the next {MONTHS_AHEAD_MIN} months", not lacking, hint)


def _audit(connection: Connection, _settings: Settings) -> Iterator[Check]:
    from migrations import ddl_audit

    lacking = ddl_audit.missing(connection)
    yield Check(
        "DDL goes into the audit log", not lacking, "; ".join(f"{sentence}: run ./gaia up" for sentence in lacking)
    )


def _revision(url: str) -> Check:
    from migrations import runner

    at, head = runner.current(url), runner.head()
    hint = "" if at == head else f"the database is at {at or 'base'}, head is {head}: run ./gaia migrate upgrade"
    return Check("revision is head", at == head, hint)


def _catalog(connection: Connection, _settings: Settings) -> Iterator[Check]:
    from migrations.lint import catalog

    found = catalog.findings(connection)
    if not found:
        yield Check("catalog lint", True)
    for finding in found:
        yield Check(f"catalog lint {finding.rule}", False, f"{finding.message}: {finding.safe}")


def _settings_in_effect(connection: Connection, settings: Settings) -> Iterator[Check]:
    from infra.local.embedded import parameters

    for name, wanted in parameters(settings.database).items():
        if name not in type(settings.database.tuning).__dataclass_fields__:
            continue
        live, same = _live_setting(connection, name, wanted)
        yield Check(f"setting {name}", same, "" if same else f"is {live}, not {wanted}: run ./gaia up")


_UNITS = {
    "8kB": ("pg_size_bytes(%s)", 8192),
    "kB": ("pg_size_bytes(%s)", 1024),
    "ms": ("1000 * extract(epoch FROM %s::interval)", 1),
}


def _live_setting(connection: Connection, name: str, wanted: str) -> tuple[str, bool]:
    """A parameter as the server shows it, and whether it is the wanted one: 1024MB and 1GB are the same."""
    row = connection.execute(
        "SELECT current_setting(name), setting, unit FROM pg_settings WHERE name = %s", (name,)
    ).fetchone()
    assert row is not None
    live, setting, unit = row
    expression, factor = _UNITS.get(unit, ("%s::float8", 1))
    meant = connection.execute(f"SELECT {expression}".encode(), (wanted,)).fetchone()
    assert meant is not None
    return live, float(setting) * factor == float(meant[0])


def _round_trip(connection: Connection, _settings: Settings) -> Iterator[Check]:
    import psycopg

    name = "verify-" + "0" * 8
    try:
        with connection.transaction(force_rollback=True):
            row = connection.execute(
                "INSERT INTO auth.users (username, email) VALUES (%s, %s) RETURNING user_id",
                (name, f"{name}@example.invalid"),
            ).fetchone()
            read = connection.execute("SELECT username FROM auth.users WHERE user_id = %s", row).fetchone()
        ok, hint = read == (name,), "" if read == (name,) else "what was written was not read back"
    except psycopg.Error as error:
        ok, hint = False, f"{error.diag.message_primary or error}: run ./gaia migrate upgrade"
    yield Check("write and read, rolled back", ok, hint)


CHECKS: tuple[Callable[[Connection, Settings], Iterator[Check]], ...] = (
    _version,
    _health,
    _tables,
    _roles,
    _guards,
    _partitions,
    _audit,
    _catalog,
    _settings_in_effect,
    _round_trip,
)


def _password(whose: str, password: str) -> Check:
    ok = len(password) >= PASSWORD_LENGTH_MIN
    hint = f"has {len(password)} characters, fewer than {PASSWORD_LENGTH_MIN}: run POSTGRES_PASSWORD=… ./gaia up"
    return Check(f"password of the {whose} is strong", ok, "" if ok else hint)


def _app_login(login: stacks.Login) -> Check:
    import psycopg

    try:
        psycopg.connect(login.url, connect_timeout=CONNECT_TIMEOUT_S).close()
    except psycopg.OperationalError as error:
        return Check("the app can log in", False, f"{one_sentence(str(error))}: run ./gaia up")
    return Check("the app can log in", True)


def _identity(login: stacks.Login, key: str) -> Check:
    """Whether the database believes what the backend signs. Asked as the app, of a user who isn't there."""
    import psycopg

    from db.identity import key_id

    name = "identities are believed"
    try:
        with psycopg.connect(login.url, connect_timeout=CONNECT_TIMEOUT_S) as connection:
            row = connection.execute("SELECT auth.knows_key(%s)", (key_id(key),)).fetchone()
    except psycopg.Error as error:
        return Check(name, False, f"{one_sentence(str(error))}: run ./gaia up")
    ok = row == (True,)
    return Check(name, ok, "" if ok else "the database hasn't this stack's key, so users see no rows: run ./gaia up")


def _standby(pair: Pair) -> Check:
    from infra.local import replication

    return standby_check(replication.look(pair))


def standby_check(seen: Seen) -> Check:
    """Whether a standby is as it should be."""
    name, behind_s = "standby follows", seen.lag_s or 0  # none where nothing was written lately
    if seen.status != "streaming":
        return Check(name, False, f"it is {seen.status}: run ./gaia up")
    if behind_s > LAG_S_MAX:
        return Check(name, False, f"it is {behind_s:.0f} s behind: end what holds it up there, or wait")
    return Check(name, True)


def _container(name: str) -> Check:
    from infra.local import docker_engine
    from infra.local.errors import LocalError

    try:
        client = docker_engine.connect()
        found = docker_engine.find(client, name)
        client.close()
    except LocalError as error:
        return Check(f"container {name}", False, str(error))
    health = (found.attrs["State"].get("Health") or {}).get("Status") if found else "gone"
    # "starting" for its first ten seconds, while the server answers already.
    ok = health in ("healthy", "starting")
    return Check(f"container {name}", ok, "" if ok else f"is {health or 'without a healthcheck'}: run ./gaia up")
