"""What the official plugin was seen to do, as inputs, states and requests of the resources that it did it to.

The recordings are data beside the repository: GAIA_SHARED names their folder, else ``../shared``.
"""

from __future__ import annotations

import base64
import csv
import functools
import json
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest

from rehearsal.provider import mapping
from rehearsal.provider.resource import Account, Resource
from rehearsal.provider.rest import Rest
from rehearsal.provider.table import Properties, ResourceType
from rehearsal.provider.types import TYPES

ROOT = Path(__file__).resolve().parents[3]
SHARED = Path(os.environ.get("GAIA_SHARED") or ROOT.parent / "shared")
PROJECT, NUMBER, REGION = "demo-proj", "123456789012", "europe-west1"
_JOB = f"projects/{PROJECT}/locations/{REGION}/jobs/orders-migrate"


def file(*parts: str) -> Path:
    found = SHARED.joinpath(*parts)
    if not found.exists():
        pytest.skip(f"{found} isn't here: recordings and schemas are no part of the repository")
    return found


@functools.cache
def schema() -> dict[str, Any]:
    return json.loads(file("schemas", "gcp.json").read_text(encoding="utf-8"))


def rows(name: str) -> list[dict[str, str]]:
    """The rows of a table whose type is one of ours."""
    with file("recordings", name).open(encoding="utf-8") as lines:
        return [row for row in csv.DictReader(lines) if label(row["type"]) in KINDS]


def label(type_: str) -> str:
    return type_.partition("(")[0]


KINDS: dict[str, ResourceType] = {
    f"{token.split(':')[1].split('/')[0]}.{token.rsplit(':', 1)[1]}": kind for token, kind in TYPES.items()
}
"""By the recordings' own names: ``sql.User``."""


@dataclass(frozen=True)
class Exchange:
    """One request of the official plugin, and what it got."""

    seq: int
    phase: str
    resource: str
    method: str
    host: str
    path: str
    query: dict[str, str]
    body: Any
    status: int
    answer: Any


@functools.cache
def exchanges() -> tuple[Exchange, ...]:
    found = []
    for line in file("recordings", "traffic.jsonl").read_text(encoding="utf-8").splitlines():
        each = json.loads(line)
        host, _, path = each["host_path"].partition("/")
        query = dict(parse_qsl(each["query"] or "", keep_blank_values=True))
        found.append(
            Exchange(
                each["seq"],
                each["phase"],
                each["resource"],
                each["method"],
                host,
                path,
                {name: value for name, value in query.items() if name not in ("alt", "prettyPrint")},
                each["request_body"],
                each["status"],
                each["response_body"],
            )
        )
    return tuple(found)


def camel(name: str) -> str:
    """``ip_cidr_range`` as ``ipCidrRange``."""
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


@dataclass(frozen=True)
class Subject:
    """A resource that was recorded: what the program gave, and the state that the plugin had of it."""

    kind: ResourceType
    name: str
    inputs: Properties
    state: Properties


@functools.cache
def subject(type_: str) -> Subject:
    """The resource of a type that the tables of edits are about; ``(replica)`` and secrets of their own included."""
    return _subject(KINDS[label(type_)], type_, _made(type_))


def subjects() -> Iterator[tuple[Exchange, Subject]]:
    """Every resource that the program made, by the request that made it."""
    for each in exchanges():
        if each.phase == "up" and each.method == "POST" and each.resource in KINDS and _makes(each):
            yield each, _subject(KINDS[each.resource], each.resource, each)


def _makes(each: Exchange) -> bool:
    return bool(each.body) and not re.search(r":(?!addVersion)|/setLabels$", each.path)


def _subject(kind: ResourceType, type_: str, made: Exchange | None) -> Subject:
    inputs = {**_inputs(kind, made), **_MORE.get(label(type_), {})}
    answer = _answer(made)
    state = resource(kind).state(answer, inputs) if answer else dict(inputs)
    return Subject(kind, _named(inputs), inputs, state)


def resource(kind: ResourceType, account: Account | None = None) -> Resource:
    """The resource as the provider would handle it, of a cloud that nobody calls where no account is given."""
    return (kind.behaviour or Resource)(kind, account or account_of(Rest("", threading.Event())))


def account_of(rest: Rest) -> Account:
    return Account(configuration={"project": PROJECT, "region": REGION}, rest=rest)


WANTED = {
    "sql.DatabaseInstance": "orders-db",
    "sql.DatabaseInstance(replica)": "orders-db-r1",
    "sql.User": "app",
    "secretmanager.Secret": "orders-db-host",
    "cloudrunv2.Job": "orders-migrate",
    "serviceaccount.Account": "orders-app",
    "monitoring.AlertPolicy": "db cpu",
    "monitoring.AlertPolicy(log)": "notificationRateLimit",
    "secretmanager.SecretVersion": "orders-db-url",
}
_MEMBER = f"serviceAccount:orders-app@{PROJECT}.iam.gserviceaccount.com"
_SECRETS = f"projects/{PROJECT}/secrets"
_MORE: dict[str, Properties] = {
    "sql.DatabaseInstance": {"deletionProtection": False},
    "cloudrunv2.Job": {"deletionProtection": False},
    "secretmanager.SecretVersion": {"deletionPolicy": "DISABLE", "enabled": True},
    "storage.Bucket": {"forceDestroy": True},
    "sql.Database": {"deletionPolicy": "ABANDON"},
    "sql.User": {"deletionPolicy": "ABANDON"},
    "servicenetworking.Connection": {"deletionPolicy": "ABANDON", "service": "servicenetworking.googleapis.com"},
}
"""What the recorded program told the plugin alone, and what was set by the edits of the tables."""
BY_HAND: dict[str, Properties] = {
    "kms.KeyRing": {"project": PROJECT, "location": REGION, "name": "orders-ring"},
    "projects.Service": {"service": "cloudkms.googleapis.com", "disableOnDestroy": True},
    "projects.IAMMember": {
        "project": PROJECT,
        "role": "roles/logging.logWriter",
        "member": _MEMBER,
        "condition": {
            "title": "until-2030",
            "description": "temp",
            "expression": 'request.time < timestamp("2030-01-01T00:00:00Z")',
        },
    },
    "secretmanager.SecretIamMember": {
        "project": PROJECT,
        "secretId": "orders-db-url",
        "role": "roles/secretmanager.secretAccessor",
        "member": _MEMBER,
    },
    "cloudrunv2.JobIamMember": {
        "project": PROJECT,
        "location": REGION,
        "name": "orders-migrate",
        "role": "roles/run.invoker",
        "member": f"serviceAccount:orders-scheduler@{PROJECT}.iam.gserviceaccount.com",
    },
    "storage.BucketIAMMember": {
        "bucket": f"{PROJECT}-orders-dumps",
        "role": "roles/storage.objectAdmin",
        "member": f"serviceAccount:orders-migrator@{PROJECT}.iam.gserviceaccount.com",
    },
}
"""Resources that no request shows as a whole."""


def _made(type_: str) -> Exchange | None:
    """The request that made it."""
    if type_ in BY_HAND:
        return None
    wanted = WANTED.get(type_)
    for each in exchanges():
        here = each.resource == label(type_) and each.method == "POST" and each.phase == "up"
        if here and _makes(each) and (wanted is None or wanted in json.dumps([each.body, each.query, each.path])):
            return each
    raise AssertionError(f"no recorded request makes a {type_}")


def _answer(made: Exchange | None) -> Any:
    """What the plugin read of it after it was made; nothing where it is only found in a list."""
    if made is None or made.resource in ("sql.User", "servicenetworking.Connection"):
        return {}
    named = made.body.get("name") or next(iter(made.query.values()), "")
    for each in exchanges():
        there = each.resource == made.resource and each.method == "GET" and each.phase == "up" and each.seq > made.seq
        if there and named and unquote(each.path).endswith(f"/{named.lstrip('/')}"):
            return each.answer
    return made.answer


def _inputs(kind: ResourceType, made: Exchange | None) -> Properties:
    type_ = next(name for name, each in KINDS.items() if each is kind)
    if made is None:
        return BY_HAND[type_]
    return {**_from_path(kind, made), **_from_body(type_, kind, made)}


def _from_path(kind: ResourceType, made: Exchange) -> Properties:
    pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(kind.collection)).replace(
        "(?P<keyRing>[^/]+)", "(?P<keyRing>projects/.+)"
    )
    found = re.search(f"(?:^|/){pattern}$", made.path) if kind.collection else None
    inputs: Properties = dict(found.groupdict()) if found else {}
    for name, template in kind.create_query.items():
        inputs[template.strip("{}")] = made.query[name]
    return inputs


def _from_body(type_: str, kind: ResourceType, made: Exchange) -> Properties:
    body = made.body
    match type_:
        case "secretmanager.SecretVersion":
            secret = made.path.removeprefix("v1/").removesuffix(":addVersion")
            return {"secret": secret, "secretData": base64.b64decode(body["payload"]["data"]).decode()}
        case "serviceaccount.Account":
            return {"accountId": body["accountId"], **body["serviceAccount"]}
        case "monitoring.Dashboard":
            return {"project": PROJECT, "dashboardJson": json.dumps(body, sort_keys=True)}
        case "cloudscheduler.Job":
            body = {**body, "name": body["name"].rsplit("/", 1)[1]}
        case "servicenetworking.Connection":
            name = body["network"].rsplit("/", 1)[1]
            return {"network": f"projects/{PROJECT}/global/networks/{name}", "reservedPeeringRanges": ["orders-psa"]}
        case "sql.User":
            return {name: body[name] for name in ("name", "instance", "password")}
        case _:
            pass
    inputs = {name: value for name, value in mapping.outputs_of(kind, body).items() if name in kind.inputs}
    if type_ == "cloudscheduler.Job":
        inputs["name"] = body["name"]
    if type_ == "kms.CryptoKey":
        inputs["name"] = made.query["cryptoKeyId"]
    if type_ == "cloudrunv2.Job":
        inputs["name"] = made.query["jobId"]
    if "labels" in inputs:
        inputs["labels"] = {key: value for key, value in inputs["labels"].items() if key != mapping.PROVISIONED[0]}
    return inputs


def _named(inputs: Properties) -> str:
    return str(next((inputs[name] for name in ("name", "secretId", "accountId", "service") if name in inputs), "it"))
