"""Every fault that somebody must hear of has an alert, with its threshold from the settings and its runbook."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.production import planning
from tests.production.planning import Plan

KEYS = {
    "cpu", "memory", "disk", "down", "connections", "connections-by-state", "transaction-ids", "deadlocks",
    "log-archive", "replica-lag", "migration-job-failed", "maintenance-failed", "export-missing", "backup-failed",
    "backup-missing",
}  # fmt: skip
METRICS = (
    "cpu/utilization", "memory/utilization", "disk/utilization", "up", "instance_state", "postgresql/num_backends",
    "postgresql/num_backends_by_state", "postgresql/transaction_id_utilization", "postgresql/deadlock_count",
    "replication/log_archive_failure_count", "replication/replica_lag",
)  # fmt: skip
RUNBOOKS = planning.ROOT / "docs" / "runbooks"

VARIANTS = planning.variants()


def planned(name: str) -> Plan:
    return planning.planned(VARIANTS[name])


def policy(key: str, plan: Plan | None = None) -> dict[str, Any]:
    return (plan or planned("defaults")).one("monitoring/AlertPolicy", f"alert-{key}").inputs


def thresholds(key: str, plan: Plan | None = None) -> list[dict[str, Any]]:
    found = policy(key, plan)["conditions"]
    return [condition["conditionThreshold"] for condition in found if "conditionThreshold" in condition]


def test_there_is_an_alert_for_each_fault() -> None:
    assert {name.removeprefix("alert-") for name in planned("minimal").of("monitoring/AlertPolicy")} == KEYS
    with_a_drill = planned("public").of("monitoring/AlertPolicy")
    assert {name.removeprefix("alert-") for name in with_a_drill} == KEYS | {"drill-missing"}


def test_a_drill_counts_only_when_it_restored() -> None:
    metric = planned("public").one("logging/Metric", "metric-gaia_db_drills").inputs
    assert metric["filter"] == f'logName="projects/{planning.PROJECT}/logs/gaia-db-drill" AND jsonPayload.ok=true'
    query = policy("drill-missing", planned("public"))["conditions"][0]["conditionPrometheusQueryLanguage"]["query"]
    assert 'gaia_db_drills{monitored_resource="global"}[50h]' in query


def test_every_metric_of_the_database_is_looked_at_under_its_exact_name() -> None:
    text = json.dumps([each.inputs for each in planned("defaults").of("monitoring/AlertPolicy").values()])
    assert [
        name for name in METRICS if f'metric.type = \\"cloudsql.googleapis.com/database/{name}\\"' not in text
    ] == []
    assert "run.googleapis.com/job/completed_execution_count" in text


@pytest.mark.parametrize("key", sorted(KEYS))
def test_an_alert_leads_to_its_runbook(key: str) -> None:
    assert f"Runbook: docs/runbooks/{key}.md" in policy(key)["documentation"]["content"]
    linked = policy(key, planned("public"))["documentation"]
    assert linked["links"] == [{"displayName": "Runbook", "url": f"https://example.com/docs/runbooks/{key}.md"}]
    if RUNBOOKS.is_dir():
        assert (RUNBOOKS / f"{key}.md").is_file()


def test_the_thresholds_are_settings() -> None:
    changes = {"cpu": 0.5, "memory": 0.6, "disk": 0.7, "down_s": 180, "connections": 0.4, "idle_in_transaction": 3}
    changes |= {"transaction_ids": 0.3, "deadlocks_per_hour": 1, "log_archive_failures": 2, "replica_lag_s": 7}
    changes |= {"export_missing_h": 30, "backup_missing_h": 40}
    plan = planning.planned(planning.production({"gcp": {"alerts": changes}}))
    values = {key: thresholds(key, plan)[0]["thresholdValue"] for key in KEYS if thresholds(key, plan)}
    assert {key: values[key] for key in ("cpu", "memory", "disk", "connections", "transaction-ids")} == {
        "cpu": 0.5, "memory": 0.6, "disk": 0.7, "connections": 20, "transaction-ids": 0.3,
    }  # fmt: skip
    assert [values[key] for key in ("connections-by-state", "deadlocks", "log-archive", "replica-lag")] == [3, 1, 2, 7]
    assert thresholds("down", plan)[0]["duration"] == "180s"
    assert "[30h]" in json.dumps(policy("export-missing", plan))
    assert "[40h]" in json.dumps(policy("backup-missing", plan))


def test_connections_are_summed_over_the_databases() -> None:
    (aggregation,) = thresholds("connections")[0]["aggregations"]
    assert aggregation["crossSeriesReducer"] == "REDUCE_SUM"
    assert aggregation["groupByFields"] == ["resource.labels.database_id"]


@pytest.mark.parametrize(("key", "hours"), [("export-missing", 26), ("backup-missing", 26)])
def test_an_absence_of_more_than_a_day_is_asked_in_promql(key: str, hours: int) -> None:
    (condition,) = policy(key)["conditions"]
    query = condition["conditionPrometheusQueryLanguage"]["query"]
    assert query.startswith("absent_over_time(logging_googleapis_com:user_gaia_db_")
    assert f"[{hours}h]" in query


def test_no_absence_of_a_metric_is_asked_for_more_than_a_day() -> None:
    for each in planned("defaults").of("monitoring/AlertPolicy").values():
        for condition in each.inputs["conditions"]:
            if "conditionAbsent" in condition:
                assert int(condition["conditionAbsent"]["duration"][:-1]) <= 23 * 3600


def test_a_failed_backup_is_looked_for_under_the_verb_of_the_nightly_run() -> None:
    (condition,) = policy("backup-failed")["conditions"]
    filter_ = condition["conditionMatchedLog"]["filter"]
    assert 'protoPayload.methodName="cloudsql.instances.automatedBackup"' in filter_
    assert "STATUS_FAILED" in filter_
    # Google refuses a condition on a log line without this limit, and this limit with any other condition.
    limited = {
        name.removeprefix("alert-")
        for name, each in planned("defaults").of("monitoring/AlertPolicy").items()
        if "notificationRateLimit" in each.inputs["alertStrategy"]
    }
    assert limited == {"backup-failed"}


def test_replicas_are_looked_at_as_well() -> None:
    filter_ = thresholds("replica-lag", planned("scaled"))[0]["filter"]
    assert f'"{planning.PROJECT}:gaia-prod-db-reports"' in filter_


def test_whoever_is_named_is_told_of_everything() -> None:
    told = {
        tuple(each.inputs["notificationChannels"]) for each in planned("public").of("monitoring/AlertPolicy").values()
    }
    assert told == {(f"projects/{planning.PROJECT}/notificationChannels/channel-oncall",)}


def test_the_dashboard_has_a_chart_for_each_metric_that_has_an_alert() -> None:
    document = json.loads(planned("defaults").one("monitoring/Dashboard", "dashboard").inputs["dashboardJson"])
    tiles = document["mosaicLayout"]["tiles"]
    text = json.dumps(tiles)
    assert [name for name in METRICS if f"cloudsql.googleapis.com/database/{name}" not in text] == []
    assert len({(tile["xPos"], tile["yPos"]) for tile in tiles}) == len(tiles)


# --- exports ---


def test_an_export_is_asked_of_cloud_sql_s_api_each_day_under_a_name_of_its_own() -> None:
    plan = planned("defaults")
    jobs = [each.inputs for name, each in plan.of("cloudscheduler/Job").items() if name.startswith("export-")]
    assert len(jobs) == 7
    uris = set()
    for job in jobs:
        target = job["httpTarget"]
        assert target["uri"] == (
            f"https://sqladmin.googleapis.com/v1/projects/{planning.PROJECT}/instances/gaia-prod-db/export"
        )
        assert target["oauthToken"]["serviceAccountEmail"].startswith("gaia-export-sa@")
        context = json.loads(base64.b64decode(target["body"]))["exportContext"]
        assert (context["fileType"], context["databases"]) == ("SQL", ["gaia"])
        uris.add(context["uri"])
    assert len(uris) == 7
    assert all(uri.startswith(f"gs://{planning.PROJECT}-gaia-db-backups/gaia-prod-db-") for uri in uris)


def test_an_export_is_moved_aside_before_its_weekday_comes_round_and_then_kept() -> None:
    bucket = planned("defaults").one("storage/Bucket", "exports").inputs
    live, old = bucket["lifecycleRules"]
    # The bucket's own clock may be a day late, and the API fails where the file still exists.
    assert live["condition"] == {"age": 4, "withState": "LIVE"}
    assert old["condition"] == {"daysSinceNoncurrentTime": 365, "withState": "ARCHIVED"}
    assert (bucket["versioning"], bucket["uniformBucketLevelAccess"]) == ({"enabled": True}, True)
    assert bucket["publicAccessPrevention"] == "enforced"
