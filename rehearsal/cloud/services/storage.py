"""Cloud Storage: buckets and objects with their versions. https://cloud.google.com/storage/docs/json_api/v1"""

from __future__ import annotations

import base64
import time
from typing import Any

from rehearsal.cloud import iam, objects
from rehearsal.cloud.call import Call, Media, method
from rehearsal.cloud.errors import invalid
from rehearsal.cloud.fields import merged, page
from rehearsal.cloud.objects import BUCKETS
from rehearsal.cloud.rules import refuse
from rehearsal.cloud.state import Cloud, long_id, now

SERVICE, UPLOADS = "storage", "storage.uploads"
_NEVER_KEPT = ("acl", "defaultObjectAcl", "projectNumber", "id", "selfLink", "kind", "etag", "metageneration")


def _on_bucket(call: Call) -> str:
    return f"projects/_/buckets/{call.path['bucket']}"


def _on_object(call: Call) -> str:
    name = call.path.get("object") or call.query.get("name") or call.body.get("name", "")
    return f"{_on_bucket(call)}/objects/{name}"


def _on_project(call: Call) -> str:
    return f"projects/{call.cloud.project}"


@method("storage.buckets.insert", permission="storage.buckets.create", on=_on_project, note="lifecycle rules don't run")
def insert(call: Call) -> dict[str, Any]:
    cloud, name = call.cloud, call.body["name"]
    at = now()[:23] + "Z"
    document = {
        "kind": "storage#bucket",
        "selfLink": f"https://www.googleapis.com/storage/v1/b/{name}",
        "id": name,
        "name": name,
        "projectNumber": cloud.number,
        "generation": str(time.time_ns() // 1000),
        "metageneration": "1",
        "location": "US",
        "storageClass": "STANDARD",
        "etag": "CAE=",
        "timeCreated": at,
        "updated": at,
        "softDeletePolicy": {"retentionDurationSeconds": "604800", "effectiveTime": at},
    }
    document = merged(document, {key: value for key, value in call.sent.items() if key not in _NEVER_KEPT})
    document["location"] = document["location"].upper()
    document["locationType"] = "region" if "-" in document["location"] else "multi-region"
    document["iamConfiguration"] = _access(document.get("iamConfiguration", {}))
    with cloud.lock:
        if name in cloud.collection(BUCKETS):
            raise refuse("bucket-yours")
        cloud.collection(BUCKETS)[name] = document
        iam.start_policy(cloud, SERVICE, f"projects/_/buckets/{name}", _first_policy(cloud))
    return document


@method("storage.buckets.get", permission="storage.buckets.get", on=_on_bucket)
def get(call: Call) -> dict[str, Any]:
    return objects.bucket(call.cloud, call.path["bucket"])


@method("storage.buckets.list", permission="storage.buckets.list", on=_on_project)
def list_(call: Call) -> dict[str, Any]:
    prefix = call.query.get("prefix", "")
    with call.cloud.lock:
        every = [each for name, each in sorted(call.cloud.collection(BUCKETS).items()) if name.startswith(prefix)]
    return {"kind": "storage#buckets", **page(every, call.query, "items", size=1000)}


@method("storage.buckets.patch", "storage.buckets.update", permission="storage.buckets.update", on=_on_bucket)
def patch(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        current = get(call)
        if str(call.query.get("ifMetagenerationMatch", current["metageneration"])) != current["metageneration"]:
            raise refuse("storage-precondition")
        kept = {key: value for key, value in call.sent.items() if key not in (*_NEVER_KEPT, "name")}
        changed = merged(current, kept)
        changed["iamConfiguration"] = _access(changed.get("iamConfiguration", {}))
        if not changed.get("labels"):
            changed.pop("labels", None)
        changed |= {"metageneration": str(int(current["metageneration"]) + 1), "updated": now()[:23] + "Z"}
        changed["etag"] = _counted(int(changed["metageneration"]))
        call.cloud.collection(BUCKETS)[current["name"]] = changed
        return changed


@method("storage.buckets.delete", permission="storage.buckets.delete", on=_on_bucket, note="no soft deletion")
def delete(call: Call) -> None:
    with call.cloud.lock:
        name = get(call)["name"]
        if objects.versions(call.cloud, name):
            raise refuse("bucket-not-empty")
        del call.cloud.collection(BUCKETS)[name]
        iam.forget_policies(call.cloud, SERVICE, f"projects/_/buckets/{name}")
        objects.forget(call.cloud, name)


@method("storage.buckets.getIamPolicy", permission="storage.buckets.getIamPolicy", on=_on_bucket)
def get_policy(call: Call) -> dict[str, Any]:
    get(call)
    return _policy(call, iam.policy_of(call.cloud, SERVICE, _on_bucket(call)))


@method("storage.buckets.setIamPolicy", permission="storage.buckets.setIamPolicy", on=_on_bucket)
def set_policy(call: Call) -> dict[str, Any]:
    get(call)
    with call.cloud.lock:
        current = iam.policy_of(call.cloud, SERVICE, _on_bucket(call))["etag"]
        following = _counted(base64.b64decode(current)[1] + 1)
        return _policy(call, iam.set_policy(call.cloud, SERVICE, _on_bucket(call), call.body, etag=following))


@method("storage.buckets.testIamPermissions", permission=None)
def test_permissions(call: Call) -> dict[str, Any]:
    asked = list(call.query.get("permissions", []))
    answer = iam.answer_test(call.cloud, call.principal, SERVICE, _on_bucket(call), asked)
    return {"kind": "storage#testIamPermissionsResponse", **answer}


@method("storage.anywhereCaches.list", permission="storage.anywhereCaches.list", on=_on_bucket, note="there are none")
def list_caches(call: Call) -> dict[str, Any]:
    get(call)
    return {"kind": "storage#anywhereCaches"}


@method("storage.objects.insert", permission="storage.objects.create", on=_on_object)
def insert_object(call: Call) -> dict[str, Any] | Media:
    if call.upload.get("uploadType") == "resumable":
        return _resumable(call)
    return _insert(call, call.query.get("name") or call.body.get("name", ""), call.body, call.media or b"")


@method("storage.objects.get", permission="storage.objects.get", on=_on_object)
def get_object(call: Call) -> dict[str, Any] | Media:
    document = _object(call)
    if call.alt != "media":
        return document
    file = objects.content(call.cloud, document)
    headers = {
        "x-goog-generation": document["generation"],
        "x-goog-metageneration": document["metageneration"],
        "x-goog-hash": f"md5={document['md5Hash']}",
    }
    return Media(content=file, media_type=document["contentType"], headers=headers)


@method("storage.objects.list", permission="storage.objects.list", on=_on_bucket)
def list_objects(call: Call) -> dict[str, Any]:
    get(call)
    prefix, delimiter = call.query.get("prefix", ""), call.query.get("delimiter", "")
    every, prefixes = [], set()
    for document in objects.versions(call.cloud, call.path["bucket"]):
        rest = document["name"].removeprefix(prefix)
        if not document["name"].startswith(prefix) or ("timeDeleted" in document and not call.query.get("versions")):
            continue
        if delimiter and delimiter in rest:
            prefixes.add(prefix + rest.split(delimiter, 1)[0] + delimiter)
        else:
            every.append(document)
    answer = {"kind": "storage#objects", **page(every, call.query, "items", size=1000)}
    return answer | ({"prefixes": sorted(prefixes)} if prefixes else {})


@method("storage.objects.patch", permission="storage.objects.update", on=_on_object)
def patch_object(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        document = _object(call)
        changed = merged(document, {key: call.sent[key] for key in ("contentType", "metadata") if key in call.sent})
        document.update(changed | {"metageneration": str(int(document["metageneration"]) + 1)})
        return document


@method("storage.objects.delete", permission="storage.objects.delete", on=_on_object)
def delete_object(call: Call) -> None:
    document = _object(call)
    _check_generation(call, document["generation"])
    named = call.query.get("generation")
    objects.remove(call.cloud, call.path["bucket"], call.path["object"], str(named) if named else None)


@method("storage.objects.rewrite", "storage.objects.copy", permission=None, note="in one step")
def rewrite(call: Call) -> dict[str, Any]:
    source, target = call.path["sourceBucket"], call.path["destinationBucket"]
    for bucket, name, verb in (
        (source, call.path["sourceObject"], "get"),
        (target, call.path["destinationObject"], "create"),
    ):
        resource = f"projects/_/buckets/{bucket}/objects/{name}"
        iam.require(call.cloud, call.principal, f"storage.objects.{verb}", SERVICE, resource)
    found = objects.get(call.cloud, source, call.path["sourceObject"])
    file = objects.content(call.cloud, found)
    made = objects.put(call.cloud, target, call.path["destinationObject"], file, {"contentType": found["contentType"]})
    if call.method.id.endswith("copy"):
        return made
    size = made["size"]
    sizes = {"totalBytesRewritten": size, "objectSize": size, "done": True}
    return {"kind": "storage#rewriteResponse", **sizes, "resource": made}


def _insert(call: Call, name: str, metadata: dict[str, Any], media: bytes) -> dict[str, Any]:
    if not name:
        raise invalid("Required parameter: name", field="name")
    live = [
        each["generation"]
        for each in objects.versions(call.cloud, call.path["bucket"])
        if each["name"] == name and "timeDeleted" not in each
    ]
    _check_generation(call, live[0] if live else "0")
    given = {key: metadata[key] for key in ("contentType", "metadata", "cacheControl") if key in metadata}
    given.setdefault("contentType", call.headers.get("x-upload-content-type") or "application/octet-stream")
    return objects.put(call.cloud, call.path["bucket"], name, media, given)


def _resumable(call: Call) -> dict[str, Any] | Media:
    """https://cloud.google.com/storage/docs/performing-resumable-uploads: begun, then sent in parts."""
    uploads = call.cloud.collection(UPLOADS)
    identity = call.upload.get("upload_id")
    if identity is None:
        get(call)
        identity = long_id()
        name = call.query.get("name") or call.body.get("name", "")
        uploads[identity] = {"name": name, "metadata": call.body, "content": b""}
        where = f"{call.cloud.url}/storage/upload/storage/v1/b/{call.path['bucket']}/o"
        return Media(content=b"", headers={"location": f"{where}?uploadType=resumable&upload_id={identity}"})
    if identity not in uploads:
        raise refuse("upload-missing")
    upload, sent = uploads[identity], call.headers.get("content-range", "")
    upload["content"] += call.media or b""
    total = sent.rpartition("/")[2]
    if (total.isdigit() and len(upload["content"]) < int(total)) or total == "*":
        received = {"range": f"bytes=0-{len(upload['content']) - 1}"} if upload["content"] else {}
        return Media(content=b"", code=308, headers=received)
    del uploads[identity]
    return _insert(call, upload["name"], upload["metadata"], upload["content"])


def _object(call: Call) -> dict[str, Any]:
    generation = call.query.get("generation")
    return objects.get(call.cloud, call.path["bucket"], call.path["object"], str(generation) if generation else None)


def _check_generation(call: Call, current: str) -> None:
    wanted = call.query.get("ifGenerationMatch")
    if wanted is not None and str(wanted) != current:
        raise refuse("storage-precondition")


def _counted(number: int) -> str:
    """Cloud Storage's etags count up: ``CAE=``, ``CAI=``, …"""
    return base64.b64encode(bytes([8, number % 128])).decode()


def _policy(call: Call, policy: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "storage#policy", "resourceId": _on_bucket(call), **policy}


def _first_policy(cloud: Cloud) -> dict[str, Any]:
    owners, readers = "roles/storage.legacyBucketOwner", "roles/storage.legacyBucketReader"
    return {
        "version": 1,
        "etag": "CAE=",
        "bindings": [
            {"role": owners, "members": [f"projectEditor:{cloud.project}", f"projectOwner:{cloud.project}"]},
            {"role": readers, "members": [f"projectViewer:{cloud.project}"]},
        ],
    }


def _access(given: dict[str, Any]) -> dict[str, Any]:
    """Uniform access has a second name, and can be taken back for ninety days."""
    enabled = bool(given.get("uniformBucketLevelAccess", {}).get("enabled"))
    uniform: dict[str, Any] = {"enabled": enabled}
    if enabled:
        locked = given["uniformBucketLevelAccess"].get("lockedTime")
        uniform["lockedTime"] = locked or time.strftime("%Y-%m-%dT00:00:00.000Z", time.gmtime(time.time() + 90 * 86400))
    prevention = given.get("publicAccessPrevention", "inherited")
    return {
        "bucketPolicyOnly": dict(uniform),
        "uniformBucketLevelAccess": uniform,
        "publicAccessPrevention": prevention,
    }
