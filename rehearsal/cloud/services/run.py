"""Cloud Run's jobs: made, changed, run as real processes.

https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from rehearsal.cloud import iam, operations
from rehearsal.cloud import run_executions as executions
from rehearsal.cloud.call import Call, method
from rehearsal.cloud.errors import GoogleError
from rehearsal.cloud.fields import page
from rehearsal.cloud.rules.run import JOBS, job_name
from rehearsal.cloud.run_executions import EXECUTIONS, TASKS, Document, condition, shown
from rehearsal.cloud.state import etag, now

SERVICE = "run"
_J = "run.projects.locations.jobs"
_TYPE = "type.googleapis.com/google.cloud.run.v2."
_GIVEN = (
    "labels",
    "annotations",
    "client",
    "clientVersion",
    "launchStage",
    "binaryAuthorization",
    "startExecutionToken",
    "runExecutionToken",
)


@method(f"{_J}.create", permission="run.jobs.create", note="only images of this checkout can be run")
def create(call: Call) -> Document:
    name, user = job_name(call), call.principal.partition(":")[2]
    document = {
        "name": name,
        "uid": str(uuid.uuid4()),
        "generation": "1",
        "createTime": now(),
        "creator": user,
        "executionCount": 0,
        "satisfiesPzs": True,
        **_given(call, user),
        "observedGeneration": "1",
    }
    if call.query.get("validateOnly"):
        return _lro(call, document, lambda: None)
    with call.cloud.lock:
        call.cloud.collection(JOBS)[name] = document
    return _lro(call, document, lambda: _ready(call, document))


@method(
    f"{_J}.patch", permission="run.jobs.update", note="the whole job, whatever updateMask says; allowMissing makes none"
)
def patch(call: Call) -> Document:
    kept = _kept(call)
    if call.query.get("validateOnly"):
        return _lro(call, kept, lambda: None)
    with call.cloud.lock:
        changed = _given(call, call.principal.partition(":")[2])
        for name in _GIVEN:
            kept.pop(name, None)
        generation = str(int(kept["generation"]) + 1)
        kept |= {**changed, "generation": generation, "observedGeneration": generation}
    return _lro(call, kept, lambda: _ready(call, kept))


def _given(call: Call, user: str) -> Document:
    """What the caller says of a job, with what Cloud Run adds."""
    body, template = call.body, {**call.body["template"]}
    task = {**template["template"]}
    task.setdefault("maxRetries", 3)
    task.setdefault("timeout", "600s")
    task.setdefault("executionEnvironment", "EXECUTION_ENVIRONMENT_GEN2")
    task.setdefault("serviceAccount", executions.account_of(call.cloud, task))
    for container in task["containers"]:
        container.setdefault("resources", {"limits": {"cpu": "1000m", "memory": "512Mi"}})
    template |= {"template": task}
    template.setdefault("taskCount", 1)
    return {
        "launchStage": "GA",
        **{name: body[name] for name in _GIVEN if name in body},
        "template": template,
        "updateTime": now(),
        "lastModifier": user,
        "etag": etag(),
        "terminalCondition": {"type": "Ready", "state": "CONDITION_PENDING", "lastTransitionTime": now()},
        "conditions": [{"type": "ResourcesAvailable", "state": "CONDITION_PENDING", "lastTransitionTime": now()}],
    }


def _ready(call: Call, job: Document) -> None:
    """Bring a job into order; with a token, start or run what it names. Raises GoogleError."""
    cloud = call.cloud
    try:
        template = job["template"]["template"]
        _check_account(call, template)
        executions.check_image(cloud, template)
        executions.check_network(cloud, template)
        executions.check_secrets(cloud, template)
        _execute_by_token(call, job)
    except GoogleError as error:
        with cloud.lock:
            job["terminalCondition"] = condition("Ready", ok=False, message=error.message)
        raise
    with cloud.lock:
        job["terminalCondition"] = condition("Ready", ok=True)
        job["conditions"] = [condition("ResourcesAvailable", ok=True)]


def _check_account(call: Call, template: Document) -> None:
    """https://cloud.google.com/run/docs/troubleshooting: the account must be there."""
    account = executions.account_of(call.cloud, template)
    own = account.endswith(f"@{call.cloud.project}.iam.gserviceaccount.com")
    known = call.cloud.collection("iam.serviceAccounts")
    if own and f"projects/{call.cloud.project}/serviceAccounts/{account}" not in known:
        raise GoogleError(
            403, f"Permission 'iam.serviceaccounts.actAs' denied on service account {account} (or it may not exist)."
        )


def _execute_by_token(call: Call, job: Document) -> None:
    token = job.get("runExecutionToken") or job.get("startExecutionToken")
    if not token:
        return
    cloud, execution_id = call.cloud, f"{job['name'].rpartition('/')[2]}-{token}"
    with cloud.lock:
        before = cloud.collection(EXECUTIONS).get(f"{job['name']}/executions/{execution_id}")
    if before is not None:  # the same text runs nothing again, and a job whose run failed isn't ready
        _as_before(before)
        return
    begun = executions.begin(cloud, job, execution_id, creator=job["lastModifier"], overrides={})
    if job.get("runExecutionToken"):
        executions.run(cloud, job, begun)
        return
    _execution_lro(call, job, begun)


def _as_before(execution: Document) -> None:
    failed = next((c for c in execution["conditions"] if c["state"] == "CONDITION_FAILED"), None)
    if failed is not None:
        raise GoogleError(500, failed.get("message", ""))


@method(f"{_J}.get", permission="run.jobs.get")
def get(call: Call) -> Document:
    return shown(_kept(call))


@method(f"{_J}.list", permission="run.jobs.list")
def list_(call: Call) -> Document:
    with call.cloud.lock:
        inside = f"{call.name}/jobs/"
        every = [shown(each) for name, each in call.cloud.collection(JOBS).items() if name.startswith(inside)]
    return page(every, call.query, "jobs")


@method(f"{_J}.delete", permission="run.jobs.delete")
def delete(call: Call) -> Document:
    kept = _kept(call)

    def work() -> None:
        with call.cloud.lock:
            del call.cloud.collection(JOBS)[call.name]
            iam.forget_policies(call.cloud, SERVICE, call.name)
            for kind in (EXECUTIONS, TASKS):
                inside = call.cloud.collection(kind)
                for name in [name for name in inside if name.startswith(f"{call.name}/")]:
                    del inside[name]
            kept["deleteTime"] = now()

    return _lro(call, kept, work)


@method(f"{_J}.run", permission="run.jobs.run", note="without limits of CPU and memory")
def run(call: Call) -> Document:
    kept, overrides = _kept(call), call.body.get("overrides") or {}
    if overrides:
        iam.require(call.cloud, call.principal, "run.jobs.runWithOverrides", SERVICE, call.name)
    user = call.principal.partition(":")[2]
    name = executions.new_id(call.short)
    begun = executions.begin(call.cloud, kept, name, creator=user, overrides=overrides)
    return _execution_lro(call, kept, begun)


@method(f"{_J}.getIamPolicy", permission="run.jobs.getIamPolicy")
def get_policy(call: Call) -> Document:
    _kept(call)
    return iam.policy_of(call.cloud, SERVICE, call.name)


@method(f"{_J}.setIamPolicy", permission="run.jobs.setIamPolicy")
def set_policy(call: Call) -> Document:
    _kept(call)
    return iam.set_policy(call.cloud, SERVICE, call.name, call.body.get("policy", {}))


@method(f"{_J}.testIamPermissions", permission=None)
def test_permissions(call: Call) -> Document:
    return iam.answer_test(call.cloud, call.principal, SERVICE, call.name, call.body.get("permissions", []))


@method(f"{_J}.executions.get", permission="run.executions.get")
def get_execution(call: Call) -> Document:
    return shown(_found(call, EXECUTIONS))


@method(f"{_J}.executions.list", permission="run.executions.list")
def list_executions(call: Call) -> Document:
    return _inside(call, EXECUTIONS, "executions")


@method(f"{_J}.executions.cancel", permission="run.executions.cancel")
def cancel(call: Call) -> Document:
    found = _found(call, EXECUTIONS)
    if any(each["type"] == "Completed" for each in found["conditions"]):
        raise GoogleError(400, f"Execution {call.short} is already completed.", status="FAILED_PRECONDITION")
    found["_stop"].set()
    return _begun(call, found, "Execution", lambda: None)


@method(f"{_J}.executions.delete", permission="run.executions.delete")
def delete_execution(call: Call) -> Document:
    found = _found(call, EXECUTIONS)
    found["_stop"].set()
    with call.cloud.lock:
        del call.cloud.collection(EXECUTIONS)[call.name]
    return _begun(call, found, "Execution", lambda: None)


@method(f"{_J}.executions.tasks.get", permission="run.tasks.get")
def get_task(call: Call) -> Document:
    return _found(call, TASKS)


@method(f"{_J}.executions.tasks.list", permission="run.tasks.list")
def list_tasks(call: Call) -> Document:
    return _inside(call, TASKS, "tasks")


@method("run.projects.locations.operations.get", permission="run.operations.get")
def get_operation(call: Call) -> Document:
    return operations.lro(operations.get(call.cloud, call.name))


@method("run.projects.locations.operations.list", permission="run.operations.list")
def list_operations(call: Call) -> Document:
    every = [operations.lro(each) for each in operations.listed(call.cloud, f"{call.name}/operations/")]
    return page([each for each in every if each["metadata"]["@type"].startswith(_TYPE)], call.query, "operations")


@method("run.projects.locations.operations.wait", permission="run.operations.get")
def wait(call: Call) -> Document:
    found = operations.get(call.cloud, call.name)
    found.finished.wait(float((call.body.get("timeout") or "30s").removesuffix("s")))
    return operations.lro(found)


def _execution_lro(call: Call, job: Document, begun: Document) -> Document:
    return _begun(call, begun, "Execution", lambda: executions.run(call.cloud, job, begun))


def _lro(call: Call, job: Document, work: Callable[[], None]) -> Document:
    return _begun(call, job, "Job", work)


def _begun(call: Call, document: Document, kind: str, work: Callable[[], None]) -> Document:
    """An operation on a job or an execution, whose answer is what it has become."""

    def done() -> dict[str, Any]:
        work()
        return {"@type": f"{_TYPE}{kind}", **shown(document)}

    location = document["name"].split("/")[3]
    metadata = {"@type": f"{_TYPE}{kind}", **shown(document)}
    begun = operations.begin(
        call.cloud, operations.lro_name(call.cloud, location), done, method=call.method.id, metadata=metadata
    )
    return operations.lro(begun)


def _kept(call: Call) -> Document:
    with call.cloud.lock:
        found = call.cloud.collection(JOBS).get(call.name)
    if found is None:
        raise GoogleError(404, f"Resource '{call.short}' of kind 'JOB' in region does not exist.")
    return found


def _found(call: Call, kind: str) -> Document:
    with call.cloud.lock:
        found = call.cloud.collection(kind).get(call.name)
    if found is None:
        raise GoogleError(404, f"Resource '{call.short}' does not exist.")
    return found


def _inside(call: Call, kind: str, key: str) -> Document:
    with call.cloud.lock:
        every = [shown(each) for name, each in call.cloud.collection(kind).items() if name.startswith(f"{call.name}/")]
    return page(every[::-1], call.query, key)
