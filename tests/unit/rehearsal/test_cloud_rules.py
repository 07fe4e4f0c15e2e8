"""Each rule of the tables refuses what it says, in its own words; the same request, done right, is taken."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rehearsal.cloud import services
from rehearsal.cloud.rules import RULES
from rehearsal.cloud.state import Cloud
from tests.asking import NUMBER, PROJECT, REGION, a_cloud, done, refused

P = f"projects/{PROJECT}"
L = f"{P}/locations/{REGION}"
services.registered()

Step = tuple[str, Any] | Callable[[Cloud], None]


@dataclass(frozen=True)
class Case:
    """What is done before, and the request that the rule refuses."""

    request: str
    body: Any = None
    before: tuple[Step, ...] = ()


AUTOMATIC = {"replication": {"automatic": {}}}
SECRET: Step = (f"POST secretmanager/v1/{P}/secrets?secretId=s", AUTOMATIC)
VERSION: Step = (f"POST secretmanager/v1/{P}/secrets/s:addVersion", {"payload": {"data": "aGk="}})
V1 = f"secretmanager/v1/{P}/secrets/s/versions/1"
ACCOUNT: Step = (f"POST iam/v1/{P}/serviceAccounts", {"accountId": "gaia-x-sa"})
EMAIL = f"gaia-x-sa@{PROJECT}.iam.gserviceaccount.com"
ROLE_BODY = {"roleId": "gaiaX", "role": {"title": "x", "includedPermissions": ["secretmanager.versions.access"]}}
ROLE: Step = (f"POST iam/v1/{P}/roles", ROLE_BODY)
COMPUTE = f"compute/compute/v1/{P}"
NETWORK: Step = (f"POST {COMPUTE}/global/networks", {"name": "vpc", "autoCreateSubnetworks": False})
VPC = f"{P}/global/networks/vpc"
RANGE_BODY = {
    "name": "r",
    "addressType": "INTERNAL",
    "purpose": "VPC_PEERING",
    "prefixLength": 20,
    "address": "10.9.0.0",
    "network": VPC,
}
RANGE: Step = (f"POST {COMPUTE}/global/addresses", RANGE_BODY)
CONNECTIONS = "servicenetworking/v1/services/servicenetworking.googleapis.com/connections"
CONNECTION_BODY = {"network": f"projects/{NUMBER}/global/networks/vpc", "reservedPeeringRanges": ["r"]}
CONNECTION: Step = (f"POST {CONNECTIONS}", CONNECTION_BODY)
CONNECTORS = f"vpcaccess/v1/{L}/connectors"
CONNECTOR_BODY = {"network": "vpc", "ipCidrRange": "10.8.0.0/28", "minInstances": 2, "maxInstances": 3}
CONNECTOR: Step = (f"POST {CONNECTORS}?connectorId=conn", CONNECTOR_BODY)
CHANNELS, ALERTS = f"monitoring/v3/{P}/notificationChannels", f"monitoring/v3/{P}/alertPolicies"
EMAIL_CHANNEL = {"type": "email", "labels": {"email_address": "a@example.com"}}
CPU = 'resource.type="cloudsql_database" AND metric.type="cloudsql.googleapis.com/database/cpu/utilization"'
METRICS = f"logging/v2/{P}/metrics"
METRIC_BODY = {"name": "m", "filter": "severity>=ERROR"}
BUCKETS = "storage/storage/v1/b"
BUCKET_BODY = {"name": "demo-dumps", "location": "EU", "iamConfiguration": {"publicAccessPrevention": "enforced"}}
BUCKET: Step = (f"POST {BUCKETS}?project={PROJECT}", BUCKET_BODY)
OBJECT: Step = ("POST storage/upload/storage/v1/b/demo-dumps/o?uploadType=media&name=o", "content")
JOBS = f"cloudscheduler/v1/{L}/jobs"
JOB_BODY = {
    "name": f"{L}/jobs/j",
    "schedule": "0 3 * * *",
    "timeZone": "Etc/UTC",
    "httpTarget": {"uri": "https://run.googleapis.com/v2/x"},
}
REPOSITORIES = f"artifactregistry/v1/{L}/repositories"
REPOSITORY: Step = (f"POST {REPOSITORIES}?repositoryId=r", {"format": "DOCKER"})
RINGS = f"cloudkms/v1/{L}/keyRings"
RING: Step = (f"POST {RINGS}?keyRingId=ring", {})
KEYS = f"{RINGS}/ring/cryptoKeys"
KEY: Step = (f"POST {KEYS}?cryptoKeyId=key", {"purpose": "ENCRYPT_DECRYPT"})
ZONES = f"dns/dns/v1/{P}/managedZones"
ZONE_BODY = {"name": "zone", "dnsName": "x.sql.goog.", "description": "", "visibility": "private"}
ZONE: Step = (f"POST {ZONES}", ZONE_BODY)
RECORD_BODY = {"name": "a.x.sql.goog.", "type": "A", "ttl": 300, "rrdatas": ["10.0.0.1"]}
RECORD: Step = (f"POST {ZONES}/zone/rrsets", RECORD_BODY)


def alert(condition: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    threshold = {"conditionThreshold": {"filter": CPU, "duration": "300s", "comparison": "COMPARISON_GT"}}
    conditions = [{"displayName": "c", **(condition or threshold)}]
    return {"displayName": "a", "combiner": "OR", "conditions": conditions, **more}


def threshold(filter_: str) -> dict[str, Any]:
    return alert({"conditionThreshold": {"filter": filter_, "duration": "300s", "comparison": "COMPARISON_GT"}})


LOG = {"conditionMatchedLog": {"filter": "severity>=ERROR"}}


def _channel_with_alert(cloud: Cloud) -> None:
    cloud.collection("monitoring.channels")[f"{P}/notificationChannels/1"] = {**EMAIL_CHANNEL, "name": "c"}
    done(cloud, f"POST {ALERTS}", alert(notificationChannels=[f"{P}/notificationChannels/1"]))


def _instance_in_network(cloud: Cloud) -> None:
    settings = {"ipConfiguration": {"privateNetwork": VPC}}
    cloud.collection("sqladmin.instances")[f"{P}/instances/db"] = {"settings": settings}


def _full_network(cloud: Cloud) -> None:
    whole = {"name": "all", "network": VPC, "address": "10.0.0.0", "prefixLength": 8}
    cloud.collection("compute.globalAddresses")["all"] = whole


def _dashboard(cloud: Cloud) -> None:
    done(cloud, f"POST monitoring/v1/{P}/dashboards", {"name": f"{P}/dashboards/d", "displayName": "d"})


def _sql_disabled(cloud: Cloud) -> None:
    cloud.enabled.discard("sqladmin")


CASES: dict[str, Case] = {
    "labels": Case(f"POST secretmanager/v1/{P}/secrets?secretId=s", {**AUTOMATIC, "labels": {"UPPER": "X Y"}}),
    "secret-id": Case(f"POST secretmanager/v1/{P}/secrets?secretId=bad+id!", AUTOMATIC),
    "secret-replication": Case(f"POST secretmanager/v1/{P}/secrets?secretId=s", {}),
    "secret-expires-twice": Case(
        f"POST secretmanager/v1/{P}/secrets?secretId=s",
        {**AUTOMATIC, "ttl": "3600s", "expireTime": "2099-01-01T00:00:00Z"},
    ),
    "secret-exists": Case(f"POST secretmanager/v1/{P}/secrets?secretId=s", AUTOMATIC, (SECRET,)),
    "secret-missing": Case(f"GET secretmanager/v1/{P}/secrets/s"),
    "secret-version-missing": Case(f"GET {V1}", None, (SECRET,)),
    "secret-payload-missing": Case(f"POST secretmanager/v1/{P}/secrets/s:addVersion", {}, (SECRET,)),
    "secret-payload-size": Case(
        f"POST secretmanager/v1/{P}/secrets/s:addVersion", {"payload": {"data": "AAAA" * 22_000}}, (SECRET,)
    ),
    "secret-payload-checksum": Case(
        f"POST secretmanager/v1/{P}/secrets/s:addVersion", {"payload": {"data": "aGk=", "dataCrc32c": "1"}}, (SECRET,)
    ),
    "secret-version-destroyed": Case(f"POST {V1}:enable", {}, (SECRET, VERSION, (f"POST {V1}:destroy", {}))),
    "secret-version-disabled": Case(f"GET {V1}:access", None, (SECRET, VERSION, (f"POST {V1}:disable", {}))),
    "secret-etag": Case(f"DELETE secretmanager/v1/{P}/secrets/s?etag=other", None, (SECRET,)),
    "services-per-batch": Case(f"POST serviceusage/v1/{P}/services:batchEnable", {"serviceIds": ["x"] * 21}),
    "service-unknown": Case(f"POST serviceusage/v1/{P}/services/nonsense.googleapis.com:enable", {}),
    "service-without-identity": Case(
        f"POST serviceusage/v1beta1/{P}/services/dns.googleapis.com:generateServiceIdentity"
    ),
    "service-disabled": Case(
        f"POST serviceusage/v1beta1/{P}/services/sqladmin.googleapis.com:generateServiceIdentity",
        None,
        (_sql_disabled,),
    ),
    "account-id": Case(f"POST iam/v1/{P}/serviceAccounts", {"accountId": "x"}),
    "account-text": Case(
        f"POST iam/v1/{P}/serviceAccounts", {"accountId": "gaia-x-sa", "serviceAccount": {"displayName": "x" * 101}}
    ),
    "account-exists": Case(f"POST iam/v1/{P}/serviceAccounts", {"accountId": "gaia-x-sa"}, (ACCOUNT,)),
    "account-missing": Case(f"GET iam/v1/{P}/serviceAccounts/{EMAIL}"),
    "iam-etag": Case(
        f"PATCH iam/v1/{P}/serviceAccounts/{EMAIL}",
        {"serviceAccount": {"displayName": "y", "etag": "AAAA"}, "updateMask": "displayName"},
        (ACCOUNT,),
    ),
    "role-id": Case(f"POST iam/v1/{P}/roles", ROLE_BODY | {"roleId": "a-b"}),
    "role-text": Case(f"POST iam/v1/{P}/roles", ROLE_BODY | {"role": {"title": "x" * 101}}),
    "role-permission": Case(
        f"POST iam/v1/{P}/roles", ROLE_BODY | {"role": {"includedPermissions": ["cloudsql.nonsense.get"]}}
    ),
    "role-exists": Case(f"POST iam/v1/{P}/roles", ROLE_BODY, (ROLE,)),
    "role-deleted": Case(f"POST iam/v1/{P}/roles", ROLE_BODY, (ROLE, (f"DELETE iam/v1/{P}/roles/gaiaX", None))),
    "role-missing": Case(f"GET iam/v1/{P}/roles/gaiaX"),
    "compute-name": Case(f"POST {COMPUTE}/global/addresses", {**RANGE_BODY, "name": "Bad_Name"}, (NETWORK,)),
    "network-mtu": Case(f"POST {COMPUTE}/global/networks", {"name": "vpc", "mtu": 100}),
    "peering-range": Case(f"POST {COMPUTE}/global/addresses", {**RANGE_BODY, "address": "10.9.0.1"}, (NETWORK,)),
    "psc-scheme": Case(
        f"POST {COMPUTE}/regions/{REGION}/forwardingRules",
        {"name": "f", "target": "projects/p/regions/r/serviceAttachments/a", "loadBalancingScheme": "EXTERNAL"},
    ),
    "compute-missing": Case(f"POST {COMPUTE}/global/addresses", RANGE_BODY),
    "compute-exists": Case(f"POST {COMPUTE}/global/networks", {"name": "vpc"}, (NETWORK,)),
    "compute-in-use": Case(f"DELETE {COMPUTE}/global/networks/vpc", None, (NETWORK, RANGE)),
    "range-overlap": Case(
        f"POST {COMPUTE}/global/addresses",
        {**RANGE_BODY, "name": "other", "address": "10.9.8.0", "prefixLength": 21},
        (NETWORK, RANGE),
    ),
    "range-exhausted": Case(
        f"POST {COMPUTE}/global/addresses",
        {name: value for name, value in RANGE_BODY.items() if name != "address"},
        (NETWORK, _full_network),
    ),
    "label-fingerprint": Case(
        f"POST {COMPUTE}/global/addresses/r/setLabels", {"labelFingerprint": "AAAA", "labels": {}}, (NETWORK, RANGE)
    ),
    "connection-network": Case(f"POST {CONNECTIONS}", CONNECTION_BODY),
    "connection-no-range": Case(f"POST {CONNECTIONS}", CONNECTION_BODY | {"reservedPeeringRanges": []}, (NETWORK,)),
    "connection-range": Case(f"POST {CONNECTIONS}", CONNECTION_BODY, (NETWORK,)),
    "connection-exists": Case(f"POST {CONNECTIONS}", CONNECTION_BODY, (NETWORK, RANGE, CONNECTION)),
    "connection-mask": Case(f"PATCH {CONNECTIONS}/-?updateMask=network", CONNECTION_BODY, (NETWORK, RANGE, CONNECTION)),
    "connection-missing": Case(f"PATCH {CONNECTIONS}/-", CONNECTION_BODY, (NETWORK, RANGE)),
    "connection-range-removed": Case(
        f"PATCH {CONNECTIONS}/-",
        CONNECTION_BODY | {"reservedPeeringRanges": ["other"]},
        (
            NETWORK,
            RANGE,
            CONNECTION,
            (f"POST {COMPUTE}/global/addresses", {**RANGE_BODY, "name": "other", "address": "10.10.0.0"}),
        ),
    ),
    "connection-in-use": Case(
        f"POST {CONNECTIONS}/servicenetworking-googleapis-com",
        {"consumerNetwork": VPC},
        (NETWORK, RANGE, CONNECTION, _instance_in_network),
    ),
    "connector-name": Case(f"POST {CONNECTORS}?connectorId=a-name-that-is-way-too-long-for-it", CONNECTOR_BODY),
    "connector-range": Case(f"POST {CONNECTORS}?connectorId=conn", {**CONNECTOR_BODY, "ipCidrRange": "10.8.0.0"}),
    "connector-without-size": Case(
        f"POST {CONNECTORS}?connectorId=conn", {"network": "vpc", "ipCidrRange": "10.8.0.0/28"}
    ),
    "connector-two-sizes": Case(f"POST {CONNECTORS}?connectorId=conn", {**CONNECTOR_BODY, "maxThroughput": 300}),
    "connector-instances": Case(f"POST {CONNECTORS}?connectorId=conn", {**CONNECTOR_BODY, "minInstances": 1}),
    "connector-machine": Case(f"POST {CONNECTORS}?connectorId=conn", {**CONNECTOR_BODY, "machineType": "n1-big"}),
    "connector-exists": Case(f"POST {CONNECTORS}?connectorId=conn", CONNECTOR_BODY, (NETWORK, CONNECTOR)),
    "connector-missing": Case(f"GET {CONNECTORS}/conn"),
    "connector-network": Case(f"POST {CONNECTORS}?connectorId=conn", CONNECTOR_BODY),
    "connector-range-overlap": Case(
        f"POST {CONNECTORS}?connectorId=conn", {**CONNECTOR_BODY, "ipCidrRange": "10.9.0.0/28"}, (NETWORK, RANGE)
    ),
    "alert-conditions": Case(f"POST {ALERTS}", {"displayName": "a", "combiner": "OR", "conditions": []}),
    "alert-condition-kind": Case(
        f"POST {ALERTS}", {"displayName": "a", "combiner": "OR", "conditions": [{"displayName": "c"}]}
    ),
    "alert-combiner": Case(f"POST {ALERTS}", alert(combiner=None)),
    "alert-filter": Case(f"POST {ALERTS}", threshold("x")),
    "alert-metric": Case(
        f"POST {ALERTS}",
        threshold('resource.type="cloudsql_database" AND metric.type="cloudsql.googleapis.com/database/nonsense"'),
    ),
    "alert-promql-metric": Case(
        f"POST {ALERTS}",
        alert({"conditionPrometheusQueryLanguage": {"query": "absent(logging_googleapis_com:user_nothing[1h])"}}),
    ),
    "alert-rate-limit": Case(f"POST {ALERTS}", alert(LOG)),
    "alert-log-alone": Case(
        f"POST {ALERTS}",
        alert(alertStrategy={"notificationRateLimit": {"period": "300s"}})
        | {"conditions": [{"displayName": "a", **LOG}, {"displayName": "b", **LOG}]},
    ),
    "alert-auto-close": Case(f"POST {ALERTS}", alert(alertStrategy={"autoClose": "60s"})),
    "alert-absence": Case(f"POST {ALERTS}", alert({"conditionAbsent": {"filter": CPU, "duration": "90000s"}})),
    "alert-channel": Case(f"POST {ALERTS}", alert(notificationChannels=[f"{P}/notificationChannels/1"])),
    "channel-type": Case(f"POST {CHANNELS}", {**EMAIL_CHANNEL, "type": "pigeon"}),
    "channel-labels": Case(f"POST {CHANNELS}", {"type": "email", "labels": {"auth_token": "x"}}),
    "channel-email": Case(f"POST {CHANNELS}", {"type": "email", "labels": {"email_address": "nobody"}}),
    "channel-in-use": Case(f"DELETE {CHANNELS}/1?force=false", None, (_channel_with_alert,)),
    "channel-missing": Case(f"GET {CHANNELS}/1"),
    "policy-missing": Case(f"GET {ALERTS}/1"),
    "dashboard-exists": Case(
        f"POST monitoring/v1/{P}/dashboards", {"name": f"{P}/dashboards/d", "displayName": "d"}, (_dashboard,)
    ),
    "dashboard-missing": Case(f"GET monitoring/v1/{P}/dashboards/d"),
    "dashboard-etag": Case(f"PATCH monitoring/v1/{P}/dashboards/d", {"displayName": "e", "etag": "x"}, (_dashboard,)),
    "metric-name": Case(f"POST {METRICS}", METRIC_BODY | {"name": "/m"}),
    "metric-filter": Case(f"POST {METRICS}", METRIC_BODY | {"filter": 'a="b'}),
    "metric-labels": Case(f"POST {METRICS}", METRIC_BODY | {"labelExtractors": {"a": "EXTRACT(b)"}}),
    "metric-exists": Case(f"POST {METRICS}", METRIC_BODY, ((f"POST {METRICS}", METRIC_BODY),)),
    "metric-missing": Case(f"GET {METRICS}/m"),
    "entry-log-name": Case("POST logging/v2/entries:write", {"entries": [{"textPayload": "x"}]}),
    "entry-filter": Case("POST logging/v2/entries:list", {"resourceNames": [P], "filter": "severity>=ERROR"}),
    "bucket-name": Case(f"POST {BUCKETS}?project={PROJECT}", {**BUCKET_BODY, "name": "Bad_UPPER"}),
    "bucket-taken": Case(f"POST {BUCKETS}?project={PROJECT}", {**BUCKET_BODY, "name": "gaia-db-backups"}),
    "bucket-yours": Case(f"POST {BUCKETS}?project={PROJECT}", BUCKET_BODY, (BUCKET,)),
    "bucket-class": Case(f"POST {BUCKETS}?project={PROJECT}", {**BUCKET_BODY, "storageClass": "WARM"}),
    "bucket-location": Case(f"POST {BUCKETS}?project={PROJECT}", {**BUCKET_BODY, "location": "the moon"}),
    "bucket-lifecycle": Case(
        f"POST {BUCKETS}?project={PROJECT}",
        {**BUCKET_BODY, "lifecycle": {"rule": [{"action": {"type": "Burn"}, "condition": {"age": 1}}]}},
    ),
    "bucket-public-access": Case(
        f"POST {BUCKETS}?project={PROJECT}", {**BUCKET_BODY, "iamConfiguration": {"publicAccessPrevention": "yes"}}
    ),
    "bucket-soft-delete": Case(
        f"POST {BUCKETS}?project={PROJECT}", {**BUCKET_BODY, "softDeletePolicy": {"retentionDurationSeconds": "60"}}
    ),
    "bucket-public-member": Case(
        f"PUT {BUCKETS}/demo-dumps/iam",
        {"bindings": [{"role": "roles/storage.objectViewer", "members": ["allUsers"]}]},
        (BUCKET,),
    ),
    "bucket-missing": Case(f"GET {BUCKETS}/demo-dumps"),
    "bucket-not-empty": Case(f"DELETE {BUCKETS}/demo-dumps", None, (BUCKET, OBJECT)),
    "object-missing": Case(f"GET {BUCKETS}/demo-dumps/o/o", None, (BUCKET,)),
    "upload-missing": Case(
        "PUT storage/upload/storage/v1/b/demo-dumps/o?uploadType=resumable&upload_id=1", "x", (BUCKET,)
    ),
    "storage-precondition": Case(
        "POST storage/upload/storage/v1/b/demo-dumps/o?uploadType=media&name=o&ifGenerationMatch=0",
        "x",
        (BUCKET, OBJECT),
    ),
    "job-name": Case(f"POST {JOBS}", {**JOB_BODY, "name": "j"}),
    "job-schedule": Case(f"POST {JOBS}", {**JOB_BODY, "schedule": "nonsense"}),
    "job-time-zone": Case(f"POST {JOBS}", {**JOB_BODY, "timeZone": "Mars/Olympus"}),
    "job-deadline": Case(f"POST {JOBS}", {**JOB_BODY, "attemptDeadline": "2000s"}),
    "job-target": Case(f"POST {JOBS}", {**JOB_BODY, "httpTarget": {"uri": "nowhere"}}),
    "job-retries": Case(f"POST {JOBS}", {**JOB_BODY, "retryConfig": {"retryCount": 6}}),
    "job-exists": Case(f"POST {JOBS}", JOB_BODY, ((f"POST {JOBS}", JOB_BODY),)),
    "job-missing": Case(f"GET {JOBS}/j"),
    "job-account": Case(
        f"POST {JOBS}",
        {**JOB_BODY, "httpTarget": {"uri": "https://run.googleapis.com", "oauthToken": {"serviceAccountEmail": EMAIL}}},
    ),
    "repository-id": Case(f"POST {REPOSITORIES}?repositoryId=Bad_Name", {"format": "DOCKER"}),
    "repository-format": Case(f"POST {REPOSITORIES}?repositoryId=r", {}),
    "repository-cleanup": Case(
        f"POST {REPOSITORIES}?repositoryId=r",
        {"format": "DOCKER", "cleanupPolicies": {"p": {"action": "DELETE", "mostRecentVersions": {"keepCount": 1}}}},
    ),
    "repository-exists": Case(f"POST {REPOSITORIES}?repositoryId=r", {"format": "DOCKER"}, (REPOSITORY,)),
    "repository-missing": Case(f"GET {REPOSITORIES}/r"),
    "key-id": Case(f"POST {RINGS}?keyRingId=a.b", {}),
    "key-purpose": Case(f"POST {KEYS}?cryptoKeyId=key", {}, (RING,)),
    "key-rotation": Case(
        f"POST {KEYS}?cryptoKeyId=key", {"purpose": "ENCRYPT_DECRYPT", "rotationPeriod": "60s"}, (RING,)
    ),
    "key-next-rotation": Case(
        f"POST {KEYS}?cryptoKeyId=key", {"purpose": "ENCRYPT_DECRYPT", "rotationPeriod": "86400s"}, (RING,)
    ),
    "key-ring-exists": Case(f"POST {RINGS}?keyRingId=ring", {}, (RING,)),
    "key-exists": Case(f"POST {KEYS}?cryptoKeyId=key", {"purpose": "ENCRYPT_DECRYPT"}, (RING, KEY)),
    "key-ring-missing": Case(f"GET {RINGS}/ring"),
    "key-missing": Case(f"GET {KEYS}/key", None, (RING,)),
    "key-version-missing": Case(f"GET {KEYS}/key/cryptoKeyVersions/2", None, (RING, KEY)),
    "key-version-state": Case(f"POST {KEYS}/key/cryptoKeyVersions/1:restore", {}, (RING, KEY)),
    "zone-name": Case(f"POST {ZONES}", {**ZONE_BODY, "name": "Bad_"}),
    "zone-dns-name": Case(f"POST {ZONES}", {**ZONE_BODY, "dnsName": "x.sql.goog"}),
    "zone-network": Case(
        f"POST {ZONES}", {**ZONE_BODY, "privateVisibilityConfig": {"networks": [{"networkUrl": "nowhere"}]}}
    ),
    "zone-exists": Case(f"POST {ZONES}", ZONE_BODY, (ZONE,)),
    "zone-missing": Case(f"GET {ZONES}/zone"),
    "zone-not-empty": Case(f"DELETE {ZONES}/zone", None, (ZONE, RECORD)),
    "record-exists": Case(f"POST {ZONES}/zone/rrsets", RECORD_BODY, (ZONE, RECORD)),
    "record-outside": Case(f"POST {ZONES}/zone/rrsets", {**RECORD_BODY, "name": "elsewhere.org."}, (ZONE,)),
    "record-missing": Case(f"DELETE {ZONES}/zone/rrsets/a.x.sql.goog./A", None, (ZONE,)),
}
"""By the rule's key."""
ELSEWHERE = ("sql", "instance", "database", "user", "backup", "replica", "flag", "tier", "run")
"""Rules whose keys begin so are tested beside the servers and jobs behind them."""


@pytest.mark.parametrize("key", sorted(CASES))
def test_the_rule_refuses_in_its_own_words(key: str, tmp_path: Path) -> None:
    cloud, case, rule = a_cloud(tmp_path), CASES[key], RULES[key]
    for step in case.before:
        step(cloud) if callable(step) else done(cloud, *step)
    code, message = refused(cloud, case.request, case.body)
    places = re.sub(r"\\\{\w+\\\}", ".*", re.escape(rule.message.replace("{{", "\0").replace("}}", "\1")))
    assert (code, bool(re.fullmatch(places.replace("\0", r"\{").replace("\1", r"\}"), message, re.DOTALL))) == (
        rule.code,
        True,
    ), f"{code}: {message}"


def test_every_rule_has_a_case() -> None:
    ours = {key for key in RULES if key.split("-")[0] not in ELSEWHERE}
    assert ours == set(CASES)


def test_every_rule_says_where_it_is_from() -> None:
    assert [key for key, rule in RULES.items() if len(rule.source) < 10] == []
