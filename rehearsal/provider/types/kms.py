"""A key of one's own, and who encrypts with it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from rehearsal.provider import rules
from rehearsal.provider.comparing import Change
from rehearsal.provider.policies import Member
from rehearsal.provider.resource import Resource
from rehearsal.provider.table import IAM_REPLACES, Properties, ResourceType


class KeyRing(Resource):
    """A ring is never deleted: it only leaves the state."""

    def remove(self, state: Properties) -> None:
        pass

    def state_more(self, state: Properties, answer: Mapping[str, Any]) -> Properties:
        parts = answer["name"].split("/")
        return {"name": parts[-1], "location": parts[3], "project": parts[1]}


class Key(Resource):
    """A key isn't deleted either: its versions are destroyed, and it no longer rotates."""

    def body(self, inputs: Properties) -> dict[str, Any]:
        body = super().body(inputs)
        if period := body.get("rotationPeriod"):
            due = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=float(period[:-1]))
            body["nextRotationTime"] = due.isoformat().replace("+00:00", "Z")
        return body

    def insert(self, inputs: Properties) -> Mapping[str, Any]:
        skip = "true" if inputs.get("skipInitialVersionCreation") else "false"
        query = {"cryptoKeyId": inputs["name"], "skipInitialVersionCreation": skip}
        self.call("POST", f"{inputs['keyRing']}/cryptoKeys", query, self.body(inputs))
        return self.get(inputs) or {}

    def patch(self, state: Properties, news: Properties, changed: list[Change]) -> Mapping[str, Any]:
        fields = {self.top_field(each.path) for each in changed} - {""}
        mask = [name for name in ("labels", "rotationPeriod", "versionTemplate") if name in fields]
        if "rotationPeriod" in mask:
            mask.append("nextRotationTime")
        if mask:
            query = {"updateMask": ",".join(mask)}
            self.call("PATCH", self.fill(self.kind.item, news), query, self.changed_body(state, news))
        return self.get(news) or {}

    def remove(self, state: Properties) -> None:
        key = self.fill(self.kind.item, state)
        for each in self.call("GET", f"{key}/cryptoKeyVersions").get("cryptoKeyVersions", []):
            if each.get("state") not in ("DESTROYED", "DESTROY_SCHEDULED"):
                self.call("POST", f"{each['name']}:destroy", body={})
        if state.get("rotationPeriod"):
            self.call("PATCH", key, {"updateMask": "rotationPeriod,nextRotationTime"}, {})

    def state_more(self, state: Properties, answer: Mapping[str, Any]) -> Properties:
        ring, _, name = answer["name"].partition("/cryptoKeys/")
        return {"name": name, "keyRing": ring}


def _rotation(inputs: Properties) -> tuple[str, str] | None:
    value = inputs.get("rotationPeriod")
    if not isinstance(value, str):
        return None
    if not value.endswith("s") or not value[:-1].replace(".", "", 1).isdigit():
        return "rotationPeriod", f"Invalid rotation period format: {value}"
    if float(value[:-1]) < 86400:
        return "rotationPeriod", "Rotation period must be greater than one day"
    return None


TYPES = (
    ResourceType(
        token="gcp:kms/keyRing:KeyRing",
        service="kms",
        collection="projects/{project}/locations/{location}/keyRings",
        item="projects/{project}/locations/{location}/keyRings/{name}",
        id="projects/{project}/locations/{location}/keyRings/{name}",
        source="recorded: POST ?keyRingId, GET; no call deletes it",
        create_query={"keyRingId": "{name}"},
        update="",
        local=frozenset({"project", "location", "name"}),
        replaces=frozenset({"location", "name", "project"}),
        behaviour=KeyRing,
    ),
    ResourceType(
        token="gcp:kms/cryptoKey:CryptoKey",
        service="kms",
        collection="{keyRing}/cryptoKeys",
        item="{keyRing}/cryptoKeys/{name}",
        id="{keyRing}/cryptoKeys/{name}",
        source="recorded: POST, GET, PATCH ?updateMask; destroyed version by version",
        rename={"primaries": "primary{}"},
        local=frozenset({"keyRing", "name", "deletionPolicy", "skipInitialVersionCreation"}),
        fixed=frozenset({"purpose", "importOnly", "destroyScheduledDuration", "cryptoKeyBackend"}),
        defaults={"purpose": "ENCRYPT_DECRYPT"},
        # Any word is a purpose to the provider; the server knows better.
        free=frozenset({"purpose"}),
        replaces=frozenset(
            {
                "cryptoKeyBackend",
                "destroyScheduledDuration",
                "importOnly",
                "keyRing",
                "name",
                "purpose",
                "versionTemplate.protectionLevel",
            }
        ),
        checks=(_rotation,),
        behaviour=Key,
    ),
    ResourceType(
        token="gcp:kms/cryptoKeyIAMMember:CryptoKeyIAMMember",
        service="kms",
        collection="{cryptoKeyId}",
        item="",
        id="{cryptoKeyId}/{role}/{member}",
        source="https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys/getIamPolicy",
        local=frozenset({"cryptoKeyId"}),
        replaces=IAM_REPLACES | {"cryptoKeyId"},
        checks=(rules.member,),
        behaviour=Member,
    ),
)
