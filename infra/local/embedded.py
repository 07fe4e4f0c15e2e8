"""The embedded server as a Pulumi resource: the same database where there is no Docker."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

if TYPE_CHECKING:
    from infra.local import postgres

    # Not for the provider's process, which would import all that reads settings with it.
    from infra.settings import Database, Embedded


LOCKED_OUT = "running, but refuses its superuser"


@dataclass(frozen=True, kw_only=True)
class EmbeddedArgs:
    """What one embedded server needs."""

    home: Path
    """Where its data and log lie."""
    database: Database
    embedded: Embedded
    password: pulumi.Input[str]
    """The superuser's."""


class EmbeddedServerProvider(ResourceProvider):
    """Makes, mends, changes and stops the server. Its module path is stored in every state: keep it."""

    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        from infra.local import postgres

        server = postgres.locate(Path(props["home"]))
        _settle(server)
        _create(server, props)
        return CreateResult(props["home"], _outputs(server, props))

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        # The data stays where it is: another place, database or superuser is another server.
        replaces = [key for key in ("home", "database", "superuser") if olds.get(key) != news.get(key)]
        changed = [key for key in ("password", "parameters") if olds.get(key) != news.get(key)]
        stopped = olds.get("status") != "running"
        return DiffResult(changes=bool(replaces or changed or stopped), replaces=replaces, delete_before_replace=True)

    def update(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        from infra.local import ports, postgres
        from infra.local.errors import ServerFailed

        server = postgres.locate(Path(news["home"]))
        _settle(server)
        timeout_s = int(news["start_timeout_s"])
        port = int(news["parameters"]["port"])
        if port != int(olds["parameters"]["port"]):
            ports.require_free(postgres.ADDRESS, port)  # before the server that serves is stopped
        if olds.get("status") == LOCKED_OUT or olds.get("password") != news["password"]:
            _create(server, news)  # takes the data over, and gives the superuser this password
            return UpdateResult(_outputs(server, news))
        if _needs_restart(olds["parameters"], news["parameters"]):
            postgres.stop(server)
        postgres.configure(server, news["parameters"])
        if postgres.status(server) == "running":
            postgres.reload(server)
            return UpdateResult(_outputs(server, news))
        try:
            postgres.start(server, port=port, timeout_s=timeout_s)
        except ServerFailed:
            # With the new parameters it doesn't start: better one with the old ones than none.
            postgres.configure(server, olds["parameters"])
            postgres.start(server, port=int(olds["parameters"]["port"]), timeout_s=timeout_s)
            raise
        return UpdateResult(_outputs(server, news))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        from infra.local import failover, postgres

        server = postgres.locate(Path(props["home"]))
        status = failover.UNDER_WAY if failover.under_way(server.home) else postgres.status(server)
        if status == "absent":
            return ReadResult("", {})
        if status == "running" and not _answers(props):
            status = LOCKED_OUT
        return ReadResult(id_, {**props, "status": status})

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        from infra.local import postgres

        # The data stays; only `./gaia destroy --purge` removes it.
        server = postgres.locate(Path(props["home"]))
        if postgres.status(server) != "absent":
            postgres.stop(server)


class EmbeddedServer(Resource, module="gaia", name="EmbeddedServer"):
    """One PostgreSQL 16 on loopback, with its data in a folder of its own."""

    server_version: pulumi.Output[str]
    """Such as ``16.14``."""
    identity: pulumi.Output[str]
    """The data directory's system identifier: another one is another, empty database."""
    status: pulumi.Output[str]
    """``running`` after every ``up``."""

    def __init__(self, name: str, args: EmbeddedArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        secret = pulumi.ResourceOptions(additional_secret_outputs=["password"])
        super().__init__(
            EmbeddedServerProvider(),
            name,
            {
                "home": str(args.home),
                "superuser": args.database.user,
                "database": args.database.name,
                "password": args.password,
                "parameters": parameters(args.database),
                "start_timeout_s": args.embedded.start_timeout_s,
                "server_version": None,
                "identity": None,
                "status": None,
            },
            pulumi.ResourceOptions.merge(opts, secret),
        )


def parameters(database: Database) -> dict[str, str]:
    """The server parameters as PostgreSQL's configuration file takes them, all as text."""
    from infra.local import postgres
    from infra.local.replication import replicated

    tuning = asdict(database.tuning)
    if sys.platform == "darwin":
        # macOS has no posix_fadvise: the server refuses any other value there.
        tuning["effective_io_concurrency"] = 0
    fixed = {
        "port": database.port,
        "listen_addresses": postgres.ADDRESS,
        "unix_socket_directories": "",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %q%u@%d ",
    }
    return {name: str(value) for name, value in {**tuning, **fixed, **replicated(database)}.items()}


def _settle(server: postgres.Server) -> None:
    """Finish a failover that was interrupted; never make an empty database beside a standby that has the last one's."""
    from infra.local import failover, postgres, replication
    from infra.local.errors import DataDirectoryError

    if failover.finish(server.home) is None and postgres.status(server) == "absent":
        standby = postgres.beside(server)
        if replication.follows(standby) is not None and postgres.status(standby) != "absent":
            raise DataDirectoryError(
                f"{server.data} is gone, but its standby has the database: run ./gaia failover, "
                "or give both up with ./gaia destroy --purge"
            )


def _create(server: postgres.Server, props: dict[str, Any]) -> None:
    from infra.local import postgres

    postgres.create(
        server,
        superuser=props["superuser"],
        password=props["password"],
        database=props["database"],
        parameters=props["parameters"],
        timeout_s=int(props["start_timeout_s"]),
    )


def _answers(props: dict[str, Any]) -> bool:
    """Whether the superuser gets in; not so after a password changed by hand, or a dropped database."""
    import psycopg

    from infra.local import postgres

    login = {"user": props["superuser"], "password": props["password"], "dbname": props["database"]}
    try:
        psycopg.connect(
            host=postgres.ADDRESS, port=int(props["parameters"]["port"]), connect_timeout=5, **login
        ).close()
    except psycopg.OperationalError as error:
        return "password authentication failed" not in str(error) and "does not exist" not in str(error)
    return True


def _needs_restart(old: dict[str, Any], new: dict[str, Any]) -> bool:
    from infra.local import postgres

    return any(old.get(name) != new.get(name) for name in postgres.RESTART_PARAMETERS)


def _outputs(server: postgres.Server, props: dict[str, Any]) -> dict[str, Any]:
    from infra.local import postgres

    found = {"server_version": postgres.version(server), "identity": postgres.identity(server), "status": "running"}
    return {**props, **found}
