"""Every input of every type has its field in Google's own description of the API, of the right kind."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import googleapiclient
import pytest

from rehearsal.provider.mapping import field_of
from rehearsal.provider.table import ResourceType, is_map, is_object, members
from rehearsal.provider.types import TYPES

DOCUMENTS = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
SCHEMAS = {
    "artifactregistry/repository:Repository": ("artifactregistry.v1", "Repository"),
    "cloudrunv2/job:Job": ("run.v2", "GoogleCloudRunV2Job"),
    "cloudscheduler/job:Job": ("cloudscheduler.v1", "Job"),
    "compute/address:Address": ("compute.beta", "Address"),
    "compute/forwardingRule:ForwardingRule": ("compute.beta", "ForwardingRule"),
    "compute/globalAddress:GlobalAddress": ("compute.beta", "Address"),
    "dns/managedZone:ManagedZone": ("dns.v1", "ManagedZone"),
    "dns/recordSet:RecordSet": ("dns.v1", "ResourceRecordSet"),
    "kms/cryptoKey:CryptoKey": ("cloudkms.v1", "CryptoKey"),
    "kms/keyRing:KeyRing": ("cloudkms.v1", "KeyRing"),
    "logging/metric:Metric": ("logging.v2", "LogMetric"),
    "monitoring/alertPolicy:AlertPolicy": ("monitoring.v3", "AlertPolicy"),
    "monitoring/notificationChannel:NotificationChannel": ("monitoring.v3", "NotificationChannel"),
    "projects/iAMCustomRole:IAMCustomRole": ("iam.v1", "Role"),
    "secretmanager/secret:Secret": ("secretmanager.v1", "Secret"),
    "serviceaccount/account:Account": ("iam.v1", "ServiceAccount"),
    "servicenetworking/connection:Connection": ("servicenetworking.v1", "Connection"),
    "sql/database:Database": ("sqladmin.v1beta4", "Database"),
    "sql/databaseInstance:DatabaseInstance": ("sqladmin.v1beta4", "DatabaseInstance"),
    "sql/sslCert:SslCert": ("sqladmin.v1beta4", "SslCert"),
    "sql/user:User": ("sqladmin.v1beta4", "User"),
    "storage/bucket:Bucket": ("storage.v1", "Bucket"),
    "vpcaccess/connector:Connector": ("vpcaccess.v1beta1", "Connector"),
}
"""The document and the schema of each type that is sent as it is; the others are policies, texts and lists of names."""


@functools.cache
def schemas(document: str) -> dict[str, Any]:
    return json.loads((DOCUMENTS / f"{document}.json").read_text(encoding="utf-8"))["schemas"]


def faults(kind: ResourceType, document: str, shape: Any, found: Any, path: str) -> Iterator[str]:
    while "$ref" in found:
        found = schemas(document)[found["$ref"]]
    if isinstance(shape, list):
        if found.get("type") != "array":
            yield f"{path}: {found.get('type')} is no list"
        else:
            yield from faults(kind, document, shape[0], found["items"], path)
    elif is_map(shape):
        if "additionalProperties" not in found and found.get("type") != "object":
            yield f"{path}: no map"
    elif is_object(shape):
        for name, inner in members(shape).items():
            here = f"{path}.{name}".lstrip(".")
            if here not in kind.local | kind.unmodelled:
                yield from _member(kind, document, inner, found, here, name)
    else:
        text = found.get("type") in ("string", "any")
        wanted = {"integer": "integer number", "number": "number", "boolean": "boolean"}.get(shape, "string any")
        if found.get("type") not in wanted.split() and not (text and path_marked(kind, path, shape, found)):
            yield f"{path}: {found.get('type')} is no {shape}"


def path_marked(kind: ResourceType, path: str, shape: Any, found: dict[str, Any]) -> bool:
    """A number that the API writes as text has its mark, or the API takes both."""
    return kind.rename.get(path, "").endswith("'") or "|" in shape or shape == "string"


def _member(kind: ResourceType, document: str, inner: Any, found: Any, path: str, name: str) -> Iterator[str]:
    field, mark = field_of(kind, path, name)
    for part in field.split("."):
        while "$ref" in found:
            found = schemas(document)[found["$ref"]]
        if part not in found.get("properties", {}):
            yield f"{path}: no field {field}"
            return
        found = found["properties"][part]
    if mark == "[]":
        inner = [inner]
    elif mark == "{}":
        inner = inner[0]
    elif mark not in ("", "'"):
        key = mark[1:-1]
        inner = {one: shape for one, shape in members(inner[0]).items() if one != key}
        found = found["additionalProperties"]
    yield from faults(kind, document, inner, found, path)


@pytest.mark.parametrize("short", SCHEMAS)
def test_every_field_is_one_of_the_api(short: str) -> None:
    kind = TYPES[f"gcp:{short}"]
    document, schema = SCHEMAS[short]
    assert list(faults(kind, document, kind.inputs, schemas(document)[schema], "")) == []


def test_only_types_without_a_body_of_their_own_are_left_out() -> None:
    left = {token.removeprefix("gcp:") for token in TYPES} - set(SCHEMAS)
    without = {"secretmanager/secretVersion:SecretVersion", "monitoring/dashboard:Dashboard"}
    without |= {"projects/service:Service", "projects/serviceIdentity:ServiceIdentity"}
    assert {each for each in left if not each.endswith(("IAMMember", "IamMember"))} == without
