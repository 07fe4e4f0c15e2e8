"""Secret Manager: secrets, their versions, and who may read them.

https://cloud.google.com/secret-manager/docs/reference/rest
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from rehearsal.cloud import iam
from rehearsal.cloud.call import Call, method
from rehearsal.cloud.fields import known_mask, page, updated
from rehearsal.cloud.rules import refuse
from rehearsal.cloud.state import Cloud, etag, now

SERVICE, SECRETS, VERSIONS = "secretmanager", "secretmanager.secrets", "secretmanager.versions"
_P = "secretmanager.projects.secrets"
_MUTABLE = ("labels", "annotations", "ttl", "expireTime", "rotation", "topics", "versionAliases", "versionDestroyTtl")


@method(f"{_P}.create", permission="secretmanager.secrets.create")
def create(call: Call) -> dict[str, Any]:
    name = f"{call.name}/secrets/{call.query['secretId']}"
    with call.cloud.lock:
        kept = call.cloud.collection(SECRETS)
        if name in kept:
            raise refuse("secret-exists", name=call.cloud.numbered(name))
        given = {field: call.body[field] for field in ("replication", *_MUTABLE) if field in call.body}
        kept[name] = _expiring({"name": call.cloud.numbered(name), **given, "createTime": now(), "etag": etag()})
        return kept[name]


@method(f"{_P}.get", permission="secretmanager.secrets.get")
def get(call: Call) -> dict[str, Any]:
    return secret(call.cloud, call.name)


@method(f"{_P}.list", permission="secretmanager.secrets.list")
def list_(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        every = [each for name, each in sorted(call.cloud.collection(SECRETS).items()) if name.startswith(call.name)]
    return page(every, call.query, "secrets", size=25_000, most=25_000) | {"totalSize": len(every)}


@method(f"{_P}.patch", permission="secretmanager.secrets.update")
def patch(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        current = secret(call.cloud, call.name)
        _check_etag(call.body.get("etag"), current)
        mask = known_mask(call.query.get("updateMask", ""), _MUTABLE)
        made = _expiring(updated(current, call.body, mask)) | {"etag": etag()}
        call.cloud.collection(SECRETS)[call.name] = made
        return made


@method(f"{_P}.delete", permission="secretmanager.secrets.delete")
def delete(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        _check_etag(call.query.get("etag"), secret(call.cloud, call.name))
        del call.cloud.collection(SECRETS)[call.name]
        versions = call.cloud.collection(VERSIONS)
        for name in [name for name in versions if name.startswith(f"{call.name}/")]:
            del versions[name]
        iam.forget_policies(call.cloud, SERVICE, call.name)
    return {}


@method(f"{_P}.addVersion", permission="secretmanager.versions.add")
def add_version(call: Call) -> dict[str, Any]:
    data = base64.b64decode(call.body["payload"]["data"].replace("-", "+").replace("_", "/") + "==")
    sent_sum = call.body["payload"].get("dataCrc32c")
    if sent_sum is not None and int(sent_sum) != crc32c(data):
        raise refuse("secret-payload-checksum")
    with call.cloud.lock:
        holder = secret(call.cloud, call.name)
        versions = call.cloud.collection(VERSIONS)
        number = max((_number(name) for name in versions if name.startswith(f"{call.name}/")), default=0) + 1
        name = f"{call.name}/versions/{number}"
        document = {
            "name": call.cloud.numbered(name),
            "createTime": now(),
            "state": "ENABLED",
            "replicationStatus": _replication_status(holder),
            "etag": etag(),
        }
        if sent_sum is not None:
            document["clientSpecifiedPayloadChecksum"] = True
        versions[name] = {"document": document, "data": data}
        return document


@method(f"{_P}.versions.get", permission="secretmanager.versions.get")
def get_version(call: Call) -> dict[str, Any]:
    return version(call.cloud, call.name)["document"]


@method(f"{_P}.versions.list", permission="secretmanager.versions.list")
def list_versions(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        secret(call.cloud, call.name)
        inside = [name for name in call.cloud.collection(VERSIONS) if name.startswith(f"{call.name}/")]
        every = [
            call.cloud.collection(VERSIONS)[name]["document"] for name in sorted(inside, key=_number, reverse=True)
        ]
    return page(every, call.query, "versions", size=25_000, most=25_000) | {"totalSize": len(every)}


@method(f"{_P}.versions.access", permission="secretmanager.versions.access")
def access_version(call: Call) -> dict[str, Any]:
    data, name = access(call.cloud, call.name)
    payload = {"data": base64.b64encode(data).decode(), "dataCrc32c": str(crc32c(data))}
    return {"name": name, "payload": payload}


@method(f"{_P}.versions.enable", permission="secretmanager.versions.enable")
def enable(call: Call) -> dict[str, Any]:
    return _to_state(call, "ENABLED")


@method(f"{_P}.versions.disable", permission="secretmanager.versions.disable")
def disable(call: Call) -> dict[str, Any]:
    return _to_state(call, "DISABLED")


@method(f"{_P}.versions.destroy", permission="secretmanager.versions.destroy", note="versionDestroyTtl never runs out")
def destroy(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        holder = secret(call.cloud, call.name.rpartition("/versions/")[0])
        if (wait := holder.get("versionDestroyTtl")) is not None:
            # Disabled now, destroyed when the time is up: /docs/delay-destruction-of-secret-versions
            document = _to_state(call, "DISABLED")
            document["scheduledDestroyTime"] = _in(wait)
            return document
        document = _to_state(call, "DESTROYED")
        document["destroyTime"] = now()
        version(call.cloud, call.name)["data"] = b""
        return document


@method(f"{_P}.getIamPolicy", permission="secretmanager.secrets.getIamPolicy")
def get_policy(call: Call) -> dict[str, Any]:
    secret(call.cloud, call.name)
    return iam.policy_of(call.cloud, SERVICE, call.name)


@method(f"{_P}.setIamPolicy", permission="secretmanager.secrets.setIamPolicy")
def set_policy(call: Call) -> dict[str, Any]:
    secret(call.cloud, call.name)
    return iam.set_policy(call.cloud, SERVICE, call.name, call.body.get("policy", {}))


@method(f"{_P}.testIamPermissions", permission=None)
def test_permissions(call: Call) -> dict[str, Any]:
    return iam.answer_test(call.cloud, call.principal, SERVICE, call.name, call.body.get("permissions", []))


# What jobs and other services use.


def secret(cloud: Cloud, name: str) -> dict[str, Any]:
    """Raises GoogleError 404."""
    with cloud.lock:
        found = cloud.collection(SECRETS).get(name)
    if found is None:
        raise refuse("secret-missing", name=cloud.numbered(name))
    return found


def version(cloud: Cloud, name: str) -> dict[str, Any]:
    """The version's ``document`` and its ``data``; ``latest`` is the newest one. Raises GoogleError 404."""
    with cloud.lock:
        holder, _, wanted = name.rpartition("/versions/")
        aliases: Mapping[str, Any] = secret(cloud, holder).get("versionAliases", {})
        versions = cloud.collection(VERSIONS)
        if wanted == "latest":
            inside = sorted((each for each in versions if each.startswith(f"{holder}/")), key=_number)
            wanted = inside[-1].rpartition("/")[2] if inside else wanted
        found = versions.get(f"{holder}/versions/{aliases.get(wanted, wanted)}")
    if found is None:
        raise refuse("secret-version-missing", name=cloud.numbered(name))
    return found


def access(cloud: Cloud, name: str) -> tuple[bytes, str]:
    """The content of a version that is enabled, and the version's own name. Raises GoogleError."""
    with cloud.lock:
        found = version(cloud, name)
        document = found["document"]
        _check_alive(document)
        if document["state"] == "DISABLED":
            raise refuse("secret-version-disabled", name=document["name"])
        return found["data"], document["name"]


def _to_state(call: Call, state: str) -> dict[str, Any]:
    with call.cloud.lock:
        document = version(call.cloud, call.name)["document"]
        _check_etag(call.body.get("etag"), document)
        _check_alive(document)
        document |= {"state": state, "etag": etag()}
        document.pop("scheduledDestroyTime", None)
        return document


def _check_alive(document: Mapping[str, Any]) -> None:
    if document["state"] == "DESTROYED":
        raise refuse("secret-version-destroyed", name=document["name"])


def _check_etag(sent: str | None, current: Mapping[str, Any]) -> None:
    if sent and sent != current["etag"]:
        raise refuse("secret-etag")


def _number(name: str) -> int:
    return int(name.rpartition("/")[2])


def _expiring(document: dict[str, Any]) -> dict[str, Any]:
    """A ``ttl`` is taken, and answered as the time that it ends at."""
    ttl = document.pop("ttl", None)
    return document | ({"expireTime": _in(ttl)} if ttl else {})


def _in(duration: str) -> str:
    seconds = float(duration.removesuffix("s"))
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _replication_status(holder: Mapping[str, Any]) -> dict[str, Any]:
    if (managed := holder["replication"].get("userManaged")) is None:
        return {"automatic": {}}
    replicas = [{"location": replica["location"]} for replica in managed.get("replicas", [])]
    return {"userManaged": {"replicas": replicas}}


_CRC_TABLE: list[int] = []


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), as Google's data integrity checks use it: RFC 3720, B.4."""
    if not _CRC_TABLE:
        for start in range(256):
            value = start
            for _ in range(8):
                value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
            _CRC_TABLE.append(value)
    total = 0xFFFFFFFF
    for byte in data:
        total = (total >> 8) ^ _CRC_TABLE[(total ^ byte) & 0xFF]
    return total ^ 0xFFFFFFFF
