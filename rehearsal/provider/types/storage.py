"""The bucket of the exports, and who writes to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from rehearsal.provider import rules
from rehearsal.provider.comparing import Change
from rehearsal.provider.policies import Member, Policy
from rehearsal.provider.resource import ProviderError, Resource
from rehearsal.provider.table import IAM_REPLACES, Properties, ResourceType


class Bucket(Resource):
    """An update sends what changes; a bucket with objects is only deleted on request."""

    def body(self, inputs: Properties) -> dict[str, Any]:
        body = super().body(inputs)
        for given, sent in zip(inputs.get("lifecycleRules", []), _rules(body), strict=True):
            state = given["condition"].get("withState")
            if state in ("LIVE", "ARCHIVED"):
                sent["condition"]["isLive"] = state == "LIVE"
        return body

    def insert(self, inputs: Properties) -> Mapping[str, Any]:
        self.call("POST", "b", {"project": self.place("project", inputs)}, self.body(inputs))
        return self.get(inputs) or {}

    def patch(self, state: Properties, news: Properties, changed: list[Change]) -> Mapping[str, Any]:
        fields = {self.top_field(each.path).split(".")[0] for each in changed} - {""}
        body = {name: value for name, value in self.body(news).items() if name in fields}
        if "labels" in fields:
            gone = {key: None for key in state.get("effectiveLabels", {}) if key not in body.get("labels", {})}
            body["labels"] = {**body.get("labels", {}), **gone}
        if body:
            self.call("PATCH", self.fill(self.kind.item, news), body=body)
        return self.get(news) or {}

    def remove(self, state: Properties) -> None:
        bucket = self.fill(self.kind.item, state)
        self.call("GET", f"{bucket}/anywhereCaches/")
        objects = self.call("GET", f"{bucket}/o", {"versions": "true"}).get("items", [])
        if objects and not state.get("forceDestroy"):
            raise ProviderError(
                f"Error trying to delete bucket {state['name']} containing objects without `force_destroy` set to true"
            )
        while objects:
            for each in objects:
                query = {"generation": str(each["generation"])}
                self.call("DELETE", f"{bucket}/o/{quote(each['name'], safe='')}", query)
            objects = self.call("GET", f"{bucket}/o", {"versions": "true"}).get("items", [])
        self.call("DELETE", bucket)

    def state_more(self, state: Properties, answer: Mapping[str, Any]) -> Properties:
        for rule, live in zip(state.get("lifecycleRules", []), _rules(answer), strict=True):
            if "isLive" in live["condition"]:
                rule["condition"]["withState"] = "LIVE" if live["condition"]["isLive"] else "ARCHIVED"
        return {"url": f"gs://{answer['name']}", "projectNumber": int(answer.get("projectNumber", 0))}


def _rules(bucket: Mapping[str, Any]) -> list[dict[str, Any]]:
    return (bucket.get("lifecycle") or {}).get("rule") or []


class BucketMember(Member):
    """A bucket's policy is a resource of its own."""

    def read_policy(self, known: Properties) -> Policy:
        return self.call("GET", f"b/{self._bucket(known)}/iam", {"optionsRequestedPolicyVersion": "3"})

    def write_policy(self, known: Properties, policy: Policy) -> Policy:
        return self.call("PUT", f"b/{self._bucket(known)}/iam", body=policy)

    def _bucket(self, known: Properties) -> str:
        return str(known["bucket"]).removeprefix("b/")


_CONDITION = "lifecycleRules.condition"
TYPES = (
    ResourceType(
        token="gcp:storage/bucket:Bucket",
        service="storage",
        collection="b",
        item="b/{name}",
        id="{name}",
        source="recorded: POST ?project, GET, PATCH of what changes (labels null to remove), DELETE",
        rename={
            "cors.methods": "method",
            "cors.origins": "origin",
            "cors.responseHeaders": "responseHeader",
            "enableObjectRetention": "objectRetention.enabled",
            "lifecycleRules": "lifecycle.rule",
            f"{_CONDITION}.matchesPrefixes": "matchesPrefix",
            f"{_CONDITION}.matchesStorageClasses": "matchesStorageClass",
            f"{_CONDITION}.matchesSuffixes": "matchesSuffix",
            f"{_CONDITION}.sizeAboveBytes": "sizeAboveBytes'",
            f"{_CONDITION}.sizeBelowBytes": "sizeBelowBytes'",
            "publicAccessPrevention": "iamConfiguration.publicAccessPrevention",
            "requesterPays": "billing.requesterPays",
            "softDeletePolicy.retentionDurationSeconds": "retentionDurationSeconds'",
            "uniformBucketLevelAccess": "iamConfiguration.uniformBucketLevelAccess.enabled",
        },
        local=frozenset({"project", "forceDestroy", "deletionPolicy", f"{_CONDITION}.withState"}),
        unmodelled=frozenset(
            {
                "enableObjectRetention",
                f"{_CONDITION}.sendAgeIfZero",
                f"{_CONDITION}.sendDaysSinceCustomTimeIfZero",
                f"{_CONDITION}.sendDaysSinceNoncurrentTimeIfZero",
                f"{_CONDITION}.sendNumNewerVersionsIfZero",
            }
        ),
        defaults={"storageClass": "STANDARD"},
        sends_empty=frozenset({"versioning.enabled", "softDeletePolicy.retentionDurationSeconds"}),
        ignore_case=frozenset({"location"}),
        replaces=frozenset(
            {
                "customPlacementConfig.dataLocations",
                "enableObjectRetention",
                "hierarchicalNamespace",
                "location",
                "name",
                "project",
            }
        ),
        behaviour=Bucket,
    ),
    ResourceType(
        token="gcp:storage/bucketIAMMember:BucketIAMMember",
        service="storage",
        collection="b/{bucket}",
        item="",
        id="b/{bucket}/{role}/{member}",
        source="recorded: GET and PUT b/…/iam",
        local=frozenset({"bucket"}),
        replaces=IAM_REPLACES | {"bucket"},
        checks=(rules.member,),
        behaviour=BucketMember,
    ),
)
