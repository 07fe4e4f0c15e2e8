"""Private Service Connect: an address in the own network that leads to the instance, and its name."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from infra.gcp.apis import Apis
from infra.gcp.instance import Instance
from infra.gcp.network import Network
from infra.gcp.place import Place
from infra.gcp.sdk import compute, dns


@dataclass(frozen=True, kw_only=True)
class PscEndpointArgs:
    place: Place
    instance_name: str
    subnetwork: str
    instance: Instance
    network: Network
    apis: Apis


class PscEndpoint(pulumi.ComponentResource):
    """The endpoint, and the private zone that makes the instance's own DNS name lead to it."""

    address: pulumi.Output[str]
    ready: list[pulumi.Resource]

    def __init__(self, name: str, args: PscEndpointArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gaia:gcp:PscEndpoint", name, {}, opts)
        place, primary = args.place, args.instance.primary
        address = compute.Address(
            "psc-address",
            project=place.project,
            region=place.region,
            name=f"{args.instance_name}-psc",
            address_type="INTERNAL",
            subnetwork=f"projects/{place.project}/regions/{place.region}/subnetworks/{args.subnetwork}",
            opts=pulumi.ResourceOptions(parent=self, depends_on=args.apis.of("compute")),
        )
        endpoint = compute.ForwardingRule(
            "psc-endpoint",
            project=place.project,
            region=place.region,
            name=f"{args.instance_name}-psc",
            network=args.network.path,
            ip_address=address.self_link,
            target=primary.psc_service_attachment_link,
            # Empty and not left out: a default of EXTERNAL would be refused.
            load_balancing_scheme="",
            opts=pulumi.ResourceOptions(parent=self, depends_on=args.apis.of("compute")),
        )
        zone = dns.ManagedZone(
            "psc-zone",
            project=place.project,
            name=f"{args.instance_name}-psc",
            dns_name=primary.dns_name,
            description="Where the database's own name leads inside this network",
            visibility="private",
            private_visibility_config=dns.ManagedZonePrivateVisibilityConfigArgs(
                networks=[dns.ManagedZonePrivateVisibilityConfigNetworkArgs(network_url=args.network.path)]
            ),
            opts=pulumi.ResourceOptions(parent=self, depends_on=args.apis.of("dns")),
        )
        record = dns.RecordSet(
            "psc-record",
            project=place.project,
            managed_zone=zone.name,
            name=primary.dns_name,
            type="A",
            ttl=300,
            rrdatas=[address.address],
            opts=pulumi.ResourceOptions(parent=self, depends_on=args.apis.of("dns")),
        )
        self.address, self.ready = address.address, [endpoint, record]
        self.register_outputs({"address": self.address})
