"""The bad inputs that pass the official provider's preview, so that only the server can refuse them: this one does."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from tests.asking import PROJECT, REGION, a_cloud, done, refused
from tests.rehearsal.replay import SHARED

P = f"projects/{PROJECT}"
L = f"{P}/locations/{REGION}"
OTHERS = ("sql.", "cloudrunv2.")
"""Types whose rows are tried beside the servers and jobs behind them."""
AUTOMATIC = {"replication": {"automatic": {}}}
SECRETS = f"POST secretmanager/v1/{P}/secrets"
CONNECTOR = {"network": "default", "ipCidrRange": "10.8.0.0/28", "minInstances": 2, "maxInstances": 3}
CONNECTORS = f"POST vpcaccess/v1/{L}/connectors?connectorId="
REPOSITORIES = f"POST artifactregistry/v1/{L}/repositories?repositoryId="
BUCKET = {"name": "demo-dumps", "location": "EU"}
BUCKETS = f"POST storage/storage/v1/b?project={PROJECT}"
JOB = {"name": f"{L}/jobs/j", "schedule": "0 3 * * *", "httpTarget": {"uri": "https://run.googleapis.com/v2/x"}}
JOBS = f"POST cloudscheduler/v1/{L}/jobs"
ALERTS = f"POST monitoring/v3/{P}/alertPolicies"
LOG_ALERT = {
    "displayName": "a",
    "combiner": "OR",
    "conditions": [{"displayName": "c", "conditionMatchedLog": {"filter": "severity>=ERROR"}}],
}


def policy(role: str = "roles/secretmanager.secretAccessor", member: str = "user:a@example.com") -> dict[str, Any]:
    return {"policy": {"bindings": [{"role": role, "members": [member]}]}}


REQUESTS: dict[tuple[str, str, str], tuple[str, Any]] = {
    ("secretmanager.Secret", "secret_id", "bad id!"): (f"{SECRETS}?secretId=bad%20id!", AUTOMATIC),
    ("secretmanager.Secret", "ttl +expire_time", "3600s"): (
        f"{SECRETS}?secretId=s2",
        {**AUTOMATIC, "ttl": "3600s", "expireTime": "2099-01-01T00:00:00Z"},
    ),
    ("secretmanager.Secret", "labels", '{"UPPER": "X Y"}'): (
        f"{SECRETS}?secretId=s2",
        {**AUTOMATIC, "labels": {"UPPER": "X Y"}},
    ),
    ("secretmanager.SecretVersion", "secret", "not-a-path"): (
        "POST secretmanager/v1/not-a-path:addVersion",
        {"payload": {"data": "aGk="}},
    ),
    ("secretmanager.SecretIamMember", "role", "secretAccessor"): (
        f"{SECRETS}/s:setIamPolicy",
        policy(role="secretAccessor"),
    ),
    ("secretmanager.SecretIamMember", "member", "serviceAccount:UPPER@x.iam.gserviceaccount.com"): (
        f"{SECRETS}/s:setIamPolicy",
        policy(member="serviceAccount:UPPER@x.iam.gserviceaccount.com"),
    ),
    ("serviceaccount.Account", "display_name", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...(101 chars)"): (
        f"POST iam/v1/{P}/serviceAccounts",
        {"accountId": "gaia-x-sa", "serviceAccount": {"displayName": "x" * 101}},
    ),
    ("compute.Network", "mtu", "100"): (
        f"POST compute/compute/beta/{P}/global/networks",
        {"name": "vpc", "mtu": 100},
    ),
    ("compute.GlobalAddress", "name", "Bad_Name"): (
        f"POST compute/compute/beta/{P}/global/addresses",
        {"name": "Bad_Name"},
    ),
    ("vpcaccess.Connector", "name", "a-name-that-is-way-too-long-for-it"): (
        f"{CONNECTORS}a-name-that-is-way-too-long-for-it",
        CONNECTOR,
    ),
    ("vpcaccess.Connector", "min_instances", "1"): (f"{CONNECTORS}conn", {**CONNECTOR, "minInstances": 1}),
    ("vpcaccess.Connector", "max_instances", "11"): (f"{CONNECTORS}conn", {**CONNECTOR, "maxInstances": 11}),
    ("vpcaccess.Connector", "machine_type", "n1-big"): (f"{CONNECTORS}conn", {**CONNECTOR, "machineType": "n1-big"}),
    ("vpcaccess.Connector", "ip_cidr_range", "10.8.0.0"): (
        f"{CONNECTORS}conn",
        {**CONNECTOR, "ipCidrRange": "10.8.0.0"},
    ),
    ("artifactregistry.Repository", "format", "docker"): (f"{REPOSITORIES}r", {"format": "docker"}),
    ("artifactregistry.Repository", "format", "FLOPPY"): (f"{REPOSITORIES}r", {"format": "FLOPPY"}),
    ("artifactregistry.Repository", "repository_id", "Bad_Name"): (f"{REPOSITORIES}Bad_Name", {"format": "DOCKER"}),
    ("storage.Bucket", "name", "Bad_UPPER"): (BUCKETS, {**BUCKET, "name": "Bad_UPPER"}),
    ("storage.Bucket", "storage_class", "WARM"): (BUCKETS, {**BUCKET, "storageClass": "WARM"}),
    ("storage.Bucket", "lifecycle_rules.0.action.type", "Burn"): (
        BUCKETS,
        {**BUCKET, "lifecycle": {"rule": [{"action": {"type": "Burn"}, "condition": {"age": 1}}]}},
    ),
    ("storage.Bucket", "public_access_prevention", "yes"): (
        BUCKETS,
        {**BUCKET, "iamConfiguration": {"publicAccessPrevention": "yes"}},
    ),
    ("cloudscheduler.Job", "schedule", "nonsense"): (JOBS, {**JOB, "schedule": "nonsense"}),
    ("cloudscheduler.Job", "http_target.http_method", "FETCH"): (
        JOBS,
        {**JOB, "httpTarget": {"uri": "https://run.googleapis.com/v2/x", "httpMethod": "FETCH"}},
    ),
    ("cloudscheduler.Job", "attempt_deadline", "2000s"): (JOBS, {**JOB, "attemptDeadline": "2000s"}),
    ("cloudscheduler.Job", "time_zone", "Mars/Olympus"): (JOBS, {**JOB, "timeZone": "Mars/Olympus"}),
    ("monitoring.NotificationChannel", "labels", '{"auth_token": "x"}'): (
        f"POST monitoring/v3/{P}/notificationChannels",
        {"type": "email", "labels": {"auth_token": "x"}},
    ),
    ("monitoring.AlertPolicy", "conditions.0.condition_absent", '{"filter": "x", "duration": "60s"}'): (
        ALERTS,
        {**LOG_ALERT, "conditions": [{"displayName": "c", "conditionAbsent": {"filter": "x", "duration": "60s"}}]},
    ),
    ("monitoring.AlertPolicy", "alert_strategy.notification_rate_limit", "(absent)"): (ALERTS, LOG_ALERT),
    ("kms.CryptoKey", "purpose", "MAGIC"): (
        f"POST cloudkms/v1/{L}/keyRings/ring/cryptoKeys?cryptoKeyId=key",
        {"purpose": "MAGIC"},
    ),
}
"""By type, property and value of the recording, the request that they make."""
NEVER_SENT = {
    ("secretmanager.SecretVersion", "deletion_policy"): "the provider keeps it for itself",
    ("servicenetworking.Connection", "deletion_policy"): "the provider keeps it for itself",
}


def rows() -> list[tuple[str, str, str]]:
    file = SHARED / "recordings" / "accepted_in_preview.csv"
    if not file.exists():
        pytest.skip(f"{file} isn't here: the recordings are no part of the repository")
    with file.open(encoding="utf-8") as lines:
        return [(row["type"], row["property"], row["value"]) for row in csv.DictReader(lines)]


@pytest.mark.parametrize("row", sorted(REQUESTS), ids=lambda row: " ".join(row)[:70])
def test_the_server_refuses_it(row: tuple[str, str, str], tmp_path: Path) -> None:
    cloud = a_cloud(tmp_path)
    done(cloud, f"{SECRETS}?secretId=s", AUTOMATIC)
    done(cloud, f"POST cloudkms/v1/{L}/keyRings?keyRingId=ring", {})
    request, body = REQUESTS[row]
    code, message = refused(cloud, request, body)
    assert code in (400, 404) and message


def test_every_recorded_row_is_tried_or_explained() -> None:
    left = {row for row in rows() if not row[0].startswith(OTHERS)} - REQUESTS.keys()
    assert {row[:2] for row in left} == NEVER_SENT.keys()
