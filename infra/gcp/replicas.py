"""The read replicas that follow the primary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from infra.gcp import settings
from infra.gcp.instance import VERSION, Instance, shared_settings
from infra.gcp.network import Network
from infra.gcp.place import Place
from infra.gcp.sdk import sql


@dataclass(frozen=True, kw_only=True)
class ReplicasArgs:
    place: Place
    gcp: settings.Gcp
    flags: Mapping[str, str]
    network: Network
    instance: Instance
    key: pulumi.Input[str] | None


class Replicas(pulumi.ComponentResource):
    """A map, not a list: taking one out leaves the others as they are."""

    connection_names: dict[str, pulumi.Output[str]]
    """``project:region:instance``, by the replica's name in the stack file."""

    def __init__(self, name: str, args: ReplicasArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gaia:gcp:Replicas", name, {}, opts)
        self.connection_names = {
            key: self._replica(key, replica, args).connection_name for key, replica in sorted(args.gcp.replicas.items())
        }
        self.register_outputs({"connection_names": self.connection_names})

    def _replica(self, key: str, replica: settings.Replica, args: ReplicasArgs) -> sql.DatabaseInstance:
        chosen = args.gcp.instance
        # The primary's flags: a standby refuses to start with fewer max_connections than its primary has.
        shared = shared_settings(
            args.gcp,
            tier=replica.tier or chosen.tier,
            flags=args.flags,
            network=args.network,
            labels=args.place.labels,
        )
        return sql.DatabaseInstance(
            f"replica-{key}",
            project=args.place.project,
            region=replica.region or args.place.region,
            name=f"{chosen.name}-{key}",
            database_version=VERSION,
            instance_type="READ_REPLICA_INSTANCE",
            master_instance_name=args.instance.primary.name,
            encryption_key_name=args.key,
            deletion_protection=chosen.deletion_protection,
            settings=sql.DatabaseInstanceSettingsArgs(
                **shared,  # pyright: ignore[reportArgumentType]
                availability_type="ZONAL",
            ),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[args.instance.primary, *args.network.reachable]),
        )
