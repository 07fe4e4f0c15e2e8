"""What Secret Manager refuses."""

from __future__ import annotations

import base64
import re

from rehearsal.cloud.call import Call
from rehearsal.cloud.rules import Details, Rule, add

PAYLOAD_LIMIT = 65_536
_DOCS = "https://cloud.google.com/secret-manager/docs"
_CREATE, _PATCH = "secretmanager.projects.secrets.create", "secretmanager.projects.secrets.patch"


def _bad_id(call: Call) -> Details | None:
    given = call.query.get("secretId", "")
    return None if re.fullmatch(r"[A-Za-z0-9_-]{1,255}", given) else {"given": given}


def _no_replication(call: Call) -> Details | None:
    replication = call.body.get("replication") or {}
    return {} if len({"automatic", "userManaged"} & replication.keys()) != 1 else None


def _too_large(call: Call) -> Details | None:
    size = len(base64.b64decode(call.body.get("payload", {}).get("data", "") + "=="))
    return {"size": size} if size > PAYLOAD_LIMIT else None


def _no_payload(call: Call) -> Details | None:
    return None if call.body.get("payload", {}).get("data") else {}


def _two_expirations(call: Call) -> Details | None:
    return {} if call.body.get("ttl") and call.body.get("expireTime") else None


add(
    Rule(
        key="secret-id",
        methods=(_CREATE,),
        message="The provided Secret ID [{given}] does not match the expected format [[a-zA-Z_0-9\\-]+].",
        source=f"{_DOCS}/reference/rest/v1/projects.secrets/create#query-parameters",
        check=_bad_id,
    ),
    Rule(
        key="secret-replication",
        methods=(_CREATE,),
        message="Secret.replication must be set to either automatic or user_managed.",
        source=f"{_DOCS}/reference/rest/v1/projects.secrets#replication",
        check=_no_replication,
    ),
    Rule(
        key="secret-expires-twice",
        methods=(_CREATE, _PATCH),
        message="Only one of ttl and expire_time may be set.",
        source=f"{_DOCS}/reference/rest/v1/projects.secrets#Secret.FIELDS.expire_time (a union field)",
        check=_two_expirations,
    ),
    Rule(
        key="secret-exists",
        methods=(_CREATE,),
        message="Secret [{name}] already exists.",
        source="the recorded answer of phase fault-create409",
        code=409,
    ),
    Rule(
        key="secret-missing",
        methods=(),
        message="Secret [{name}] not found.",
        source="the recorded answer of phase fault-delete404",
        code=404,
    ),
    Rule(
        key="secret-version-missing",
        methods=(),
        message="Secret Version [{name}] not found.",
        source=f"{_DOCS}/access-control and the API's own words for a version that was never added",
        code=404,
    ),
    Rule(
        key="secret-payload-missing",
        methods=("secretmanager.projects.secrets.addVersion",),
        message="Secret payload is required and must not be empty.",
        source=f"{_DOCS}/reference/rest/v1/SecretPayload",
        check=_no_payload,
    ),
    Rule(
        key="secret-payload-size",
        methods=("secretmanager.projects.secrets.addVersion",),
        message="Secret payload is {size} bytes; it must be at most 65536 bytes.",
        source=f"{_DOCS}/reference/rest/v1/SecretPayload (64KiB)",
        check=_too_large,
    ),
    Rule(
        key="secret-payload-checksum",
        methods=("secretmanager.projects.secrets.addVersion",),
        message="Secret payload data_crc32c did not match the received data.",
        source=f"{_DOCS}/data-integrity",
    ),
    Rule(
        key="secret-version-destroyed",
        methods=(),
        message="Secret Version [{name}] is in DESTROYED state.",
        source=f"{_DOCS}/destroy-secret-version (irreversible)",
        status="FAILED_PRECONDITION",
    ),
    Rule(
        key="secret-version-disabled",
        methods=(),
        message="Secret Version [{name}] is in DISABLED state.",
        source=f"{_DOCS}/disable-secret-version",
        status="FAILED_PRECONDITION",
    ),
    Rule(
        key="secret-etag",
        methods=(),
        message="The etag provided does not match the current one: somebody else changed the resource.",
        source=f"{_DOCS}/etags",
        status="FAILED_PRECONDITION",
    ),
)
