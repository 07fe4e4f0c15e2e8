"""Alerts, who is told, and the dashboard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rehearsal.provider import rules
from rehearsal.provider.comparing import Change
from rehearsal.provider.resource import Resource
from rehearsal.provider.table import Properties, ResourceType


class Named(Resource):
    """The API chooses the name; it is the whole path."""

    def from_id(self, resource_id: str) -> Properties:
        return {"name": resource_id}

    def named(self, answer: Mapping[str, Any]) -> Properties:
        return {"name": answer["name"]}


class Channel(Named):
    """Secrets are labels to the API, which shows them only in part."""

    def body(self, inputs: Properties) -> dict[str, Any]:
        body = super().body(inputs)
        for name, value in (inputs.get("sensitiveLabels") or {}).items():
            if not name.endswith("Version"):
                body.setdefault("labels", {})[rules.snake(name).removesuffix("_wo")] = value
        return body

    def remove(self, state: Properties) -> None:
        force = "true" if state.get("forceDelete") else "false"
        self.call("DELETE", self.fill(self.kind.item, state), {"force": force})

    def state_more(self, state: Properties, answer: Mapping[str, Any]) -> Properties:
        hidden = [rules.snake(name) for name in state.get("sensitiveLabels") or {}]
        labels = {key: value for key, value in state.get("labels", {}).items() if key not in hidden}
        return {"labels": labels} if hidden else {}


class Dashboard(Named):
    """A whole document; what the API adds to it isn't drift."""

    def insert(self, inputs: Properties) -> Mapping[str, Any]:
        path = f"v1/projects/{self.place('project', inputs)}/dashboards"
        return self.call("GET", f"v1/{self.call('POST', path, body=json.loads(inputs['dashboardJson']))['name']}")

    def get(self, known: Properties) -> Mapping[str, Any]:
        return self.call("GET", f"v1/{known['name']}")

    def patch(self, state: Properties, news: Properties, changed: list[Change]) -> Mapping[str, Any]:
        etag = self.get(state).get("etag")
        self.call("PATCH", f"v1/{state['name']}", body={**json.loads(news["dashboardJson"]), "etag": etag})
        return self.get(state)

    def remove(self, state: Properties) -> None:
        self.call("DELETE", f"v1/{state['name']}")

    def id_of(self, state: Properties) -> str:
        return state["name"]

    def read(self, resource_id: str, state: Properties) -> Properties | None:
        return super().read(resource_id, {**state, "name": resource_id})

    def update(self, state: Properties, news: Properties, changed: list[Change]) -> Properties:
        return super().update(state, {**news, "name": state["name"]}, changed)

    def state_more(self, state: Properties, answer: Mapping[str, Any]) -> Properties:
        live = {key: value for key, value in answer.items() if key not in ("etag", "name")}
        given = state.get("dashboardJson")
        same = given is not None and _within(json.loads(given), live)
        return {"dashboardJson": given if same else json.dumps(live, sort_keys=True), "name": answer["name"]}


def _within(given: Any, live: Any) -> bool:
    """Whether everything given is there."""
    if isinstance(given, dict) and isinstance(live, dict):
        return all(_within(value, live.get(key)) for key, value in given.items() if key not in ("etag", "name"))
    if isinstance(given, list) and isinstance(live, list):
        return len(given) == len(live) and all(map(_within, given, live))
    # The API leaves out what is 0 or empty, and writes 64-bit numbers as text.
    return given == live or str(given) == str(live) or (live is None and not given)


_PATHS = tuple(f"sensitiveLabels.{name}" for name in ("authToken", "password", "serviceKey"))
TYPES = (
    ResourceType(
        token="gcp:monitoring/notificationChannel:NotificationChannel",
        service="monitoring",
        collection="v3/projects/{project}/notificationChannels",
        item="v3/{name}",
        id="{name}",
        source="recorded: POST, GET, PATCH without a mask, DELETE ?force",
        local=frozenset({"project", "deletionPolicy", "forceDelete", "sensitiveLabels"}),
        defaults={"enabled": True},
        sends_empty=frozenset({"enabled"}),
        replaces=frozenset({"project"}),
        checks=(
            rules.at_most_one(
                *_PATHS,
                listed="sensitive_labels.0.auth_token,sensitive_labels.0.auth_token_wo,sensitive_labels.0.password,"
                "sensitive_labels.0.password_wo,sensitive_labels.0.service_key,sensitive_labels.0.service_key_wo",
            ),
        ),
        behaviour=Channel,
    ),
    ResourceType(
        token="gcp:monitoring/alertPolicy:AlertPolicy",
        service="monitoring",
        collection="v3/projects/{project}/alertPolicies",
        item="v3/{name}",
        id="{name}",
        source="recorded: POST, GET, PATCH ?updateMask with the conditions' names",
        mask="query",
        rename={
            "alertStrategy.notificationChannelStrategies": "notificationChannelStrategy",
            "conditions.conditionSql.rowCountTest.threshold": "threshold'",
            "creationRecords": "creationRecord{}",
        },
        local=frozenset({"project", "deletionPolicy"}),
        defaults={"enabled": True},
        sends_empty=frozenset({"enabled", "conditions.conditionThreshold.thresholdValue"}),
        kept=frozenset({"conditions.name"}),
        replaces=frozenset({"project"}),
        behaviour=Named,
    ),
    ResourceType(
        token="gcp:monitoring/dashboard:Dashboard",
        service="monitoring",
        collection="",
        item="",
        id="",
        source="recorded: POST, GET, PATCH with the etag; the name comes with the project's number",
        local=frozenset({"project", "deletionPolicy", "dashboardJson"}),
        replaces=frozenset({"project"}),
        checks=(rules.json_text("dashboardJson"),),
        behaviour=Dashboard,
    ),
)
