"""Service accounts, who acts as them, and roles of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rehearsal.provider import rules
from rehearsal.provider.comparing import Change
from rehearsal.provider.policies import Member, Policy
from rehearsal.provider.resource import GONE, ProviderError, Resource
from rehearsal.provider.rest import RestError
from rehearsal.provider.table import IAM_REPLACES, Properties, ResourceType


class ServiceAccount(Resource):
    """The official plugin waits ten seconds after a creation; the API may need them, a rehearsal doesn't."""

    def insert(self, inputs: Properties) -> Mapping[str, Any]:
        body = {"accountId": inputs["accountId"], "serviceAccount": self.body(inputs)}
        return self.get(self.call("POST", self.fill(self.kind.collection, inputs), body=body))

    def get(self, known: Properties) -> Mapping[str, Any]:
        return self.call("GET", known["name"])

    def patch(self, state: Properties, news: Properties, changed: list[Change]) -> Mapping[str, Any]:
        if any(each.path == "disabled" for each in changed):
            self.call("POST", f"{state['name']}:{'disable' if news.get('disabled') else 'enable'}")
        mask = [each.path for each in changed if each.path in ("description", "displayName")]
        if mask:
            account = {**self.body(news), "etag": self.call("GET", state["name"]).get("etag")}
            account.pop("disabled", None)
            self.call("PATCH", state["name"], body={"serviceAccount": account, "updateMask": ",".join(sorted(mask))})
        return self.call("GET", state["name"])

    def remove(self, state: Properties) -> None:
        self.call("DELETE", state["name"])

    def from_id(self, resource_id: str) -> Properties:
        return {"name": resource_id}

    def state_more(self, state: Properties, answer: Mapping[str, Any]) -> Properties:
        email = answer["email"]
        return {"member": f"serviceAccount:{email}", "accountId": email.split("@")[0]}


class AccountMember(Member):
    """Who may act as a service account; reading the policy is a POST here."""

    def read_policy(self, known: Properties) -> Policy:
        return self.call("POST", f"{self.on(known)}:getIamPolicy", {"options.requestedPolicyVersion": "3"})


class CustomRole(Resource):
    """A deleted role keeps its name for a week: the provider takes it back and changes it."""

    def insert(self, inputs: Properties) -> Mapping[str, Any]:
        item = self.fill(self.kind.item, inputs)
        found = self._found(item)
        if found is None:
            body = {"roleId": inputs["roleId"], "role": self.body(inputs)}
            return self.call("POST", self.fill(self.kind.collection, inputs), body=body)
        if not found.get("deleted"):
            raise ProviderError(f"Custom project role {item} already exists and must be imported")
        self.call("POST", f"{item}:undelete", body={})
        self.call("PATCH", item, body=self.body(inputs))
        return self.call("GET", item)

    def get(self, known: Properties) -> Mapping[str, Any] | None:
        answer = self.call("GET", known["name"])
        return None if answer.get("deleted") else answer

    def patch(self, state: Properties, news: Properties, changed: list[Change]) -> Mapping[str, Any]:
        self.call("PATCH", state["name"], body=self.body(news))
        return self.call("GET", state["name"])

    def remove(self, state: Properties) -> None:
        self.call("DELETE", state["name"])

    def from_id(self, resource_id: str) -> Properties:
        return {"name": resource_id}

    def state_more(self, state: Properties, answer: Mapping[str, Any]) -> Properties:
        return {"roleId": answer["name"].rsplit("/", 1)[1], "deleted": bool(answer.get("deleted"))}

    def _found(self, item: str) -> dict[str, Any] | None:
        try:
            return self.call("GET", item)
        except RestError as error:
            if error.status == GONE:
                return None
            raise


def _account_id(inputs: Properties) -> tuple[str, str] | None:
    value = inputs.get("accountId")
    if not isinstance(value, str) or ("-" in value and len(value) == 36):
        return None
    if not 6 <= len(value) <= 30:
        return "accountId", f'"account_id" ("{value}") must be between 6 and 30 characters long'
    if rules.re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", value) is None:
        return "accountId", f'"account_id" ("{value}") must match regex "^[a-z]([-a-z0-9]*[a-z0-9])?$"'
    return None


TYPES = (
    ResourceType(
        token="gcp:serviceaccount/account:Account",
        service="iamBeta",
        collection="projects/{project}/serviceAccounts",
        item="{name}",
        id="{name}",
        source="recorded: POST, GET, PATCH {serviceAccount, updateMask}",
        local=frozenset({"accountId", "project", "deletionPolicy", "createIgnoreAlreadyExists"}),
        replaces=frozenset({"accountId", "project"}),
        checks=(_account_id, rules.length("description", 256)),
        behaviour=ServiceAccount,
    ),
    ResourceType(
        token="gcp:serviceaccount/iAMMember:IAMMember",
        service="iamBeta",
        collection="{serviceAccountId}",
        item="",
        id="{serviceAccountId}/{role}/{member}",
        source="https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts/getIamPolicy",
        local=frozenset({"serviceAccountId"}),
        replaces=IAM_REPLACES | {"serviceAccountId"},
        checks=(rules.member,),
        behaviour=AccountMember,
    ),
    ResourceType(
        token="gcp:projects/iAMCustomRole:IAMCustomRole",
        service="iam",
        collection="projects/{project}/roles",
        item="projects/{project}/roles/{roleId}",
        id="projects/{project}/roles/{roleId}",
        source="https://cloud.google.com/iam/docs/reference/rest/v1/projects.roles",
        rename={"permissions": "includedPermissions"},
        local=frozenset({"roleId", "project", "deletionPolicy"}),
        defaults={"stage": "GA"},
        kept=frozenset({"stage"}),
        unordered=frozenset({"permissions"}),
        replaces=frozenset({"project", "roleId"}),
        behaviour=CustomRole,
    ),
)
