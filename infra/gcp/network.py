"""How the database is reached: the private network, and Cloud Run's way into it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

import pulumi

from infra.gcp.apis import Apis
from infra.gcp.place import Place
from infra.gcp.sdk import compute, servicenetworking, vpcaccess
from infra.gcp.settings import Network as NetworkSettings

EGRESS = "private-ranges-only"
"""As ``gcloud run deploy --vpc-egress`` writes it; the API says PRIVATE_RANGES_ONLY."""


@dataclass(frozen=True, kw_only=True)
class NetworkArgs:
    place: Place
    network: NetworkSettings
    apis: Apis


class Network(pulumi.ComponentResource):
    """What the instance and the jobs need of the VPC network. The network itself is given, never made."""

    path: str
    """``projects/…/global/networks/…``."""
    allocated_range: pulumi.Output[str] | None
    """Name of the range that the instance's address comes from."""
    connector: vpcaccess.Connector | None
    reachable: list[pulumi.Resource]
    """What an instance in this network has to wait for."""

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gaia:gcp:Network", name, {}, opts)
        self.path = f"projects/{args.place.project}/global/networks/{args.network.network}"
        self.allocated_range, self.connector, self.reachable = None, None, []
        if args.network.mode == "private":
            self._private_services(args)
        if args.network.mode != "public" and args.network.egress == "connector":
            self.connector = self._connector(args)
        self.register_outputs({"path": self.path})

    def _private_services(self, args: NetworkArgs) -> None:
        """Peer Google's network, where Cloud SQL's addresses lie, with ours."""
        allocated = ipaddress.ip_network(args.network.allocated_range)
        address = compute.GlobalAddress(
            "private-range",
            project=args.place.project,
            name=f"{args.place.prefix}-range",
            purpose="VPC_PEERING",
            address_type="INTERNAL",
            address=str(allocated.network_address),
            prefix_length=allocated.prefixlen,
            network=self.path,
            opts=pulumi.ResourceOptions(parent=self, depends_on=args.apis.of("compute")),
        )
        connection = servicenetworking.Connection(
            "private-services",
            network=self.path,
            service="servicenetworking.googleapis.com",
            reserved_peering_ranges=[address.name],
            # A connection refuses to go while Google still holds an instance, days after its deletion.
            deletion_policy="ABANDON",
            # Where the network has a connection already, a create fails: ours joins it.
            update_on_creation_fail=True,
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=args.apis.of("servicenetworking", "cloudresourcemanager")
            ),
        )
        self.allocated_range = address.name
        self.reachable = [connection]

    def _connector(self, args: NetworkArgs) -> vpcaccess.Connector:
        connector = args.network.connector
        return vpcaccess.Connector(
            "connector",
            project=args.place.project,
            region=args.place.region,
            name=connector.name,
            network=args.network.network,
            ip_cidr_range=connector.range,
            machine_type=connector.machine_type,
            # Instances or throughput, never both: the provider would see a difference for ever.
            min_instances=connector.min_instances,
            max_instances=connector.max_instances,
            # The name is taken until the old one is gone.
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=args.apis.of("vpcaccess", "compute"), delete_before_replace=True
            ),
        )
