"""Cloud DNS: private zones and their records; nothing is resolved. https://cloud.google.com/dns/docs/reference/rest/v1"""

from __future__ import annotations

from typing import Any

from rehearsal.cloud.call import Call, method
from rehearsal.cloud.fields import page
from rehearsal.cloud.keeping import chosen, made
from rehearsal.cloud.networks import network_name
from rehearsal.cloud.rules import refuse
from rehearsal.cloud.services import compute
from rehearsal.cloud.state import Cloud, long_id, now

ZONES, RECORDS, CHANGES = "dns.managedZones", "dns.resourceRecordSets", "dns.changes"
_GIVEN = ("name", "dnsName", "visibility", "privateVisibilityConfig", "labels")
_NOTE = "nothing is resolved"


def _on_project(call: Call) -> str:
    return f"projects/{call.cloud.project}"


@method("dns.managedZones.create", permission="dns.managedZones.create", on=_on_project, note=_NOTE)
def create(call: Call) -> dict[str, Any]:
    for network in call.body.get("privateVisibilityConfig", {}).get("networks", []):
        if not compute.network_exists(call.cloud, network.get("networkUrl", "")):
            raise refuse("zone-network", network=network_name(network.get("networkUrl", "")))
    name = call.body["name"]
    document = {
        "kind": "dns#managedZone",
        "id": long_id(),
        "creationTime": now()[:23] + "Z",
        "description": call.body.get("description", ""),
        "nameServers": [f"ns-gcp-private.{domain}." for domain in ("googledomains.com",)],
        **chosen(call.body, *_GIVEN),
    }
    document.setdefault("visibility", "public")
    with call.cloud.lock:
        made(call.cloud, ZONES, name, document, refuse("zone-exists", name=name))
        for kind, data in (
            ("NS", document["nameServers"]),
            ("SOA", [f"{document['nameServers'][0]} admin. 1 2 3 4 5"]),
        ):
            _keep(call.cloud, name, {"name": document["dnsName"], "type": kind, "ttl": 21600, "rrdatas": data})
        return document


@method("dns.managedZones.get", permission="dns.managedZones.get", on=_on_project)
def get(call: Call) -> dict[str, Any]:
    return _zone(call)


@method("dns.managedZones.list", permission="dns.managedZones.list", on=_on_project)
def list_(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        every = [zone for _, zone in sorted(call.cloud.collection(ZONES).items())]
    return {"kind": "dns#managedZonesListResponse", **page(every, call.query, "managedZones")}


@method("dns.managedZones.delete", permission="dns.managedZones.delete", on=_on_project)
def delete(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        zone = _zone(call)
        if any(record["type"] not in ("NS", "SOA") for record in _records(call.cloud, zone["name"])):
            raise refuse("zone-not-empty", name=zone["name"])
        for record in _records(call.cloud, zone["name"]):
            del call.cloud.collection(RECORDS)[_key(zone["name"], record)]
        del call.cloud.collection(ZONES)[zone["name"]]
    return {}


@method("dns.changes.create", permission="dns.changes.create", on=_on_project, note=_NOTE)
def change(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        zone = _zone(call)["name"]
        for record in call.body.get("deletions", []):
            _drop(call.cloud, zone, record)
        for record in call.body.get("additions", []):
            _add(call, zone, record)
        identity = str(call.cloud.next_number())
        document = {
            "kind": "dns#change",
            "id": identity,
            "startTime": now()[:23] + "Z",
            "status": "done",
            **chosen(call.body, "additions", "deletions"),
        }
        call.cloud.collection(CHANGES)[f"{zone}/{identity}"] = document
        return document


@method("dns.changes.get", permission="dns.changes.get", on=_on_project)
def get_change(call: Call) -> dict[str, Any]:
    found = call.cloud.collection(CHANGES).get(f"{_zone(call)['name']}/{call.path['changeId']}")
    if found is None:
        raise refuse("record-missing", name=call.path["changeId"])
    return found


@method("dns.resourceRecordSets.list", permission="dns.resourceRecordSets.list", on=_on_project)
def list_records(call: Call) -> dict[str, Any]:
    name, kind = call.query.get("name"), call.query.get("type")
    every = [
        record
        for record in _records(call.cloud, _zone(call)["name"])
        if name in (None, record["name"]) and kind in (None, record["type"])
    ]
    return {"kind": "dns#resourceRecordSetsListResponse", **page(every, call.query, "rrsets")}


@method("dns.resourceRecordSets.create", permission="dns.resourceRecordSets.create", on=_on_project, note=_NOTE)
def create_record(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        return _add(call, _zone(call)["name"], call.body)


@method("dns.resourceRecordSets.get", permission="dns.resourceRecordSets.get", on=_on_project)
def get_record(call: Call) -> dict[str, Any]:
    wanted = {"name": call.path["name"], "type": call.path["type"]}
    found = call.cloud.collection(RECORDS).get(_key(_zone(call)["name"], wanted))
    if found is None:
        raise refuse("record-missing", name=call.path["name"])
    return found


@method("dns.resourceRecordSets.patch", permission="dns.resourceRecordSets.update", on=_on_project, note=_NOTE)
def patch_record(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        found = get_record(call)
        found.update(chosen(call.body, "ttl", "rrdatas"))
        return found


@method("dns.resourceRecordSets.delete", permission="dns.resourceRecordSets.delete", on=_on_project)
def delete_record(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        _drop(call.cloud, _zone(call)["name"], get_record(call))
    return {}


def _zone(call: Call) -> dict[str, Any]:
    wanted = call.path["managedZone"]
    with call.cloud.lock:
        for name, zone in call.cloud.collection(ZONES).items():
            if wanted in (name, zone["id"]):
                return zone
    raise refuse("zone-missing", name=wanted)


def _records(cloud: Cloud, zone: str) -> list[dict[str, Any]]:
    with cloud.lock:
        return [each for key, each in sorted(cloud.collection(RECORDS).items()) if key.startswith(f"{zone}/")]


def _key(zone: str, record: dict[str, Any]) -> str:
    return f"{zone}/{record['name']}/{record['type']}"


def _keep(cloud: Cloud, zone: str, record: dict[str, Any]) -> dict[str, Any]:
    document = {
        "kind": "dns#resourceRecordSet",
        **chosen(record, "name", "type", "ttl", "rrdatas"),
        "signatureRrdatas": [],
    }
    cloud.collection(RECORDS)[_key(zone, record)] = document
    return document


def _add(call: Call, zone: str, record: dict[str, Any]) -> dict[str, Any]:
    if _key(zone, record) in call.cloud.collection(RECORDS):
        raise refuse("record-exists", name=record["name"], kind=record["type"])
    if not record["name"].endswith(call.cloud.collection(ZONES)[zone]["dnsName"]):
        raise refuse("record-outside", name=record["name"])
    return _keep(call.cloud, zone, record)


def _drop(cloud: Cloud, zone: str, record: dict[str, Any]) -> None:
    if cloud.collection(RECORDS).pop(_key(zone, record), None) is None:
        raise refuse("record-missing", name=record["name"])
