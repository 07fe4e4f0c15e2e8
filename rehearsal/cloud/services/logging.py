"""Logging: metrics of the log are checked and kept; entries are kept, and read without a filter's language.

https://cloud.google.com/logging/docs/reference/v2/rest
"""

from __future__ import annotations

from typing import Any

from rehearsal.cloud.call import Call, method
from rehearsal.cloud.fields import page
from rehearsal.cloud.keeping import chosen, found, inside, made
from rehearsal.cloud.rules import refuse
from rehearsal.cloud.state import now

METRICS, ENTRIES = "logging.metrics", "logging.entries"
_M = "logging.projects.metrics"
_GIVEN = (
    "name",
    "description",
    "filter",
    "metricDescriptor",
    "labelExtractors",
    "valueExtractor",
    "bucketOptions",
    "disabled",
    "bucketName",
)
_NOTE = "nothing is counted"


@method(f"{_M}.create", permission="logging.logMetrics.create", depth="checked", note=_NOTE)
def create(call: Call) -> dict[str, Any]:
    name = f"{call.name}/metrics/{call.body['name']}"
    at = now()
    document = _described(call, call.body) | {"createTime": at, "updateTime": at, "resourceName": name}
    return made(call.cloud, METRICS, name, document, refuse("metric-exists", name=call.body["name"]))


@method(f"{_M}.get", permission="logging.logMetrics.get")
def get(call: Call) -> dict[str, Any]:
    return found(call.cloud, METRICS, call.name, refuse("metric-missing", name=call.name))


@method(f"{_M}.list", permission="logging.logMetrics.list")
def list_(call: Call) -> dict[str, Any]:
    return page(inside(call.cloud, METRICS, call.name), call.query, "metrics")


@method(f"{_M}.update", permission="logging.logMetrics.update", depth="checked", note=_NOTE)
def update(call: Call) -> dict[str, Any]:
    """Makes the metric where there is none, as Google says."""
    with call.cloud.lock:
        current = call.cloud.collection(METRICS).get(call.name, {"createTime": now(), "resourceName": call.name})
        document = _described(call, call.body) | chosen(current, "createTime", "resourceName") | {"updateTime": now()}
        call.cloud.collection(METRICS)[call.name] = document
        return document


@method(f"{_M}.delete", permission="logging.logMetrics.delete")
def delete(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        get(call)
        del call.cloud.collection(METRICS)[call.name]
    return {}


def _on_project(call: Call) -> str:
    return f"projects/{call.cloud.project}"


@method("logging.entries.write", permission="logging.logEntries.create", on=_on_project)
def write(call: Call) -> dict[str, Any]:
    shared = chosen(call.body, "logName", "resource", "labels")
    with call.cloud.lock:
        for entry in call.body.get("entries", []):
            document = {**shared, **entry, "receiveTimestamp": now()}
            document.setdefault("timestamp", document["receiveTimestamp"])
            if "logName" not in document:
                raise refuse("entry-log-name")
            call.cloud.collection(ENTRIES)[f"{call.cloud.next_number():012}"] = document
    return {}


@method(
    "logging.entries.list",
    permission="logging.logEntries.list",
    on=_on_project,
    note="a filter but logName= is refused",
)
def list_entries(call: Call) -> dict[str, Any]:
    wanted = call.body.get("filter", "")
    name = wanted.partition("=")[2].strip().strip('"')
    if wanted and (not wanted.replace(" ", "").startswith('logName="') or " AND " in wanted):
        raise refuse("entry-filter", filter=wanted)
    with call.cloud.lock:
        every = [
            entry
            for _, entry in sorted(call.cloud.collection(ENTRIES).items())
            if not wanted or entry["logName"] == name
        ]
    return page(every, {**call.body, "filter": ""}, "entries", size=50)


def _described(call: Call, body: dict[str, Any]) -> dict[str, Any]:
    """With the metric that Monitoring gets by it."""
    name, kind = body["name"], f"logging.googleapis.com/user/{body['name']}"
    document = {"filter": "", **chosen(body, *_GIVEN)}
    descriptor = {"metricKind": "DELTA", "valueType": "INT64", "unit": "1", **body.get("metricDescriptor", {})}
    descriptor |= {"name": f"projects/{call.cloud.project}/metricDescriptors/{kind}", "type": kind}
    if "description" in body:
        descriptor["description"] = body["description"]
    return document | {"metricDescriptor": descriptor, "name": name}
