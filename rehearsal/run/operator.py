"""What people do to a project with ``gcloud``, and what they look at: pushes, requests, the scheduler, the logs."""

from __future__ import annotations

import hashlib
import json
import time
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psycopg

from rehearsal.cloud import objects
from rehearsal.cloud.run_executions import EXECUTIONS, log_of
from rehearsal.cloud.services.cloudscheduler import JOBS, attempts
from rehearsal.jobs import image as images
from rehearsal.run import backend
from rehearsal.run.stage import Stage

_REQUEST_TIMEOUT_S = 60
_WAIT_S = 120


def push(stage: Stage, checkout: Path) -> str:
    """Build the migrations' image of a checkout, push it, and set its digest; returns the reference."""
    gcp = stage.gcp
    digest = hashlib.sha256(uuid.uuid4().bytes).hexdigest()
    reference = f"{gcp['region']}-docker.pkg.dev/{gcp['project']}/gaia-db/migrations@sha256:{digest}"
    stage.jobs.push(reference, images.read(checkout, checkout / "migrations" / "Dockerfile"))
    stage.set(gcp__migration_job__image=reference)
    return reference


def inside(stage: Stage) -> psycopg.Connection[Any]:
    """A look at the instance from within, as nobody could in Google Cloud: its superuser."""
    return stage.servers[stage.gcp["instance"]["name"]].session(stage.settings["gaia-db:database"]["name"])


def migrator_url(stage: Stage) -> str:
    """The login of the job."""
    reference = {"id": f"projects/{stage.cloud.project}/secrets/db-migrator-url", "version": "latest"}
    url = backend.read_secret(stage, reference, stage.cloud.operator_token)
    return backend.with_socket(stage, stage.outputs(), url)


def asked(stage: Stage, service: str, path: str, body: Mapping[str, Any] | None = None, *, token: str = "") -> Any:
    """A request of the project's operator, or of whom the token stands for. Raises ``urllib.error.HTTPError``."""
    request = urllib.request.Request(
        f"{stage.cloud.url}/{service}/{path}",
        data=None if body is None else json.dumps(dict(body)).encode(),
        headers={"Authorization": f"Bearer {token or stage.cloud.operator_token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=_REQUEST_TIMEOUT_S) as answer:
        return json.load(answer)


def scheduled(stage: Stage, short: str) -> dict[str, Any]:
    """Let a job of the scheduler run now; what its call was answered: ``code``, ``answer``."""
    name = next(name for name in stage.cloud.collection(JOBS) if name.endswith(f"/{short}"))
    before = len(attempts(stage.cloud, name))
    asked(stage, "cloudscheduler", f"v1/{name}:run", {})
    return until(lambda: attempts(stage.cloud, name)[before:], f"no attempt of {short}")[-1]


def exported(stage: Stage, short: str) -> str:
    """Let a day's export run now, to its end; what was refused, empty where nothing was."""
    answered = scheduled(stage, short)
    if answered["code"] != 200:
        return str(answered["answer"])
    path = f"v1/projects/{stage.cloud.project}/operations/{json.loads(answered['answer'])['name']}"

    def ended() -> dict[str, Any] | None:
        operation = asked(stage, "sqladmin", path)
        return operation if operation["status"] == "DONE" else None

    errors = until(ended, f"{short} does not end").get("error", {}).get("errors", [])
    return "; ".join(each["message"] for each in errors)


def executed(stage: Stage, job: str) -> str:
    """Wait for the newest execution of a Cloud Run job; what it says where it failed, empty where it didn't."""

    def ended() -> Any:
        newest = max(
            (each for name, each in stage.cloud.collection(EXECUTIONS).items() if f"/jobs/{job}/" in name),
            key=lambda each: each["createTime"],
        )
        return newest if newest.get("completionTime") else None

    execution = until(ended, f"{job} does not end")
    if execution.get("succeededCount"):
        return ""
    said = [each.get("message", "") for each in execution["conditions"] if each["type"] == "Completed"]
    return log_of(stage.cloud, execution["name"])[-400:] or "; ".join(said)


def until(look: Callable[[], Any], otherwise: str) -> Any:
    """What ``look`` finds in the end. Raises ``TimeoutError``."""
    deadline = time.monotonic() + _WAIT_S
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise)
        time.sleep(0.05)
    return found


def newest_export(stage: Stage) -> dict[str, Any] | None:
    """The object that the export made, once it is there."""
    buckets = stage.cloud.collection("storage.buckets")
    try:
        return until(lambda: [each for name in list(buckets) for each in objects.versions(stage.cloud, name)], "")[-1]
    except TimeoutError:
        return None


def empty_buckets(stage: Stage) -> None:
    """``gcloud storage rm --recursive --all-versions``: a person has to mean it."""
    for name in list(stage.cloud.collection("storage.buckets")):
        for each in objects.versions(stage.cloud, name):
            objects.remove(stage.cloud, name, each["name"], each["generation"])
