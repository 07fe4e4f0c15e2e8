"""Who may do what on the project."""

from __future__ import annotations

from rehearsal.provider import rules
from rehearsal.provider.policies import Member, Policy
from rehearsal.provider.table import IAM_REPLACES, Properties, ResourceType


class ProjectMember(Member):
    """All members that come together are one write: a project's policy takes few writes a minute."""

    batched = True

    def read_policy(self, known: Properties) -> Policy:
        asked = {"options": {"requestedPolicyVersion": 3}}
        return self.call("POST", f"{self.on(known)}:getIamPolicy", body=asked)

    def write_policy(self, known: Properties, policy: Policy) -> Policy:
        body = {"policy": policy, "updateMask": "bindings,etag,auditConfigs"}
        return self.call("POST", f"{self.on(known)}:setIamPolicy", body=body)


TYPES = (
    ResourceType(
        token="gcp:projects/iAMMember:IAMMember",
        service="resourceManager",
        collection="projects/{project}",
        item="",
        id="{project}/{role}/{member}",
        source="recorded: batched read-modify-write, version 3, etag, updateMask in the body",
        local=frozenset({"project"}),
        replaces=IAM_REPLACES | {"project"},
        checks=(rules.member,),
        behaviour=ProjectMember,
    ),
)
