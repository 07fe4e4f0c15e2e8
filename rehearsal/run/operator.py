"""What people do to a project with ``gcloud``, and what they look at: pushes, requests, the scheduler, the logs."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from migrations import runner
from rehearsal.cloud import objects
from rehearsal.cloud.run_executions import EXECUTIONS, log_of
from rehearsal.cloud.services.cloudscheduler import JOBS, attempts
from rehearsal.jobs import image as images
from rehearsal.run import backend
from rehearsal.run.stage import Stage

_REQUEST_TIMEOUT_S = 60
_WAIT_S = 120
_REVISION = """\
\"\"\"A revision of the rehearsal alone.\"\"\"

from alembic import op

revision = "{number}"
down_revision = "{before}"


def upgrade() -> None:
    for statement in {upgrade!r}:
        op.execute(statement)


def downgrade() -> None:
    for statement in {downgrade!r}:
        op.execute(statement)
"""


@dataclass(frozen=True, kw_only=True)
class Revision:
    """A revision that somebody writes after head: its statements."""

    upgrade: tuple[str, ...]
    downgrade: tuple[str, ...]


def push(stage: Stage, checkout: Path) -> str:
    """Build the migrations' image of a checkout, push it, and set its digest; returns the reference."""
    gcp = stage.gcp
    digest = hashlib.sha256(uuid.uuid4().bytes).hexdigest()
    reference = f"{gcp['region']}-docker.pkg.dev/{gcp['project']}/gaia-db/migrations@sha256:{digest}"
    stage.jobs.push(reference, images.read(checkout, checkout / "migrations" / "Dockerfile"))
    stage.set(gcp__migration_job__image=reference)
    return reference


def revised(root: Path, folder: Path, *more: Revision) -> tuple[Path, list[str]]:
    """A checkout in ``folder`` with the files of the image, and further revisions; their numbers."""
    for name in ("migrations", "db"):
        if (root / name).is_dir():
            shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    numbers = [runner.head()]
    for each in more:
        numbers.append(runner.revisions.next_id(folder / "migrations"))
        text = _REVISION.format(number=numbers[-1], before=numbers[-2], upgrade=each.upgrade, downgrade=each.downgrade)
        (folder / "migrations" / "versions" / f"{numbers[-1]}_rehearsed.py").write_text(text, encoding="utf-8")
    return folder, numbers[1:]


def inside(stage: Stage) -> psycopg.Connection[Any]:
    """A look at the instance from within, as nobody could in Google Cloud: its superuser."""
    return stage.servers[stage.gcp["instance"]["name"]].session(stage.settings["gaia-db:database"]["name"])


def migrator_url(stage: Stage) -> str:
    """The login of the job."""
    reference = {"id": f"projects/{stage.cloud.project}/secrets/db-migrator-url", "version": "latest"}
    url = backend.read_secret(stage, reference, stage.cloud.operator_token)
    return backend.with_socket(stage, stage.outputs(), url)


def asked(
    stage: Stage,
    service: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    *,
    verb: str = "",
    token: str = "",
) -> Any:
    """A request of the project's operator, or of whom the token stands for. Raises ``urllib.error.HTTPError``."""
    request = urllib.request.Request(
        f"{stage.cloud.url}/{service}/{path}",
        method=verb or ("GET" if body is None else "POST"),
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
    return _refusal(stage, json.loads(answered["answer"]), f"{short} does not end")


def sql(stage: Stage, path: str, body: Mapping[str, Any] | None = None, *, verb: str = "POST") -> str:
    """``gcloud sql``: a change, to its end; what was refused, empty where nothing was."""
    begun = asked(stage, "sqladmin", f"v1/projects/{stage.cloud.project}/{path}", body, verb=verb)
    return _refusal(stage, begun, f"{path} does not end")


def _refusal(stage: Stage, begun: Mapping[str, Any], otherwise: str) -> str:
    """Wait for an operation of Cloud SQL's; what was refused, empty where nothing was."""

    def ended() -> dict[str, Any] | None:
        operation = asked(stage, "sqladmin", f"v1/projects/{stage.cloud.project}/operations/{begun['name']}")
        return operation if operation["status"] == "DONE" else None

    errors = until(ended, otherwise).get("error", {}).get("errors", [])
    return "; ".join(each["message"] for each in errors)


def adopt(stage: Stage, *, type: str, name: str, parent: str, resource_id: str) -> str:
    """``pulumi import``: have the state know what is there already; what was refused, empty where nothing was.

    ``parent`` ends the URN of the component that the program puts it under.
    """
    under = next(each["urn"] for each in stage.known() if each["urn"].endswith(f"::{parent}"))
    flags = ("--protect=false", "--generate-code=false", "--skip-preview", "--yes")
    return _engine(stage, "import", type, name, resource_id, "--parent", f"parent={under}", *flags)


def take_over(stage: Stage, *, old: str, new: str, replica: str) -> str:
    """The runbook's edit of the state, done; what was refused, empty where nothing was."""
    state = json.loads(_engine_said(stage, "stack", "export"))
    return _engine(stage, "stack", "import", given=json.dumps(taken_over(state, old=old, new=new, replica=replica)))


def taken_over(state: dict[str, Any], *, old: str, new: str, replica: str) -> dict[str, Any]:
    """A state in which the instance ``new`` is where ``old`` was, and no longer the replica ``replica``.

    As the ``jq`` of docs/restore.md, "The primary is lost".
    """
    resources = state["deployment"]["resources"]
    gone = {each["urn"] for each in resources if each["urn"].endswith(f"::replica-{replica}")}
    named = re.compile(rf"(?<![a-z0-9-]){re.escape(old)}(?![a-z0-9-])")

    def renamed(resource: dict[str, Any]) -> dict[str, Any]:
        return json.loads(named.sub(new, json.dumps(resource)))

    left = [_without(each, gone) for each in resources if each["urn"] not in gone]
    edited = [renamed(each) if each["type"].startswith("gcp:sql/") else each for each in left]
    return {**state, "deployment": {**state["deployment"], "resources": edited}}


def _without(value: Any, gone: Collection[str]) -> Any:
    """Whatever it is, without these in its lists."""
    if isinstance(value, dict):
        return {key: _without(inner, gone) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without(inner, gone) for inner in value if not (isinstance(inner, str) and inner in gone)]
    return value


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


def _engine(stage: Stage, *arguments: str, given: str = "") -> str:
    """A command of the engine; what it said where it failed."""
    try:
        _engine_said(stage, *arguments, given=given)
    except subprocess.CalledProcessError as error:
        return (error.stderr or error.stdout)[-400:] or f"it ended with {error.returncode}"
    return ""


def _engine_said(stage: Stage, *arguments: str, given: str = "") -> str:
    """What a command of the engine prints. Raises ``subprocess.CalledProcessError``."""
    return subprocess.run(
        [stage.stack.engine, *arguments, "--stack", stage.stack.name, "--non-interactive"],
        cwd=stage.stack.checkout.root,
        env=stage.stack.environment(stage.run_id),
        input=given,
        capture_output=True,
        text=True,
        timeout=_WAIT_S,
        check=True,
    ).stdout
