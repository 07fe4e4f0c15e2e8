"""One execution of a Cloud Run job: what its tasks may read and reach, how they go, and what the API shows of it."""

from __future__ import annotations

import concurrent.futures
import random
import string
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rehearsal.cloud import iam
from rehearsal.cloud.errors import GoogleError
from rehearsal.cloud.rules.run import JOBS
from rehearsal.cloud.rules.sqladmin import INSTANCES
from rehearsal.cloud.services import secretmanager
from rehearsal.cloud.sql_instances import servers
from rehearsal.cloud.state import Cloud, etag, now
from rehearsal.jobs.tasks import CANCELLED, Ending, Machine, NoImage, Task, variables

Document = dict[str, Any]
EXECUTIONS, TASKS = "run.executions", "run.tasks"
_MACHINE = "run.machine"
_ACCESSOR = "'Secret Manager Secret Accessor' role (roles/secretmanager.secretAccessor)"


def machine(cloud: Cloud) -> Machine:
    """Where this cloud's jobs run; ended before its servers are."""
    with cloud.lock:
        kept = cloud.collection(_MACHINE)
        if not kept:
            processes = servers(cloud).processes
            folder = processes.folder / "jobs"
            folder.mkdir()
            made = Machine(processes=processes, folder=folder, address=lambda: _address(cloud))
            cloud.closing.append(made.close)
            kept["machine"] = {"machine": made}
        return kept["machine"]["machine"]


def _address(cloud: Cloud) -> dict[str, str]:
    """How a client in a container finds this cloud: gcloud's own variable, and the one the migrations document."""
    return {
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_SQL": f"{cloud.url}/sqladmin/",
        "GAIA_SQLADMIN_URL": f"{cloud.url}/sqladmin/v1",
    }


def account_of(cloud: Cloud, template: Mapping[str, Any]) -> str:
    """Whom the tasks run as."""
    return template.get("serviceAccount") or f"{cloud.number}-compute@developer.gserviceaccount.com"


def check_secrets(cloud: Cloud, template: Mapping[str, Any]) -> None:
    """Raises GoogleError for each secret that the account may not read, or that isn't there.

    Words and code: GoogleCloudPlatform's terraform-docs-samples#168, hashicorp/terraform-provider-google#15088.
    """
    faults = []
    for where, name in _secrets(cloud, template):
        try:
            _read(cloud, template, name)
        except GoogleError as error:
            faults.append(f"{where}: {error.message}")
    if faults:
        raise GoogleError(500, " ".join(faults))


def check_image(cloud: Cloud, template: Mapping[str, Any]) -> None:
    """Raises GoogleError where there is no such image."""
    try:
        for container in template["containers"]:
            machine(cloud).image(container["image"])
    except NoImage as error:
        raise GoogleError(404, str(error)) from None


def check_network(cloud: Cloud, template: Mapping[str, Any]) -> None:
    """Raises GoogleError where the way into the network isn't there.

    Words: https://cloud.google.com/run/docs/troubleshooting#vpc-connector
    """
    access = template.get("vpcAccess") or {}
    connector = access.get("connector")
    if connector and "/" in connector and cloud.canonical(connector) not in cloud.collection("vpcaccess.connectors"):
        raise GoogleError(
            400, f"VPC connector {connector} does not exist, or Cloud Run does not have permission to use it."
        )
    for each in access.get("networkInterfaces") or ():
        network = (each.get("network") or "").rpartition("/")[2]
        if network and network not in cloud.collection("compute.networks"):
            raise GoogleError(404, f"VPC network {each['network']} was not found.")


def begin(cloud: Cloud, job: Document, execution_id: str, *, creator: str, overrides: Mapping[str, Any]) -> Document:
    """A new execution, which ``run`` then brings to its end."""
    template = _overridden(job["template"], overrides)
    count = int(template.get("taskCount") or 1)
    name = f"{job['name']}/executions/{execution_id}"
    document: Document = {
        "name": name,
        "uid": str(uuid.uuid4()),
        "creator": creator,
        "generation": "1",
        "labels": dict(job.get("labels") or {}),
        "createTime": now(),
        "updateTime": now(),
        "launchStage": job.get("launchStage", "GA"),
        "job": job["name"].rpartition("/")[2],
        "parallelism": int(template.get("parallelism") or count),
        "taskCount": count,
        "template": template["template"],
        "conditions": [],
        "observedGeneration": "1",
        "runningCount": 0,
        "succeededCount": 0,
        "failedCount": 0,
        "cancelledCount": 0,
        "retriedCount": 0,
        "logUri": f"https://console.cloud.google.com/logs/viewer?project={cloud.project}&resource={execution_id}",
        "etag": etag(),
        "_stop": threading.Event(),
        "_log": machine(cloud).folder / f"{execution_id}-{uuid.uuid4().hex[:6]}.log",
    }
    with cloud.lock:
        if name in cloud.collection(EXECUTIONS):
            raise GoogleError(409, f"Resource '{execution_id}' already exists.")
        cloud.collection(EXECUTIONS)[name] = document
        _refer(job, document)
        job["executionCount"] = int(job.get("executionCount") or 0) + 1
    return document


def new_id(job: str) -> str:
    """As Cloud Run names an execution that nobody named."""
    return f"{job}-" + "".join(random.SystemRandom().choices(string.ascii_lowercase + string.digits, k=5))


def run(cloud: Cloud, job: Document, execution: Document) -> None:
    """Run every task to its end; raises GoogleError where one failed."""
    execution["startTime"] = now()
    try:
        check_secrets(cloud, execution["template"])
    except GoogleError as error:
        _finish(cloud, job, execution, why=error.message, reason={"reason": "SECRETS_ACCESS_CHECK_FAILED"})
        raise
    count = execution["taskCount"]
    with concurrent.futures.ThreadPoolExecutor(max(1, execution["parallelism"])) as pool:
        endings = list(pool.map(lambda index: _run_task(cloud, execution, index), range(count)))
    failed = [(index, ending.why) for index, ending in enumerate(endings) if ending.why is not None]
    if not failed:
        _finish(cloud, job, execution)
        return
    short = execution["name"].rpartition("/")[2]
    if execution["_stop"].is_set():
        _finish(cloud, job, execution, why="Execution was cancelled.", reason={"executionReason": "CANCELLED"})
        raise GoogleError(499, f"Execution {short} was cancelled.", status="CANCELLED")
    index, why = failed[0]
    words = f"Task {short}-task{index} failed with message: {why}"
    _finish(cloud, job, execution, why=words, reason={"executionReason": "NON_ZERO_EXIT_CODE"})
    raise GoogleError(500, words)


def log_of(cloud: Cloud, name: str) -> str:
    """All that an execution's containers printed, and what Cloud Run said in between."""
    with cloud.lock:
        found = cloud.collection(EXECUTIONS).get(name)
    file: Path | None = found["_log"] if found else None
    return file.read_text(encoding="utf-8", errors="replace") if file and file.exists() else ""


def shown(document: Mapping[str, Any]) -> Document:
    return {name: value for name, value in document.items() if not name.startswith("_")}


def condition(kind: str, *, ok: bool, message: str = "", **more: str) -> Document:
    """A condition as the API has it."""
    made = {"type": kind, "state": "CONDITION_SUCCEEDED" if ok else "CONDITION_FAILED", "lastTransitionTime": now()}
    return made | ({"message": message} if message else {}) | more


def _run_task(cloud: Cloud, execution: Document, index: int) -> Ending:
    template, where = execution["template"], machine(cloud)
    short, job = execution["name"].rpartition("/")[2], execution["job"]
    retries = int(template.get("maxRetries", 3))
    _count(cloud, execution, "runningCount", 1)
    for attempt in range(retries + 1):
        task = _task(cloud, execution, index, attempt)
        ending = where.run(task, log=execution["_log"], job=job, stop=execution["_stop"])
        _note(cloud, execution, index, attempt, ending)
        if ending.why is None or ending.why == CANCELLED or attempt == retries:
            break
        _count(cloud, execution, "retriedCount", 1)
    else:  # pragma: no cover: the last attempt breaks
        raise AssertionError(short)
    _count(cloud, execution, "runningCount", -1)
    _count(cloud, execution, _COUNTED.get(ending.why or "", "failedCount") if ending.why else "succeededCount", 1)
    return ending


_COUNTED = {CANCELLED: "cancelledCount"}


def _task(cloud: Cloud, execution: Document, index: int, attempt: int) -> Task:
    template = execution["template"]
    container, account = template["containers"][0], account_of(cloud, template)
    ways, refused = _instances(cloud, template, account)
    short = execution["name"].rpartition("/")[2]
    own = variables(job=execution["job"], execution=short, index=index, attempt=attempt, count=execution["taskCount"])
    region = execution["name"].split("/")[3]
    facts = {
        "project/project-id": cloud.project,
        "project/numeric-project-id": cloud.number,
        "instance/region": f"projects/{cloud.number}/regions/{region}",
        "instance/id": execution["uid"].replace("-", ""),
    }
    return Task(
        name=f"{execution['uid'][:8]}-{index}-{attempt}",
        image=container["image"],
        command=container.get("command") or (),
        arguments=container.get("args") or (),
        environment={**_environment(cloud, template, container), **own},
        mounts_sockets_at=_mount_path(container, template),
        ways=ways,
        refused=refused,
        files=_files(cloud, template, container),
        account=account,
        token=lambda: cloud.token_for(account),
        facts=facts,
        timeout_s=float(template.get("timeout", "600s").removesuffix("s")),
    )


def _environment(cloud: Cloud, template: Mapping[str, Any], container: Mapping[str, Any]) -> dict[str, str]:
    values: dict[str, str] = {}
    for each in container.get("env") or ():
        reference = (each.get("valueSource") or {}).get("secretKeyRef")
        if reference is None:
            values[each["name"]] = each.get("value", "")
        else:
            values[each["name"]] = _read(cloud, template, _version_name(cloud, reference)).decode()
    return values


def _files(cloud: Cloud, template: Mapping[str, Any], container: Mapping[str, Any]) -> dict[str, str]:
    places = {mount["name"]: mount["mountPath"] for mount in container.get("volumeMounts") or ()}
    found: dict[str, str] = {}
    for volume in template.get("volumes") or ():
        given = volume.get("secret")
        for item in (given or {}).get("items") or ():
            name = _version_name(cloud, {"secret": given["secret"], "version": item.get("version", "latest")})
            inside = f"{places.get(volume['name'], '/secrets')}/{item['path']}"
            found[inside] = _read(cloud, template, name).decode()
    return found


def _secrets(cloud: Cloud, template: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where each secret is named, as Cloud Run says it, and the version's full name."""
    found = []
    for index, container in enumerate(template.get("containers") or ()):
        for number, each in enumerate(container.get("env") or ()):
            if reference := (each.get("valueSource") or {}).get("secretKeyRef"):
                where = f"spec.template.spec.containers[{index}].env[{number}].value_from.secret_key_ref.name"
                found.append((where, _version_name(cloud, reference)))
    for index, volume in enumerate(template.get("volumes") or ()):
        given = volume.get("secret") or {}
        for number, item in enumerate(given.get("items") or ()):
            where = f"spec.template.spec.volumes[{index}].secret.items[{number}].key"
            reference = {"secret": given["secret"], "version": item.get("version", "latest")}
            found.append((where, _version_name(cloud, reference)))
    return found


def _version_name(cloud: Cloud, reference: Mapping[str, Any]) -> str:
    secret = cloud.canonical(reference["secret"])
    full = secret if secret.startswith("projects/") else f"projects/{cloud.project}/secrets/{secret}"
    return f"{full}/versions/{reference.get('version') or 'latest'}"


def _read(cloud: Cloud, template: Mapping[str, Any], name: str) -> bytes:
    """A secret's content, as the tasks' account may read it."""
    account = account_of(cloud, template)
    if not iam.allowed(cloud, f"serviceAccount:{account}", "secretmanager.versions.access", "secretmanager", name):
        raise GoogleError(
            403,
            f"Permission denied on secret: {cloud.numbered(name)} for Revision service account {account}. The service "
            f"account used must be granted the {_ACCESSOR} at the secret, project or higher level.",
        )
    try:
        return secretmanager.access(cloud, name)[0]
    except GoogleError as error:
        if error.code == 404:
            raise GoogleError(404, f"Secret {cloud.numbered(name)} was not found") from None
        raise


def _mount_path(container: Mapping[str, Any], template: Mapping[str, Any]) -> str | None:
    names = {volume["name"] for volume in template.get("volumes") or () if volume.get("cloudSqlInstance")}
    return next((m["mountPath"] for m in container.get("volumeMounts") or () if m["name"] in names), None)


def _instances(cloud: Cloud, template: Mapping[str, Any], account: str) -> tuple[dict[str, Path], dict[str, str]]:
    """The ways into the instances that the template names, and why some are closed."""
    ways: dict[str, Path] = {}
    refused: dict[str, str] = {}
    for volume in template.get("volumes") or ():
        for name in (volume.get("cloudSqlInstance") or {}).get("instances") or ():
            if why := closed(cloud, name, account, reaches_network=bool(template.get("vpcAccess"))):
                refused[name] = why
            else:
                ways[name] = servers(cloud).sockets / name
    return ways, refused


def closed(cloud: Cloud, connection_name: str, account: str, *, reaches_network: bool) -> str | None:
    """Why this account gets no connection to this instance, in the words of the Cloud SQL connectors; None if it does.

    https://github.com/GoogleCloudPlatform/cloud-sql-proxy/issues/79 and the connectors' messages since.
    """
    short = connection_name.rpartition(":")[2]
    named = f'(connection name = "{connection_name}")'
    failed = f"failed to get instance: Refresh error: failed to get instance metadata {named}: googleapi:"
    with cloud.lock:
        document = cloud.collection(INSTANCES).get(short)
    if "sqladmin" not in cloud.enabled:
        off = f"Cloud SQL Admin API has not been used in project {cloud.number} before or it is disabled."
        return f"{failed} Error 403: {off}, accessNotConfigured"
    where = f"projects/{cloud.project}/instances/{short}"
    for permission in ("cloudsql.instances.get", "cloudsql.instances.connect"):
        if not iam.allowed(cloud, f"serviceAccount:{account}", permission, "sqladmin", where):
            return (
                f"{failed} Error 403: boss::NOT_AUTHORIZED: Not authorized to access resource. Possibly missing "
                f"permission {permission} on resource instances/{short}., forbidden (PERMISSION_DENIED)"
            )
    if document is None or document["connectionName"] != connection_name:
        return f"{failed} Error 404: The Cloud SQL instance does not exist., instanceDoesNotExist"
    address = document["settings"]["ipConfiguration"]
    if not address.get("ipv4Enabled") and not reaches_network:
        private = next((each["ipAddress"] for each in document["ipAddresses"] if each["type"] == "PRIVATE"), "")
        return f"dial error: failed to dial {named}: dial tcp {private}:3307: i/o timeout"
    return None


def _overridden(template: Mapping[str, Any], overrides: Mapping[str, Any]) -> Document:
    """The job's template with what one run changes: https://cloud.google.com/run/docs/execute/jobs"""
    task = {**template["template"]}
    if timeout := overrides.get("timeout"):
        task["timeout"] = timeout
    for given in overrides.get("containerOverrides") or ():
        containers = [{**each} for each in task["containers"]]
        changed = next((c for c in containers if given.get("name") in (None, c.get("name"))), containers[0])
        if given.get("args") or given.get("clearArgs"):
            changed["args"] = given.get("args") or []
        names = {each["name"] for each in given.get("env") or ()}
        kept = [each for each in changed.get("env") or () if each["name"] not in names]
        changed["env"] = [*kept, *(given.get("env") or ())]
        task["containers"] = containers
    made = {**template, "template": task}
    return made | ({"taskCount": overrides["taskCount"]} if overrides.get("taskCount") else {})


def _count(cloud: Cloud, execution: Document, name: str, by: int) -> None:
    with cloud.lock:
        execution[name] += by


def _note(cloud: Cloud, execution: Document, index: int, attempt: int, ending: Ending) -> None:
    name = f"{execution['name']}/tasks/{execution['name'].rpartition('/')[2]}-task{index}"
    result: Document = {"exitCode": max(0, ending.exit_code)}
    if ending.exit_code < 0:
        result = {"termSignal": -ending.exit_code}
    if ending.why is not None:
        result["status"] = {"code": 2, "message": ending.why}
    kept = {name: execution["template"][name] for name in execution["template"]}
    with cloud.lock:
        cloud.collection(TASKS)[name] = {
            **kept,
            "name": name,
            "uid": str(uuid.uuid4()),
            "createTime": execution["createTime"],
            "completionTime": now(),
            "job": execution["job"],
            "execution": execution["name"].rpartition("/")[2],
            "index": index,
            "retried": attempt,
            "lastAttemptResult": result,
            "conditions": [condition("Completed", ok=ending.why is None, message=ending.why or "")],
        }


def _finish(
    cloud: Cloud, job: Document, execution: Document, *, why: str = "", reason: Mapping[str, str] | None = None
) -> None:
    with cloud.lock:
        done = condition("Completed", ok=not why, message=why, **(reason or {}))
        execution["conditions"] = [done, condition("ResourcesAvailable", ok=True), condition("Started", ok=True)]
        execution |= {"completionTime": now(), "updateTime": now(), "etag": etag()}
        if cloud.collection(JOBS).get(job["name"]) is job and _is_latest(job, execution):
            _refer(job, execution)


def _is_latest(job: Document, execution: Document) -> bool:
    return (job.get("latestCreatedExecution") or {}).get("name") == execution["name"].rpartition("/")[2]


def _refer(job: Document, execution: Document) -> None:
    """What the job says of its newest execution."""
    completed = next((each for each in execution["conditions"] if each["type"] == "Completed"), None)
    reference: Document = {"name": execution["name"].rpartition("/")[2], "createTime": execution["createTime"]}
    if completed is None:
        reference["completionStatus"] = "EXECUTION_RUNNING"
    else:
        ok, cancelled = completed["state"] == "CONDITION_SUCCEEDED", completed.get("executionReason") == "CANCELLED"
        reference["completionStatus"] = (
            "EXECUTION_SUCCEEDED" if ok else "EXECUTION_CANCELLED" if cancelled else "EXECUTION_FAILED"
        )
        reference["completionTime"] = execution["completionTime"]
    job["latestCreatedExecution"] = reference
