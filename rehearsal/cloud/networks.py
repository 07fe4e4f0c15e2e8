"""Ranges of addresses in a VPC network: which are taken, and by what."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from rehearsal.cloud.state import Cloud

Range = ipaddress.IPv4Network
NETWORKS, SUBNETWORKS = "compute.networks", "compute.subnetworks"
GLOBAL_ADDRESSES, CONNECTORS = "compute.globalAddresses", "vpcaccess.connectors"
AUTO = ipaddress.IPv4Network("10.128.0.0/9")
"""What an auto-mode network keeps for its subnetworks: https://cloud.google.com/vpc/docs/subnets#ip-ranges"""
SUBNETS = {
    "us-central1": "10.128.0.0/20",
    "europe-west1": "10.132.0.0/20",
    "us-west1": "10.138.0.0/20",
    "asia-east1": "10.140.0.0/20",
    "us-east1": "10.142.0.0/20",
    "us-east4": "10.150.0.0/20",
    "europe-west3": "10.156.0.0/20",
    "us-west2": "10.168.0.0/20",
    "us-east5": "10.202.0.0/20",
}
"""The range of the default network's subnetwork in a region, as the page above lists them."""


def network_name(text: str) -> str:
    """The short name of ``projects/…/global/networks/NAME``, of a URL, or of a name alone."""
    return text.rpartition("/")[2]


def taken(cloud: Cloud, network: str) -> Iterator[tuple[Range, str]]:
    """Every range of the network, and what has it."""
    with cloud.lock:
        kept = cloud.collection(NETWORKS).get(network, {})
        if kept.get("autoCreateSubnetworks"):
            yield AUTO, f"the subnetworks of {network}"
        for subnet in cloud.collection(SUBNETWORKS).values():
            if network_name(subnet["network"]) == network:
                yield ipaddress.IPv4Network(subnet["ipCidrRange"]), f"subnetwork {subnet['name']}"
        for address in cloud.collection(GLOBAL_ADDRESSES).values():
            if network_name(address.get("network", "")) == network and address.get("prefixLength"):
                yield ipaddress.IPv4Network(f"{address['address']}/{address['prefixLength']}"), address["name"]
        for name, connector in cloud.collection(CONNECTORS).items():
            if network_name(connector.get("network", "")) == network and connector.get("ipCidrRange"):
                yield ipaddress.IPv4Network(connector["ipCidrRange"]), f"connector {name.rpartition('/')[2]}"


def overlapping(cloud: Cloud, network: str, wanted: Range) -> str | None:
    """What already has addresses of this range."""
    return next((what for other, what in taken(cloud, network) if other.overlaps(wanted)), None)


def free(cloud: Cloud, network: str, prefix_length: int) -> Range | None:
    """A range of that size of which nobody has anything."""
    others = [other for other, _ in taken(cloud, network)]
    for wanted in ipaddress.IPv4Network("10.0.0.0/8").subnets(new_prefix=max(prefix_length, 8)):
        if not any(other.overlaps(wanted) for other in others):
            return wanted
    return None


def as_range(text: str) -> Range | None:
    """None where it isn't an IPv4 range that begins at its first address."""
    try:
        return ipaddress.IPv4Network(text) if re.search(r"/\d+$", text) else None
    except ValueError:
        return None
