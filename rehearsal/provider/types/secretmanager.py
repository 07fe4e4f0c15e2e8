"""Secrets, their versions, and who reads them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from rehearsal.provider import rules
from rehearsal.provider.comparing import Change
from rehearsal.provider.policies import Member
from rehearsal.provider.resource import Resource
from rehearsal.provider.table import IAM_REPLACES, Properties, ResourceType


class Secret(Resource):
    """A secret whose replicas are named has no automatic replication, and the provider says so."""

    def body(self, inputs: Properties) -> dict[str, Any]:
        body = super().body(inputs)
        if "userManaged" in body.get("replication", {}):
            body["replication"]["automatic"] = None
        return body


class Version(Resource):
    """Never read back: drift of a secret's value is invisible to the provider."""

    def insert(self, inputs: Properties) -> Mapping[str, Any]:
        data = str(inputs.get("secretData", inputs.get("secretDataWo", "")))
        encoded = data if inputs.get("isSecretDataBase64") else base64.b64encode(data.encode()).decode()
        made = self.call("POST", f"{inputs['secret']}:addVersion", body={"payload": {"data": encoded}})
        self._switch(made["name"], inputs.get("enabled", True))
        return self.call("GET", made["name"])

    def get(self, known: Properties) -> Mapping[str, Any] | None:
        answer = self.call("GET", known["name"])
        return None if answer.get("state") == "DESTROYED" else answer

    def patch(self, state: Properties, news: Properties, changed: list[Change]) -> Mapping[str, Any]:
        if any(each.path == "enabled" for each in changed):
            self._switch(state["name"], news.get("enabled", True))
        return self.call("GET", state["name"])

    def remove(self, state: Properties) -> None:
        self.call("POST", f"{state['name']}:{'disable' if state.get('deletionPolicy') == 'DISABLE' else 'destroy'}")

    def state_more(self, state: Properties, answer: Mapping[str, Any]) -> Properties:
        name = answer["name"]
        return {
            "version": name.rsplit("/", 1)[1],
            "enabled": answer.get("state") == "ENABLED",
            "secret": state.get("secret") or name.rsplit("/versions/", 1)[0],
            "project": name.split("/")[1],
        }

    def _switch(self, name: str, enabled: bool) -> None:
        self.call("POST", f"{name}:{'enable' if enabled else 'disable'}")


TYPES = (
    ResourceType(
        token="gcp:secretmanager/secret:Secret",
        service="secretManager",
        collection="projects/{project}/secrets",
        item="projects/{project}/secrets/{secretId}",
        id="projects/{project}/secrets/{secretId}",
        source="recorded: POST ?secretId, PATCH ?updateMask, GET",
        create_query={"secretId": "{secretId}"},
        mask="query",
        rename={"replication.auto": "automatic"},
        local=frozenset({"project", "secretId", "deletionPolicy", "deletionProtection"}),
        unmodelled=frozenset({"tags"}),
        write_only=frozenset({"ttl"}),
        replaces=frozenset({"project", "replication", "secretId", "tags"}),
        checks=(
            rules.exactly_one("replication.auto", "replication.userManaged"),
            rules.together("rotation", "topics"),
        ),
        protected="cannot destroy secret without setting deletion_protection=false and running `pulumi up`",
        behaviour=Secret,
    ),
    ResourceType(
        token="gcp:secretmanager/secretVersion:SecretVersion",
        service="secretManager",
        collection="",
        item="",
        id="{name}",
        source="recorded: :addVersion, :enable, GET; :destroy or :disable; never :access",
        local=frozenset({"project", "secret", "deletionPolicy", "enabled", "isSecretDataBase64"}),
        write_only=frozenset({"secretData", "secretDataWo", "secretDataWoVersion"}),
        replaces=frozenset({"isSecretDataBase64", "project", "secret", "secretData", "secretDataWoVersion"}),
        checks=(rules.exactly_one("secretData", "secretDataWo"),),
        behaviour=Version,
    ),
    ResourceType(
        token="gcp:secretmanager/secretIamMember:SecretIamMember",
        service="secretManager",
        collection="projects/{project}/secrets/{secretId}",
        item="",
        id="projects/{project}/secrets/{secretId}/{role}/{member}",
        source="recorded: GET :getIamPolicy, POST :setIamPolicy, one member at a time",
        local=frozenset({"project", "secretId"}),
        replaces=IAM_REPLACES | {"project", "secretId"},
        checks=(rules.member,),
        behaviour=Member,
    ),
)
