"""The private zone in which the instance's own name leads to the endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rehearsal.provider.comparing import Change
from rehearsal.provider.resource import Resource
from rehearsal.provider.table import Properties, ResourceType

COMPUTE = "https://www.googleapis.com/compute/v1/"


class Zone(Resource):
    """Networks are full links here."""

    def body(self, inputs: Properties) -> dict[str, Any]:
        body = super().body(inputs)
        for network in body.get("privateVisibilityConfig", {}).get("networks", []):
            if network.get("networkUrl", "").startswith("projects/"):
                network["networkUrl"] = COMPUTE + network["networkUrl"]
        return body

    def state_more(self, state: Properties, answer: Mapping[str, Any]) -> Properties:
        return {"managedZoneId": str(answer.get("id", ""))}


class Record(Resource):
    """Records are changed together: a change that adds and takes away, which is then waited for."""

    def insert(self, inputs: Properties) -> Mapping[str, Any]:
        self._change(inputs, additions=[self._set(inputs)])
        return self.get(inputs) or {}

    def get(self, known: Properties) -> Mapping[str, Any] | None:
        query = {"name": known["name"], "type": known["type"]}
        found = self.call("GET", self.fill(f"{self.kind.item}/rrsets", known), query).get("rrsets", [])
        return found[0] if found else None

    def patch(self, state: Properties, news: Properties, changed: list[Change]) -> Mapping[str, Any]:
        self._change(news, deletions=[self._set(state)], additions=[self._set(news)])
        return self.get({**state, **news}) or {}

    def remove(self, state: Properties) -> None:
        self._change(state, deletions=[self._set(state)])

    def _set(self, known: Properties) -> dict[str, Any]:
        body = {name: known[name] for name in ("name", "type", "ttl", "rrdatas") if name in known}
        return {**body, **({"routingPolicy": self.body(known)["routingPolicy"]} if "routingPolicy" in known else {})}

    def _change(self, known: Properties, **change: Any) -> None:
        path = self.fill(f"{self.kind.item}/changes", known)
        made = self.call("POST", path, body=change)
        if made.get("status") != "done":
            self.poll(lambda: self.call("GET", f"{path}/{made['id']}"), lambda found: found.get("status") == "done")


TYPES = (
    ResourceType(
        token="gcp:dns/managedZone:ManagedZone",
        service="dns",
        collection="projects/{project}/managedZones",
        item="projects/{project}/managedZones/{name}",
        id="projects/{project}/managedZones/{name}",
        source="https://cloud.google.com/dns/docs/reference/rest/v1/managedZones; not recorded",
        rename={"reverseLookup": "reverseLookupConfig"},
        local=frozenset({"project", "deletionPolicy", "forceDestroy"}),
        unmodelled=frozenset({"reverseLookup"}),
        defaults={"description": "Managed by Pulumi", "visibility": "public"},
        replaces=frozenset({"dnsName", "name", "project", "reverseLookup", "serviceDirectoryConfig", "visibility"}),
        behaviour=Zone,
    ),
    ResourceType(
        token="gcp:dns/recordSet:RecordSet",
        service="dns",
        collection="projects/{project}/managedZones/{managedZone}",
        item="projects/{project}/managedZones/{managedZone}",
        id="projects/{project}/managedZones/{managedZone}/rrsets/{name}/{type}",
        source="https://cloud.google.com/dns/docs/reference/rest/v1/changes; not recorded",
        local=frozenset({"project", "managedZone", "deletionPolicy"}),
        unmodelled=frozenset({"routingPolicy"}),
        unordered=frozenset({"rrdatas"}),
        replaces=frozenset({"managedZone", "name", "project", "routingPolicy.healthCheck"}),
        behaviour=Record,
    ),
)
