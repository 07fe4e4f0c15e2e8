"""What waits for what: each resource for its API, the instance for its network, the jobs for all that they need."""

from __future__ import annotations

import pytest

from tests.production import planning
from tests.production.planning import Plan, Registered, merged, short

VARIANTS = planning.variants()
API = {
    "artifactregistry": "artifactregistry",
    "cloudrunv2": "run",
    "cloudscheduler": "cloudscheduler",
    "compute": "compute",
    "dns": "dns",
    "kms": "cloudkms",
    "logging": "logging",
    "monitoring": "monitoring",
    "secretmanager": "secretmanager",
    "serviceaccount": "iam",
    "servicenetworking": "servicenetworking",
    "sql": "sqladmin",
    "storage": "storage",
    "vpcaccess": "vpcaccess",
}
OTHERS = {
    "projects/IAMMember": "cloudresourcemanager",
    "projects/IAMCustomRole": "iam",
    "projects/ServiceIdentity": "sqladmin",
}


def planned(name: str) -> Plan:
    return planning.planned(VARIANTS[name])


def api_of(each: Registered) -> str | None:
    kind = short(each.type)
    if not each.type.startswith("gcp:") or kind == "projects/Service":
        return None
    return OTHERS.get(kind) or API[kind.split("/")[0]]


@pytest.mark.parametrize("name", VARIANTS)
def test_everything_comes_after_its_api(name: str) -> None:
    plan = planned(name)
    for each in plan.custom():
        if api := api_of(each):
            assert plan.waits_for(each, plan.one("projects/Service", f"api-{api}")), each.urn


@pytest.mark.parametrize("name", VARIANTS)
def test_only_the_apis_that_are_used_are_enabled_and_none_is_ever_disabled(name: str) -> None:
    plan = planned(name)
    services = plan.of("projects/Service")
    used = {f"api-{api}" for each in plan.custom() if (api := api_of(each))}
    # The jobs' image comes in before the jobs, in the first `up`.
    assert set(services) - used <= {"api-run", "api-iamcredentials"}
    assert {each.inputs["disableOnDestroy"] for each in services.values()} == {False}


def test_the_document_s_own_three_services_are_among_them() -> None:
    enabled = {each.inputs["service"] for each in planned("minimal").of("projects/Service").values()}
    assert {"sqladmin.googleapis.com", "secretmanager.googleapis.com", "iam.googleapis.com"} <= enabled


@pytest.mark.parametrize("name", ["minimal", "defaults"])
def test_the_instance_comes_after_the_service_networking(name: str) -> None:
    plan = planned(name)
    instance = plan.one("sql/DatabaseInstance", "primary")
    assert plan.waits_for(instance, plan.one("servicenetworking/Connection", "private-services"))
    assert plan.waits_for(instance, plan.one("compute/GlobalAddress", "private-range"))


def test_with_a_key_of_ones_own_the_instance_comes_after_the_right_to_use_it() -> None:
    plan = planned("scaled")
    grant = plan.one("kms/CryptoKeyIAMMember", "agent-encrypts")
    for each in plan.of("sql/DatabaseInstance").values():
        assert plan.waits_for(each, grant) or plan.waits_for(each, plan.one("sql/DatabaseInstance", "primary"))


@pytest.mark.parametrize("name", ["defaults", "scaled", "public"])
def test_the_job_comes_after_all_that_it_needs(name: str) -> None:
    plan = planned(name)
    job = plan.one("cloudrunv2/Job", "migrate")
    needed = [
        plan.one("sql/Database", "database"),
        *plan.of("sql/User").values(),
        plan.one("secretmanager/SecretVersion", "db-migrator-url-version"),
        plan.one("secretmanager/SecretVersion", "db-identity-key-version"),
        plan.one("secretmanager/SecretVersion", "db-password-version"),
        plan.one("secretmanager/SecretVersion", "db-password-other-version"),
        *(each for each in plan.of("secretmanager/SecretIamMember").values() if each.name.endswith("-for-migrate")),
        plan.one("projects/IAMMember", "migrations-connect"),
        plan.one("projects/IAMMember", "migrations-back-up"),
        plan.one("serviceaccount/Account", "migrate-account"),
        plan.one("artifactregistry/Repository", "images"),
    ]
    if name == "scaled":
        needed += [*plan.of("compute/ForwardingRule").values(), *plan.of("dns/RecordSet").values()]
    if name == "defaults":
        needed += plan.of("vpcaccess/Connector").values()
    assert [each.name for each in needed if not plan.waits_for(job, each)] == []


def test_maintenance_comes_after_the_first_migration_and_its_schedule_after_the_right_to_start_it() -> None:
    plan = planned("defaults")
    maintain, schedule = plan.one("cloudrunv2/Job", "maintain"), plan.one("cloudscheduler/Job", "maintain-schedule")
    assert plan.waits_for(maintain, plan.one("cloudrunv2/Job", "migrate"))
    assert plan.waits_for(schedule, plan.one("cloudrunv2/JobIamMember", "scheduler-maintains"))


def test_exports_come_after_the_bucket_lets_the_instance_write() -> None:
    plan = planned("defaults")
    for day in ("mon", "sun"):
        export = plan.one("cloudscheduler/Job", f"export-{day}")
        assert plan.waits_for(export, plan.one("storage/BucketIAMMember", "instance-writes-exports"))
        assert plan.waits_for(export, plan.one("projects/IAMMember", "exports-export"))


def test_alerts_on_the_log_come_after_their_metrics() -> None:
    plan = planned("defaults")
    for key, metric in {"export-missing": "gaia_db_exports", "backup-missing": "gaia_db_backups"}.items():
        policy = plan.one("monitoring/AlertPolicy", f"alert-{key}")
        assert plan.waits_for(policy, plan.one("logging/Metric", f"metric-{metric}"))


@pytest.mark.parametrize("name", VARIANTS)
def test_nothing_waits_for_itself(name: str) -> None:
    plan = planned(name)
    assert [each.urn for each in plan.resources.values() if each.urn in plan.reaches(each)] == []


def test_one_setting_takes_every_protection_off_so_that_a_stack_can_be_destroyed() -> None:
    off = {"gcp": {"instance": {"deletion_protection": False}}}
    plan = planning.planned(merged(VARIANTS["scaled"], off))
    assert [each.name for each in plan.custom() if each.protect or each.inputs.get("deletionProtection")] == []


@pytest.mark.parametrize("name", VARIANTS)
def test_what_holds_data_is_protected(name: str) -> None:
    kinds = {"sql/DatabaseInstance primary", "sql/Database database", "storage/Bucket exports"}
    protected = {f"{short(each.type)} {each.name}" for each in planned(name).custom() if each.protect}
    assert kinds <= protected
    primary = planned(name).one("sql/DatabaseInstance", "primary").inputs
    assert (primary["deletionProtection"], primary["settings"]["deletionProtectionEnabled"]) == (True, True)
    assert {each.inputs["deletionPolicy"] for each in planned(name).of("sql/User").values()} == {"ABANDON"}
    assert {each.inputs["deletionPolicy"] for each in planned(name).of("secretmanager/SecretVersion").values()} == {
        "ABANDON"
    }
