"""The standby of a local server as a Pulumi resource."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

if TYPE_CHECKING:
    # Not for the provider's process, which would import all that reads settings with it.
    from infra.settings import Database

_KEYS = (
    "server",
    "standby",
    "container",
    "password",
    "replication_password",
    "primary_parameters",
    "parameters",
    "synchronous",
)


@dataclass(frozen=True, kw_only=True)
class StandbyArgs:
    """What one standby needs."""

    server: pulumi.Input[str]
    """Tells its primary from another one in the same place."""
    home: Path
    """The primary's; the standby's is beside it."""
    database: Database
    start_timeout_s: int
    password: pulumi.Input[str]
    """The superuser's."""
    replication_password: pulumi.Input[str]
    parameters: dict[str, str]
    """The primary's, as far as the stack itself gives them to it."""
    address: str
    """Where both are reached."""
    container: dict[str, Any] | None = None
    """Where the primary and its standby live, if that is in containers."""
    standby: pulumi.Input[str] | None = None
    """Tells the standby's container from an earlier one."""


class StandbyProvider(ResourceProvider):
    """Makes, mends and removes the standby. Its module path is stored in every state: keep it."""

    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(props["home"], _follow(props))

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        replaces = [key for key in ("home", "superuser") if olds.get(key) != news.get(key)]
        changed = any(olds.get(key) != news.get(key) for key in _KEYS)
        broken = olds.get("status") != "streaming"
        return DiffResult(changes=bool(replaces or changed or broken), replaces=replaces, delete_before_replace=True)

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(_follow(news))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        from infra.local import failover, replication

        if failover.under_way(Path(props["home"])):
            # It may stream still, but no more once its primary was mended.
            return ReadResult(id_, {**props, "status": failover.UNDER_WAY})
        status = replication.look(replication.pair_of(props)).status
        return ReadResult("", {}) if status == "absent" else ReadResult(id_, {**props, "status": status})

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        from infra.local import replication

        replication.leave(replication.pair_of(props))


class Standby(Resource, module="gaia", name="Standby"):
    """A second server that follows the first one, takes reads, and can take its place."""

    status: pulumi.Output[str]
    """``streaming`` after every ``up``."""

    def __init__(self, name: str, args: StandbyArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        secret = pulumi.ResourceOptions(additional_secret_outputs=["password", "replication_password"])
        super().__init__(
            StandbyProvider(),
            name,
            {
                "server": args.server,
                "home": str(args.home),
                "superuser": args.database.user,
                "password": args.password,
                "replication_password": args.replication_password,
                "primary_parameters": args.parameters,
                "parameters": {**args.parameters, "port": str(args.database.standby_port)},
                "address": args.address,
                "container": args.container,
                "standby": args.standby,
                "synchronous": args.database.synchronous,
                "start_timeout_s": args.start_timeout_s,
                "status": None,
            },
            pulumi.ResourceOptions.merge(opts, secret),
        )


def _follow(props: dict[str, Any]) -> dict[str, Any]:
    from infra.local import replication, schema

    pair = replication.pair_of(props)
    if props.get("container"):
        # An embedded server serves once it was made; a container only begins to.
        schema.wait(
            {
                "host": pair.address,
                "port": pair.primary_port,
                "database": "postgres",
                "superuser": pair.superuser,
                "password": pair.password,
                "start_timeout_s": pair.timeout_s,
                "container": props["container"]["container"],
            }
        )
    replication.follow(pair)
    return {**props, "status": "streaming"}
