"""Service Networking: the peering with Google's network, where Cloud SQL's addresses lie.

https://cloud.google.com/service-infrastructure/docs/service-networking/reference/rest
"""

from __future__ import annotations

from typing import Any

from rehearsal.cloud import operations
from rehearsal.cloud.call import Call, method
from rehearsal.cloud.fields import paths
from rehearsal.cloud.networks import GLOBAL_ADDRESSES, NETWORKS, network_name
from rehearsal.cloud.rules import refuse
from rehearsal.cloud.services import compute
from rehearsal.cloud.state import Cloud

CONNECTIONS, INSTANCES = "servicenetworking.connections", "sqladmin.instances"
_C = "servicenetworking.services.connections"
_TYPE = "type.googleapis.com/google.cloud.servicenetworking.v1.Connection"
_PEERING = "servicenetworking-googleapis-com"


def _on_project(call: Call) -> str:
    return f"projects/{call.cloud.project}"


@method(f"{_C}.create", permission="servicenetworking.services.addPeering", on=_on_project)
def create(call: Call) -> dict[str, Any]:
    cloud, network = call.cloud, network_name(call.body["network"])
    ranges = list(call.body.get("reservedPeeringRanges", []))
    _check(cloud, network, ranges)

    def work() -> dict[str, Any]:
        with cloud.lock:
            kept = cloud.collection(CONNECTIONS)
            if network in kept:
                raise refuse("connection-exists", ranges=", ".join(kept[network]["reservedPeeringRanges"]))
            kept[network] = _document(cloud, network, ranges)
            cloud.collection(NETWORKS)[network]["peerings"] = [_peered()]
            return {"@type": _TYPE, **kept[network]}

    return _begin(call, work)


@method(f"{_C}.list", permission="servicenetworking.services.get", on=_on_project)
def list_(call: Call) -> dict[str, Any]:
    wanted = call.query.get("network")
    with call.cloud.lock:
        every = [
            document
            for name, document in sorted(call.cloud.collection(CONNECTIONS).items())
            if wanted is None or network_name(wanted) == name
        ]
    return {"connections": every} if every else {}


@method(f"{_C}.patch", permission="servicenetworking.services.addPeering", on=_on_project)
def patch(call: Call) -> dict[str, Any]:
    cloud, network = call.cloud, network_name(call.body["network"])
    ranges = list(call.body.get("reservedPeeringRanges", []))
    _check(cloud, network, ranges)
    if (mask := paths(call.query.get("updateMask", ""))) and mask != ["reservedPeeringRanges"]:
        raise refuse("connection-mask", mask=",".join(mask))

    def work() -> dict[str, Any]:
        with cloud.lock:
            kept = cloud.collection(CONNECTIONS)
            if network not in kept:
                raise refuse("connection-missing", network=network)
            lost = set(kept[network]["reservedPeeringRanges"]) - set(ranges)
            if lost and not call.query.get("force"):
                raise refuse("connection-range-removed", ranges=", ".join(sorted(lost)))
            kept[network] = _document(cloud, network, ranges)
            return {"@type": _TYPE, **kept[network]}

    return _begin(call, work)


@method(f"{_C}.deleteConnection", permission="servicenetworking.services.deleteConnection", on=_on_project)
def delete(call: Call) -> dict[str, Any]:
    cloud, network = call.cloud, network_name(call.body.get("consumerNetwork", ""))

    def work() -> dict[str, Any]:
        with cloud.lock:
            if network not in cloud.collection(CONNECTIONS):
                raise refuse("connection-missing", network=network)
            if _used(cloud, network):
                raise refuse("connection-in-use")
            del cloud.collection(CONNECTIONS)[network]
            cloud.collection(NETWORKS)[network].pop("peerings", None)
            return {"@type": "type.googleapis.com/google.protobuf.Empty"}

    return _begin(call, work)


@method("servicenetworking.operations.get", permission=None)
def get_operation(call: Call) -> dict[str, Any]:
    return operations.lro(operations.get(call.cloud, call.name))


def connected(cloud: Cloud, network: str) -> dict[str, Any] | None:
    """The connection of a network, for an instance that wants an address in it."""
    with cloud.lock:
        return cloud.collection(CONNECTIONS).get(network_name(network))


def _check(cloud: Cloud, network: str, ranges: list[str]) -> None:
    if not compute.network_exists(cloud, network):
        raise refuse("connection-network", network=f"projects/{cloud.number}/global/networks/{network}")
    with cloud.lock:
        for name in ranges:
            address = cloud.collection(GLOBAL_ADDRESSES).get(name)
            if address is None or network_name(address.get("network", "")) != network:
                raise refuse("connection-range", range=name, network=network)
    if not ranges:
        raise refuse("connection-no-range")


def _used(cloud: Cloud, network: str) -> bool:
    return any(
        network_name(instance.get("settings", {}).get("ipConfiguration", {}).get("privateNetwork", "")) == network
        for instance in cloud.collection(INSTANCES).values()
    )


def _document(cloud: Cloud, network: str, ranges: list[str]) -> dict[str, Any]:
    return {
        "network": f"projects/{cloud.number}/global/networks/{network}",
        "reservedPeeringRanges": ranges,
        "peering": _PEERING,
        "service": "services/servicenetworking.googleapis.com",
    }


def _peered() -> dict[str, Any]:
    """What the network says of it."""
    return {
        "name": _PEERING,
        "network": "https://www.googleapis.com/compute/v1/projects/o1a2b3c4d5e6f7-tp/global/networks/servicenetworking",
        "state": "ACTIVE",
        "stateDetails": "[date]: Connected.",
        "autoCreateRoutes": True,
        "exchangeSubnetRoutes": True,
        "exportCustomRoutes": False,
        "importCustomRoutes": False,
        "exportSubnetRoutesWithPublicIp": False,
        "importSubnetRoutesWithPublicIp": False,
        "peerMtu": 0,
        "stackType": "IPV4_ONLY",
    }


def _begin(call: Call, work: operations.Work) -> dict[str, Any]:
    return operations.begun(call, f"operations/pssn.p24-{call.cloud.number}-{operations.new_id()}", work)
