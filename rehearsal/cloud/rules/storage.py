"""What Cloud Storage refuses."""

from __future__ import annotations

import re

from rehearsal.cloud.call import Call
from rehearsal.cloud.rules import Details, Rule, add

_DOCS = "https://cloud.google.com/storage/docs"
_INSERT, _CHANGE = "storage.buckets.insert", ("storage.buckets.patch", "storage.buckets.update")
CLASSES = (
    "STANDARD",
    "NEARLINE",
    "COLDLINE",
    "ARCHIVE",
    "MULTI_REGIONAL",
    "REGIONAL",
    "DURABLE_REDUCED_AVAILABILITY",
    "RAPID",
)
ACTIONS = ("Delete", "SetStorageClass", "AbortIncompleteMultipartUpload")
OF_THE_WORLD = frozenset({"backups", "gaia-db-backups", "test"})
"""Names that somebody else has: the namespace is one for all."""


def _name(call: Call) -> Details | None:
    given = call.body.get("name", "")
    right = re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", given) and all(
        len(part) <= 63 for part in given.split(".")
    )
    wrong = not right or given.startswith("goog") or "google" in given or re.fullmatch(r"(\d+\.){3}\d+", given)
    return {"given": given} if wrong else None


def _not_free(call: Call) -> Details | None:
    return {} if call.body.get("name") in OF_THE_WORLD else None


def _class(call: Call) -> Details | None:
    given = call.body.get("storageClass")
    return None if given is None or given in CLASSES else {"given": given}


def _location(call: Call) -> Details | None:
    given = call.body.get("location")
    right = given is None or re.fullmatch(r"US|EU|ASIA|[A-Z]{3,4}[0-9]?|[A-Z]+-[A-Z]+[0-9]+", given.upper())
    return None if right else {"given": given}


def _lifecycle(call: Call) -> Details | None:
    for rule in call.body.get("lifecycle", {}).get("rule", []):
        action = rule.get("action", {})
        if action.get("type") not in ACTIONS:
            return {"what": f"action '{action.get('type')}'"}
        if not rule.get("condition"):
            return {"what": "a rule without a condition"}
        if action["type"] == "SetStorageClass" and action.get("storageClass") not in CLASSES:
            return {"what": f"storage class '{action.get('storageClass')}'"}
    return None


def _prevention(call: Call) -> Details | None:
    given = call.body.get("iamConfiguration", {}).get("publicAccessPrevention")
    return None if given in (None, "enforced", "inherited", "unspecified") else {"given": given}


def _retention(call: Call) -> Details | None:
    given = call.body.get("softDeletePolicy", {}).get("retentionDurationSeconds")
    return None if given is None or int(given) == 0 or 604_800 <= int(given) <= 7_776_000 else {"given": given}


def _public(call: Call) -> Details | None:
    bucket = call.cloud.collection("storage.buckets").get(call.path["bucket"], {})
    if bucket.get("iamConfiguration", {}).get("publicAccessPrevention") != "enforced":
        return None
    members = {member for binding in call.body.get("bindings", []) for member in binding.get("members", [])}
    return {} if members & {"allUsers", "allAuthenticatedUsers"} else None


add(
    Rule(
        key="bucket-name",
        methods=(_INSERT,),
        message="Invalid bucket name: '{given}'",
        source=f"{_DOCS}/buckets#naming",
        check=_name,
    ),
    Rule(
        key="bucket-taken",
        methods=(_INSERT,),
        message="The requested bucket name is not available. The bucket namespace is shared by all users of the "
        "system. Please select a different name and try again.",
        source=f"{_DOCS}/buckets#naming (a single global namespace); the API's words",
        check=_not_free,
        code=409,
    ),
    Rule(
        key="bucket-yours",
        methods=(_INSERT,),
        message="Your previous request to create the named bucket succeeded and you already own it.",
        source=f"{_DOCS}/json_api/v1/status-codes#409-conflict; the API's words",
        code=409,
    ),
    Rule(
        key="bucket-class",
        methods=(_INSERT, *_CHANGE),
        message="Invalid argument: storage class '{given}'.",
        source=f"{_DOCS}/storage-classes",
        check=_class,
    ),
    Rule(
        key="bucket-location",
        methods=(_INSERT,),
        message="The specified location constraint '{given}' is not valid.",
        source=f"{_DOCS}/locations",
        check=_location,
    ),
    Rule(
        key="bucket-lifecycle",
        methods=(_INSERT, *_CHANGE),
        message="Invalid lifecycle configuration: {what}.",
        source=f"{_DOCS}/lifecycle",
        check=_lifecycle,
    ),
    Rule(
        key="bucket-public-access",
        methods=(_INSERT, *_CHANGE),
        message="Invalid argument: public access prevention '{given}' must be enforced or inherited.",
        source=f"{_DOCS}/public-access-prevention",
        check=_prevention,
    ),
    Rule(
        key="bucket-soft-delete",
        methods=(_INSERT, *_CHANGE),
        message="Soft delete policy retention duration {given} must be 0 or between 604800 and 7776000 seconds.",
        source=f"{_DOCS}/soft-delete#retention-duration",
        check=_retention,
    ),
    Rule(
        key="bucket-public-member",
        methods=("storage.buckets.setIamPolicy",),
        message="The member bindings allUsers and allAuthenticatedUsers are not allowed since public access prevention "
        "is enforced.",
        source=f"{_DOCS}/public-access-prevention; the API's words",
        check=_public,
        code=412,
    ),
    Rule(
        key="bucket-missing",
        methods=(),
        message="The specified bucket does not exist.",
        source=f"{_DOCS}/json_api/v1/status-codes#404-not-found; the API's words",
        code=404,
    ),
    Rule(
        key="bucket-not-empty",
        methods=("storage.buckets.delete",),
        message="The bucket you tried to delete is not empty.",
        source=f"{_DOCS}/json_api/v1/status-codes#409-conflict; the API's words",
        code=409,
    ),
    Rule(
        key="object-missing",
        methods=(),
        message="No such object: {bucket}/{name}",
        source=f"{_DOCS}/json_api/v1/status-codes#404-not-found; the API's words",
        code=404,
    ),
    Rule(
        key="upload-missing",
        methods=("storage.objects.insert",),
        message="The upload was not found: it is finished, or was never begun.",
        source=f"{_DOCS}/performing-resumable-uploads",
        code=404,
    ),
    Rule(
        key="storage-precondition",
        methods=("storage.objects.insert", "storage.objects.delete", *_CHANGE),
        message="At least one of the pre-conditions you specified did not hold.",
        source=f"{_DOCS}/request-preconditions; the API's words",
        code=412,
        reason="conditionNotMet",
    ),
)
