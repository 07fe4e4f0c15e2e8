"""The schema as a Pulumi resource: roles, migrations, grants, keys, partitions. Part of every local ``up``."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

if TYPE_CHECKING:
    from infra.local.logins import AppLogins
    from infra.settings import Retention

CONNECT_TIMEOUT_S = 5
TRY_EVERY_S = 0.05
LOOK_EVERY_S = 1.0
"""How often the container is looked at meanwhile: asking Docker costs more than trying to connect."""
_KEYS = (
    *("server", "host", "port", "database", "superuser", "password", "identity_key"),
    *("rotation", "retention", "head", "content"),
)


@dataclass(frozen=True, kw_only=True)
class SchemaArgs:
    """Which database to bring to head, and as whom."""

    server: pulumi.Input[str]
    """Tells this server from another one at the same address: that one may be empty."""
    host: str
    port: int
    database: str
    superuser: str
    password: pulumi.Input[str]
    app: AppLogins
    retention: Retention
    start_timeout_s: int
    container: pulumi.Input[str] | None = None
    """The Docker container the server runs in, if it does."""


class SchemaProvider(ResourceProvider):
    """Waits for the server and brings it to head. Its module path is stored in every state: keep it."""

    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult("schema", _apply(props))

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        changed = any(olds.get(key) != news.get(key) for key in _KEYS) or _passwords(olds) != _passwords(news)
        return DiffResult(changes=changed or olds.get("revision") != news["head"] or bool(olds.get("faults")))

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(_apply(news))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        from migrations import bootstrap, connection, runner
        from migrations.errors import MigrationError

        try:
            with connection.connect(url(props)) as session:
                revision = runner.current_of(session) or "base"
                # Code that is newer than what was applied wants other grants: nobody changed anything by hand.
                same_code = props.get("content") == runner.content_hash()
                faults = (
                    bootstrap.missing(
                        session,
                        passwords=_passwords(props),
                        identity_keys=_keys(props),
                        retention=bootstrap.Retention(**_kept(props)),
                    )
                    if same_code
                    else []
                )
        except (MigrationError, OSError):
            revision, faults = None, []  # not to be asked now: the next `up` mends the server and then the schema
        return ReadResult(id_, {**props, "revision": revision, "faults": faults})


class Schema(Resource, module="gaia", name="Schema"):
    """The database's roles, tables and grants, at the head of the checkout's migrations."""

    revision: pulumi.Output[str]
    """The revision that the database is at."""
    applied: pulumi.Output[list[str]]
    """The revisions that the last change ran."""

    def __init__(self, name: str, args: SchemaArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        from migrations import runner

        secrets = ["password", "app_password", "other_password", "identity_key"]
        secret = pulumi.ResourceOptions(additional_secret_outputs=secrets)
        rotation = args.app.rotation
        super().__init__(
            SchemaProvider(),
            name,
            {
                "server": args.server,
                "host": args.host,
                "port": args.port,
                "database": args.database,
                "superuser": args.superuser,
                "password": args.password,
                "app_user": rotation.current,
                "app_password": args.app.current_password,
                "other_user": rotation.other,
                "other_password": args.app.other_password,
                "identity_key": args.app.identity_key,
                # A stack that was never rotated has none, as one from before there were turns.
                "rotation": None if rotation == type(rotation)() else asdict(rotation),
                "retention": asdict(args.retention),
                "start_timeout_s": args.start_timeout_s,
                "container": args.container,
                "head": runner.head(),
                "content": runner.content_hash(),
                "revision": None,
                "before": None,
                "applied": None,
                "faults": None,
            },
            pulumi.ResourceOptions.merge(opts, secret),
        )


def import_ahead() -> None:
    """Import in the background what a first migration needs: half a second, while the server is being made."""

    def imports() -> None:
        import alembic.runtime.environment
        import alembic.script  # noqa: F401
        import psycopg  # noqa: F401
        import sqlalchemy.dialects.postgresql.psycopg  # noqa: F401

    threading.Thread(target=imports, daemon=True).start()


def url(props: dict[str, Any]) -> str:
    """The superuser's connection URL."""
    from migrations.connection import login_url

    return login_url(
        user=props["superuser"],
        password=props["password"],
        host=props["host"],
        port=int(props["port"]),
        database=props["database"],
    )


def _apply(props: dict[str, Any]) -> dict[str, Any]:
    from migrations import bootstrap

    wait(props)
    done = bootstrap.apply(
        url(props),
        passwords=_passwords(props),
        identity_keys=_keys(props),
        retention=bootstrap.Retention(**_kept(props)),
    ).result
    return {**props, "revision": done.after, "before": done.before, "applied": list(done.applied), "faults": []}


def _passwords(props: dict[str, Any]) -> dict[str, str]:
    from migrations.roles import APP_LOGINS

    # A state from before there were turns names no user.
    found = {props.get("app_user") or APP_LOGINS[0]: props["app_password"]}
    if other := props.get("other_password"):
        found[props["other_user"]] = other
    return found


def _keys(props: dict[str, Any]) -> list[str]:
    keys = props.get("identity_key")  # a state from before there were keys has none
    return keys.split(",") if keys else []


def _kept(props: dict[str, Any]) -> dict[str, int]:
    return {key: int(months) for key, months in (props.get("retention") or {}).items() if months is not None}


def _require_primary(session: Any, container: str) -> None:
    """Raise ``ContainerFailed`` where the volume is a standby's, or fenced: the settings don't know of a failover."""
    from infra.local.errors import ContainerFailed

    row = session.execute("SELECT pg_is_in_recovery()").fetchone()
    if row and row[0]:
        raise ContainerFailed(
            f"container {container} has the data of a standby, which takes no writes: the primary's is in the other "
            "volume: ./gaia destroy, then ./gaia up with --set docker.failovers=1 (or 0, if it is 1)"
        )


def wait(props: dict[str, Any]) -> None:
    """Wait until the superuser can log in. Raises ``ContainerFailed`` at once when the container ended."""
    import psycopg

    from infra.local import docker_engine, postgres
    from infra.local.errors import NotReachable
    from migrations import scram
    from migrations.connection import one_sentence

    timeout_s = int(props["start_timeout_s"])
    deadline = time.monotonic() + timeout_s
    container = props.get("container")
    look_at = time.monotonic() + LOOK_EVERY_S
    restarts: int | None = None
    while True:
        try:
            with contextlib.closing(psycopg.connect(url(props), connect_timeout=CONNECT_TIMEOUT_S)) as session:
                if container:
                    _require_primary(session, container)
                return
        except psycopg.OperationalError as error:
            said = one_sentence(str(error))
        refused = "password authentication failed" in said
        if container and (refused or time.monotonic() > look_at):
            look_at = time.monotonic() + LOOK_EVERY_S
            with contextlib.closing(docker_engine.connect()) as client:
                restarts = docker_engine.require_running(client, container, restarts_before=restarts)
                if refused:
                    # The volume is older than this password: the container's own socket asks for none.
                    verifier = scram.verifier(props["password"])
                    docker_engine.reset_password(client, container, props["superuser"], verifier)
        if f'database "{props["database"]}" does not exist' in said:
            postgres.create_database(
                int(props["port"]),
                superuser=props["superuser"],
                password=props["password"],
                database=props["database"],
                address=props["host"],
            )
            continue
        if time.monotonic() > deadline:
            raise NotReachable(
                f"PostgreSQL at {props['host']}:{int(props['port'])} gave no answer within {timeout_s} s ({said}): "
                "look at ./gaia logs"
            )
        time.sleep(TRY_EVERY_S)
