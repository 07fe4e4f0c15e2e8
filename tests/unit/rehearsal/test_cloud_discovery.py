"""Requests against Google's own documents: which method they mean, and what they may hold."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rehearsal.cloud import cron, discovery, fields
from rehearsal.cloud.errors import GoogleError
from rehearsal.cloud.state import Cloud, Fault
from tests.asking import PROJECT, a_cloud, ask, done, refused

P = f"projects/{PROJECT}"


@pytest.mark.parametrize(
    ("service", "verb", "path", "identity", "values"),
    [
        ("secretmanager", "GET", "v1/projects/p/secrets/s", "projects.secrets.get", {"name": "projects/p/secrets/s"}),
        ("secretmanager", "POST", "v1/projects/p/secrets/s:addVersion", "projects.secrets.addVersion", None),
        ("secretmanager", "GET", "v1/projects/p/secrets/s/versions/1:access", "projects.secrets.versions.access", None),
        (
            "compute",
            "GET",
            "compute/beta/projects/p/global/networks/n",
            "networks.get",
            {"network": "n", "project": "p"},
        ),
        ("compute", "GET", "compute/v1/projects/p/global/networks/n", "networks.get", None),
        ("storage", "GET", "storage/v1/b/a/o/x%2Fy", "objects.get", {"bucket": "a", "object": "x/y"}),
        ("storage", "POST", "upload/storage/v1/b/a/o", "objects.insert", {"bucket": "a"}),
        (
            "logging",
            "PUT",
            "v2/projects/p/metrics/a%2Fb",
            "projects.metrics.update",
            {"metricName": "projects/p/metrics/a/b"},
        ),
        ("sqladmin", "GET", "sql/v1beta4/projects/p/instances/i", "instances.get", {"project": "p", "instance": "i"}),
        ("sqladmin", "POST", "v1/projects/p/instances/i/export", "instances.export", None),
        ("dns", "GET", "dns/v1/projects/p/managedZones/z", "managedZones.get", None),
        ("iam", "GET", "v1/projects/-/serviceAccounts/a@b.c", "projects.serviceAccounts.get", None),
        ("run", "POST", "v2/projects/p/locations/l/jobs/j:run", "projects.locations.jobs.run", None),
        ("serviceusage", "GET", "v1/operations/acf.p2-1-x", "operations.get", {"name": "operations/acf.p2-1-x"}),
    ],
)
def test_a_path_means_the_method_that_google_names(
    service: str, verb: str, path: str, identity: str, values: dict[str, str] | None
) -> None:
    found = discovery.find(service, verb, path)
    assert found.method.id.partition(".")[2] == identity
    assert values is None or found.path == values


@pytest.mark.parametrize("path", ["secretmanager/v1/nothing", "secretmanager/v9/projects/p/secrets", "nothing/v1/x"])
def test_another_path_is_not_found(tmp_path: Path, path: str) -> None:
    assert refused(a_cloud(tmp_path), f"GET {path}")[0] == 404


REQUEST = f"POST secretmanager/v1/{P}/secrets?secretId=s"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"nonsense": 1}, 'Unknown name "nonsense": Cannot find field.'),
        ({"replication": {"nonsense": {}}}, "Unknown name \"nonsense\" at 'replication': Cannot find field."),
        ({"replication": []}, "Invalid value at 'replication'"),
        ({"labels": {"a": 1}}, "(TYPE_STRING), 1"),
        ({"ttl": "an hour"}, "google.protobuf.Duration"),
        ({"expireTime": "tomorrow"}, "google.protobuf.Timestamp"),
        ({"secretType": "NONSENSE"}, "Invalid value at 'secret_type'"),
        ({"versionAliases": {"a": "one"}}, "(TYPE_INT64)"),
        ({"topics": {}}, "Invalid value at 'topics'"),
    ],
)
def test_a_body_that_isn_t_what_the_method_takes_is_refused(tmp_path: Path, body: Any, words: str) -> None:
    code, message = refused(a_cloud(tmp_path), REQUEST, body)
    assert code == 400 and words in message


def test_a_query_that_the_method_does_not_take_is_refused(tmp_path: Path) -> None:
    code, message = refused(a_cloud(tmp_path), f"GET secretmanager/v1/{P}/secrets?nonsense=1")
    assert code == 400 and 'Unknown name "nonsense": Cannot bind query parameter.' in message
    assert "TYPE_INT32" in refused(a_cloud(tmp_path), f"GET secretmanager/v1/{P}/secrets?pageSize=many")[1]


def test_names_may_be_in_snake_case_and_null_is_nothing(tmp_path: Path) -> None:
    body = {"replication": {"user_managed": {"replicas": [{"location": "us"}]}, "automatic": None}}
    made = done(a_cloud(tmp_path), f"POST secretmanager/v1/{P}/secrets?secret_id=s", body)
    assert made["replication"] == {"userManaged": {"replicas": [{"location": "us"}]}}


def test_an_api_that_is_off_says_so_and_how_to_enable_it(tmp_path: Path) -> None:
    cloud = a_cloud(tmp_path, enabled=False)
    code, answer = ask(cloud, f"GET secretmanager/v1/{P}/secrets")
    assert (code, answer["error"]["details"][0]["reason"]) == (403, "SERVICE_DISABLED")
    assert "Secret Manager API has not been used in project 123456789012 before" in answer["error"]["message"]
    done(cloud, f"POST serviceusage/v1/{P}/services/secretmanager.googleapis.com:enable", {})
    assert ask(cloud, f"GET secretmanager/v1/{P}/secrets")[0] == 200


def test_another_project_is_denied(tmp_path: Path) -> None:
    code, message = refused(a_cloud(tmp_path), "GET secretmanager/v1/projects/other/secrets")
    assert code == 403 and "Permission denied on resource project other" in message


def test_the_old_services_have_errors_with_reasons(tmp_path: Path) -> None:
    _, answer = ask(a_cloud(tmp_path), f"GET compute/compute/v1/{P}/global/networks/nothing")
    assert answer["error"]["errors"][0]["reason"] == "notFound"


def test_an_operation_that_dies_leaves_its_work_undone_or_done_as_the_fault_says(tmp_path: Path) -> None:
    for after_work in (False, True):
        cloud: Cloud = a_cloud(tmp_path)
        fault = Fault(
            method="compute.networks.insert", error=GoogleError(503, "lost"), in_operation=True, after_work=after_work
        )
        with cloud.faulty(fault):
            body = {"name": "vpc"}
            assert refused(cloud, f"POST compute/compute/v1/{P}/global/networks", body) == (503, "lost")
        assert ask(cloud, f"GET compute/compute/v1/{P}/global/networks/vpc")[0] == (200 if after_work else 404)


DOCUMENT = {"services": [{"name": "a", "config": {"title": "t", "name": "n"}}], "nextPageToken": "x"}


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("services/name,nextPageToken", {"services": [{"name": "a"}], "nextPageToken": "x"}),
        ("services(name,config/title)", {"services": [{"name": "a", "config": {"title": "t"}}]}),
        ("*", DOCUMENT),
        ("nothing", {}),
    ],
)
def test_an_answer_has_the_fields_that_were_asked_for(asked: str, answered: Any) -> None:
    assert fields.selected(DOCUMENT, asked) == answered


def test_a_mask_says_what_an_update_changes() -> None:
    current = {"a": 1, "b": {"c": 2, "d": 3}}
    assert fields.updated(current, {"a": 9, "b": {"c": 8}}, ["b.c"]) == {"a": 1, "b": {"c": 8, "d": 3}}
    assert fields.updated(current, {}, ["a"]) == {"b": {"c": 2, "d": 3}}
    assert fields.merged(current, {"b": {"c": None}}) == {"a": 1, "b": {"d": 3}}


@pytest.mark.parametrize(
    ("schedule", "zone", "due"),
    [
        ("0 3 * * *", "Etc/UTC", "2026-11-24T03:00:00+00:00"),
        ("30 9 * * *", "Europe/Berlin", "2026-11-24T08:30:00+00:00"),
        ("0 10 * * SUN", "Etc/UTC", "2026-11-29T10:00:00+00:00"),
        ("*/20 * * * *", "Etc/UTC", "2026-11-23T12:20:00+00:00"),
        ("0 0 1 1 *", "Etc/UTC", "2027-01-01T00:00:00+00:00"),
        ("0 0 31 2 *", "Etc/UTC", None),
    ],
)
def test_a_schedule_says_when_it_is_due_next(schedule: str, zone: str, due: str | None) -> None:
    found = cron.next_time(schedule, zone, datetime(2026, 11, 23, 12, 0, tzinfo=UTC))
    assert (found.isoformat() if found else None) == due


@pytest.mark.parametrize(
    "schedule", ["nonsense", "* * * *", "60 * * * *", "* 24 * * *", "5-1 * * * *", "* * * * FOO", "*/0 * * * *"]
)
def test_what_is_no_schedule_is_said_so(schedule: str) -> None:
    assert cron.values(schedule) is None
