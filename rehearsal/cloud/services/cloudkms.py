"""Cloud KMS: key rings, keys and their versions; nothing is encrypted. https://cloud.google.com/kms/docs/reference/rest"""

from __future__ import annotations

import time
from typing import Any

from rehearsal.cloud import iam
from rehearsal.cloud.call import Call, method
from rehearsal.cloud.fields import known_mask, page, updated
from rehearsal.cloud.keeping import chosen, found, inside, made
from rehearsal.cloud.rules import refuse
from rehearsal.cloud.state import Cloud, now

SERVICE = "cloudkms"
RINGS, KEYS, VERSIONS = "cloudkms.keyRings", "cloudkms.cryptoKeys", "cloudkms.cryptoKeyVersions"
_R = "cloudkms.projects.locations.keyRings"
_K, _V = f"{_R}.cryptoKeys", f"{_R}.cryptoKeys.cryptoKeyVersions"
_SYMMETRIC = {"protectionLevel": "SOFTWARE", "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION"}
_GIVEN = ("labels", "nextRotationTime", "purpose", "rotationPeriod", "importOnly")


@method(f"{_R}.create", permission="cloudkms.keyRings.create")
def create_ring(call: Call) -> dict[str, Any]:
    name = f"{call.name}/keyRings/{call.query['keyRingId']}"
    return made(call.cloud, RINGS, name, {"name": name, "createTime": now()}, refuse("key-ring-exists", name=name))


@method(f"{_R}.get", permission="cloudkms.keyRings.get")
def get_ring(call: Call) -> dict[str, Any]:
    return _ring(call.cloud, call.name)


@method(f"{_R}.list", permission="cloudkms.keyRings.list")
def list_rings(call: Call) -> dict[str, Any]:
    every = inside(call.cloud, RINGS, call.name)
    return page(every, call.query, "keyRings") | {"totalSize": len(every)}


@method(f"{_K}.create", permission="cloudkms.cryptoKeys.create", note="a key never rotates by itself")
def create_key(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        _ring(call.cloud, call.name)
        name = f"{call.name}/cryptoKeys/{call.query['cryptoKeyId']}"
        document = {"name": name, "createTime": now(), **chosen(call.body, *_GIVEN)}
        document["versionTemplate"] = {**_SYMMETRIC, **call.body.get("versionTemplate", {})}
        document["destroyScheduledDuration"] = call.body.get("destroyScheduledDuration", "2592000s")
        kept = made(call.cloud, KEYS, name, document, refuse("key-exists", name=name))
        if not call.query.get("skipInitialVersionCreation"):
            kept["primary"] = _add_version(call.cloud, name)
        return kept


@method(f"{_K}.get", permission="cloudkms.cryptoKeys.get")
def get_key(call: Call) -> dict[str, Any]:
    return key(call.cloud, call.name)


@method(f"{_K}.list", permission="cloudkms.cryptoKeys.list")
def list_keys(call: Call) -> dict[str, Any]:
    every = inside(call.cloud, KEYS, call.name)
    return page(every, call.query, "cryptoKeys") | {"totalSize": len(every)}


@method(f"{_K}.patch", permission="cloudkms.cryptoKeys.update")
def patch_key(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        current = key(call.cloud, call.name)
        mutable = ("labels", "rotationPeriod", "nextRotationTime", "versionTemplate")
        changed = updated(current, call.body, known_mask(call.query.get("updateMask", ""), mutable))
        call.cloud.collection(KEYS)[call.name] = changed
        return changed


@method(f"{_V}.list", permission="cloudkms.cryptoKeyVersions.list")
def list_versions(call: Call) -> dict[str, Any]:
    every = inside(call.cloud, VERSIONS, call.name)
    return page(every, call.query, "cryptoKeyVersions") | {"totalSize": len(every)}


@method(f"{_V}.get", permission="cloudkms.cryptoKeyVersions.get")
def get_version(call: Call) -> dict[str, Any]:
    return found(call.cloud, VERSIONS, call.name, refuse("key-version-missing", name=call.name))


@method(f"{_V}.create", permission="cloudkms.cryptoKeyVersions.create")
def create_version(call: Call) -> dict[str, Any]:
    key(call.cloud, call.name)
    return _add_version(call.cloud, call.name)


@method(f"{_V}.destroy", permission="cloudkms.cryptoKeyVersions.destroy", note="the thirty days never end")
def destroy_version(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        version = get_version(call)
        if version["state"] in ("DESTROYED", "DESTROY_SCHEDULED"):
            raise refuse("key-version-state", name=call.name, state=version["state"])
        days = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 30 * 86_400))
        version |= {"state": "DESTROY_SCHEDULED", "destroyTime": days}
        return version


@method(f"{_V}.restore", permission="cloudkms.cryptoKeyVersions.restore")
def restore_version(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        version = get_version(call)
        if version["state"] != "DESTROY_SCHEDULED":
            raise refuse("key-version-state", name=call.name, state=version["state"])
        version.pop("destroyTime")
        version["state"] = "DISABLED"
        return version


def _policies(group: str, permission: str) -> None:
    @method(f"{group}.getIamPolicy", permission=f"{permission}.getIamPolicy")
    def get_policy(call: Call) -> dict[str, Any]:
        _either(call)
        return iam.policy_of(call.cloud, SERVICE, call.name)

    @method(f"{group}.setIamPolicy", permission=f"{permission}.setIamPolicy")
    def set_policy(call: Call) -> dict[str, Any]:
        _either(call)
        return iam.set_policy(call.cloud, SERVICE, call.name, call.body.get("policy", {}))

    @method(f"{group}.testIamPermissions", permission=None)
    def test_permissions(call: Call) -> dict[str, Any]:
        return iam.answer_test(call.cloud, call.principal, SERVICE, call.name, call.body.get("permissions", []))


_policies(_R, "cloudkms.keyRings")
_policies(_K, "cloudkms.cryptoKeys")


def key(cloud: Cloud, name: str) -> dict[str, Any]:
    """Raises GoogleError 404."""
    return found(cloud, KEYS, name, refuse("key-missing", name=name))


def usable(cloud: Cloud, name: str, email: str) -> bool:
    """Whether that account may encrypt with the key, and the key's first version is enabled."""
    kept = key(cloud, name)
    member = f"serviceAccount:{email}"
    may = iam.allowed(cloud, member, "cloudkms.cryptoKeyVersions.useToEncrypt", SERVICE, name)
    return may and kept.get("primary", {}).get("state") == "ENABLED"


def _ring(cloud: Cloud, name: str) -> dict[str, Any]:
    return found(cloud, RINGS, name, refuse("key-ring-missing", name=name))


def _either(call: Call) -> None:
    _ring(call.cloud, call.name) if "/cryptoKeys/" not in call.name else key(call.cloud, call.name)


def _add_version(cloud: Cloud, name: str) -> dict[str, Any]:
    with cloud.lock:
        number, at = len(inside(cloud, VERSIONS, name)) + 1, now()
        version = {"name": f"{name}/cryptoKeyVersions/{number}", "state": "ENABLED", "createTime": at, **_SYMMETRIC}
        version |= {"generateTime": at}
        cloud.collection(VERSIONS)[version["name"]] = version
        return version
