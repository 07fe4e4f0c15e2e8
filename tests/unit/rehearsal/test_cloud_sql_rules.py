"""Each rule of Cloud SQL and Cloud Run refuses what it says, in its own words; none of it needs a server."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rehearsal.cloud import services, sql_instances
from rehearsal.cloud.rules import RULES
from rehearsal.cloud.rules.run import JOBS
from rehearsal.cloud.rules.sqladmin import INSTANCES
from rehearsal.cloud.state import Cloud
from tests.asking import PROJECT, REGION, a_cloud, refused

SQL = f"sqladmin/sql/v1beta4/projects/{PROJECT}/instances"
RUN = f"run/v2/projects/{PROJECT}/locations/{REGION}/jobs"
services.registered()


@dataclass(frozen=True)
class Case:
    """What is there before, and the request that the rule refuses."""

    request: str
    body: Any = None
    before: Callable[[Cloud], None] = lambda cloud: None


def wanted(name: str = "db", *, remove: str = "", **settings: Any) -> dict[str, Any]:
    body = {"name": name, "region": REGION, "databaseVersion": "POSTGRES_16"}
    given = {"tier": "db-g1-small", "edition": "ENTERPRISE", **settings}
    given.pop(remove, None)
    return {**body, "settings": given}


def there(**settings: Any) -> Callable[[Cloud], None]:
    """An instance ``db`` without a server behind it."""

    def act(cloud: Cloud) -> None:
        document = sql_instances.new_document(cloud, wanted(**settings), installed="16.14", version="v1beta4")
        cloud.collection(INSTANCES)["db"] = document | {"state": "RUNNABLE"}

    return act


def busy(cloud: Cloud) -> None:
    there()(cloud)
    cloud.collection(INSTANCES)["db"]["_operation"] = SimpleNamespace(finished=threading.Event())


def followed(cloud: Cloud) -> None:
    there()(cloud)
    cloud.collection(INSTANCES)["db"]["replicaNames"] = ["reports"]


def changed(**settings: Any) -> dict[str, Any]:
    return {"settings": settings}


def deleted_now(cloud: Cloud) -> None:
    cloud.retire(INSTANCES, "db")


NETWORK = f"projects/{PROJECT}/global/networks/vpc"
PRIVATE: dict[str, Any] = {"ipConfiguration": {"ipv4Enabled": False, "privateNetwork": NETWORK}}
KEY = {"kmsKeyName": f"projects/{PROJECT}/locations/{REGION}/keyRings/r/cryptoKeys/k"}


def job(name: str = "image", **more: Any) -> dict[str, Any]:
    container = {"image": "x/migrations:1"} if name == "image" else {}
    template = {"containers": [{**container, **more.pop("container", {})}], **more.pop("task", {})}
    return {"template": {"template": template}, **more}


def made_job(cloud: Cloud) -> None:
    name = f"projects/{PROJECT}/locations/{REGION}/jobs/j"
    cloud.collection(JOBS)[name] = {"name": name, "etag": '"now"'}


MOUNT = {"volumeMounts": [{"name": "cloudsql", "mountPath": "/cloudsql"}]}


def sockets(connection: str) -> dict[str, Any]:
    return {"volumes": [{"name": "cloudsql", "cloudSqlInstance": {"instances": [connection]}}]}


CASES = {
    "sql-instance-missing": Case(f"GET {SQL}/db"),
    "sql-busy": Case(f"POST {SQL}/db/restart", {}, busy),
    "sql-name": Case(f"POST {SQL}", wanted("Orders_DB")),
    "sql-name-reused": Case(f"POST {SQL}", wanted(), deleted_now),
    "sql-version-not-here": Case(f"POST {SQL}", {**wanted(), "databaseVersion": "POSTGRES_15"}),
    "sql-region": Case(f"POST {SQL}", {**wanted(), "region": "nowhere"}),
    "sql-tier-missing": Case(f"POST {SQL}", wanted(remove="tier")),
    "sql-log-days": Case(f"POST {SQL}", wanted(backupConfiguration={"transactionLogRetentionDays": 8})),
    "sql-points-need-backups": Case(f"POST {SQL}", wanted(backupConfiguration={"pointInTimeRecoveryEnabled": True})),
    "sql-binary-log": Case(f"POST {SQL}", wanted(backupConfiguration={"binaryLogEnabled": True})),
    "sql-backup-start": Case(f"POST {SQL}", wanted(backupConfiguration={"startTime": "8:00"})),
    "sql-disk-size": Case(f"POST {SQL}", wanted(dataDiskSizeGb="5")),
    "sql-insights-length": Case(f"POST {SQL}", wanted(insightsConfig={"queryStringLength": 100_000})),
    "sql-final-backup-days": Case(f"POST {SQL}", wanted(finalBackupConfig={"retentionDays": 9999})),
    "sql-kept-backups": Case(
        f"POST {SQL}", wanted(backupConfiguration={"backupRetentionSettings": {"retainedBackups": 0}})
    ),
    "sql-data-cache": Case(f"POST {SQL}", wanted(dataCacheConfig={"dataCacheEnabled": True})),
    "sql-user-suffix": Case(
        f"POST {SQL}/db/users",
        {"name": "a@p.iam.gserviceaccount.com", "type": "CLOUD_IAM_SERVICE_ACCOUNT"},
        there(),
    ),
    "sql-user-password": Case(f"POST {SQL}/db/users", {"name": "ada"}, there()),
    "sql-database-name": Case(f"POST {SQL}/db/databases", {"name": ""}, there()),
    "sql-disk-shrinks": Case(f"PATCH {SQL}/db", changed(dataDiskSizeGb="10"), there(dataDiskSizeGb="20")),
    "sql-settings-version": Case(f"PUT {SQL}/db", wanted(), there()),
    "sql-stale": Case(f"PUT {SQL}/db", wanted(settingsVersion="7"), there()),
    "sql-deletion-protection": Case(f"DELETE {SQL}/db", None, there(deletionProtectionEnabled=True)),
    "sql-has-replicas": Case(f"DELETE {SQL}/db", None, followed),
    "sql-network-lost": Case(f"PATCH {SQL}/db", changed(ipConfiguration={"ipv4Enabled": True}), there(**PRIVATE)),
    "sql-unreachable": Case(f"POST {SQL}", wanted(ipConfiguration={"ipv4Enabled": False})),
    "sql-not-peered": Case(f"POST {SQL}", wanted(**PRIVATE)),
    "sql-key": Case(f"POST {SQL}", {**wanted(), "diskEncryptionConfiguration": KEY}),
    "sql-primary-missing": Case(f"POST {SQL}", {**wanted("r"), "masterInstanceName": "db"}),
    "sql-replica-backups": Case(
        f"POST {SQL}", {**wanted("r", backupConfiguration={"enabled": True}), "masterInstanceName": "db"}, there()
    ),
    "run-job-id": Case(f"POST {RUN}?jobId=Bad_Name", job()),
    "run-job-exists": Case(f"POST {RUN}?jobId=j", job(), made_job),
    "run-two-tokens": Case(f"POST {RUN}?jobId=j", job(startExecutionToken="a", runExecutionToken="b")),
    "run-long-token": Case(f"POST {RUN}?jobId=j", job(runExecutionToken="t" * 62)),
    "run-no-container": Case(f"POST {RUN}?jobId=j", job("no image")),
    "run-timeout": Case(f"POST {RUN}?jobId=j", job(task={"timeout": "604801s"})),
    "run-retries": Case(f"POST {RUN}?jobId=j", job(task={"maxRetries": 11})),
    "run-unknown-volume": Case(f"POST {RUN}?jobId=j", job(container=MOUNT)),
    "run-cloudsql-path": Case(
        f"POST {RUN}?jobId=j",
        job(
            container={"volumeMounts": [{"name": "cloudsql", "mountPath": "/sockets"}]},
            task=sockets(f"{PROJECT}:{REGION}:db"),
        ),
    ),
    "run-cloudsql-name": Case(f"POST {RUN}?jobId=j", job(container=MOUNT, task=sockets("db"))),
    "run-resources": Case(f"POST {RUN}?jobId=j", job(container={"resources": {"limits": {"cpu": "3"}}})),
    "run-two-values": Case(
        f"POST {RUN}?jobId=j",
        job(container={"env": [{"name": "A", "value": "v", "valueSource": {"secretKeyRef": {"secret": "s"}}}]}),
    ),
    "run-stale": Case(f"PATCH {RUN}/j", {**job(), "etag": '"before"'}, made_job),
}
"""By the rule's key."""


@pytest.mark.parametrize("key", sorted(CASES))
def test_the_rule_refuses_in_its_own_words(key: str, tmp_path: Path) -> None:
    cloud, case, rule = a_cloud(tmp_path), CASES[key], RULES[key]
    case.before(cloud)
    code, message = refused(cloud, case.request, case.body)
    words = re.sub(r"\\\{\w+\\\}", ".*", re.escape(rule.message))
    assert (code, bool(re.fullmatch(words, message, re.DOTALL))) == (rule.code, True), f"{code}: {message}"


def test_every_rule_of_the_two_services_has_a_case() -> None:
    assert {key for key in RULES if key.split("-")[0] in ("sql", "run")} == set(CASES)
