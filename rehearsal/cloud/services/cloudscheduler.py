"""Cloud Scheduler: jobs that call an API as a service account. ``:run`` calls it really, over loopback.

https://cloud.google.com/scheduler/docs/reference/rest. The clock starts nothing: only ``:run`` does.
"""

from __future__ import annotations

import base64
import http.client
import threading
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from rehearsal.cloud import cron, iam
from rehearsal.cloud.call import Call, method
from rehearsal.cloud.discovery import HOSTS
from rehearsal.cloud.fields import page, updated
from rehearsal.cloud.keeping import chosen, found, inside, made
from rehearsal.cloud.rules import refuse
from rehearsal.cloud.state import Cloud, now

JOBS, ATTEMPTS = "cloudscheduler.jobs", "cloudscheduler.attempts"
_J = "cloudscheduler.projects.locations.jobs"
_GIVEN = ("description", "schedule", "timeZone", "attemptDeadline", "retryConfig", "httpTarget")
_NOTE = "the clock starts nothing, and nothing is tried again"
_RPC = {400: 3, 401: 16, 403: 7, 404: 5, 409: 10, 412: 9, 429: 8, 500: 13, 501: 12, 503: 14}


@method(f"{_J}.create", permission="cloudscheduler.jobs.create", note=_NOTE)
def create(call: Call) -> dict[str, Any]:
    name = call.body.get("name", "")
    _check_account(call)
    return made(call.cloud, JOBS, name, _described(name, call.body), refuse("job-exists", name=name))


@method(f"{_J}.get", permission="cloudscheduler.jobs.get")
def get(call: Call) -> dict[str, Any]:
    return found(call.cloud, JOBS, call.name, refuse("job-missing", name=call.name))


@method(f"{_J}.list", permission="cloudscheduler.jobs.list")
def list_(call: Call) -> dict[str, Any]:
    return page(inside(call.cloud, JOBS, call.name), call.query, "jobs", size=500, most=500)


@method(f"{_J}.patch", permission="cloudscheduler.jobs.update", note=_NOTE)
def patch(call: Call) -> dict[str, Any]:
    _check_account(call)
    with call.cloud.lock:
        current = get(call)
        mask = [path for path in call.query.get("updateMask", "").split(",") if path] or list(
            chosen(call.body, *_GIVEN)
        )
        changed = _described(call.name, updated(current, call.body, mask)) | {"state": current["state"]}
        call.cloud.collection(JOBS)[call.name] = changed
        return changed


@method(f"{_J}.delete", permission="cloudscheduler.jobs.delete")
def delete(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        get(call)
        del call.cloud.collection(JOBS)[call.name]
    return {}


@method(f"{_J}.pause", permission="cloudscheduler.jobs.pause")
def pause(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        job = get(call)
        job["state"] = "PAUSED"
        return job


@method(f"{_J}.resume", permission="cloudscheduler.jobs.enable")
def resume(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        job = get(call)
        job["state"] = "ENABLED"
        return job


@method(f"{_J}.run", permission="cloudscheduler.jobs.run", note="one attempt, in the background")
def run(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        job = get(call)
        job["lastAttemptTime"] = now()
        job.pop("status", None)
    thread = threading.Thread(
        target=_attempt, args=(call.cloud, call.name), name=f"scheduler {call.short}", daemon=True
    )
    thread.start()
    return job


def attempts(cloud: Cloud, name: str) -> list[dict[str, Any]]:
    """What came of every call that this job made: ``code``, ``answer`` and ``at``; the newest last."""
    with cloud.lock:
        return [dict(each) for _, each in sorted(cloud.collection(ATTEMPTS).items()) if each["job"] == name]


def _attempt(cloud: Cloud, name: str) -> None:
    with cloud.lock:
        job = cloud.collection(JOBS).get(name)
    if job is None:
        return
    code, answer = _called(cloud, job)
    with cloud.lock:
        number = f"{cloud.next_number():012}"
        cloud.collection(ATTEMPTS)[number] = {"job": name, "code": code, "answer": answer, "at": now()}
        if 200 <= code < 300:
            job["status"] = {}
        else:
            job["status"] = {"code": _RPC.get(code, 2), "message": answer}


def _called(cloud: Cloud, job: dict[str, Any]) -> tuple[int, str]:
    """The job's request, as its account, to the service of this cloud that its address stands for."""
    target = job["httpTarget"]
    address = urlsplit(target["uri"])
    services = {host: service for service, host in HOSTS.items()}
    if address.hostname not in services:
        return 503, f"The rehearsal opens no connection to {address.hostname}."
    here = urlsplit(cloud.url)
    headers = dict(target.get("headers", {}))
    if email := target.get("oauthToken", {}).get("serviceAccountEmail"):
        headers["Authorization"] = f"Bearer {cloud.token_for(email)}"
    path = f"/{services[address.hostname]}{address.path}{f'?{address.query}' if address.query else ''}"
    deadline_s = float(job.get("attemptDeadline", "180s").removesuffix("s"))
    connection = http.client.HTTPConnection(here.hostname or "", here.port, timeout=deadline_s)
    try:
        body = base64.b64decode(target.get("body", ""))
        connection.request(target.get("httpMethod", "POST"), path, body=body, headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    except TimeoutError:
        return 504, "The attempt's deadline passed."
    except OSError as error:
        return 503, str(error)
    finally:
        connection.close()


def _check_account(call: Call) -> None:
    """The scheduler acts as the account: it has to be there, and the caller has to be allowed to act as it."""
    target = call.body.get("httpTarget", {})
    token = target.get("oauthToken") or target.get("oidcToken") or {}
    email = token.get("serviceAccountEmail")
    if email is None:
        return
    name = f"projects/{call.cloud.project}/serviceAccounts/{email}"
    if name not in call.cloud.collection("iam.serviceAccounts"):
        raise refuse("job-account", email=email)
    iam.require(call.cloud, call.principal, "iam.serviceAccounts.actAs", "iam", name)


def _described(name: str, body: dict[str, Any]) -> dict[str, Any]:
    document = {"name": name, **chosen(body, *_GIVEN), "userUpdateTime": now(), "state": "ENABLED"}
    target = dict(document.get("httpTarget", {}))
    target["headers"] = {"User-Agent": "Google-Cloud-Scheduler", **target.get("headers", {})}
    target.setdefault("httpMethod", "POST")
    if "oauthToken" in target:
        scope = "https://www.googleapis.com/auth/cloud-platform"
        target["oauthToken"] = {"scope": scope, **target["oauthToken"]}
    if "httpTarget" in document:
        document["httpTarget"] = target
    retry = {"maxRetryDuration": "0s", "minBackoffDuration": "5s", "maxBackoffDuration": "3600s", "maxDoublings": 5}
    document["retryConfig"] = retry | document.get("retryConfig", {})
    document.setdefault("timeZone", "UTC")
    document.setdefault("attemptDeadline", "180s")
    due = cron.next_time(document["schedule"], document["timeZone"], datetime.now(UTC))
    if due is not None:
        document["scheduleTime"] = due.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return document
