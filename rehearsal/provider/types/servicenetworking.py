"""The peering with Google's network, through which private addresses are reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from rehearsal.provider.comparing import Change
from rehearsal.provider.resource import ProviderError, Resource
from rehearsal.provider.rest import RestError
from rehearsal.provider.table import Properties, ResourceType


def by_number(resource: Resource, network: str) -> str:
    """A network's name with the project's number: how this API writes it, and nothing else will do."""
    parts = network.split("/")
    project = parts[parts.index("projects") + 1] if "projects" in parts else resource.place("project", {})
    found = resource.account.call("resourceManager", "GET", f"projects/{project}")
    return f"projects/{found['projectNumber']}/global/networks/{parts[-1]}"


def connections(resource: Resource, network: str, service: str) -> list[dict[str, Any]]:
    answer = resource.account.call("serviceNetworking", "GET", f"services/{service}/connections", {"network": network})
    return answer.get("connections", [])


class Connection(Resource):
    """One peering for a network and a service; there is no call for a single one, only the list."""

    def insert(self, inputs: Properties) -> Mapping[str, Any]:
        network = by_number(self, inputs["network"])
        body = {"network": network, "reservedPeeringRanges": inputs["reservedPeeringRanges"]}
        path = f"services/{inputs['service']}/connections"
        try:
            self.wait(self.call("POST", path, body=body), inputs)
        except (RestError, ProviderError) as error:
            if not inputs.get("updateOnCreationFail") or "Cannot modify allocated ranges" not in str(error):
                raise
            self.wait(self.call("PATCH", f"{path}/-", {"force": "true"}, body), inputs)
        return self._found(network, inputs) or {}

    def get(self, known: Properties) -> Mapping[str, Any] | None:
        return self._found(by_number(self, known["network"]), known)

    def patch(self, state: Properties, news: Properties, changed: list[Change]) -> Mapping[str, Any]:
        network = by_number(self, news["network"])
        if any(each.path.startswith("reservedPeeringRanges") for each in changed):
            body = {"network": network, "reservedPeeringRanges": news["reservedPeeringRanges"]}
            path = f"services/{news['service']}/connections/-"
            self.wait(self.call("PATCH", path, {"updateMask": "reservedPeeringRanges", "force": "true"}, body), news)
        return self._found(network, news) or {}

    def remove(self, state: Properties) -> None:
        body = {"consumerNetwork": by_number(self, state["network"])}
        path = f"services/{state['service']}/connections/{state.get('peering', '-')}"
        self.wait(self.call("POST", path, body=body), state)

    def id_of(self, state: Properties) -> str:
        return f"{quote(state['network'], safe='')}:{state['service']}"

    def _found(self, network: str, known: Properties) -> Mapping[str, Any] | None:
        for each in connections(self, network, known["service"]):
            if each.get("network") == network:
                return {**each, "network": known["network"], "service": known["service"]}
        return None


TYPES = (
    ResourceType(
        token="gcp:servicenetworking/connection:Connection",
        service="serviceNetworking",
        collection="services/{service}/connections",
        item="",
        id="{network}:{service}",
        source="recorded: the project's number first, POST, operation, list",
        operation="google",
        local=frozenset({"deletionPolicy", "updateOnCreationFail"}),
        unordered=frozenset({"reservedPeeringRanges"}),
        replaces=frozenset({"network", "service"}),
        behaviour=Connection,
    ),
)
