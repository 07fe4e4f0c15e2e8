"""Serverless VPC Access: connectors. https://cloud.google.com/vpc/docs/reference/vpcaccess/rest"""

from __future__ import annotations

from typing import Any

from rehearsal.cloud import networks, operations
from rehearsal.cloud.call import Call, method
from rehearsal.cloud.fields import known_mask, page, updated
from rehearsal.cloud.keeping import chosen, found, inside
from rehearsal.cloud.networks import CONNECTORS, network_name
from rehearsal.cloud.rules import refuse
from rehearsal.cloud.services import compute
from rehearsal.cloud.state import now

_C = "vpcaccess.projects.locations.connectors"
_META, _PER_INSTANCE = "type.googleapis.com/google.cloud.vpcaccess.v1", 100
_GIVEN = ("network", "ipCidrRange", "subnet", "machineType", "minInstances", "maxInstances", "minThroughput")


@method(f"{_C}.create", permission="vpcaccess.connectors.create")
def create(call: Call) -> dict[str, Any]:
    cloud, name = call.cloud, f"{call.name}/connectors/{call.query['connectorId']}"
    with cloud.lock:
        if name in cloud.collection(CONNECTORS):
            raise refuse("connector-exists", name=name)
    network = network_name(call.body.get("network", ""))
    if not compute.network_exists(cloud, network):
        raise refuse("connector-network", network=network)
    created = now()

    def work() -> dict[str, Any]:
        with cloud.lock:
            wanted = networks.as_range(call.body.get("ipCidrRange", ""))
            if wanted and (other := networks.overlapping(cloud, network, wanted)):
                raise refuse("connector-range-overlap", given=wanted, other=other)
            document = {"name": name, **chosen(call.body, *_GIVEN, "maxThroughput"), "state": "READY"}
            document |= {"createTime": created, "lastRestartTime": now()}
            cloud.collection(CONNECTORS)[name] = _with_throughput(document)
            return {"@type": f"{_META}.Connector", **cloud.collection(CONNECTORS)[name]}

    return _begin(call, name, "CreateConnector", work)


@method(f"{_C}.get", permission="vpcaccess.connectors.get")
def get(call: Call) -> dict[str, Any]:
    return found(call.cloud, CONNECTORS, call.name, refuse("connector-missing", name=call.name))


@method(f"{_C}.list", permission="vpcaccess.connectors.list")
def list_(call: Call) -> dict[str, Any]:
    return page(inside(call.cloud, CONNECTORS, call.name), call.query, "connectors")


@method(f"{_C}.patch", permission="vpcaccess.connectors.update")
def patch(call: Call) -> dict[str, Any]:
    get(call)
    given = call.query.get("updateMask") or ",".join(chosen(call.body, "machineType", "minInstances", "maxInstances"))
    mask = known_mask(given, ("machineType", "minInstances", "maxInstances", "minThroughput", "maxThroughput"))

    def work() -> dict[str, Any]:
        with call.cloud.lock:
            changed = _with_throughput(updated(get(call), call.body, mask))
            call.cloud.collection(CONNECTORS)[call.name] = changed
            return {"@type": f"{_META}.Connector", **changed}

    return _begin(call, call.name, "UpdateConnector", work)


@method(f"{_C}.delete", permission="vpcaccess.connectors.delete")
def delete(call: Call) -> dict[str, Any]:
    get(call)

    def work() -> dict[str, Any]:
        with call.cloud.lock:
            call.cloud.collection(CONNECTORS).pop(call.name, None)
        return {"@type": "type.googleapis.com/google.protobuf.Empty"}

    return _begin(call, call.name, "DeleteConnector", work)


@method("vpcaccess.projects.locations.operations.get", permission=None)
def get_operation(call: Call) -> dict[str, Any]:
    return operations.lro(operations.get(call.cloud, call.name))


def _with_throughput(document: dict[str, Any]) -> dict[str, Any]:
    """Throughput and instances are two words for one size; an ``e2-micro`` moves 100 Mbit/s."""
    least, most = document.get("minInstances"), document.get("maxInstances")
    if least is not None and most is not None:
        document |= {"minThroughput": least * _PER_INSTANCE, "maxThroughput": most * _PER_INSTANCE}
    elif document.get("maxThroughput") is not None:
        document |= {
            "minInstances": document.get("minThroughput", 200) // _PER_INSTANCE,
            "maxInstances": document["maxThroughput"] // _PER_INSTANCE,
        }
    document.setdefault("machineType", "e2-micro")
    return document


def _begin(call: Call, target: str, verb: str, work: operations.Work) -> dict[str, Any]:
    location = call.name.split("/")[3]
    metadata = {
        "@type": f"{_META}.OperationMetadata",
        "createTime": now(),
        "target": target,
        "method": f"google.cloud.vpcaccess.v1.VpcAccessService.{verb}",
    }
    return operations.begun(call, operations.lro_name(call.cloud, location), work, metadata=metadata)
