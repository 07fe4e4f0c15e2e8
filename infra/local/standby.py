"""The standby of the embedded server as a Pulumi resource."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

if TYPE_CHECKING:
    # Not for the provider's process, which would import all that reads settings with it.
    from infra.settings import Database, Embedded

_KEYS = ("server", "password", "replication_password", "primary_parameters", "parameters", "synchronous")


@dataclass(frozen=True, kw_only=True)
class StandbyArgs:
    """What one standby needs."""

    server: pulumi.Input[str]
    """Tells its primary from another one in the same place."""
    home: Path
    """The primary's; the standby's is beside it."""
    database: Database
    embedded: Embedded
    password: pulumi.Input[str]
    """The superuser's."""
    replication_password: pulumi.Input[str]


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
        from infra.local.embedded import parameters

        secret = pulumi.ResourceOptions(additional_secret_outputs=["password", "replication_password"])
        primary_parameters = parameters(args.database)
        super().__init__(
            StandbyProvider(),
            name,
            {
                "server": args.server,
                "home": str(args.home),
                "superuser": args.database.user,
                "password": args.password,
                "replication_password": args.replication_password,
                "primary_parameters": primary_parameters,
                "parameters": {**primary_parameters, "port": str(args.database.standby_port)},
                "synchronous": args.database.synchronous,
                "start_timeout_s": args.embedded.start_timeout_s,
                "status": None,
            },
            pulumi.ResourceOptions.merge(opts, secret),
        )


def _follow(props: dict[str, Any]) -> dict[str, Any]:
    from infra.local import replication

    replication.follow(replication.pair_of(props))
    return {**props, "status": "streaming"}
