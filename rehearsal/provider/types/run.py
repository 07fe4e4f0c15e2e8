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
    """A job whose first execution fails is there all the same: it goes into the state, with its error."""

    def create(self, inputs: Properties) -> tuple[str, Properties]:
        query = {"jobId": inputs["name"]}
        operation = self.call("POST", self.fill(self.kind.collection, inputs), query, self.body(inputs))
        try:
            self.wait(operation, inputs)
        except ProviderError as error:
            state = self.read(self.id_of(inputs), inputs)
            if state is None:
                raise ProviderError(f"Error waiting to create Job: {error}") from error
            raise HalfMadeError(self.id_of(inputs), state, f"Error waiting to create Job: {error}") from error
        state = self.state(self.get(inputs) or {}, inputs)
        return self.id_of(inputs), state

    def patch(self, state: Properties, news: Properties, changed: list[Change]) -> Mapping[str, Any]:
        # No mask: the whole job is said again, even when only the provider's own protection changes.
        operation = self.call("PATCH", self.fill(self.kind.item, news), body=self.changed_body(state, news))
        try:
            self.wait(operation, news)
        except ProviderError as error:
            raise ProviderError(f"Error waiting to update Job: {error}") from error
        return self.get(news) or {}

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
