"""Every metric that an alert of the program looks at is one that the cloud knows; another name is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.gcp import conditions
from infra.gcp.settings import Alerts
from rehearsal.cloud import metrics
from rehearsal.cloud.state import Cloud
from tests.asking import PROJECT, REGION, a_cloud, done

CPU = "cloudsql.googleapis.com/database/cpu/utilization"


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    return a_cloud(tmp_path)


def watched() -> list[conditions.Condition]:
    alerts = conditions.alerts(
        Alerts(), project=PROJECT, region=REGION, instances=["db", "db-reports"], max_connections=50, drills=True
    )
    return [condition for alert in alerts for condition in alert.conditions]


def test_each_filter_of_the_program_is_taken(cloud: Cloud) -> None:
    filters = [each.filter for each in watched() if isinstance(each, conditions.Threshold | conditions.Silence)]
    assert len(filters) > 10
    assert [filter_ for filter_ in filters if metrics.refused(cloud, filter_)] == []


def test_each_query_of_the_program_is_taken_once_its_metrics_are_made(cloud: Cloud) -> None:
    queries = [each.promql for each in watched() if isinstance(each, conditions.Query)]
    assert all(metrics.unknown_in_promql(cloud, query) for query in queries)
    for name, (_, filter_) in conditions.log_metrics(project=PROJECT, instance="db", drills=True).items():
        done(cloud, f"POST logging/v2/projects/{PROJECT}/metrics", {"name": name, "filter": filter_})
    assert [query for query in queries if metrics.unknown_in_promql(cloud, query)] == []


@pytest.mark.parametrize(
    ("filter_", "code", "words"),
    [
        (f'metric.type="{CPU}"', 400, "restriction on"),
        ('resource.type="cloudsql_database"', 400, "metric.type"),
        (f'metric.type="{CPU}x" AND resource.type="cloudsql_database"', 404, "Cannot find metric"),
        (f'metric.type="{CPU}" AND resource.type="cloudsql_databases"', 400, "valid combination"),
        (f'metric.type="{CPU}" AND resource.type="cloud_run_job"', 400, "valid combination"),
        (f'metric.type="{CPU}" AND resource.type="cloudsql_database" nonsense', 400, "could not be parsed"),
    ],
)
def test_another_filter_is_refused(cloud: Cloud, filter_: str, code: int, words: str) -> None:
    refused = metrics.refused(cloud, filter_)
    assert refused is not None
    assert refused[0] == code and words in refused[1]
