"""Objects of buckets: their content in files of the cloud's folder, their versions as Cloud Storage keeps them."""

from __future__ import annotations

import base64
import hashlib
import shutil
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rehearsal.cloud.errors import GoogleError
from rehearsal.cloud.rules import refuse
from rehearsal.cloud.state import Cloud, now

BUCKETS, OBJECTS = "storage.buckets", "storage.objects"
_BLOCK = 1 << 20


def bucket(cloud: Cloud, name: str) -> dict[str, Any]:
    """Raises GoogleError 404."""
    with cloud.lock:
        found = cloud.collection(BUCKETS).get(name)
    if found is None:
        raise refuse("bucket-missing")
    return found


def put(
    cloud: Cloud, bucket_name: str, name: str, content: bytes | Path, metadata: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A new generation of an object; the one before is kept where the bucket has versions. Raises GoogleError 404."""
    holder = bucket(cloud, bucket_name)
    generation = str(time.time_ns() // 1000 + cloud.next_number())
    file = _file(cloud, bucket_name, generation)
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        shutil.copyfile(content, file)
    document = _document(cloud, holder, name, generation, file) | (metadata or {})
    with cloud.lock:
        _end_live(cloud, holder, name)
        cloud.collection(OBJECTS)[f"{bucket_name}/{name}#{generation}"] = document
    return document


def get(cloud: Cloud, bucket_name: str, name: str, generation: str | None = None) -> dict[str, Any]:
    """The live version, or that one. Raises GoogleError 404."""
    bucket(cloud, bucket_name)
    for document in versions(cloud, bucket_name):
        if document["name"] == name and generation == document["generation"]:
            return document
        if document["name"] == name and generation is None and "timeDeleted" not in document:
            return document
    raise missing(bucket_name, name)


def content(cloud: Cloud, document: dict[str, Any]) -> Path:
    """The file with what the object holds."""
    return _file(cloud, document["bucket"], document["generation"])


def versions(cloud: Cloud, bucket_name: str) -> list[dict[str, Any]]:
    """Every version of every object, by name, the oldest first."""
    with cloud.lock:
        inside = [each for key, each in cloud.collection(OBJECTS).items() if key.startswith(f"{bucket_name}/")]
    return sorted(inside, key=lambda each: (each["name"], int(each["generation"])))


def remove(cloud: Cloud, bucket_name: str, name: str, generation: str | None = None) -> None:
    """The live version; gone for good without versions, or when its generation is named. Raises GoogleError 404."""
    holder = bucket(cloud, bucket_name)
    document = get(cloud, bucket_name, name, generation)
    with cloud.lock:
        if generation is None and holder.get("versioning", {}).get("enabled"):
            document["timeDeleted"] = now()
        else:
            _drop(cloud, document)


def forget(cloud: Cloud, bucket_name: str) -> None:
    """The files of a bucket that is deleted."""
    shutil.rmtree(_file(cloud, bucket_name, "x").parent, ignore_errors=True)


def missing(bucket_name: str, name: str) -> GoogleError:
    return refuse("object-missing", bucket=bucket_name, name=name)


def _end_live(cloud: Cloud, holder: dict[str, Any], name: str) -> None:
    for document in versions(cloud, holder["name"]):
        if document["name"] == name and "timeDeleted" not in document:
            if holder.get("versioning", {}).get("enabled"):
                document["timeDeleted"] = now()
            else:
                _drop(cloud, document)


def _drop(cloud: Cloud, document: dict[str, Any]) -> None:
    del cloud.collection(OBJECTS)[f"{document['bucket']}/{document['name']}#{document['generation']}"]
    content(cloud, document).unlink(missing_ok=True)


def _file(cloud: Cloud, bucket_name: str, generation: str) -> Path:
    return cloud.folder / "buckets" / bucket_name / generation


def _document(cloud: Cloud, holder: dict[str, Any], name: str, generation: str, file: Path) -> dict[str, Any]:
    path = f"{holder['name']}/o/{quote(name, safe='')}"
    at, link = now()[:23] + "Z", f"https://www.googleapis.com/storage/v1/b/{path}"
    return {
        "kind": "storage#object",
        "id": f"{holder['name']}/{name}/{generation}",
        "selfLink": link,
        "mediaLink": f"{cloud.url}/storage/download/storage/v1/b/{path}?generation={generation}&alt=media",
        "name": name,
        "bucket": holder["name"],
        "generation": generation,
        "metageneration": "1",
        "contentType": "application/octet-stream",
        "storageClass": holder["storageClass"],
        "size": str(file.stat().st_size),
        "md5Hash": _md5(file),
        "etag": "CAE=",
        "timeCreated": at,
        "updated": at,
        "timeStorageClassUpdated": at,
    }


def _md5(file: Path) -> str:
    total = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as opened:
        while block := opened.read(_BLOCK):
            total.update(block)
    return base64.b64encode(total.digest()).decode()
