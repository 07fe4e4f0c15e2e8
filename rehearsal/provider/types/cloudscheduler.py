"""What runs at its hour: exports and the maintenance job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rehearsal.provider import rules
from rehearsal.provider.comparing import Change
from rehearsal.provider.resource import Resource
from rehearsal.provider.table import Properties, ResourceType


class SchedulerJob(Resource):
    """After it is made, a job is always resumed, or paused; a job that was paused by hand isn't noticed."""

    def body(self, inputs: Properties) -> dict[str, Any]:
        return {**super().body(inputs), "name": self.fill(self.kind.item, inputs)}

    def insert(self, inputs: Properties) -> Mapping[str, Any]:
        self.call("POST", self.fill(self.kind.collection, inputs), body=self.body(inputs))
        self._switch(inputs)
        return self.get(inputs) or {}

    def patch(self, state: Properties, news: Properties, changed: list[Change]) -> Mapping[str, Any]:
        body = self.changed_body(state, news)
        body.pop("name")
        self.call("PATCH", self.fill(self.kind.item, {**state, **news}), body=body)
        if any(each.path == "paused" for each in changed):
            self._switch(news)
        return self.get({**state, **news}) or {}

    def _switch(self, inputs: Properties) -> None:
        verb = "pause" if inputs.get("paused") else "resume"
        self.call("POST", f"{self.fill(self.kind.item, inputs)}:{verb}", body={})

    def state_more(self, state: Properties, answer: Mapping[str, Any]) -> Properties:
        name = answer["name"].rsplit("/", 1)[1]
        headers = (state.get("httpTarget") or {}).get("headers")
        if headers:
            # The API adds its own.
            state["httpTarget"]["headers"] = {key: each for key, each in headers.items() if key != "User-Agent"}
        return {"name": name, "paused": answer.get("state") == "PAUSED"}


def _one_token(inputs: Properties) -> str | None:
    target = inputs.get("httpTarget")
    if isinstance(target, dict) and "oauthToken" in target and "oidcToken" in target:
        return "Error in http_target: only one of oauth_token or oidc_token can be specified, but not both."
    return None


TYPES = (
    ResourceType(
        token="gcp:cloudscheduler/job:Job",
        service="cloudScheduler",
        collection="projects/{project}/locations/{region}/jobs",
        item="projects/{project}/locations/{region}/jobs/{name}",
        id="projects/{project}/locations/{region}/jobs/{name}",
        source="recorded: POST, :resume, GET; PATCH without a mask",
        local=frozenset({"project", "region", "name", "paused", "deletionPolicy"}),
        kept=frozenset({"retryConfig.maxRetryDuration"}),
        replaces=frozenset({"name", "project", "region"}),
        checks=(
            _one_token,
            rules.at_most_one(
                "pubsubTarget",
                "httpTarget",
                "appEngineHttpTarget",
                shown="pubsubTarget",
                listed="app_engine_http_target,http_target,pubsub_target",
            ),
            rules.base64_text("httpTarget.body"),
        ),
        behaviour=SchedulerJob,
    ),
)
