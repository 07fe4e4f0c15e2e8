"""What Cloud KMS refuses."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from rehearsal.cloud.call import Call
from rehearsal.cloud.rules import Details, Rule, add

_REST = "https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings"
_RING = "cloudkms.projects.locations.keyRings.create"
_KEY, _PATCH = (f"cloudkms.projects.locations.keyRings.cryptoKeys.{verb}" for verb in ("create", "patch"))


def _id(call: Call) -> Details | None:
    given = call.query.get("keyRingId" if call.method.id == _RING else "cryptoKeyId", "")
    return None if re.fullmatch(r"[a-zA-Z0-9_-]{1,63}", given) else {"given": given}


def _purpose(call: Call) -> Details | None:
    given = call.body.get("purpose")
    return None if given not in (None, "CRYPTO_KEY_PURPOSE_UNSPECIFIED") else {}


def _period(call: Call) -> Details | None:
    given = call.body.get("rotationPeriod")
    return None if given is None or 86_400 <= float(given[:-1]) <= 876_000 * 3600 else {"given": given}


def _next(call: Call) -> Details | None:
    if not call.body.get("rotationPeriod"):
        return None
    given = call.body.get("nextRotationTime")
    if given is None:
        return {"what": "next_rotation_time is required with a rotation_period"}
    at = datetime.fromisoformat(re.sub(r"(\.\d{1,6})\d*", r"\1", given).replace("Z", "+00:00"))
    return {"what": f"next_rotation_time {given} must be in the future"} if at <= datetime.now(UTC) else None


add(
    Rule(
        key="key-id",
        methods=(_RING, _KEY),
        message="The ID '{given}' must match the regular expression [a-zA-Z0-9_-]{{1,63}}.",
        source=f"{_REST}/create#query-parameters",
        check=_id,
    ),
    Rule(
        key="key-purpose",
        methods=(_KEY,),
        message="CryptoKey.purpose must be specified.",
        source=f"{_REST}.cryptoKeys#CryptoKeyPurpose",
        check=_purpose,
    ),
    Rule(
        key="key-rotation",
        methods=(_KEY, _PATCH),
        message="CryptoKey.rotation_period {given} must be at least 86400s and at most 876000 hours.",
        source=f"{_REST}.cryptoKeys#CryptoKey.FIELDS.rotation_period",
        check=_period,
    ),
    Rule(
        key="key-next-rotation",
        methods=(_KEY, _PATCH),
        message="CryptoKey: {what}.",
        source=f"{_REST}.cryptoKeys#CryptoKey.FIELDS.next_rotation_time",
        check=_next,
    ),
    Rule(
        key="key-ring-exists",
        methods=(_RING,),
        message="KeyRing {name} already exists.",
        source=f"{_REST}/create; the API's words",
        code=409,
    ),
    Rule(
        key="key-exists",
        methods=(_KEY,),
        message="CryptoKey {name} already exists.",
        source=f"{_REST}.cryptoKeys/create; the API's words",
        code=409,
    ),
    Rule(key="key-ring-missing", methods=(), message="KeyRing {name} not found.", source=f"{_REST}/get", code=404),
    Rule(
        key="key-missing", methods=(), message="CryptoKey {name} not found.", source=f"{_REST}.cryptoKeys/get", code=404
    ),
    Rule(
        key="key-version-missing",
        methods=(),
        message="CryptoKeyVersion {name} not found.",
        source=f"{_REST}.cryptoKeys.cryptoKeyVersions/get",
        code=404,
    ),
    Rule(
        key="key-version-state",
        methods=(),
        message="{name} has state {state}, in which that can't be done.",
        source="https://cloud.google.com/kms/docs/key-states",
        status="FAILED_PRECONDITION",
    ),
)
