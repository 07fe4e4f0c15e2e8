"""Which metrics and monitored resources there are: those that the stack's alerts look at.

https://cloud.google.com/monitoring/api/metrics_gcp and https://cloud.google.com/monitoring/api/resources
"""

from __future__ import annotations

import re

from rehearsal.cloud.state import Cloud

_SQL = "cloudsql.googleapis.com/database"
METRICS: dict[str, str] = {
    **{
        f"{_SQL}/{name}": "cloudsql_database"
        for name in (
            "auto_failover_request_count",
            "available_for_failover",
            "cpu/reserved_cores",
            "cpu/usage_time",
            "cpu/utilization",
            "disk/bytes_used",
            "disk/quota",
            "disk/read_ops_count",
            "disk/utilization",
            "disk/write_ops_count",
            "instance_state",
            "memory/quota",
            "memory/total_usage",
            "memory/usage",
            "memory/utilization",
            "network/connections",
            "network/received_bytes_count",
            "network/sent_bytes_count",
            "postgresql/blocks_read_count",
            "postgresql/deadlock_count",
            "postgresql/num_backends",
            "postgresql/num_backends_by_application",
            "postgresql/num_backends_by_state",
            "postgresql/statements_executed_count",
            "postgresql/temp_bytes_written_count",
            "postgresql/transaction_count",
            "postgresql/transaction_id_count",
            "postgresql/transaction_id_utilization",
            "postgresql/vacuum/oldest_transaction_age",
            "replication/log_archive_failure_count",
            "replication/log_archive_success_count",
            "replication/network_lag",
            "replication/replica_lag",
            "replication/state",
            "state",
            "up",
            "uptime",
        )
    },
    "run.googleapis.com/job/completed_execution_count": "cloud_run_job",
    "run.googleapis.com/job/completed_task_attempt_count": "cloud_run_job",
    "run.googleapis.com/job/running_executions": "cloud_run_job",
    "run.googleapis.com/request_count": "cloud_run_revision",
    "run.googleapis.com/request_latencies": "cloud_run_revision",
    "storage.googleapis.com/storage/total_bytes": "gcs_bucket",
}
"""By metric, the monitored resource that reports it. Others are refused, though Google may have them."""
RESOURCES = frozenset({*METRICS.values(), "global", "cloud_scheduler_job", "vpc_access_connector"})
_PROMQL = re.compile(r"\b[a-z]+_googleapis_com:\w+")
USER = "logging.googleapis.com/user/"
_PART = re.compile(
    r"""(?P<key>[\w.]+(?:\."[^"]+")?)\s*(?P<sign>!=|=|<=|>=|<|>|:)\s*
        (?P<value>"[^"]*"|[\w.]+\([^()]*\)|monitoring\.regex\.[\w.]+\("[^"]*"\)|[\w.+-]+)""",
    re.VERBOSE,
)


def parts(filter_: str) -> list[tuple[str, str, str]] | None:
    """``key sign value`` of each comparison; None where it isn't a filter of Monitoring.

    https://cloud.google.com/monitoring/api/v3/filters
    """
    found = [(match["key"], match["sign"], match["value"].strip('"')) for match in _PART.finditer(filter_)]
    words = re.sub(r"\b(AND|OR|NOT)\b|[()]", " ", _PART.sub(" ", filter_)).split()
    return found if found and not words else None


def refused(cloud: Cloud, filter_: str) -> tuple[int, str] | None:
    """Why Monitoring refuses the filter of a condition: HTTP code and what it says of it."""
    read = parts(filter_)
    if read is None:
        return 400, "The filter could not be parsed."
    said = {key: value for key, sign, value in read if sign == "="}
    metric, resource = said.get("metric.type"), said.get("resource.type")
    if metric is None:
        return 400, "must specify a restriction on 'metric.type' in the filter"
    if resource is None:
        return 400, (
            'must specify a restriction on "resource.type" in the filter; see '
            '"https://cloud.google.com/monitoring/api/resources" for a list of available resource types.'
        )
    if not _is_there(cloud, metric):
        return 404, (
            f'Cannot find metric(s) that match type = "{metric}". If a metric was created recently, it could take '
            "up to 10 minutes to become available. Please try again soon."
        )
    if resource not in RESOURCES or METRICS.get(metric, resource) != resource:
        return 400, (
            "The supplied filter does not specify a valid combination of metric and monitored resource descriptors. "
            "The query will not return any time series."
        )
    return None


def unknown_in_promql(cloud: Cloud, query: str) -> str | None:
    """The first of Google's metrics in a PromQL query that there isn't.

    https://cloud.google.com/monitoring/promql/promql-mapping
    """
    user = (f"{USER}{name.partition('/metrics/')[2]}" for name in cloud.collection("logging.metrics"))
    known = {promql_name(metric) for metric in (*METRICS, *user)}
    return next((name for name in _PROMQL.findall(query) if name not in known), None)


def promql_name(metric: str) -> str:
    """``run.googleapis.com/job/x`` as ``run_googleapis_com:job_x``."""
    domain, _, path = metric.partition("/")
    return f"{re.sub(r'[^a-zA-Z0-9]', '_', domain)}:{re.sub(r'[^a-zA-Z0-9]', '_', path)}"


def _is_there(cloud: Cloud, metric: str) -> bool:
    if metric.startswith(USER):
        return f"projects/{cloud.project}/metrics/{metric.removeprefix(USER)}" in cloud.collection("logging.metrics")
    return metric in METRICS
