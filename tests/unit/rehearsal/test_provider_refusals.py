"""What the official plugin refuses before any call, this provider refuses in the same words; what it lets through, too.

The words are those of the recordings; where they differ, the difference is listed with its reason.
"""

from __future__ import annotations

from typing import Any

import pytest

from rehearsal.provider import checking, comparing
from rehearsal.provider.table import Properties
from rehearsal.provider.types import TYPES
from tests.unit.rehearsal import recorded
from tests.unit.rehearsal.edits import ABSENT, edited, shape_at, value_of

NAMES = {
    "sql.DatabaseInstance": "db", "sql.User": "user-app", "secretmanager.Secret": "sec-db-host",
    "secretmanager.SecretVersion": "ver-db-url", "secretmanager.SecretIamMember": "seciam-db-url-app",
    "serviceaccount.Account": "sa-app", "projects.IAMMember": "iam-app-sql", "compute.GlobalAddress": "range",
    "vpcaccess.Connector": "connector", "cloudrunv2.Job": "job", "artifactregistry.Repository": "repo",
    "cloudscheduler.Job": "cron", "monitoring.NotificationChannel": "nc", "monitoring.AlertPolicy": "ap-cpu",
    "monitoring.Dashboard": "dash", "logging.Metric": "lm", "kms.CryptoKey": "key", "projects.Service": "api-run",
}  # fmt: skip
"""What the recorded program called each resource."""
ALSO: dict[str, Properties] = {
    "password_wo +password_wo_version": {"password_wo_version": 1},
    "ttl +expire_time": {"expire_time": "2030-01-01T00:00:00Z"},
}
POINTER = "the plugin points at a neighbour of the property"
DIFFERENCES = {
    ("cloudrunv2.Job", "template.template.containers.0.image"): POINTER,
    ("artifactregistry.Repository", "cleanup_policies.0.action"): POINTER,
    ("monitoring.AlertPolicy", "conditions.0.condition_threshold.aggregations.0.per_series_aligner"): POINTER,
    ("monitoring.Dashboard", "dashboard_json"): "the words of another JSON parser",
    ("cloudscheduler.Job", "http_target.oidc_token"): "the recording has the plugin's log line around it",
}
"""Refused all the same, with another text."""


def _rows(name: str) -> list[Any]:
    try:
        found = recorded.rows(name)
    except pytest.skip.Exception:
        return []
    return [pytest.param(row, id=f"{row['type']}-{row['property']}-{row['value']}"[:90]) for row in found]


def subject_of(row: dict[str, str]) -> recorded.Subject:
    """Only a policy on a log line has a limit that an edit could take away."""
    log = row["property"] == "alert_strategy.notification_rate_limit"
    return recorded.subject(row["type"] + ("(log)" if log else ""))


def news_of(row: dict[str, str]) -> Properties:
    subject = subject_of(row)
    path, _, others = row["property"].partition(" +")
    shape = shape_at(subject.kind.inputs, [recorded.camel(part) for part in path.split(".")])
    value = _value(row["value"], shape)
    news = edited(subject.kind, subject.inputs, path, value)
    for name in filter(None, others.split(",")):
        absent = name.endswith("(absent)")
        more = ABSENT if absent else ALSO.get(row["property"], {})[name]
        news = edited(subject.kind, news, name.removesuffix("(absent)"), more)
    return news


def _value(text: str, shape: Any) -> Any:
    if text.startswith("xxx"):
        return "x" * int(text.split("(")[1].split()[0])
    try:
        return value_of(text, shape)
    except ValueError:
        return text


def test_the_recorded_refusals_are_here() -> None:
    assert len(recorded.rows("rejected.csv")) > 55
    assert len(recorded.rows("accepted_in_preview.csv")) > 40


@pytest.mark.parametrize("row", _rows("rejected.csv"))
def test_what_the_plugin_refuses_is_refused_here(row: dict[str, str]) -> None:
    subject = recorded.subject(row["type"])
    _, failures = checking.check(subject.kind, news_of(row))
    assert failures, "accepted"
    if row["rejected_by"] == "python-sdk":
        # The SDK refuses it before any provider sees it; this one wouldn't take it either.
        wanted = row["property"].split(".")[-1]
        assert [each.message for each in failures if f'The argument "{wanted}" is required' in each.message]
        return
    name = NAMES[row["type"]]
    head = f"{subject.kind.token} resource '{name}' has a problem: "
    said = [each.reason(name) for each in failures]
    recorded_text = row["message_first_line"].removeprefix(head)
    same = recorded_text in said
    reason = DIFFERENCES.get((row["type"], row["property"]))
    assert same == (reason is None), (recorded_text, said, reason)


@pytest.mark.parametrize("row", _rows("accepted_in_preview.csv"))
def test_what_only_the_server_refuses_passes_here(row: dict[str, str]) -> None:
    subject, news = subject_of(row), news_of(row)
    inputs, failures = checking.check(subject.kind, news)
    assert failures == []
    found = comparing.changes(subject.kind, subject.state, subject.inputs, inputs)
    verdict = "replace" if any(each.replaces for each in found) else "update" if found else ""
    assert verdict == row["preview_op"], found


def test_the_inputs_that_only_the_official_provider_takes_are_refused_by_name() -> None:
    kind = TYPES["gcp:sql/databaseInstance:DatabaseInstance"]
    inputs = {**recorded.subject("sql.DatabaseInstance").inputs, "restoreBackupContext": {"backupRunId": 1}}
    _, failures = checking.check(kind, inputs)
    assert [each.path for each in failures] == ["restoreBackupContext"]
    assert "doesn't model" in failures[0].message
