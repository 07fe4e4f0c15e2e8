"""The instance is the document's: each flag of its ``gcloud sql instances create``, and what keeps it safe."""

from __future__ import annotations

from typing import Any

import pytest

from infra import settings
from infra.gcp import flags, tiers
from tests.production import planning
from tests.production.planning import Plan

VARIANTS = planning.variants()


def planned(name: str) -> Plan:
    return planning.planned(VARIANTS[name])


def primary(name: str = "defaults") -> dict[str, Any]:
    return planned(name).one("sql/DatabaseInstance", "primary").inputs


def flags_of(inputs: dict[str, Any]) -> dict[str, str]:
    return {flag["name"]: flag["value"] for flag in inputs["settings"]["databaseFlags"]}


@pytest.mark.parametrize("name", ["minimal", "defaults"])
def test_the_instance_is_the_one_that_the_document_creates(name: str) -> None:
    made, chosen = primary(name), primary(name)["settings"]
    assert (made["name"], made["region"], made["databaseVersion"]) == ("gaia-prod-db", "us-west1", "POSTGRES_16")
    assert (chosen["tier"], chosen["edition"]) == ("db-g1-small", "ENTERPRISE")
    assert (chosen["diskSize"], chosen["diskType"], chosen["diskAutoresize"]) == (10, "PD_HDD", True)
    assert chosen["availabilityType"] == "ZONAL"
    assert chosen["maintenanceWindow"] == {"day": 1, "hour": 2, "updateTrack": "stable"}
    assert chosen["ipConfiguration"]["ipv4Enabled"] is False
    assert chosen["ipConfiguration"]["privateNetwork"] == f"projects/{planning.PROJECT}/global/networks/default"


def test_backups_logs_and_what_is_left_after_a_deletion() -> None:
    chosen = primary()["settings"]
    backup = chosen["backupConfiguration"]
    assert (backup["enabled"], backup["pointInTimeRecoveryEnabled"], backup["transactionLogRetentionDays"]) == (
        True,
        True,
        7,
    )
    assert backup["backupRetentionSettings"] == {"retainedBackups": 7, "retentionUnit": "COUNT"}
    assert (chosen["retainBackupsOnDelete"], chosen["finalBackupConfig"]) == (
        True,
        {"enabled": True, "retentionDays": 30},
    )


def test_the_server_takes_tls_and_connectors_alone() -> None:
    chosen = primary()["settings"]
    assert chosen["connectorEnforcement"] == "REQUIRED"
    assert chosen["ipConfiguration"]["sslMode"] == "ENCRYPTED_ONLY"
    assert chosen["ipConfiguration"]["serverCaMode"] == "GOOGLE_MANAGED_INTERNAL_CA"


def test_the_password_policy_takes_the_passwords_that_we_make() -> None:
    policy = primary()["settings"]["passwordValidationPolicy"]
    assert (policy["enablePasswordPolicy"], policy["minLength"]) == (True, 16)
    # 32 letters and digits without a special sign: COMPLEXITY_DEFAULT would refuse them.
    assert "complexity" not in policy


@pytest.mark.parametrize("name", VARIANTS)
def test_every_flag_of_the_audit_is_set_explicitly(name: str) -> None:
    for each in planned(name).of("sql/DatabaseInstance").values():
        found = flags_of(each.inputs)
        assert {flag: found.get(flag) for flag in flags.AUDIT} == flags.AUDIT
        assert (found["pgaudit.log"], found["cloudsql.iam_authentication"]) == ("ddl,role", "on")


def test_memory_is_in_pages_and_time_in_milliseconds() -> None:
    found = flags_of(primary())
    assert (found["shared_buffers"], found["effective_cache_size"]) == ("32768", "131072")
    assert found["idle_in_transaction_session_timeout"] == "600000"


def test_the_values_for_ssds_are_set_on_ssds_alone() -> None:
    assert not set(flags.SSD_ONLY) & set(flags_of(primary()))
    found = flags_of(primary("scaled"))
    assert {name: found[name] for name in flags.SSD_ONLY} == {
        "random_page_cost": "1.1",
        "effective_io_concurrency": "200",
    }


def test_another_instance_in_its_place_keeps_the_range_and_the_key() -> None:
    # A restore leads to one; ranges of two names overlap, and a key that went would take the backups along.
    shapes = ({"encryption": {"own_key": True}, "instance": {"name": name}} for name in ("gaia-a", "gaia-b"))
    before, after = (planning.plan("prod", planning.production({"gcp": shape})) for shape in shapes)
    for kind in ("compute/GlobalAddress", "kms/KeyRing", "kms/CryptoKey", "vpcaccess/Connector", "storage/Bucket"):
        assert before.of(kind), kind
        assert before.of(kind) == after.of(kind)


def test_a_replica_is_as_its_primary_in_what_a_standby_must_share() -> None:
    plan = planned("scaled")
    for name, tier in {"reports": "db-custom-4-15360", "search": "db-custom-2-7680"}.items():
        replica = plan.one("sql/DatabaseInstance", f"replica-{name}").inputs
        assert replica["masterInstanceName"] == "gaia-prod-db"
        assert (replica["settings"]["edition"], replica["settings"]["tier"]) == ("ENTERPRISE", tier)
        assert flags_of(replica) == flags_of(primary("scaled"))
        assert "backupConfiguration" not in replica["settings"]
        assert replica["encryptionKeyName"] == primary("scaled")["encryptionKeyName"]


def test_without_a_public_address_there_is_none_and_with_one_only_the_named_ranges_get_in() -> None:
    assert "authorizedNetworks" not in primary()["settings"]["ipConfiguration"]
    public = primary("public")["settings"]["ipConfiguration"]
    assert public["ipv4Enabled"] is True
    assert public["authorizedNetworks"] == [{"name": "office", "value": "203.0.113.0/24"}]
    psc = primary("scaled")["settings"]["ipConfiguration"]
    assert psc["pscConfigs"] == [{"allowedConsumerProjects": [planning.PROJECT], "pscEnabled": True}]
    assert "privateNetwork" not in psc


@pytest.mark.parametrize(
    ("tier", "gib", "edition"),
    [
        ("db-f1-micro", 0.6, "ENTERPRISE"),
        ("db-g1-small", 1.7, "ENTERPRISE"),
        ("db-custom-2-7680", 7.5, "ENTERPRISE"),
        ("db-perf-optimized-N-2", 16, "ENTERPRISE_PLUS"),
        ("db-memory-optimized-N-4", 64, "ENTERPRISE_PLUS"),
    ],
)
def test_a_machine_has_its_memory_and_its_edition(tier: str, gib: float, edition: str) -> None:
    assert tiers.memory_bytes(tier) / tiers.GIB == pytest.approx(gib, rel=0.01)
    assert tiers.edition_of(tier) == edition
    assert tiers.fault(tier) is None


def test_the_job_runs_the_pinned_image_once_as_its_own_account() -> None:
    template = planned("defaults").one("cloudrunv2/Job", "migrate").inputs["template"]
    task = template["template"]
    assert (template["taskCount"], task["maxRetries"], task["timeout"]) == (1, 0, "3600s")
    assert task["containers"][0]["image"] == planning.IMAGE
    assert task["serviceAccount"].startswith("gaia-migrate-sa@")
    assert task["vpcAccess"]["egress"] == "PRIVATE_RANGES_ONLY"


def test_the_defaults_of_the_class_are_those_of_the_committed_file() -> None:
    committed = settings.parse("prod", planning.config_of(planning.ROOT / "Pulumi.prod.yaml"))
    assert committed == settings.parse("prod", {"target": "gcp"})


def test_the_committed_file_names_every_setting_with_a_comment() -> None:
    from tests.production.test_bad_settings import keys_of

    lines = (planning.ROOT / "Pulumi.prod.yaml").read_text(encoding="utf-8").splitlines()
    config = planning.config_of(planning.ROOT / "Pulumi.prod.yaml")

    def has(path: str) -> bool:
        at: Any = config["gcp"]
        for part in path.split("."):
            if part not in at:
                return False
            at = at[part]
        return True

    assert [path for path in keys_of(settings.Gcp) if not has(path)] == []
    assert len([line for line in lines if "#" in line]) > 60


# --- every setting, so that none gets another value unseen ---

NETWORK = f"projects/{planning.PROJECT}/global/networks/default"
ON_EVERY_SERVER: dict[str, Any] = {
    "activationPolicy": "ALWAYS",
    "deletionProtectionEnabled": True,
    "diskAutoresize": True,
    "diskAutoresizeLimit": 0,
    "edition": "ENTERPRISE",
    "insightsConfig": {
        "queryInsightsEnabled": True,
        "queryStringLength": 1024,
        "queryPlansPerMinute": 5,
        "recordApplicationTags": True,
        "recordClientAddress": True,
    },
}
ON_A_PRIMARY: dict[str, Any] = {
    "passwordValidationPolicy": {"enablePasswordPolicy": True, "minLength": 16, "disallowUsernameSubstring": True},
    "backupConfiguration": {
        "enabled": True,
        "startTime": "08:00",
        "pointInTimeRecoveryEnabled": True,
        "transactionLogRetentionDays": 7,
        "backupRetentionSettings": {"retainedBackups": 7, "retentionUnit": "COUNT"},
    },
    "maintenanceWindow": {"day": 1, "hour": 2, "updateTrack": "stable"},
    "retainBackupsOnDelete": True,
    "finalBackupConfig": {"enabled": True, "retentionDays": 30},
}
SMALL = {"tier": "db-g1-small", "availabilityType": "ZONAL", "diskType": "PD_HDD", "diskSize": 10}
LARGE = {"diskType": "PD_SSD", "diskSize": 50, "connectorEnforcement": "NOT_REQUIRED"}
ADDRESSES: dict[str, dict[str, Any]] = {
    "private": {
        "ipv4Enabled": False,
        "privateNetwork": NETWORK,
        "allocatedIpRange": "gaia-prod-db-range",
        "enablePrivatePathForGoogleCloudServices": True,
        "sslMode": "ENCRYPTED_ONLY",
    },
    "psc": {
        "ipv4Enabled": False,
        "pscConfigs": [{"pscEnabled": True, "allowedConsumerProjects": [planning.PROJECT]}],
        "sslMode": "ENCRYPTED_ONLY",
    },
    "public": {
        "ipv4Enabled": True,
        "authorizedNetworks": [{"name": "office", "value": "203.0.113.0/24"}],
        "sslMode": "TRUSTED_CLIENT_CERTIFICATE_REQUIRED",
    },
}
DENIED = {"startDate": "12-15", "endDate": "01-10", "time": "00:00:00"}
WHOLE: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {
    ("minimal", "primary"): ("private", ON_A_PRIMARY | SMALL | {"connectorEnforcement": "REQUIRED"}),
    ("defaults", "primary"): ("private", ON_A_PRIMARY | SMALL | {"connectorEnforcement": "REQUIRED"}),
    ("public", "primary"): ("public", ON_A_PRIMARY | SMALL | {"connectorEnforcement": "NOT_REQUIRED"}),
    ("scaled", "primary"): (
        "psc",
        ON_A_PRIMARY
        | LARGE
        | {"tier": "db-custom-2-7680", "availabilityType": "REGIONAL", "denyMaintenancePeriod": DENIED},
    ),
    ("scaled", "replica-reports"): ("psc", LARGE | {"tier": "db-custom-4-15360", "availabilityType": "ZONAL"}),
    ("scaled", "replica-search"): ("psc", LARGE | {"tier": "db-custom-2-7680", "availabilityType": "ZONAL"}),
}


@pytest.mark.parametrize(("name", "server"), WHOLE)
def test_a_server_is_set_as_decided_and_in_nothing_else(name: str, server: str) -> None:
    inputs = planned(name).one("sql/DatabaseInstance", server).inputs
    left_out = ("userLabels", "databaseFlags")
    found = {key: value for key, value in inputs["settings"].items() if key not in left_out}
    mode, own = WHOLE[name, server]
    address = {"ipConfiguration": {**ADDRESSES[mode], "serverCaMode": "GOOGLE_MANAGED_INTERNAL_CA"}}
    assert found == ON_EVERY_SERVER | own | address
    assert inputs["databaseVersion"] == "POSTGRES_16"
    assert inputs["deletionProtection"] is True
    replica = server.removeprefix("replica-")
    if replica != server:
        assert (inputs["name"], inputs["instanceType"]) == (f"gaia-prod-db-{replica}", "READ_REPLICA_INSTANCE")


@pytest.mark.parametrize("name", VARIANTS)
def test_every_flag_is_the_audit_s_or_the_settings(name: str) -> None:
    large = name == "scaled"
    tuned = {
        "shared_buffers": "262144" if large else "32768",
        "effective_cache_size": "655360" if large else "131072",
        "max_connections": "200" if large else "50",
        "idle_in_transaction_session_timeout": "600000",
        "pgaudit.log": "ddl,role",
        "cloudsql.iam_authentication": "on",
    }
    for each in planned(name).of("sql/DatabaseInstance").values():
        more = {flag: value for flag, value in flags_of(each.inputs).items() if flag not in flags.AUDIT}
        ssd = {"random_page_cost": "1.1", "effective_io_concurrency": "200"} if large else {}
        assert more == tuned | ssd


def test_the_database_and_its_logins_are_those_of_the_contract() -> None:
    plan = planned("public")
    database = plan.one("sql/Database", "database").inputs
    assert (database["name"], database["charset"], database["collation"]) == ("gaia", "UTF8", "en_US.UTF8")
    logins = {name: (each.inputs["name"], each.inputs.get("type")) for name, each in plan.of("sql/User").items()}
    assert logins == {
        "user-gaia_migrator": ("gaia_migrator", None),
        "iam-user-backend": (f"gaia-backend-sa@{planning.PROJECT}.iam", "CLOUD_IAM_SERVICE_ACCOUNT"),
        "iam-user-person-ada": ("ada@example.com", "CLOUD_IAM_USER"),
    }
    for each in (*plan.of("sql/User").values(), *plan.of("sql/SslCert").values()):
        assert each.inputs["instance"] == "gaia-prod-db"
    assert plan.one("sql/SslCert", "client-certificate").inputs["commonName"] == "gaia-backend"
