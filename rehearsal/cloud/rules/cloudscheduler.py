"""What Cloud Scheduler refuses."""

from __future__ import annotations

import re
from zoneinfo import available_timezones

from rehearsal.cloud import cron
from rehearsal.cloud.call import Call
from rehearsal.cloud.rules import Details, Rule, add

_REST = "https://cloud.google.com/scheduler/docs/reference/rest/v1/projects.locations.jobs"
_CREATE, _PATCH = "cloudscheduler.projects.locations.jobs.create", "cloudscheduler.projects.locations.jobs.patch"


def _name(call: Call) -> Details | None:
    given = call.body.get("name", "")
    head = f"{call.name}/jobs/"
    short = given.removeprefix(head)
    right = given.startswith(head) and re.fullmatch(r"[A-Za-z0-9_-]{1,500}", short)
    return None if right else {"given": given}


def _schedule(call: Call) -> Details | None:
    if call.method.id == _PATCH and "schedule" not in call.body:
        return None
    given = call.body.get("schedule", "")
    return None if cron.values(given) is not None else {"given": given}


def _zone(call: Call) -> Details | None:
    given = call.body.get("timeZone")
    return None if given is None or given in available_timezones() else {"given": given}


def _deadline(call: Call) -> Details | None:
    given = call.body.get("attemptDeadline")
    return None if given is None or 15 <= float(given.removesuffix("s")) <= 1800 else {"given": given}


def _target(call: Call) -> Details | None:
    if call.method.id == _PATCH and "httpTarget" not in call.body:
        return None
    given = call.body.get("httpTarget", {}).get("uri", "")
    return None if re.match(r"https?://[^/\s]+", given) else {"given": given}


def _retries(call: Call) -> Details | None:
    config = call.body.get("retryConfig", {})
    if not 0 <= int(config.get("retryCount", 0)) <= 5:
        return {"what": f"retry_count {config['retryCount']} must be between 0 and 5"}
    if int(config.get("maxDoublings", 5)) > 16:
        return {"what": f"max_doublings {config['maxDoublings']} must be at most 16"}
    least, most = (
        float(config.get(name, default).removesuffix("s"))
        for name, default in (("minBackoffDuration", "5s"), ("maxBackoffDuration", "3600s"))
    )
    return {"what": "min_backoff_duration must not be above max_backoff_duration"} if least > most else None


add(
    Rule(
        key="job-name",
        methods=(_CREATE,),
        message='Job name must be formatted: "projects/<PROJECT_ID>/locations/<LOCATION_ID>/jobs/<JOB_ID>"; got '
        "'{given}'.",
        source=f"{_REST}#Job.FIELDS.name",
        check=_name,
    ),
    Rule(
        key="job-schedule",
        methods=(_CREATE, _PATCH),
        message="Schedule or time zone is invalid: '{given}'.",
        source="https://cloud.google.com/scheduler/docs/configuring/cron-job-schedules",
        check=_schedule,
    ),
    Rule(
        key="job-time-zone",
        methods=(_CREATE, _PATCH),
        message="Time zone '{given}' is invalid: it must be a name of the tz database.",
        source=f"{_REST}#Job.FIELDS.time_zone",
        check=_zone,
    ),
    Rule(
        key="job-deadline",
        methods=(_CREATE, _PATCH),
        message="Attempt deadline {given} must be between 15s and 1800s.",
        source=f"{_REST}#Job.FIELDS.attempt_deadline",
        check=_deadline,
    ),
    Rule(
        key="job-target",
        methods=(_CREATE, _PATCH),
        message="HttpTarget.uri '{given}' must be a valid HTTP or HTTPS URL.",
        source=f"{_REST}#HttpTarget",
        check=_target,
    ),
    Rule(
        key="job-retries",
        methods=(_CREATE, _PATCH),
        message="Invalid retry config: {what}.",
        source=f"{_REST}#RetryConfig",
        check=_retries,
    ),
    Rule(
        key="job-exists",
        methods=(_CREATE,),
        message="Job {name} already exists.",
        source=f"{_REST}/create",
        code=409,
    ),
    Rule(
        key="job-missing",
        methods=(),
        message="Job not found: {name}.",
        source=f"{_REST}/get",
        code=404,
    ),
    Rule(
        key="job-account",
        methods=(_CREATE, _PATCH),
        message="The service account {email} of the job's token does not exist in the project.",
        source="https://cloud.google.com/scheduler/docs/http-target-auth#set_up_the_service_account",
        code=404,
    ),
)
