"""Addresses, the range for Google's network, and the endpoint of Private Service Connect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rehearsal.provider import mapping
from rehearsal.provider.comparing import Change
from rehearsal.provider.resource import Resource
from rehearsal.provider.table import Properties, ResourceType


class Labelled(Resource):
    """Compute's resources are made with their labels, and then labelled again: the provider does both."""

    def insert(self, inputs: Properties) -> Mapping[str, Any]:
        path = self.fill(self.kind.collection, inputs)
        self.wait(self.call("POST", path, body=self.body(inputs)), inputs)
        made = self.call("GET", self.fill(self.kind.item, inputs))
        self._label(inputs, made.get("labelFingerprint", ""))
        return self.get(inputs) or {}

    def patch(self, state: Properties, news: Properties, changed: list[Change]) -> Mapping[str, Any]:
        known = {**state, **news}
        if any(each.path.startswith("labels") for each in changed):
            self._label(known, state.get("labelFingerprint", ""))
        self.more(known, changed)
        return self.get(known) or {}

    def more(self, known: Properties, changed: list[Change]) -> None:
        """What else can change in place: by default nothing."""

    def _label(self, inputs: Properties, fingerprint: str) -> None:
        body = {"labelFingerprint": fingerprint, "labels": mapping.labels_of(inputs)}
        self.wait(self.call("POST", f"{self.fill(self.kind.item, inputs)}/setLabels", body=body), inputs)

    def body(self, inputs: Properties) -> dict[str, Any]:
        body = super().body(inputs)
        project = self.place("project", inputs)
        if "region" in self.kind.inputs:
            body["region"] = f"projects/{project}/global/regions/{self.place('region', inputs)}"
        if (network := body.get("network")) and "/" not in network:
            body["network"] = f"projects/{project}/global/networks/{network}"
        return body

    def state_more(self, state: Properties, answer: Mapping[str, Any]) -> Properties:
        found: Properties = {}
        if "region" in self.kind.inputs:
            found["region"] = str(answer.get("region", state.get("region", ""))).rsplit("/", 1)[-1]
        for name in ("addressId", "forwardingRuleId"):
            if name in self.kind.outputs:
                found[name] = str(answer.get("id", ""))
        return found


class ForwardingRule(Labelled):
    """Its target can change in place."""

    def more(self, known: Properties, changed: list[Change]) -> None:
        if any(each.path == "target" for each in changed):
            path = f"{self.fill(self.kind.item, known)}/setTarget"
            self.wait(self.call("POST", path, body={"target": known["target"]}), known)


def _address_by_name(state: Properties, news: Properties) -> str | None:
    """The API shows the number of an address that was given by its link."""
    return "a link to the same address" if "/addresses/" in str(news.get("ipAddress")) else None


_LOCAL = frozenset({"project", "region", "deletionPolicy"})
TYPES = (
    ResourceType(
        token="gcp:compute/globalAddress:GlobalAddress",
        service="compute",
        collection="projects/{project}/global/addresses",
        item="projects/{project}/global/addresses/{name}",
        id="projects/{project}/global/addresses/{name}",
        source="recorded: POST with labels, operation, GET, setLabels with the fingerprint",
        operation="compute",
        local=_LOCAL,
        words={"addressType": ("EXTERNAL", "INTERNAL", "")},
        replaces=frozenset(
            {
                "address",
                "addressType",
                "description",
                "ipVersion",
                "name",
                "network",
                "prefixLength",
                "project",
                "purpose",
            }
        ),
        behaviour=Labelled,
    ),
    ResourceType(
        token="gcp:compute/address:Address",
        service="compute",
        collection="projects/{project}/regions/{region}/addresses",
        item="projects/{project}/regions/{region}/addresses/{name}",
        id="projects/{project}/regions/{region}/addresses/{name}",
        source="https://cloud.google.com/compute/docs/reference/rest/beta/addresses; as the global one, not recorded",
        operation="compute",
        local=_LOCAL,
        defaults={"addressType": "EXTERNAL"},
        replaces=frozenset(
            {
                "address",
                "addressType",
                "description",
                "ipCollection",
                "ipVersion",
                "ipv6EndpointType",
                "name",
                "network",
                "networkTier",
                "prefixLength",
                "project",
                "purpose",
                "region",
                "subnetwork",
            }
        ),
        behaviour=Labelled,
    ),
    ResourceType(
        token="gcp:compute/forwardingRule:ForwardingRule",
        service="compute",
        collection="projects/{project}/regions/{region}/forwardingRules",
        item="projects/{project}/regions/{region}/forwardingRules/{name}",
        id="projects/{project}/regions/{region}/forwardingRules/{name}",
        source="https://cloud.google.com/compute/docs/reference/rest/beta/forwardingRules; not recorded",
        operation="compute",
        rename={
            "ipAddress": "IPAddress",
            "ipProtocol": "IPProtocol",
            "serviceDirectoryRegistrations": "serviceDirectoryRegistrations[]",
        },
        local=_LOCAL | {"recreateClosedPsc"},
        suppressed={"ipAddress": _address_by_name},
        defaults={"loadBalancingScheme": "EXTERNAL"},
        replaces=frozenset(
            {
                "allPorts",
                "backendService",
                "description",
                "ipAddress",
                "ipCollection",
                "ipProtocol",
                "ipVersion",
                "isMirroringCollector",
                "loadBalancingScheme",
                "name",
                "network",
                "networkTier",
                "noAutomateDnsZone",
                "portRange",
                "ports",
                "project",
                "region",
                "serviceDirectoryRegistrations.namespace",
                "serviceDirectoryRegistrations.service",
                "serviceDirectoryRegistrations",
                "serviceLabel",
                "sourceIpRanges",
                "subnetwork",
            }
        ),
        behaviour=ForwardingRule,
    ),
)
