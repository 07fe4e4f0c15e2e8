"""Cloud Run jobs, and who starts them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rehearsal.provider import rules
from rehearsal.provider.comparing import Change
from rehearsal.provider.policies import Member, Policy
from rehearsal.provider.resource import HalfMadeError, ProviderError, Resource
from rehearsal.provider.table import IAM_REPLACES, Properties, ResourceType


class Job(Resource):
    """A job whose execution fails is made or changed all the same: so says the state, with the error beside it.

    The next update finds no difference and only reads it: what failed is run again once its token changes.
    """

    def create(self, inputs: Properties) -> tuple[str, Properties]:
        query = {"jobId": inputs["name"]}
        operation = self.call("POST", self.fill(self.kind.collection, inputs), query, self.body(inputs))
        self._wait(operation, inputs, inputs, "create")
        return self.id_of(inputs), self.state(self.get(inputs) or {}, inputs)

    def patch(self, state: Properties, news: Properties, changed: list[Change]) -> Mapping[str, Any]:
        # Nothing has changed where an earlier call failed: then the job is only read.
        if changed:
            # No mask: the whole job is said again, even when only the provider's own protection changes.
            operation = self.call("PATCH", self.fill(self.kind.item, news), body=self.changed_body(state, news))
            self._wait(operation, news, {**state, **news}, "update")
        return self.get(news) or {}

    def _wait(self, operation: Mapping[str, Any], inputs: Properties, state: Properties, verb: str) -> None:
        try:
            self.wait(operation, inputs)
        except ProviderError as error:
            raise HalfMadeError(self.id_of(inputs), state, f"Error waiting to {verb} Job: {error}") from error

    def state_more(self, state: Properties, answer: Mapping[str, Any]) -> Properties:
        return {"name": answer["name"].rsplit("/", 1)[1]}


class JobMember(Member):
    """Its policy is read without asking for a version."""

    def read_policy(self, known: Properties) -> Policy:
        return self.call("GET", f"{self.on(known)}:getIamPolicy")


_TEMPLATE = "template.template"
TYPES = (
    ResourceType(
        token="gcp:cloudrunv2/job:Job",
        service="cloudRunV2",
        collection="projects/{project}/locations/{location}/jobs",
        item="projects/{project}/locations/{location}/jobs/{name}",
        id="projects/{project}/locations/{location}/jobs/{name}",
        source="recorded: POST ?jobId, operation, GET; PATCH of the whole without a mask",
        operation="google",
        rename={
            f"{_TEMPLATE}.containers.commands": "command",
            f"{_TEMPLATE}.containers.dependsOns": "dependsOn",
            f"{_TEMPLATE}.containers.envs": "env",
            "latestCreatedExecutions": "latestCreatedExecution{}",
            "terminalConditions": "terminalCondition{}",
        },
        local=frozenset({"project", "location", "name", "deletionPolicy", "deletionProtection"}),
        unmodelled=frozenset({"tags"}),
        defaults={"template": {"template": {"maxRetries": 3}}},
        sends_empty=frozenset({f"{_TEMPLATE}.maxRetries"}),
        kept=frozenset(
            {
                "template.taskCount",
                "template.parallelism",
                f"{_TEMPLATE}.timeout",
                f"{_TEMPLATE}.serviceAccount",
                f"{_TEMPLATE}.executionEnvironment",
                f"{_TEMPLATE}.containers.resources",
                f"{_TEMPLATE}.vpcAccess",
            }
        ),
        unordered=frozenset({f"{_TEMPLATE}.containers.envs"}),
        replaces=frozenset({"location", "name", "project", "tags"}),
        checks=(
            rules.matches(f"{_TEMPLATE}.timeout", r"^[0-9]+(?:\.[0-9]{1,9})?s$"),
            rules.conflict("runExecutionToken", "startExecutionToken"),
        ),
        protected="cannot destroy job without setting deletion_protection=false and running `pulumi up`",
        protected_by_default=True,
        behaviour=Job,
    ),
    ResourceType(
        token="gcp:cloudrunv2/jobIamMember:JobIamMember",
        service="cloudRunV2",
        collection="projects/{project}/locations/{location}/jobs/{name}",
        item="",
        id="projects/{project}/locations/{location}/jobs/{name}/{role}/{member}",
        source="recorded: GET :getIamPolicy without a version, POST :setIamPolicy",
        local=frozenset({"project", "location", "name"}),
        replaces=IAM_REPLACES | {"project", "location", "name"},
        checks=(rules.member,),
        behaviour=JobMember,
    ),
)
