"""Compute Engine: networks, addresses and forwarding rules. https://cloud.google.com/compute/docs/reference/rest/v1"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import random
from typing import Any

from rehearsal.cloud import networks, operations
from rehearsal.cloud.call import Call, method
from rehearsal.cloud.errors import GoogleError
from rehearsal.cloud.fields import merged, page
from rehearsal.cloud.iam import new_etag
from rehearsal.cloud.keeping import chosen
from rehearsal.cloud.networks import GLOBAL_ADDRESSES, NETWORKS, SUBNETWORKS, network_name
from rehearsal.cloud.rules import refuse
from rehearsal.cloud.state import Cloud, long_id, now

ADDRESSES, FORWARDING_RULES = "compute.addresses", "compute.forwardingRules"
_WWW = "https://www.googleapis.com/compute"
_KINDS = {
    "networks": (NETWORKS, "compute#network"),
    "subnetworks": (SUBNETWORKS, "compute#subnetwork"),
    "globalAddresses": (GLOBAL_ADDRESSES, "compute#address"),
    "addresses": (ADDRESSES, "compute#address"),
    "forwardingRules": (FORWARDING_RULES, "compute#forwardingRule"),
}
_LIST_KIND = {
    "networks": "compute#networkList",
    "subnetworks": "compute#subnetworkList",
    "globalAddresses": "compute#addressList",
    "addresses": "compute#addressList",
    "forwardingRules": "compute#forwardingRuleList",
}


def _on_project(call: Call) -> str:
    return f"projects/{call.cloud.project}"


def _reads(group: str, parameter: str) -> None:
    """``get`` and ``list`` of a group."""

    @method(f"compute.{group}.get", permission=f"compute.{group}.get", on=_on_project)
    def get(call: Call) -> dict[str, Any]:
        return _found(call, group, call.path[parameter])

    @method(f"compute.{group}.list", permission=f"compute.{group}.list", on=_on_project)
    def list_(call: Call) -> dict[str, Any]:
        _begin(call.cloud, call.method.version)
        region = call.path.get("region")
        with call.cloud.lock:
            every = [
                document
                for key, document in sorted(call.cloud.collection(_KINDS[group][0]).items())
                if region is None or key.startswith(f"{region}/")
            ]
        return {"kind": _LIST_KIND[group], **page(every, call.query, "items", size=500, most=500)}


for _group, _parameter in (
    ("networks", "network"),
    ("subnetworks", "subnetwork"),
    ("globalAddresses", "address"),
    ("addresses", "address"),
    ("forwardingRules", "forwardingRule"),
):
    _reads(_group, _parameter)


@method("compute.projects.get", permission="compute.projects.get", on=_on_project)
def get_project(call: Call) -> dict[str, Any]:
    cloud = call.cloud
    return {
        "kind": "compute#project",
        "id": cloud.number,
        "creationTimestamp": "2025-01-02T03:04:05.678-07:00",
        "name": cloud.project,
        "commonInstanceMetadata": {"kind": "compute#metadata", "fingerprint": "abcdEFGH123="},
        "selfLink": f"{_WWW}/{call.method.version}/projects/{cloud.project}",
        "defaultServiceAccount": f"{cloud.number}-compute@developer.gserviceaccount.com",
        "xpnProjectStatus": "UNSPECIFIED_XPN_PROJECT_STATUS",
        "defaultNetworkTier": "PREMIUM",
        "vmDnsSetting": "ZONAL_ONLY",
    }


@method("compute.regions.get", permission="compute.regions.get", on=_on_project)
def get_region(call: Call) -> dict[str, Any]:
    region = call.path["region"]
    if region not in networks.SUBNETS and region != call.cloud.region:
        raise refuse("compute-missing", what=f"projects/{call.cloud.project}/regions/{region}")
    link = f"{_WWW}/{call.method.version}/projects/{call.cloud.project}/regions/{region}"
    return {"kind": "compute#region", "id": "1000", "name": region, "status": "UP", "selfLink": link}


@method("compute.networks.insert", permission="compute.networks.create", on=_on_project)
def insert_network(call: Call) -> dict[str, Any]:
    name = call.body["name"]
    _check_new(call, "networks", name, name)
    target = _target(call, f"global/networks/{name}")
    document = {
        **chosen(
            call.body, "name", "description", "autoCreateSubnetworks", "mtu", "networkFirewallPolicyEnforcementOrder"
        ),
        **target.fields("compute#network"),
        "selfLinkWithId": f"{target.link.rpartition('/')[0]}/{target.id}",
        "routingConfig": {
            "routingMode": call.body.get("routingConfig", {}).get("routingMode", "REGIONAL"),
            "bgpBestPathSelectionMode": "LEGACY",
        },
    }
    document.setdefault("networkFirewallPolicyEnforcementOrder", "AFTER_CLASSIC_FIREWALL")
    return _keep(call, target, NETWORKS, name, document)


@method("compute.networks.patch", permission="compute.networks.update", on=_on_project)
def patch_network(call: Call) -> dict[str, Any]:
    current = _found(call, "networks", call.path["network"])
    target = _existing(current)

    def work() -> None:
        with call.cloud.lock:
            call.cloud.collection(NETWORKS)[current["name"]] = merged(current, call.sent)

    return _operation(call, target, "patch", work)


@method("compute.networks.delete", permission="compute.networks.delete", on=_on_project)
def delete_network(call: Call) -> dict[str, Any]:
    name = call.path["network"]
    current = _found(call, "networks", name)

    def work() -> None:
        with call.cloud.lock:
            if user := _user_of_network(call.cloud, name):
                raise refuse("compute-in-use", what=f"network resource '{_path(current)}'", user=user)
            del call.cloud.collection(NETWORKS)[name]

    return _operation(call, _existing(current), "delete", work)


@method("compute.globalAddresses.insert", permission="compute.globalAddresses.create", on=_on_project)
def insert_global_address(call: Call) -> dict[str, Any]:
    name, cloud = call.body["name"], call.cloud
    _check_new(call, "globalAddresses", name, name)
    with cloud.lock:
        address, network = _global_range(call)
        target = _target(call, f"global/addresses/{name}")
        document = {
            **chosen(call.body, "name", "prefixLength", "addressType", "purpose", "labels"),
            "description": call.body.get("description", ""),
            **target.fields("compute#address"),
            "address": address,
            "status": "RESERVED",
            "networkTier": "PREMIUM",
            "labelFingerprint": _fingerprint(call.body.get("labels")),
        }
        document.setdefault("addressType", "EXTERNAL")
        if network:
            document["network"] = _link(call, f"global/networks/{network}")
        return _keep(call, target, GLOBAL_ADDRESSES, name, document)


@method("compute.globalAddresses.setLabels", permission="compute.globalAddresses.setLabels", on=_on_project)
def label_global_address(call: Call) -> dict[str, Any]:
    return _set_labels(call, "globalAddresses", call.path["resource"])


@method("compute.globalAddresses.delete", permission="compute.globalAddresses.delete", on=_on_project)
def delete_global_address(call: Call) -> dict[str, Any]:
    return _delete(call, "globalAddresses", call.path["address"])


@method("compute.addresses.insert", permission="compute.addresses.create", on=_on_project)
def insert_address(call: Call) -> dict[str, Any]:
    region, name = call.path["region"], call.body["name"]
    _check_new(call, "addresses", f"{region}/{name}", name)
    with call.cloud.lock:
        subnet = _subnetwork(call, call.body.get("subnetwork"))
        target = _target(call, f"regions/{region}/addresses/{name}")
        document = {
            **chosen(call.body, "name", "labels"),
            "description": call.body.get("description", ""),
            **target.fields("compute#address"),
            "region": _link(call, f"regions/{region}"),
            "address": call.body.get("address") or _next_address(call.cloud, subnet),
            "addressType": call.body.get("addressType", "EXTERNAL"),
            "status": "RESERVED",
            "networkTier": "PREMIUM",
            "labelFingerprint": _fingerprint(call.body.get("labels")),
        }
        if subnet:
            document |= {"subnetwork": subnet["selfLink"], "purpose": call.body.get("purpose", "GCE_ENDPOINT")}
        return _keep(call, target, ADDRESSES, f"{region}/{name}", document)


@method("compute.addresses.setLabels", permission="compute.addresses.setLabels", on=_on_project)
def label_address(call: Call) -> dict[str, Any]:
    return _set_labels(call, "addresses", call.path["resource"])


@method("compute.addresses.delete", permission="compute.addresses.delete", on=_on_project)
def delete_address(call: Call) -> dict[str, Any]:
    current = _found(call, "addresses", call.path["address"])
    with call.cloud.lock:
        for rule in call.cloud.collection(FORWARDING_RULES).values():
            if rule.get("IPAddress") == current["address"]:
                raise refuse("compute-in-use", what=f"address resource '{current['name']}'", user=rule["name"])
    return _delete(call, "addresses", call.path["address"])


@method("compute.forwardingRules.insert", permission="compute.forwardingRules.create", on=_on_project)
def insert_forwarding_rule(call: Call) -> dict[str, Any]:
    region, name, cloud = call.path["region"], call.body["name"], call.cloud
    _check_new(call, "forwardingRules", f"{region}/{name}", name)
    with cloud.lock:
        _begin(cloud, call.method.version)
        network = network_name(call.body.get("network", ""))
        if network and network not in cloud.collection(NETWORKS):
            raise refuse("compute-missing", what=f"projects/{cloud.project}/global/networks/{network}")
        target = _target(call, f"regions/{region}/forwardingRules/{name}")
        document = {
            **chosen(call.body, "name", "target", "labels", "allowPscGlobalAccess"),
            "description": call.body.get("description", ""),
            **target.fields("compute#forwardingRule"),
            "region": _link(call, f"regions/{region}"),
            "IPAddress": _address_of(call, call.body.get("IPAddress", "")),
            # Without one it is external, but for the endpoint of a service attachment, which has none.
            "loadBalancingScheme": call.body.get("loadBalancingScheme")
            or ("" if "/serviceAttachments/" in call.body.get("target", "") else "EXTERNAL"),
            "networkTier": "PREMIUM",
            "fingerprint": new_etag(),
            "labelFingerprint": _fingerprint(call.body.get("labels")),
            "pscConnectionId": long_id(),
            "pscConnectionStatus": "ACCEPTED",
        }
        if network:
            document["network"] = _link(call, f"global/networks/{network}")
        return _keep(call, target, FORWARDING_RULES, f"{region}/{name}", document)


@method("compute.forwardingRules.setLabels", permission="compute.forwardingRules.setLabels", on=_on_project)
def label_forwarding_rule(call: Call) -> dict[str, Any]:
    return _set_labels(call, "forwardingRules", call.path["resource"])


@method("compute.forwardingRules.delete", permission="compute.forwardingRules.delete", on=_on_project)
def delete_forwarding_rule(call: Call) -> dict[str, Any]:
    return _delete(call, "forwardingRules", call.path["forwardingRule"])


@method("compute.globalOperations.get", "compute.regionOperations.get", permission=None)
def get_operation(call: Call) -> dict[str, Any]:
    return _rendered(operations.get(call.cloud, call.path["operation"]))


@method("compute.globalOperations.wait", "compute.regionOperations.wait", permission=None)
def wait_operation(call: Call) -> dict[str, Any]:
    operation = operations.get(call.cloud, call.path["operation"])
    operation.finished.wait(120)  # https://cloud.google.com/compute/docs/reference/rest/v1/globalOperations/wait
    return _rendered(operation)


class _Target:
    """What an operation works on: link and id."""

    def __init__(self, link: str, identity: str) -> None:
        self.link, self.id = link, identity

    def fields(self, kind: str) -> dict[str, Any]:
        at = now()[:23] + "-07:00"
        return {"kind": kind, "id": self.id, "creationTimestamp": at, "selfLink": self.link}


def _target(call: Call, path: str) -> _Target:
    return _Target(_link(call, path), long_id())


def _existing(document: dict[str, Any]) -> _Target:
    return _Target(document["selfLink"], document["id"])


def _link(call: Call, path: str) -> str:
    return f"{_WWW}/{call.method.version}/projects/{call.cloud.project}/{path}"


def _path(document: dict[str, Any]) -> str:
    """``projects/…``, as messages name it."""
    return f"projects/{document['selfLink'].partition('/projects/')[2]}"


def _begin(cloud: Cloud, version: str = "v1") -> None:
    """A project begins with an auto-mode network ``default``: https://cloud.google.com/vpc/docs/vpc#default-network"""
    with cloud.lock:
        kept = cloud.collection(NETWORKS)
        if "compute.begun" in cloud.collection("begun"):
            return
        cloud.collection("begun")["compute.begun"] = {}
        start, created = f"{_WWW}/{version}/projects/{cloud.project}", "2025-01-02T03:04:05.678-07:00"
        subnet, identity = f"{start}/regions/{cloud.region}/subnetworks/default", long_id()
        kept["default"] = {
            "kind": "compute#network",
            "id": identity,
            "creationTimestamp": created,
            "name": "default",
            "description": "Default network for the project",
            "selfLink": f"{start}/global/networks/default",
            "selfLinkWithId": f"{start}/global/networks/{identity}",
            "autoCreateSubnetworks": True,
            "subnetworks": [subnet],
            "routingConfig": {"routingMode": "REGIONAL", "bgpBestPathSelectionMode": "LEGACY"},
            "networkFirewallPolicyEnforcementOrder": "AFTER_CLASSIC_FIREWALL",
        }
        cloud.collection(SUBNETWORKS)[f"{cloud.region}/default"] = {
            "kind": "compute#subnetwork",
            "id": long_id(),
            "creationTimestamp": created,
            "name": "default",
            "network": f"{start}/global/networks/default",
            "ipCidrRange": networks.SUBNETS.get(cloud.region, "10.172.0.0/20"),
            "region": f"{start}/regions/{cloud.region}",
            "selfLink": subnet,
        }


def network_exists(cloud: Cloud, name: str) -> bool:
    """Whether the project has a network of that name (or of a path that ends in it)."""
    _begin(cloud)
    with cloud.lock:
        return network_name(name) in cloud.collection(NETWORKS)


def _found(call: Call, group: str, name: str) -> dict[str, Any]:
    _begin(call.cloud, call.method.version)
    region = call.path.get("region")
    kind = _KINDS[group][0]
    with call.cloud.lock:
        document = call.cloud.collection(kind).get(f"{region}/{name}" if region else name)
    if document is None:
        place = f"regions/{region}" if region else "global"
        last = "addresses" if group == "globalAddresses" else group
        raise refuse("compute-missing", what=f"projects/{call.cloud.project}/{place}/{last}/{name}")
    return document


def _check_new(call: Call, group: str, key: str, name: str) -> None:
    _begin(call.cloud, call.method.version)
    region, last = call.path.get("region"), "addresses" if group == "globalAddresses" else group
    with call.cloud.lock:
        if key in call.cloud.collection(_KINDS[group][0]):
            place = f"regions/{region}" if region else "global"
            raise refuse("compute-exists", what=f"projects/{call.cloud.project}/{place}/{last}/{name}")


def _global_range(call: Call) -> tuple[str, str]:
    """The address and the network of a new global address. Raises GoogleError."""
    body, cloud = call.body, call.cloud
    if not body.get("network"):
        return body.get("address", f"34.{random.randrange(256)}.{random.randrange(256)}.1"), ""
    network = network_name(body["network"])
    if network not in cloud.collection(NETWORKS):
        raise refuse("compute-missing", what=f"projects/{cloud.project}/global/networks/{network}")
    if not body.get("address"):
        chosen_range = networks.free(cloud, network, body.get("prefixLength", 16))
        if chosen_range is None:
            raise refuse("range-exhausted", network=network)
        return str(chosen_range.network_address), network
    wanted = ipaddress.IPv4Network(f"{body['address']}/{body.get('prefixLength', 32)}")
    if other := networks.overlapping(cloud, network, wanted):
        raise refuse("range-overlap", given=str(wanted), other=other)
    return body["address"], network


def _subnetwork(call: Call, given: str | None) -> dict[str, Any] | None:
    if not given:
        return None
    _begin(call.cloud, call.method.version)
    region, name = call.path["region"], network_name(given)
    found = call.cloud.collection(SUBNETWORKS).get(f"{region}/{name}")
    if found is None:
        raise refuse("compute-missing", what=f"projects/{call.cloud.project}/regions/{region}/subnetworks/{name}")
    return found


def _next_address(cloud: Cloud, subnet: dict[str, Any] | None) -> str:
    if subnet is None:
        return f"34.{random.randrange(256)}.{random.randrange(256)}.2"
    used = {address["address"] for address in cloud.collection(ADDRESSES).values()}
    hosts = ipaddress.IPv4Network(subnet["ipCidrRange"]).hosts()
    next(hosts)  # the gateway
    return next(str(host) for host in hosts if str(host) not in used)


def _address_of(call: Call, given: str) -> str:
    """The address itself of a forwarding rule's address, which may be the link of a reserved one."""
    if "/" not in given:
        return given
    region, name = call.path["region"], given.rpartition("/")[2]
    kept = call.cloud.collection(ADDRESSES).get(f"{region}/{name}")
    if kept is None:
        raise refuse("compute-missing", what=f"projects/{call.cloud.project}/regions/{region}/addresses/{name}")
    return kept["address"]


def _user_of_network(cloud: Cloud, name: str) -> str | None:
    own = () if cloud.collection(NETWORKS)[name].get("autoCreateSubnetworks") else (SUBNETWORKS,)
    for group in (GLOBAL_ADDRESSES, *own, FORWARDING_RULES, "servicenetworking.connections", networks.CONNECTORS):
        for key, document in cloud.collection(group).items():
            if network_name(document.get("network", "")) == name:
                return key
    return None


def _set_labels(call: Call, group: str, name: str) -> dict[str, Any]:
    current = _found(call, group, name)
    if call.body.get("labelFingerprint") != current["labelFingerprint"]:
        raise refuse("label-fingerprint")

    def work() -> None:
        with call.cloud.lock:
            current.pop("labels", None)
            fingerprint = _fingerprint(call.body.get("labels"))
            current.update(chosen(call.body, "labels") | {"labelFingerprint": fingerprint})

    return _operation(call, _existing(current), "setLabels", work)


def _fingerprint(labels: dict[str, str] | None) -> str:
    """The same for the same labels: https://cloud.google.com/compute/docs/labeling-resources"""
    return base64.b64encode(hashlib.sha256(repr(sorted((labels or {}).items())).encode()).digest()[:8]).decode()


def _delete(call: Call, group: str, name: str) -> dict[str, Any]:
    current = _found(call, group, name)
    region = call.path.get("region")

    def work() -> None:
        with call.cloud.lock:
            call.cloud.collection(_KINDS[group][0]).pop(f"{region}/{name}" if region else name, None)

    return _operation(call, _existing(current), "delete", work)


def _keep(call: Call, target: _Target, kind: str, key: str, document: dict[str, Any]) -> dict[str, Any]:
    def work() -> None:
        with call.cloud.lock:
            call.cloud.collection(kind)[key] = document

    return _operation(call, target, "insert", work)


def _operation(call: Call, target: _Target, verb: str, work: Any) -> dict[str, Any]:
    """Begin it, and answer it as it is then: pending."""
    region = call.path.get("region")
    identity = operations.new_id().replace("-", "")
    name = f"operation-{call.cloud.next_number()}-{identity}"
    place = f"regions/{region}" if region else "global"
    fields: dict[str, Any] = {
        "kind": "compute#operation",
        "id": long_id(),
        "name": name,
        "operationType": verb,
        "targetLink": target.link,
        "targetId": target.id,
        "user": call.principal.partition(":")[2],
        "selfLink": _link(call, f"{place}/operations/{name}"),
        **({"region": _link(call, f"regions/{region}")} if region else {}),
    }
    pending = fields | {"status": "PENDING", "progress": 0, "insertTime": now()}
    operations.begin(call.cloud, name, work, method=call.method.id, metadata=fields)
    return pending


def _rendered(operation: operations.Operation) -> dict[str, Any]:
    done = operation.finished.is_set()
    document = operation.metadata | {
        "status": operation.status,
        "progress": 100 if done else 0,
        "insertTime": operation.inserted,
    }
    if operation.started:
        document["startTime"] = operation.started
    if done:
        document["endTime"] = operation.ended
    if done and operation.error is not None:
        document |= _failure(operation.error)
    return document


def _failure(error: GoogleError) -> dict[str, Any]:
    code = "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE" if error.reason == "resourceInUseByAnotherResource" else error.status
    return {
        "error": {"errors": [{"code": code, "message": error.message}]},
        "httpErrorStatusCode": error.code,
        "httpErrorMessage": "BAD REQUEST",
    }
