"""The connector: how Cloud Run reaches the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rehearsal.provider import rules
from rehearsal.provider.resource import Resource
from rehearsal.provider.table import Properties, ResourceType


class Connector(Resource):
    """Its id is the path that jobs name."""

    def state_more(self, state: Properties, answer: Mapping[str, Any]) -> Properties:
        return {"name": answer["name"].rsplit("/", 1)[1], "selfLink": answer["name"]}

    def named(self, answer: Mapping[str, Any]) -> Properties:
        return {}


def _shrinks(state: Properties, news: Properties) -> str | None:
    for name in ("minInstances", "maxInstances"):
        before, after = state.get(name), news.get(name)
        if isinstance(before, int) and isinstance(after, int) and after < before:
            return f"{name} can't be lowered in place"
    return None


TYPES = (
    ResourceType(
        token="gcp:vpcaccess/connector:Connector",
        service="vpcAccess",
        collection="projects/{project}/locations/{region}/connectors",
        item="projects/{project}/locations/{region}/connectors/{name}",
        id="projects/{project}/locations/{region}/connectors/{name}",
        source="recorded: POST ?connectorId, operation, GET, PATCH ?updateMask",
        create_query={"connectorId": "{name}"},
        mask="query",
        operation="google",
        local=frozenset({"project", "region", "name", "deletionPolicy"}),
        fixed=frozenset({"ipCidrRange", "network", "subnet", "minThroughput", "maxThroughput"}),
        defaults={"machineType": "e2-micro"},
        replaces=frozenset(
            {
                "ipCidrRange",
                "maxThroughput",
                "minThroughput",
                "name",
                "network",
                "project",
                "region",
                "subnet",
            }
        ),
        forced=(_shrinks,),
        checks=(
            rules.at_most_one("network", "subnet.name"),
            rules.conflict("maxThroughput", "maxInstances"),
            rules.conflict("minThroughput", "minInstances"),
        ),
        behaviour=Connector,
    ),
)
