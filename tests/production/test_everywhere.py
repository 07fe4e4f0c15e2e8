"""What holds for every resource of production: its project and place, what it waits for, what guards it, its shape."""

from __future__ import annotations

import base64
import inspect
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.production import planning
from tests.production.planning import CANARY, PROJECT, Plan, Registered, short
from tests.production.test_conformance import args_class

VARIANTS = planning.variants()
REGION, BUCKETS_REGION = "us-west1", "US-WEST1"
NETWORK = f"projects/{PROJECT}/global/networks/default"
WITH_JOBS = ["defaults", "scaled", "public"]
FROM_ITS_SECRET = "secretmanager/SecretVersion"
MAKERS = {
    "db-server-ca-version": ("sql/DatabaseInstance", "primary"),
    "db-client-cert-version": ("sql/SslCert", "client-certificate"),
}
"""Who makes what can't be recognised in a plan."""
PROTECTED = {"sql/Database", "storage/Bucket", "kms/KeyRing", "kms/CryptoKey"}
KEPT = {"sql/User", "sql/Database", "secretmanager/SecretVersion", "servicenetworking/Connection"}
"""Left where it is when a stack is destroyed or a resource goes out of the program."""
ONE_AT_A_TIME = {"cloudrunv2/Job", "vpcaccess/Connector"}
"""There can't be two of one name, not even while the second one replaces the first."""


def planned(name: str) -> Plan:
    return planning.planned(VARIANTS[name])


def google(name: str) -> list[Registered]:
    return [each for each in planned(name).custom() if each.type.startswith("gcp:")]


def takes(each: Registered, name: str) -> bool:
    return name in inspect.signature(args_class(each.type).__init__).parameters


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from texts(inner)
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize("name", VARIANTS)
def test_everything_is_in_the_stack_s_project(name: str) -> None:
    wrong = [each.urn for each in google(name) if each.inputs.get("project", PROJECT) != PROJECT]
    missing = [each.urn for each in google(name) if "project" not in each.inputs and takes(each, "project")]
    assert wrong + [urn for urn in missing if "secretVersion:" not in urn] == []


@pytest.mark.parametrize("name", VARIANTS)
def test_everything_that_has_a_place_is_in_the_stack_s_region(name: str) -> None:
    for each in google(name):
        for key in ("region", "location"):
            if takes(each, key):
                expected = BUCKETS_REGION if short(each.type) == "storage/Bucket" else REGION
                assert each.inputs.get(key) == expected, each.urn


def others(plan: Plan) -> dict[str, Registered]:
    """The resources by what others name them with: their ids, and what only Google or chance could have told."""
    known: dict[str, Registered] = {}
    for each in plan.custom():
        known[f"{each.name}-id"] = each
        known |= dict.fromkeys(_names(each), each)
        if each.type.startswith("random:"):
            known[f"{CANARY}-{each.name}"] = each
    return known


def _names(each: Registered) -> tuple[str, ...]:
    given = each.inputs.get
    match short(each.type):
        case "serviceaccount/Account":
            account = f"{given('accountId')}@{PROJECT}.iam.gserviceaccount.com"
            return account, f"projects/{PROJECT}/serviceAccounts/{account}"
        case "projects/IAMCustomRole":
            return (f"projects/{PROJECT}/roles/{given('roleId')}",)
        case "projects/ServiceIdentity":
            return ("service-1@gcp-sa-cloud-sql.iam.gserviceaccount.com",)
        case "secretmanager/Secret":
            return str(given("secretId")), f"projects/{PROJECT}/secrets/{given('secretId')}"
        case "sql/DatabaseInstance" if each.name == "primary":
            told = ("p1-abc@gcp-sa-cloud-sql.iam.gserviceaccount.com", "abc.gaia-prod-db.us-west1.sql.goog.")
            return (str(given("name")), f"{PROJECT}:{REGION}:{given('name')}", *told, "serviceAttachments/gaia-prod-db")
        case "sql/SslCert":
            return (f"{CANARY}-client-key",)
        case "storage/Bucket" | "cloudrunv2/Job" | "compute/GlobalAddress":
            return (str(given("name")),)
        case "compute/Address":
            return "10.138.0.9", f"link/{given('name')}"
        case "monitoring/NotificationChannel":
            return (f"projects/{PROJECT}/notificationChannels/{each.name}",)
        case "logging/Metric":
            return (f"user_{given('name')}",)
        case _:
            return ()


_PARTS = (
    "p1-abc@",
    "service-1@",
    f"{CANARY}-",
    "abc.",
    "serviceAttachments/",
    "10.138.",
    f"{PROJECT}:{REGION}:",
    "user_",
)
"""What is recognised inside a longer text as well."""


def named(each: Registered, known: dict[str, Registered]) -> Iterator[Registered]:
    parts = [key for key in known if key.startswith(_PARTS)]
    for text in texts(each.inputs):
        plain = text.removeprefix("serviceAccount:")
        found = [plain] if plain in known else [key for key in parts if re.search(rf"{re.escape(key)}(?!\w)", text)]
        yield from (known[key] for key in found)


@pytest.mark.parametrize("name", VARIANTS)
def test_everything_waits_for_what_its_inputs_name(name: str) -> None:
    plan = planned(name)
    known = others(plan)
    for each in plan.custom():
        for other in named(each, known):
            # Two may have one name, such as a job and its schedule: one of them comes first.
            same = other.urn == each.urn or ("name" in each.inputs and other.inputs.get("name") == each.inputs["name"])
            if not same and not plan.waits_for(other, each):
                assert plan.waits_for(each, other), f"{each.name} names {other.name} and doesn't wait for it"


@pytest.mark.parametrize("name", VARIANTS)
def test_what_is_named_is_there(name: str) -> None:
    plan = planned(name)
    known = {*others(plan), *(f"{each.name}-id" for each in plan.resources.values())}
    for each in plan.custom():
        for text in texts(each.inputs):
            plain = text.removeprefix("serviceAccount:")
            made = plain.endswith(("-id", f"@{PROJECT}.iam.gserviceaccount.com")) or "/notificationChannels/" in plain
            assert not made or plain in known, f"{each.name} names {text}"
            assert {*re.findall(rf"{CANARY}-[\w-]+", text)} <= known, f"{each.name} has {text}"


@pytest.mark.parametrize("name", WITH_JOBS)
def test_a_job_waits_for_the_versions_that_it_reads(name: str) -> None:
    plan = planned(name)
    for job in plan.of("cloudrunv2/Job").values():
        task = job.inputs["template"]["template"]
        envs = [each["valueSource"]["secretKeyRef"] for each in task["containers"][0]["envs"] if "valueSource" in each]
        for each in [*envs, *(volume["secret"] for volume in task["volumes"] if "secret" in volume)]:
            version = f"{each['secret'].removesuffix('-id')}-version"
            assert plan.waits_for(job, plan.one(FROM_ITS_SECRET, version)), (job.name, version)


@pytest.mark.parametrize("name", VARIANTS)
def test_what_google_needs_besides_a_resource_s_own_api_is_enabled_before_it(name: str) -> None:
    plan = planned(name)
    apis = plan.of("projects/Service")
    for kind, api in {"servicenetworking/Connection": "cloudresourcemanager", "vpcaccess/Connector": "compute"}.items():
        for each in plan.of(kind).values():
            assert plan.waits_for(each, apis[f"api-{api}"]), each.urn
    assert ("api-iamcredentials" in apis) == (name == "public")
    for each in apis.values():
        assert each.inputs["service"] == f"{each.name.removeprefix('api-')}.googleapis.com"
    agents = {each.inputs["service"] for each in plan.of("projects/ServiceIdentity").values()}
    assert agents == ({"sqladmin.googleapis.com"} if name == "scaled" else set())


@pytest.mark.parametrize("name", VARIANTS)
def test_whatever_can_be_lost_is_guarded(name: str) -> None:
    for each in google(name):
        kind = short(each.type)
        lasting = kind in PROTECTED or (kind == "sql/DatabaseInstance" and each.name == "primary")
        assert each.protect == lasting, each.urn
        assert each.replace_first == (kind in ONE_AT_A_TIME), each.urn
        assert each.inputs.get("deletionPolicy") == ("ABANDON" if kind in KEPT else None), each.urn
        if kind == "storage/Bucket":
            assert each.inputs["forceDestroy"] is False


@pytest.mark.parametrize("name", VARIANTS)
def test_secrets_are_random_replicated_by_google_and_long_enough(name: str) -> None:
    plan = planned(name)
    for each in plan.custom():
        match each.type.split(":")[-1]:
            case "RandomPassword":
                assert each.inputs == {"length": 32, "special": False}
            case "RandomBytes":
                assert each.inputs == {"length": 32}
            case "Secret":
                assert (each.inputs["secretId"], each.inputs["replication"]) == (each.name, {"auto": {}})
            case "SecretVersion":
                assert each.inputs["secret"] == f"{each.name.removesuffix('-version')}-id"
                assert planning.SIGNATURE in each.raw["secretData"], each.name
                assert each.inputs["secretData"]
            case _:
                pass
    assert {f"{secret}-version" for secret in plan.of("secretmanager/Secret")} == set(plan.of(FROM_ITS_SECRET))


def test_the_exports_outlive_a_mistake_by_a_week_and_only_old_images_go() -> None:
    bucket = planned("defaults").one("storage/Bucket", "exports").inputs
    assert bucket["softDeletePolicy"] == {"retentionDurationSeconds": 7 * 86400}
    assert [rule["action"] for rule in bucket["lifecycleRules"]] == [{"type": "Delete"}] * 2
    images = planned("defaults").one("artifactregistry/Repository", "images").inputs
    assert (images["repositoryId"], images["format"]) == ("gaia-db", "DOCKER")
    assert images["dockerConfig"] == {"immutableTags": True}
    keep, drop = images["cleanupPolicies"]
    assert (keep["action"], keep["mostRecentVersions"]) == ("KEEP", {"keepCount": 10})
    assert (drop["action"], drop["condition"]) == ("DELETE", {"olderThan": f"{90 * 86400}s"})
    assert [each["id"] for each in (keep, drop)] == ["keep-recent", "drop-old"]


def test_the_private_network_is_the_one_of_the_settings() -> None:
    plan = planned("defaults")
    address = plan.one("compute/GlobalAddress", "private-range").inputs
    assert {key: address[key] for key in ("address", "prefixLength", "purpose", "addressType", "network")} == {
        "address": "10.9.0.0", "prefixLength": 20, "purpose": "VPC_PEERING", "addressType": "INTERNAL",
        "network": NETWORK,
    }  # fmt: skip
    peering = plan.one("servicenetworking/Connection", "private-services").inputs
    assert (peering["network"], peering["reservedPeeringRanges"]) == (NETWORK, [address["name"]])
    assert peering["updateOnCreationFail"] is True
    connector = plan.one("vpcaccess/Connector", "connector").inputs
    assert {key: value for key, value in connector.items() if key not in ("project", "region")} == {
        "name": "gaia-prod-connector", "network": "default", "ipCidrRange": "10.8.0.0/28", "machineType": "e2-micro",
        "minInstances": 2, "maxInstances": 3,
    }  # fmt: skip


def test_the_way_in_by_private_service_connect_ends_at_our_instance() -> None:
    plan = planned("scaled")
    address, rule = (
        plan.one("compute/Address", "psc-address").inputs,
        next(iter(plan.of("compute/ForwardingRule").values())),
    )
    assert (address["name"], rule.inputs["name"], rule.inputs["network"]) == (*["gaia-prod-db-psc"] * 2, NETWORK)
    zone, record = plan.one("dns/ManagedZone", "psc-zone").inputs, plan.one("dns/RecordSet", "psc-record").inputs
    assert (address["addressType"], address["subnetwork"].split("/")[-1]) == ("INTERNAL", "default")
    assert rule.inputs["target"] == "projects/x/regions/us-west1/serviceAttachments/gaia-prod-db"
    assert (rule.inputs["loadBalancingScheme"], rule.inputs["ipAddress"]) == ("", f"link/{address['name']}")
    assert (zone["name"], zone["visibility"]) == ("gaia-prod-db-psc", "private")
    assert zone["privateVisibilityConfig"] == {"networks": [{"networkUrl": NETWORK}]}
    assert zone["dnsName"] == record["name"] == "abc.gaia-prod-db.us-west1.sql.goog."
    assert record["managedZone"] == zone["name"]
    # All of them have one name: what they wait for can't be told from it.
    assert plan.waits_for(plan.one("dns/RecordSet", "psc-record"), plan.one("dns/ManagedZone", "psc-zone"))
    assert plan.waits_for(rule, plan.one("compute/Address", "psc-address"))
    assert (record["type"], record["ttl"], record["rrdatas"]) == ("A", 300, ["10.138.0.9"])


def test_a_key_of_ones_own_turns_and_is_used_by_cloud_sql_alone() -> None:
    plan = planned("scaled")
    key, grant = plan.one("kms/CryptoKey", "key").inputs, plan.one("kms/CryptoKeyIAMMember", "agent-encrypts").inputs
    assert (plan.one("kms/KeyRing", "key-ring").inputs["name"], key["name"]) == ("gaia-prod-db", "disks")
    assert (key["keyRing"], key["purpose"]) == ("key-ring-id", "ENCRYPT_DECRYPT")
    assert key["rotationPeriod"] == f"{90 * 86400}s"
    assert (grant["cryptoKeyId"], grant["role"]) == ("key-id", "roles/cloudkms.cryptoKeyEncrypterDecrypter")
    assert grant["member"] == "serviceAccount:service-1@gcp-sa-cloud-sql.iam.gserviceaccount.com"
    for each in plan.of("sql/DatabaseInstance").values():
        assert each.inputs["encryptionKeyName"] == "key-id"


# --- what runs ---


@pytest.mark.parametrize("name", WITH_JOBS)
def test_the_jobs_run_as_their_account_beside_the_database_once(name: str) -> None:
    for job, (command, timeout) in {
        "migrate": (["-m", "migrations", "upgrade"], "3600s"),
        "maintain": (["-m", "migrations", "maintain", "--json"], "900s"),
    }.items():
        inputs = planned(name).one("cloudrunv2/Job", job).inputs
        template = inputs["template"]
        task = template["template"]
        (container,) = task["containers"]
        assert (inputs["name"], inputs["deletionProtection"]) == (f"gaia-db-{job}", False)
        assert (template["parallelism"], template["taskCount"], task["maxRetries"]) == (1, 1, 0)
        assert (task["timeout"], task["executionEnvironment"]) == (timeout, "EXECUTION_ENVIRONMENT_GEN2")
        assert task["serviceAccount"] == f"gaia-migrate-sa@{PROJECT}.iam.gserviceaccount.com"
        assert (container["image"], container["commands"], container["args"]) == (planning.IMAGE, ["python"], command)
        assert container["resources"]["limits"] == {"cpu": "1", "memory": "512Mi"}
        mounted = {each["name"] for each in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in task["volumes"]}
        egress = {"egress": "PRIVATE_RANGES_ONLY"}
        assert task.get("vpcAccess") == {
            "defaults": {"connector": "connector-id", **egress},
            "scaled": {"networkInterfaces": [{"network": "default", "subnetwork": "default"}], **egress},
            "public": None,
        }.get(name)
        if name == "scaled":
            assert container["volumeMounts"] == [{"name": "server-ca", "mountPath": "/secrets/server-ca"}]
            items = [{"path": "server-ca.pem", "version": "1"}]
            assert task["volumes"][0]["secret"]["items"] == items
        else:
            assert {"name": "cloudsql", "mountPath": "/cloudsql"} in container["volumeMounts"]
            instance = {"instances": [f"{PROJECT}:{REGION}:gaia-prod-db"]}
            assert {"name": "cloudsql", "cloudSqlInstance": instance} in task["volumes"]
    assert re.fullmatch("r[0-9a-f]{12}", planned(name).one("cloudrunv2/Job", "migrate").inputs["runExecutionToken"])
    assert "runExecutionToken" not in planned(name).one("cloudrunv2/Job", "maintain").inputs


@pytest.mark.parametrize("name", WITH_JOBS)
def test_the_jobs_get_each_variable_from_its_secret(name: str) -> None:
    secrets = {
        "GAIA_MIGRATIONS_URL": "db-migrator-url", "GAIA_IDENTITY_KEY": "db-identity-key",
        "GAIA_APP_PASSWORD": "db-password", "GAIA_APP_PASSWORD_B": "db-password-other",
    }  # fmt: skip
    plain = {"GAIA_BACKUP_TIMEOUT_S", "GAIA_IAM_LOGINS", "GAIA_INSTANCE"}
    for job, expected in {"migrate": {*secrets, *plain}, "maintain": {"GAIA_MIGRATIONS_URL"}}.items():
        envs = planned(name).one("cloudrunv2/Job", job).inputs["template"]["template"]["containers"][0]["envs"]
        assert {each["name"] for each in envs} - {"GAIA_SERVER_CA"} == expected
        for each in envs:
            if each["name"] in secrets:
                reference = {"secret": secrets[each["name"]], "version": "1"}
                assert each["valueSource"] == {"secretKeyRef": reference}
            elif each["name"] == "GAIA_INSTANCE":
                assert each["value"] == f"{PROJECT}:{REGION}:gaia-prod-db"
            elif each["name"] == "GAIA_IAM_LOGINS":
                logins = {f"gaia-backend-sa@{PROJECT}.iam": "gaia_backend", "ada@example.com": "gaia_readonly"}
                assert json.loads(each["value"]) == (logins if name == "public" else {})
            elif each["name"] == "GAIA_BACKUP_TIMEOUT_S":
                assert each["value"] == "1800"


@pytest.mark.parametrize("name", VARIANTS)
def test_the_schedule_asks_in_time_as_its_own_account_and_again_where_nobody_answers(name: str) -> None:
    for each in planned(name).of("cloudscheduler/Job").values():
        inputs, target = each.inputs, each.inputs["httpTarget"]
        assert (inputs["timeZone"], inputs["attemptDeadline"], target["httpMethod"]) == ("Etc/UTC", "60s", "POST")
        account = target["oauthToken"]["serviceAccountEmail"].split("@")[0]
        if each.name == "maintain-schedule":
            assert (inputs["name"], inputs["schedule"], account) == (
                "gaia-db-maintain",
                "30 9 * * *",
                "gaia-maintain-sa",
            )
            assert inputs["retryConfig"] == {"retryCount": 3, "minBackoffDuration": "60s"}
            where = f"projects/{PROJECT}/locations/{REGION}/jobs/gaia-db-maintain:run"
            assert target["uri"] == f"https://run.googleapis.com/v2/{where}"
        else:
            day = each.name.removeprefix("export-")
            expected = (f"gaia-db-export-{day}", f"0 10 * * {day.upper()}", "gaia-export-sa")
            assert (inputs["name"], inputs["schedule"], account) == expected
            assert inputs["retryConfig"] == {
                "retryCount": 5, "minBackoffDuration": "300s", "maxBackoffDuration": "1800s",
            }  # fmt: skip
            assert target["headers"] == {"Content-Type": "application/json"}


# --- who is told of what ---

_GT, _LT = "COMPARISON_GT", "COMPARISON_LT"
_SQL = "cloudsql.googleapis.com/database"
STATES = {
    "instance_state": 'one_of("FAILED", "SUSPENDED", "UNKNOWN_STATE")',
    "postgresql/num_backends_by_state": '"idle_in_transaction"',
}
ALERTS: dict[str, tuple[str, str, list[tuple[Any, ...]]]] = {
    "cpu": ("WARNING", "cpu/utilization", [(_GT, 0.8, "300s", "60s", "ALIGN_MEAN")]),
    "memory": ("ERROR", "memory/utilization", [(_GT, 0.9, "300s", "60s", "ALIGN_MEAN")]),
    "disk": ("ERROR", "disk/utilization", [(_GT, 0.8, "300s", "60s", "ALIGN_MEAN")]),
    "down": (
        "CRITICAL",
        "up|instance_state|up",
        [
            (_LT, 1, "120s", "60s", "ALIGN_MAX"),
            (_GT, 0, "120s", "60s", "ALIGN_COUNT_TRUE"),
            (None, None, "600s", "60s", "ALIGN_MAX"),
        ],
    ),
    "connections": ("ERROR", "postgresql/num_backends", [(_GT, 40, "120s", "60s", "ALIGN_MAX", "REDUCE_SUM")]),
    "connections-by-state": (
        "WARNING",
        "postgresql/num_backends_by_state",
        [(_GT, 5, "300s", "60s", "ALIGN_MIN", "REDUCE_SUM")],
    ),
    "transaction-ids": ("ERROR", "postgresql/transaction_id_utilization", [(_GT, 0.5, "600s", "60s", "ALIGN_MAX")]),
    "deadlocks": ("WARNING", "postgresql/deadlock_count", [(_GT, 5, "0s", "3600s", "ALIGN_DELTA", "REDUCE_SUM")]),
    "log-archive": ("ERROR", "replication/log_archive_failure_count", [(_GT, 0, "0s", "600s", "ALIGN_DELTA")]),
    "replica-lag": ("WARNING", "replication/replica_lag", [(_GT, 60, "300s", "60s", "ALIGN_MEAN")]),
    "migration-job-failed": ("ERROR", "gaia-db-migrate", [(_GT, 0, "0s", "60s", "ALIGN_DELTA")]),
    "maintenance-failed": ("ERROR", "gaia-db-maintain", [(_GT, 0, "0s", "60s", "ALIGN_DELTA")]),
    "export-missing": ("ERROR", "exports", []),
    "backup-failed": ("ERROR", "", []),
    "backup-missing": ("CRITICAL", "backups", []),
    "drill-missing": ("ERROR", "drills", []),
}
"""Severity, what is looked at, and of each condition: comparison, value, for how long, period, aligner, reducer."""


@pytest.mark.parametrize("name", VARIANTS)
def test_an_alert_fires_when_and_for_as_long_as_was_decided(name: str) -> None:
    plan = planned(name)
    most = {"connections": 160} if name == "scaled" else {}
    for each in plan.of("monitoring/AlertPolicy").values():
        key, inputs = each.name.removeprefix("alert-"), each.inputs
        severity, _, expected = ALERTS[key]
        assert (inputs["severity"], inputs["combiner"]) == (severity, "OR"), key
        assert inputs["alertStrategy"]["autoClose"] == "86400s", key
        assert inputs["alertStrategy"].get("notificationRateLimit", {"period": "3600s"}) == {"period": "3600s"}
        found = [one.get("conditionThreshold") or one.get("conditionAbsent") for one in inputs["conditions"]]
        assert [_decided(one) for one in found if one] == [
            (one[0], most.get(key, one[1]), *one[2:]) for one in expected
        ], key
        assert inputs["documentation"]["mimeType"] == "text/markdown"


def _decided(condition: dict[str, Any]) -> tuple[Any, ...]:
    (one,) = condition["aggregations"]
    assert "comparison" not in condition or condition["trigger"] == {"count": 1}
    reducer = (one["crossSeriesReducer"],) if one.get("groupByFields") == ["resource.labels.database_id"] else ()
    value, compared = condition.get("thresholdValue"), condition.get("comparison")
    return (compared, value, condition["duration"], one["alignmentPeriod"], one["perSeriesAligner"], *reducer)


@pytest.mark.parametrize("name", VARIANTS)
def test_an_alert_looks_at_each_of_our_instances_and_at_nothing_else(name: str) -> None:
    plan = planned(name)
    names = [each.inputs["name"] for each in plan.of("sql/DatabaseInstance").values()]
    ids = ", ".join(f'"{PROJECT}:{one}"' for one in sorted(names))
    every = f'resource.type = "cloudsql_database" AND resource.labels.database_id = one_of({ids})'
    for each in plan.of("monitoring/AlertPolicy").values():
        _, looked_at, decided = ALERTS[each.name.removeprefix("alert-")]
        filters = [next(iter(_filters(one))) for one in each.inputs["conditions"]]
        if "gaia-db-" in looked_at:
            assert filters == [
                f'resource.type = "cloud_run_job" AND resource.labels.job_name = "{looked_at}" AND '
                f'resource.labels.location = "{REGION}" AND metric.type = '
                '"run.googleapis.com/job/completed_execution_count" AND metric.labels.result = "failed"'
            ]
        elif decided:
            for text, metric in zip(filters, looked_at.split("|"), strict=True):
                start = f'{every} AND metric.type = "{_SQL}/{metric}"'
                assert text.startswith(start)
                state = STATES.get(metric)
                assert text.removeprefix(start) == (f" AND metric.labels.state = {state}" if state else "")
        elif looked_at:
            resource = "global" if looked_at == "drills" else "cloudsql_database"
            (hours,) = set(re.findall(r"\[(\d+)h\]", filters[0]))
            series = f'logging_googleapis_com:user_gaia_db_{looked_at}{{monitored_resource="{resource}"}}[{hours}h]'
            assert filters == [f"absent_over_time({series}) or sum(increase({series})) < 1"]
            assert int(hours) == (50 if looked_at == "drills" else 26)


def _filters(condition: dict[str, Any]) -> Iterator[str]:
    for kind, each in condition.items():
        if kind == "conditionPrometheusQueryLanguage":
            assert (each["duration"], each["evaluationInterval"]) == ("0s", "300s")
            assert each["disableMetricValidation"] is True
            yield each["query"]
        elif kind != "displayName":
            yield each["filter"]


_PRIMARY = f'resource.type="cloudsql_database" AND resource.labels.database_id="{PROJECT}:gaia-prod-db"'


@pytest.mark.parametrize("name", VARIANTS)
def test_only_what_succeeded_is_counted_and_only_what_failed_is_told(name: str) -> None:
    plan = planned(name)
    system = 'log_id("cloudaudit.googleapis.com/system_event") AND '
    backup = f'{system}{_PRIMARY} AND protoPayload.methodName="cloudsql.instances.automatedBackup" AND '
    assert {
        key.removeprefix("metric-gaia_db_"): each.inputs["filter"] for key, each in plan.of("logging/Metric").items()
    } == {
        "exports": f'{_PRIMARY} AND protoPayload.methodName="cloudsql.instances.export" AND operation.last=true '
        "AND NOT severity>=ERROR",
        "backups": f'{backup}protoPayload.metadata.windowStatus="STATUS_SUCCEEDED"',
        **(
            {"drills": f'logName="projects/{PROJECT}/logs/gaia-db-drill" AND jsonPayload.ok=true'}
            if name == "public"
            else {}
        ),
    }
    for key, each in plan.of("logging/Metric").items():
        assert each.inputs["name"] == key.removeprefix("metric-")
        assert each.inputs["metricDescriptor"] == {"metricKind": "DELTA", "valueType": "INT64", "unit": "1"}
    (failed,) = plan.one("monitoring/AlertPolicy", "alert-backup-failed").inputs["conditions"]
    assert failed["conditionMatchedLog"]["filter"] == (
        f'{backup}(protoPayload.metadata.windowStatus="STATUS_FAILED" OR '
        'protoPayload.metadata.windowStatus="STATUS_ATTEMPT_FAILED" OR severity>=ERROR)'
    )


# --- what the backend is told ---


@pytest.mark.parametrize("name", VARIANTS)
def test_the_contract_says_what_was_registered(name: str) -> None:
    plan = planned(name)
    out, primary = plan.outputs, plan.one("sql/DatabaseInstance", "primary").inputs
    connection = f"{PROJECT}:{primary['region']}:{primary['name']}"
    assert (out["contract_version"], out["environment"], out["target"]) == (1, "prod", "gcp")
    assert (out["project"], out["region"], out["instance_connection_name"]) == (PROJECT, REGION, connection)
    assert (out["database"], out["port"]) == (plan.one("sql/Database", "database").inputs["name"], 5432)
    account = plan.one("serviceaccount/Account", "backend-account").inputs["accountId"]
    assert out["runtime_service_account"] == f"{account}@{PROJECT}.iam.gserviceaccount.com"
    assert out["server_ca_mode"] == primary["settings"]["ipConfiguration"]["serverCaMode"]
    assert out["vpc_egress" if name != "public" else "host"] == (
        "private-ranges-only" if name != "public" else "203.0.113.9"
    )
    if name in ("minimal", "defaults"):
        assert out["host"] == f"/cloudsql/{connection}"
        assert (out["private_ip"], out["vpc_connector"]) == ("10.9.0.3", "gaia-prod-connector")
    if name == "scaled":
        assert (out["host"], out["private_ip"]) == ("10.138.0.9", "10.138.0.9")
    if name in WITH_JOBS:
        assert (out["migration_job"], out["migration_image"]) == ("gaia-db-migrate", planning.IMAGE)
        assert re.fullmatch(r"\d{4}", out["schema_revision"])
    secrets = {
        "user_secret": "db-user", "password_secret": "db-password", "name_secret": "db-name",
        "database_url_secret": "db-url", "identity_key_secret": "db-identity-key",
        "server_ca_secret": "db-server-ca", "client_certificate_secret": "db-client-cert",
        "client_key_secret": "db-client-key",
    }  # fmt: skip
    there = {output: secret for output, secret in secrets.items() if secret in plan.of("secretmanager/Secret")}
    told = {output: value for output, value in out.items() if output.endswith("_secret")}
    assert told == {
        output: {"id": f"projects/{PROJECT}/secrets/{secret}", "version": "1"} for output, secret in there.items()
    }


# --- who may do what, where ---


@pytest.mark.parametrize("name", VARIANTS)
def test_a_condition_holds_for_cloud_sql_and_our_instances(name: str) -> None:
    plan = planned(name)
    ours = sorted(each.inputs["name"] for each in plan.of("sql/DatabaseInstance").values())
    either = " || ".join(f'resource.name == "projects/{PROJECT}/instances/{one}"' for one in ours)
    for each in plan.of("projects/IAMMember").values():
        if condition := each.inputs.get("condition"):
            assert condition["expression"] == f'resource.service == "sqladmin.googleapis.com" && ({either})'


def test_a_role_of_ones_own_has_the_permissions_that_its_call_needs() -> None:
    roles = planned("defaults").of("projects/IAMCustomRole").values()
    assert {each.inputs["roleId"]: set(each.inputs["permissions"]) for each in roles} == {
        "gaiaDbBackup": {f"cloudsql.{one}" for one in ("backupRuns.create", "backupRuns.get", "backupRuns.list")}
        | {"cloudsql.instances.get"},
        "gaiaDbExport": {"cloudsql.instances.export", "cloudsql.instances.get"},
    }


@pytest.mark.parametrize("name", VARIANTS)
def test_a_right_on_one_thing_is_on_the_right_thing(name: str) -> None:
    plan = planned(name)
    bucket = plan.one("storage/Bucket", "exports").inputs["name"]
    assert {each.inputs["bucket"] for each in plan.of("storage/BucketIAMMember").values()} <= {bucket}
    writes = plan.one("storage/BucketIAMMember", "instance-writes-exports").inputs
    assert writes["member"] == "serviceAccount:p1-abc@gcp-sa-cloud-sql.iam.gserviceaccount.com"
    for each in plan.of("cloudrunv2/JobIamMember").values():
        assert each.inputs["name"] == "gaia-db-maintain"
    for each in plan.of("serviceaccount/IAMMember").values():
        account = f"gaia-drill-sa@{PROJECT}.iam.gserviceaccount.com"
        assert each.inputs["serviceAccountId"] == f"projects/{PROJECT}/serviceAccounts/{account}"
        assert each.inputs["member"] == VARIANTS[name]["gcp"]["access"]["drill_principal"]
    for each in plan.of("projects/IAMMember").values():
        if each.name.startswith("person-"):
            assert each.inputs["member"] == "user:ada@example.com"


@pytest.mark.parametrize("name", VARIANTS)
def test_an_export_waits_for_its_database_and_for_the_rights_and_spares_the_server(name: str) -> None:
    plan = planned(name)
    for each in plan.of("cloudscheduler/Job").values():
        if each.name.startswith("export-"):
            assert plan.waits_for(each, plan.one("sql/Database", "database"))
            assert plan.waits_for(each, plan.one("storage/BucketIAMMember", "instance-writes-exports"))
            assert plan.waits_for(each, plan.one("projects/IAMMember", "exports-export"))
            context = json.loads(base64.b64decode(each.inputs["httpTarget"]["body"]))["exportContext"]
            uri = f"gs://{PROJECT}-gaia-db-backups/gaia-prod-db-{each.name.removeprefix('export-')}.sql.gz"
            assert context == {"fileType": "SQL", "databases": ["gaia"], "offload": True, "uri": uri}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_dashboard_has_a_tile_for_each_threshold(name: str) -> None:
    plan = planned(name)
    conditions = [one for each in plan.of("monitoring/AlertPolicy").values() for one in each.inputs["conditions"]]
    document = json.loads(plan.one("monitoring/Dashboard", "dashboard").inputs["dashboardJson"])
    tiles = document["mosaicLayout"]["tiles"]
    assert len(tiles) == len([one for one in conditions if "conditionThreshold" in one])


def test_whoever_is_told_of_a_missing_drill_is_led_to_its_runbook_at_the_address_that_was_given() -> None:
    plan = planned("public")
    for name, each in plan.of("monitoring/AlertPolicy").items():
        key = name.removeprefix("alert-")
        url = f"https://example.com/docs/runbooks/{key}.md"
        assert f"Runbook: [docs/runbooks/{key}.md]({url})" in each.inputs["documentation"]["content"]
        assert [link["url"] for link in each.inputs["documentation"]["links"]] == [url]
    assert plan.one("monitoring/NotificationChannel", "channel-oncall").inputs["type"] == "email"


def test_what_a_secret_holds_is_what_its_name_says() -> None:
    plan = planned("public")
    held = {name.removesuffix("-version"): each.inputs["secretData"] for name, each in plan.of(FROM_ITS_SECRET).items()}
    migrator = urlsplit(held["db-migrator-url"])
    assert (migrator.username, migrator.path) == ("gaia_migrator", "/gaia")
    assert migrator.password == plan.one("sql/User", "user-gaia_migrator").inputs["password"]
    assert migrator.password == f"{CANARY}-migrator-password"
    assert held["db-password-other"] == f"{CANARY}-app-password-0"
    assert held["db-identity-key"].endswith(f"{CANARY}-identity-key-1")
    assert (held["db-server-ca"], held["db-client-cert"]) == ("PEM", "PEM")
    assert held["db-client-key"] == f"{CANARY}-client-key"
    assert (held["db-name"], held["db-user"]) == ("gaia", "gaia_app")
    for name in MAKERS:
        maker = plan.one(*MAKERS[name])
        assert plan.waits_for(plan.one(FROM_ITS_SECRET, name), maker)
    private = planned("defaults").one(FROM_ITS_SECRET, "db-migrator-url-version").inputs["secretData"]
    assert private.endswith(f"?host=/cloudsql/{PROJECT}:{REGION}:gaia-prod-db")
