"""What Cloud Run refuses of a job before it begins."""

from __future__ import annotations

import re
from typing import Any

from rehearsal.cloud.call import Call
from rehearsal.cloud.rules import Details, Rule, add

JOBS = "run.jobs"
CREATE, PATCH = "run.projects.locations.jobs.create", "run.projects.locations.jobs.patch"
_BOTH, _DOCS = (CREATE, PATCH), "https://cloud.google.com/run/docs"


def job_name(call: Call) -> str:
    """The job's full name."""
    return f"{call.name}/jobs/{call.query.get('jobId', '')}" if call.method.id == CREATE else call.name


def task_template(body: dict[str, Any]) -> dict[str, Any]:
    """What each task is made from."""
    return (body.get("template") or {}).get("template") or {}


def _bad_id(call: Call) -> Details | None:
    given = call.query.get("jobId", "")
    return None if re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", given) else {"given": given}


def _exists(call: Call) -> Details | None:
    name = job_name(call)
    return {"name": name.rpartition("/")[2]} if name in call.cloud.collection(JOBS) else None


def _two_tokens(call: Call) -> Details | None:
    return {} if call.body.get("startExecutionToken") and call.body.get("runExecutionToken") else None


def _long_token(call: Call) -> Details | None:
    token = call.body.get("startExecutionToken") or call.body.get("runExecutionToken") or ""
    short = job_name(call).rpartition("/")[2]
    return {"length": len(short) + len(token)} if token and len(short) + len(token) >= 63 else None


def _no_container(call: Call) -> Details | None:
    containers = task_template(call.body).get("containers") or []
    return {} if not containers or any(not each.get("image") for each in containers) else None


def _timeout(call: Call) -> Details | None:
    timeout = task_template(call.body).get("timeout")
    if timeout is None:
        return None
    match = re.fullmatch(r"(\d+)(\.\d+)?s", timeout)
    return None if match and 1 <= int(match[1]) <= 168 * 3600 else {"timeout": timeout}


def _retries(call: Call) -> Details | None:
    retries = task_template(call.body).get("maxRetries")
    return None if retries is None or 0 <= retries <= 10 else {"retries": retries}


def _unknown_volume(call: Call) -> Details | None:
    template = task_template(call.body)
    known = {volume.get("name") for volume in template.get("volumes") or ()}
    for container in template.get("containers") or ():
        for mount in container.get("volumeMounts") or ():
            if mount.get("name") not in known:
                return {"name": mount.get("name")}
    return None


def _socket_place(call: Call) -> Details | None:
    template = task_template(call.body)
    sockets = {volume.get("name") for volume in template.get("volumes") or () if volume.get("cloudSqlInstance")}
    for container in template.get("containers") or ():
        for mount in container.get("volumeMounts") or ():
            if mount.get("name") in sockets and mount.get("mountPath") != "/cloudsql":
                return {"path": mount.get("mountPath")}
    return None


def _bad_connection(call: Call) -> Details | None:
    for volume in task_template(call.body).get("volumes") or ():
        for name in (volume.get("cloudSqlInstance") or {}).get("instances") or ():
            if not re.fullmatch(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]+:[a-z0-9-]+:[a-z][a-z0-9-]*", name):
                return {"name": name}
    return None


def _two_values(call: Call) -> Details | None:
    for container in task_template(call.body).get("containers") or ():
        for each in container.get("env") or ():
            if "value" in each and each.get("valueSource"):
                return {"name": each.get("name")}
    return None


def _stale(call: Call) -> Details | None:
    found, sent = call.cloud.collection(JOBS).get(call.name), call.body.get("etag")
    return {} if found is not None and sent and sent != found["etag"] else None


def _cpu(call: Call) -> Details | None:
    for container in task_template(call.body).get("containers") or ():
        limits = (container.get("resources") or {}).get("limits") or {}
        cpu = limits.get("cpu", "1")
        if cpu not in ("1", "2", "4", "6", "8", "1000m", "2000m", "4000m", "6000m", "8000m"):
            return {"what": f"cpu {cpu}: it must be 1, 2, 4, 6 or 8"}
        if not re.fullmatch(r"\d+(\.\d+)?(Mi|Gi|M|G)", limits.get("memory", "512Mi")):
            return {"what": f"memory {limits['memory']}"}
    return None


add(
    Rule(
        key="run-job-id",
        methods=(CREATE,),
        message="Violation in CreateJobRequest.job_id: {given}: must be at most 63 lowercase letters, digits and "
        "hyphens, beginning with a letter and not ending with a hyphen.",
        source=f"{_DOCS}/reference/rest/v2/projects.locations.jobs/create (words ours)",
        check=_bad_id,
    ),
    Rule(
        key="run-job-exists",
        methods=(CREATE,),
        message="Resource '{name}' already exists.",
        source="https://github.com/hashicorp/terraform-provider-google/issues/13828: the job is there after a failure",
        code=409,
        check=_exists,
    ),
    Rule(
        key="run-two-tokens",
        methods=_BOTH,
        message="Only one of start_execution_token and run_execution_token may be set.",
        source=f"{_DOCS}/reference/rest/v2/projects.locations.jobs (a union field; words ours)",
        check=_two_tokens,
    ),
    Rule(
        key="run-long-token",
        methods=_BOTH,
        message="The sum of job name and token length must be fewer than 63 characters; it is {length}.",
        source=f"{_DOCS}/reference/rest/v2/projects.locations.jobs#Job.FIELDS.run_execution_token",
        check=_long_token,
    ),
    Rule(
        key="run-no-container",
        methods=_BOTH,
        message="template.template.containers: a container with an image is required.",
        source=f"{_DOCS}/reference/rest/v2/Container (words ours)",
        check=_no_container,
    ),
    Rule(
        key="run-timeout",
        methods=_BOTH,
        message="template.template.timeout: {timeout} is not between 1s and 604800s.",
        source=f"{_DOCS}/configuring/task-timeout (words ours)",
        check=_timeout,
    ),
    Rule(
        key="run-retries",
        methods=_BOTH,
        message="template.template.max_retries: {retries} is not between 0 and 10.",
        source=f"{_DOCS}/configuring/max-retries (words ours)",
        check=_retries,
    ),
    Rule(
        key="run-unknown-volume",
        methods=_BOTH,
        message="template.template.containers[0].volume_mounts: Volume mount {name} refers to no volume.",
        source=f"{_DOCS}/reference/rest/v2/Container#VolumeMount (words ours)",
        check=_unknown_volume,
    ),
    Rule(
        key="run-cloudsql-path",
        methods=_BOTH,
        message="template.template.containers[0].volume_mounts: Cloud SQL volumes must be mounted at /cloudsql, "
        "not {path}.",
        source=f"{_DOCS}/reference/rest/v2/Container#VolumeMount.FIELDS.mount_path",
        check=_socket_place,
    ),
    Rule(
        key="run-cloudsql-name",
        methods=_BOTH,
        message="template.template.volumes: Invalid Cloud SQL connection name {name}: must be of the form "
        "project:region:instance.",
        source="https://cloud.google.com/sql/docs/postgres/connect-run (words ours)",
        check=_bad_connection,
    ),
    Rule(
        key="run-resources",
        methods=_BOTH,
        message="template.template.containers[0].resources.limits: Invalid {what}.",
        source=f"{_DOCS}/configuring/jobs/cpu, {_DOCS}/configuring/jobs/memory-limits (words ours)",
        check=_cpu,
    ),
    Rule(
        key="run-two-values",
        methods=_BOTH,
        message="template.template.containers[0].env: {name} has both a value and a value source.",
        source=f"{_DOCS}/reference/rest/v2/EnvVar (a union field; words ours)",
        check=_two_values,
    ),
    Rule(
        key="run-stale",
        methods=(PATCH,),
        message="The etag provided does not match the current one.",
        source=f"{_DOCS}/reference/rest/v2/projects.locations.jobs#Job.FIELDS.etag (words ours)",
        code=409,
        status="ABORTED",
        check=_stale,
    ),
)
