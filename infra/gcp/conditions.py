"""What each alert looks at: plain data, one entry for each runbook in ``docs/runbooks``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from infra.gcp import maintenance_job, migration_job
from infra.gcp.settings import Alerts

Severity = Literal["CRITICAL", "ERROR", "WARNING"]
_SQL = "cloudsql.googleapis.com/database"
EXPORTS_METRIC, BACKUPS_METRIC, DRILLS_METRIC = "gaia_db_exports", "gaia_db_backups", "gaia_db_drills"
DRILL_LOG = "gaia-db-drill"
"""Where the nightly drill writes its result."""


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A metric that is past a value for a while."""

    filter: str
    aligner: str
    above: float | None = None
    below: float | None = None
    reducer: str | None = None
    group_by: tuple[str, ...] = ()
    period_s: int = 60
    duration_s: int = 300


@dataclass(frozen=True, kw_only=True)
class Silence:
    """A metric that isn't reported any more; for less than a day, which is all that such a condition can look back."""

    filter: str
    duration_s: int


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """A line in the log."""

    filter: str


@dataclass(frozen=True, kw_only=True)
class Query:
    """A PromQL query that gives a row: for absences of more than a day."""

    promql: str


Condition = Threshold | Silence | LogLine | Query


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One policy. ``key`` is also the name of its runbook."""

    key: str
    title: str
    severity: Severity
    conditions: tuple[Condition, ...]
    text: str


def alerts(
    settings: Alerts, *, project: str, region: str, instances: Sequence[str], max_connections: int, drills: bool
) -> tuple[Alert, ...]:
    """Every alert of the stack; ``instances`` are the primary and its replicas, ``drills`` whether there is one."""
    server = _Server(project=project, instances=tuple(instances))
    return (
        *_resources(settings, server),
        *_sessions(settings, server, max_connections),
        *_health(settings, server),
        *_jobs(project, region),
        *_copies(settings, server),
        *(_drills(settings) if drills else ()),
    )


@dataclass(frozen=True, kw_only=True)
class _Server:
    project: str
    instances: tuple[str, ...]

    def metric(self, name: str, more: str = "") -> str:
        """A filter on a metric of every instance."""
        ids = ", ".join(f'"{self.project}:{instance}"' for instance in self.instances)
        return (
            f'resource.type = "cloudsql_database" AND resource.labels.database_id = one_of({ids}) AND '
            f'metric.type = "{_SQL}/{name}"{more}'
        )

    def log(self, method: str) -> str:
        """A filter on the primary's audit log."""
        return (
            f'resource.type="cloudsql_database" AND resource.labels.database_id="{self.project}:{self.instances[0]}" '
            f'AND protoPayload.methodName="{method}"'
        )


_EACH = ("resource.labels.database_id",)


def _resources(settings: Alerts, server: _Server) -> tuple[Alert, ...]:
    shares: tuple[tuple[str, str, float, str, Severity], ...] = (
        ("cpu", "CPU", settings.cpu, "The server has been busy for five minutes", "WARNING"),
        (
            "memory",
            "memory",
            settings.memory,
            "Past its memory the server is killed, and every session with it",
            "ERROR",
        ),
        ("disk", "disk", settings.disk, "It grows by itself up to disk_limit_gb; full, it takes no writes", "ERROR"),
    )
    return tuple(
        Alert(
            key=key,
            title=f"{name} above {share:.0%}",
            severity=severity,
            conditions=(Threshold(filter=server.metric(f"{key}/utilization"), aligner="ALIGN_MEAN", above=share),),
            text=text + ".",
        )
        for key, name, share, text, severity in shares
    )


def _sessions(settings: Alerts, server: _Server, max_connections: int) -> tuple[Alert, ...]:
    most = int(settings.connections * max_connections)
    idle = ' AND metric.labels.state = "idle_in_transaction"'
    return (
        Alert(
            key="connections",
            title=f"more than {most} of {max_connections} connections",
            severity="ERROR",
            conditions=(
                Threshold(
                    # The metric has a row for each database: the sum counts against max_connections.
                    filter=server.metric("postgresql/num_backends"),
                    aligner="ALIGN_MAX",
                    reducer="REDUCE_SUM",
                    group_by=_EACH,
                    above=most,
                    duration_s=120,
                ),
            ),
            text="Beyond max_connections the server refuses the backend.",
        ),
        Alert(
            key="connections-by-state",
            title=f"more than {settings.idle_in_transaction} sessions idle in a transaction",
            severity="WARNING",
            conditions=(
                Threshold(
                    filter=server.metric("postgresql/num_backends_by_state", idle),
                    aligner="ALIGN_MIN",
                    reducer="REDUCE_SUM",
                    group_by=_EACH,
                    above=settings.idle_in_transaction,
                    duration_s=300,
                ),
            ),
            text="They hold locks and keep dead rows; the server ends them after idle_in_transaction_session_timeout.",
        ),
        Alert(
            key="deadlocks",
            title=f"more than {settings.deadlocks_per_hour} deadlocks in an hour",
            severity="WARNING",
            conditions=(
                Threshold(
                    filter=server.metric("postgresql/deadlock_count"),
                    aligner="ALIGN_DELTA",
                    reducer="REDUCE_SUM",
                    group_by=_EACH,
                    above=settings.deadlocks_per_hour,
                    period_s=3600,
                    duration_s=0,
                ),
            ),
            text="Two transactions took the same locks in another order; one of them was ended.",
        ),
    )


def _health(settings: Alerts, server: _Server) -> tuple[Alert, ...]:
    broken = ' AND metric.labels.state = one_of("FAILED", "SUSPENDED", "UNKNOWN_STATE")'
    return (
        Alert(
            key="down",
            title="the server does not answer",
            severity="CRITICAL",
            conditions=(
                Threshold(filter=server.metric("up"), aligner="ALIGN_MAX", below=1, duration_s=settings.down_s),
                Threshold(
                    filter=server.metric("instance_state", broken),
                    aligner="ALIGN_COUNT_TRUE",
                    above=0,
                    duration_s=settings.down_s,
                ),
                Silence(filter=server.metric("up"), duration_s=max(600, settings.down_s)),
            ),
            text="It reports that it is down or has failed, or it has stopped to report.",
        ),
        Alert(
            key="transaction-ids",
            title=f"transaction ids above {settings.transaction_ids:.0%}",
            severity="ERROR",
            conditions=(
                Threshold(
                    filter=server.metric("postgresql/transaction_id_utilization"),
                    aligner="ALIGN_MAX",
                    above=settings.transaction_ids,
                    duration_s=600,
                ),
            ),
            text="At the end of them the server takes no writes; autovacuum doesn't keep up.",
        ),
        Alert(
            key="log-archive",
            title="transaction logs are not archived",
            severity="ERROR",
            conditions=(
                Threshold(
                    filter=server.metric("replication/log_archive_failure_count"),
                    aligner="ALIGN_DELTA",
                    above=settings.log_archive_failures,
                    period_s=600,
                    duration_s=0,
                ),
            ),
            text="Point-in-time recovery has a gap, and the logs fill the disk.",
        ),
        Alert(
            key="replica-lag",
            title=f"a replica is {settings.replica_lag_s} s behind",
            severity="WARNING",
            conditions=(
                Threshold(
                    filter=server.metric("replication/replica_lag"),
                    aligner="ALIGN_MEAN",
                    above=settings.replica_lag_s,
                ),
            ),
            text="Readers of the replica see the past.",
        ),
    )


def _jobs(project: str, region: str) -> tuple[Alert, ...]:
    jobs = (
        ("migration-job-failed", migration_job.NAME, "The schema may be between two revisions"),
        ("maintenance-failed", maintenance_job.NAME, "The months ahead may lack a partition"),
    )
    return tuple(
        Alert(
            key=key,
            title=f"job {job} failed",
            severity="ERROR",
            conditions=(
                Threshold(
                    filter=(
                        f'resource.type = "cloud_run_job" AND resource.labels.job_name = "{job}" AND '
                        f'resource.labels.location = "{region}" AND '
                        'metric.type = "run.googleapis.com/job/completed_execution_count" AND '
                        'metric.labels.result = "failed"'
                    ),
                    aligner="ALIGN_DELTA",
                    above=0,
                    duration_s=0,
                ),
            ),
            text=f"{text}. See: gcloud run jobs executions list --job={job} --region={region} --project={project}",
        )
        for key, job, text in jobs
    )


def _copies(settings: Alerts, server: _Server) -> tuple[Alert, ...]:
    return (
        Alert(
            key="export-missing",
            title=f"no export for {settings.export_missing_h} hours",
            severity="ERROR",
            conditions=(Query(promql=_absent(EXPORTS_METRIC, settings.export_missing_h)),),
            text="The scheduler did not call the export API, or was refused.",
        ),
        Alert(
            key="backup-missing",
            title=f"no automated backup for {settings.backup_missing_h} hours",
            severity="CRITICAL",
            conditions=(Query(promql=_absent(BACKUPS_METRIC, settings.backup_missing_h)),),
            text="No automated backup has succeeded.",
        ),
        Alert(
            key="backup-failed",
            title="an automated backup failed",
            severity="ERROR",
            conditions=(LogLine(filter=failed_backups(server)),),
            text="Cloud SQL says so in its system events.",
        ),
    )


def _drills(settings: Alerts) -> tuple[Alert, ...]:
    return (
        Alert(
            key="drill-missing",
            title=f"no export was restored for {settings.drill_missing_h} hours",
            severity="ERROR",
            conditions=(Query(promql=_absent(DRILLS_METRIC, settings.drill_missing_h, resource="global")),),
            text="The nightly drill did not run, or the export did not restore.",
        ),
    )


# The verb of the nightly run is automatedBackup; a filter for …backup, the verb on demand, never fires for it.
_BACKUP = "cloudsql.instances.automatedBackup"


def failed_backups(server: _Server) -> str:
    """System events of automated backups that failed."""
    status = "protoPayload.metadata.windowStatus"
    failed = f'{status}="STATUS_FAILED" OR {status}="STATUS_ATTEMPT_FAILED" OR severity>=ERROR'
    return f'log_id("cloudaudit.googleapis.com/system_event") AND {server.log(_BACKUP)} AND ({failed})'


def log_metrics(*, project: str, instance: str, drills: bool) -> dict[str, tuple[str, str]]:
    """The metrics that count successes in the log: by name, what they count and the filter."""
    server = _Server(project=project, instances=(instance,))
    backups = f'{server.log(_BACKUP)} AND protoPayload.metadata.windowStatus="STATUS_SUCCEEDED"'
    # The entry that ends the operation; a file that exists already fails there, not at the request.
    exports = f"{server.log('cloudsql.instances.export')} AND operation.last=true AND NOT severity>=ERROR"
    drill = f'logName="projects/{project}/logs/{DRILL_LOG}" AND jsonPayload.ok=true'
    return {
        **({DRILLS_METRIC: ("Exports that the nightly drill restored", drill)} if drills else {}),
        EXPORTS_METRIC: ("Exports to Cloud Storage that succeeded", exports),
        BACKUPS_METRIC: (
            "Automated backups that succeeded",
            f'log_id("cloudaudit.googleapis.com/system_event") AND {backups}',
        ),
    }


def _absent(metric: str, hours: int, resource: str = "cloudsql_database") -> str:
    # A condition on a metric's absence looks back a day at most: PromQL may look further.
    name = f'logging_googleapis_com:user_{metric}{{monitored_resource="{resource}"}}'
    return f"absent_over_time({name}[{hours}h]) or sum(increase({name}[{hours}h])) < 1"
