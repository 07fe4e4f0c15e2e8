"""Every key of production refuses what it can't be, alone and in company: one error, each fault with its key."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, get_origin, get_type_hints

import pulumi
import pytest

from infra import settings
from infra.gcp import rules
from infra.gcp.settings import Gcp
from infra.settings import SettingsError
from tests.production import planning
from tests.production.planning import merged

BAD: dict[str, tuple[Any, ...]] = {
    "region": ("us-west", "US-WEST1", "us-west1-a", "", 1),
    "project": (3, ["gaia"], "Gaia", "gaia_prod", "abc"),
    "instance.name": ("Gaia", "1gaia", "gaia_db", "", "g" * 63, None),
    "instance.edition": ("STANDARD", "enterprise", None),
    "instance.tier": (
        "db-nonsense",
        "db-custom-3-7680",
        "db-custom-2-1000",
        "db-custom-2-7681",
        "db-perf-optimized-N-2",
    ),
    "instance.disk_type": ("FLOPPY", "PD_SSD", None),
    "instance.disk_gb": (9, "10", 10.5, None),
    "instance.disk_limit_gb": (-1, 5, "0"),
    "instance.availability": ("ZONAL", "triple", True),
    "instance.deletion_protection": ("yes", 1, None),
    "instance.require_connector": ("REQUIRED", 0, None),
    "instance.server_ca": ("CUSTOMER_MANAGED_CAS_CA", "", None),
    "instance.iam_authentication": ("on", 1),
    "instance.password_min_length": (8, 33, "16"),
    "instance.audit": (["everything"], "ddl", None),
    "instance.flags": (
        {"fsync": "off"},
        {"work_mem": "lots"},
        {"work_mem": "1"},
        {"max_connections": "100"},
        {"log_connections": "off"},
        {"jit": "maybe"},
        {"work_mem": 8192},
        ["jit=on"],
    ),
    "maintenance_window.day": ("Monday", 1, None),
    "maintenance_window.hour": (24, -1, "2"),
    "maintenance_window.track": ("preview", None),
    "maintenance_window.deny_from": ("1.12.2026", "13-01", 12),
    "maintenance_window.deny_until": ("2026-12-32", "12-1", 12),
    "backups.enabled": ("true", 1, None),
    "backups.start": ("8:00", "24:00", "08:30", 8),
    "backups.kept": (0, 366, "7"),
    "backups.point_in_time_recovery": ("on", None),
    "backups.log_days": (8, 0, 36, "7"),
    "backups.location": ("Europe!", "US-", 3),
    "backups.final_days": (0, 9999, "30"),
    "insights.enabled": ("yes", None),
    "insights.query_length": (100, 100_000, "1024"),
    "insights.plans_per_minute": (-1, 21, "5"),
    "insights.application_tags": ("yes", 1),
    "insights.client_address": ("yes", 1),
    "network.mode": ("open", True, None),
    "network.network": ("Default", "a/b", "", None),
    "network.subnetwork": ("Default", "a/b", ""),
    "network.allocated_range": (
        "10.9.0.0",
        "10.9.0.1/20",
        "10.8.0.0/20",
        "10.200.0.0/20",
        "172.17.0.0/20",
        "8.8.0.0/20",
        "10.9.0.0/28",
        "fd00::/64",
    ),
    "network.egress": ("vpc", None),
    "network.connector.name": ("Gaia", "a-name-that-is-way-too-long-for-it", ""),
    "network.connector.range": ("10.8.0.0", "10.8.0.0/24", "10.9.0.0/28", "10.130.0.0/28"),
    "network.connector.region": ("europe-west4", "west"),
    "network.connector.machine_type": ("n1-big", None),
    "network.connector.min_instances": (1, 3, "2"),
    "network.connector.max_instances": (2, 11, "3"),
    "network.authorized": ({"office": "0.0.0.0/0"}, {"office": "everywhere"}, {"Office": "203.0.113.0/24"}, []),
    "network.client_certificates": (True, "yes"),
    "replicas": (
        {"Reports": {}},
        {"reports": {"reigon": "us-east1"}},
        {"reports": {"region": "east"}},
        {"reports": {"tier": "db-nonsense"}},
        {"reports": {"tier": "db-f1-micro"}},
        {"reports": []},
        [],
    ),
    "encryption.own_key": ("yes", None),
    "encryption.rotation_days": (1, "90"),
    "access.iam_users": ({"ada": "ada"}, {"Ada": "ada@example.com"}, ["ada@example.com"]),
    "access.backend_iam_login": ("yes", None),
    "access.preview_principal": ("user:ada@example.com", 3),
    "access.drill_principal": ("gaia-drill-sa", 3),
    "rotation.turn": (0, "2", None),
    "rotation.retire_previous": ("yes", 1),
    "rotation.identity_turn": (0, "2"),
    "rotation.retire_previous_identity": (True, "yes"),
    "migration_job.image": ("gaia/migrations:latest", "us-docker.pkg.dev/p/r/i@sha256:abc", 3),
    "migration_job.timeout_s": (5, 60, 86_401, "3600s"),
    "migration_job.cpu": (1, "3", None),
    "migration_job.memory": ("512MB", 512, ""),
    "migration_job.run": (0, "1"),
    "maintenance_job.schedule": ("daily", "* * *", 3),
    "maintenance_job.time_zone": ("UTC+1:00", "", 1),
    "maintenance_job.timeout_s": (0, "900"),
    "exports.bucket": ("Gaia", "ab", "goog-backups", "my-google-backups", 3),
    "exports.location": ("us-west1", "", 3),
    "exports.days": ([], ["MON", "MON"], ["MON", "THU"], ["Monday"], "MON"),
    "exports.hour": (24, -1, "10"),
    "exports.kept_days": (0, "365"),
    "alerts.emails": ({"oncall": "nobody"}, {"On call": "a@b.c"}, ["a@b.c"]),
    "alerts.channels": (["oncall"], "projects/p/notificationChannels/1", None),
    "alerts.runbooks_url": ("http://example.com", "docs/runbooks", "https://example.com/"),
    "alerts.cpu": (0, 80, "80%"),
    "alerts.memory": (0, 1.1, None),
    "alerts.disk": (0, 80),
    "alerts.down_s": (0, 30, "2m"),
    "alerts.connections": (0, 40),
    "alerts.idle_in_transaction": (0, "5"),
    "alerts.transaction_ids": (0, 2),
    "alerts.deadlocks_per_hour": (-1, "5"),
    "alerts.log_archive_failures": (-1, "0"),
    "alerts.replica_lag_s": (0, "60s"),
    "alerts.export_missing_h": (1, 24, "26h"),
    "alerts.backup_missing_h": (24, 1000, "26h"),
    "alerts.drill_missing_h": (24, 1000, "50h"),
}
"""Values that each key below ``gcp`` must refuse. A key without an entry fails the first test."""


def keys_of(cls: Any, prefix: str = "") -> Iterator[str]:
    """The dotted paths of all values below a settings class; a mapping is one value."""
    for name, hint in get_type_hints(cls).items():
        if dataclasses.is_dataclass(hint) and get_origin(hint) is None:
            yield from keys_of(hint, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def with_value(path: str, value: Any) -> dict[str, Any]:
    """A stack of production that is fine but for one value below ``gcp``."""
    for part in reversed(path.split(".")):
        value = {part: value}
    return {"target": "gcp", "gcp": value}


def faults(data: dict[str, Any]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        settings.parse("prod", data)
    return caught.value.faults


def gcp(**sections: Any) -> dict[str, Any]:
    return {"target": "gcp", "gcp": sections}


PUBLIC = {"mode": "public", "authorized": {"office": "203.0.113.0/24"}}
OPEN = {"require_connector": False}


def test_every_key_has_a_value_that_it_must_refuse() -> None:
    assert set(BAD) == set(keys_of(Gcp))


@pytest.mark.parametrize("path", BAD)
def test_a_bad_value_is_refused_with_its_key(path: str) -> None:
    for value in BAD[path]:
        found = faults(with_value(path, value))
        named = [fault for fault in found if fault.startswith(f"gcp.{path}")]
        # Some values disagree with others: then the fault stands at the other key and names this one.
        assert named or any(path.split(".")[-1] in fault for fault in found), (value, found)
        assert all(len(fault.partition(": ")[2]) > 10 for fault in found)


def test_all_faults_come_in_one_error() -> None:
    data: dict[str, Any] = {"target": "gcp", "colour": "red"}
    singles = [path for path in BAD if path not in ("replicas", "network.authorized", "instance.flags", "exports.days")]
    for path in singles:
        data = merged(data, with_value(path, ["no such value"]))
    found = faults(data)
    assert [path for path in singles if not any(fault.startswith(f"gcp.{path}") for fault in found)] == []
    assert "colour: unknown key" in " ".join(found)


def test_what_disagrees_is_told_together_with_single_values_that_are_wrong() -> None:
    data = gcp(instance={"tier": "db-perf-optimized-N-2", "name": "Bad_Name"}, backups={"log_days": 8})
    data["database"] = {"pool": {"size": 20}}
    starts = ["gcp.instance.name", "database.pool", "gcp.instance.tier", "gcp.backups.log_days"]
    assert [fault.split(":")[0] for fault in faults(data)] == starts


@pytest.mark.parametrize(
    ("data", "key", "way_out"),
    [
        (gcp(instance={"edition": "ENTERPRISE_PLUS"}), "gcp.instance.tier", "change one of them"),
        (gcp(instance={"edition": "ENTERPRISE_PLUS"}), "gcp.instance.disk_type", "choose SSD"),
        (gcp(backups={"log_days": 8}), "gcp.backups.log_days", "1 to 7 days"),
        (gcp(backups={"kept": 3}), "gcp.backups.log_days", "keep more backups"),
        (gcp(backups={"enabled": False}), "gcp.backups.point_in_time_recovery", "turn backups on"),
        (gcp(replicas={"r": {}}, backups={"enabled": False}), "gcp.replicas", "turn them on"),
        (gcp(replicas={"r": {"tier": "db-f1-micro"}}), "gcp.replicas.r.tier", "no smaller"),
        (
            gcp(instance={"availability": "regional"}, backups={"point_in_time_recovery": False}),
            "gcp.instance.availability",
            "choose zonal",
        ),
        (gcp(network={"mode": "public"}, instance=OPEN), "gcp.network.authorized", "{office: 203.0.113.0/24}"),
        (
            gcp(network={**PUBLIC, "authorized": {"all": "0.0.0.0/0"}}, instance=OPEN),
            "gcp.network.authorized.all",
            "name the ranges",
        ),
        (
            gcp(network={**PUBLIC, "authorized": {"half": "128.0.0.0/1"}}, instance=OPEN),
            "gcp.network.authorized.half",
            "name the ranges",
        ),
        (gcp(network=PUBLIC), "gcp.instance.require_connector", "set it to false"),
        (gcp(network={"mode": "psc"}), "gcp.instance.require_connector", "set it to false"),
        (gcp(network={"authorized": {"a": "203.0.113.0/24"}}), "gcp.network.authorized", "take it out"),
        (gcp(network={"client_certificates": True}), "gcp.network.client_certificates", "turn it off"),
        (gcp(network={"allocated_range": "10.8.0.0/20"}), "gcp.network.allocated_range", "such as 10.9.0.0/20"),
        (gcp(network={"allocated_range": "10.128.0.0/16"}), "gcp.network.allocated_range", "choose another"),
        (gcp(network={"connector": {"region": "us-east1"}}), "gcp.network.connector.region", "take the key out"),
        (gcp(network={"connector": {"min_instances": 3}}), "gcp.network.connector.min_instances", "less than"),
        (
            gcp(encryption={"own_key": True}, replicas={"r": {"region": "us-east1"}}),
            "gcp.replicas.r.region",
            "turn own_key off",
        ),
        (
            gcp(access={"backend_iam_login": True}, instance={"iam_authentication": False}),
            "gcp.access.backend_iam_login",
            "turn it on",
        ),
        (gcp(maintenance_window={"deny_from": "12-01"}), "gcp.maintenance_window.deny_from", "both or neither"),
        (
            gcp(maintenance_window={"deny_from": "2026-12-01", "deny_until": "01-10"}),
            "gcp.maintenance_window.deny_from",
            "both with a year",
        ),
        (
            gcp(maintenance_window={"deny_from": "12-01", "deny_until": "06-01"}),
            "gcp.maintenance_window.deny_from",
            "90 days",
        ),
        (gcp(exports={"days": ["SUN"]}), "gcp.alerts.export_missing_h", "export on more days"),
        (gcp(instance={"disk_limit_gb": 5}), "gcp.instance.disk_limit_gb", "raise it"),
        (gcp(project="abcdefghijklmnopqrstuvwxyz1234", instance={"name": "g" * 62}, replicas={"a" * 20: {}}),
         "gcp.instance.name", "shorten it"),
        ({"target": "gcp", "database": {"port": 5433}}, "database.port", "take the key out"),
        ({"target": "gcp", "database": {"pool": {"size": 20}}}, "database.pool", "make the pool smaller"),
        (
            {"target": "gcp", "database": {"tuning": {"max_connections": 200}}},
            "database.tuning.max_connections",
            "larger gcp.instance.tier",
        ),
        (
            {"target": "gcp", "database": {"tuning": {"shared_buffers": "2GB", "effective_cache_size": "2GB"}}},
            "database.tuning.shared_buffers",
            "make it smaller",
        ),
    ],
)  # fmt: skip
def test_settings_that_disagree_are_told_with_their_way_out(data: dict[str, Any], key: str, way_out: str) -> None:
    told = [fault for fault in faults(data) if fault.startswith(f"{key}: ")]
    assert len(told) == 1
    assert way_out in told[0]


def test_an_edition_that_lacks_high_availability_refuses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(rules._HA, "ENTERPRISE", False)
    (fault,) = faults(gcp(instance={"availability": "regional"}))
    assert fault.startswith("gcp.instance.availability: edition ENTERPRISE can't be regional")


@pytest.mark.parametrize(
    "data",
    [
        gcp(network={**PUBLIC, "client_certificates": True}, instance=OPEN),
        gcp(network={"mode": "psc", "egress": "direct"}, instance=OPEN),
        gcp(instance={"edition": "ENTERPRISE_PLUS", "tier": "db-perf-optimized-N-2", "disk_type": "SSD"},
            backups={"log_days": 35, "kept": 35}),
        gcp(maintenance_window={"deny_from": "12-15", "deny_until": "01-10"}),
        gcp(maintenance_window={"deny_from": "2026-11-01", "deny_until": "2027-01-29"}),
        gcp(exports={"days": ["SUN"]}, alerts={"export_missing_h": 170}),
        gcp(network={"network": "gaia", "allocated_range": "10.200.0.0/20"}),
        gcp(instance={"flags": {"work_mem": "8192", "jit": "off", "plan_cache_mode": "auto"}}),
        gcp(instance={"availability": "regional"}),
    ],
)  # fmt: skip
def test_what_agrees_is_taken(data: dict[str, Any]) -> None:
    assert settings.parse("prod", data).gcp is not None


def test_the_program_refuses_production_without_a_project_before_any_resource() -> None:
    data = planning.production({"gcp": {"project": None, "backups": {"log_days": 8}}})
    with pytest.raises(pulumi.RunError) as caught:
        planning.plan("prod", data)
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[1] for line in lines] == ["gcp.project", "gcp.backups.log_days"]
    assert "pulumi config set --path gaia-db:gcp.project" in lines[0]


def test_a_password_of_ones_own_belongs_to_local_stacks() -> None:
    with pytest.raises(pulumi.RunError, match="password: belongs to local stacks"):
        planning.plan("prod", {**planning.production(), "password": "x" * 20})


def test_the_connection_budget_of_production_fits_with_the_defaults() -> None:
    parsed = settings.parse("prod", {"target": "gcp"})
    pool, most = parsed.database.pool, parsed.database.tuning.max_connections
    assert (pool.size, pool.overflow, pool.max_instances, most) == (4, 0, 4, 50)
    assert 2 * pool.max_instances * (pool.size + pool.overflow) + 10 <= 0.9 * most


@pytest.mark.parametrize("name", ["Prod", "prod_eu", "1st", "prod-", "p" * 41])
def test_a_stack_of_google_cloud_has_a_name_that_resources_can_have(name: str) -> None:
    with pytest.raises(SettingsError, match="stack: resources of Google Cloud are named after it"):
        settings.parse(name, gcp())
    assert settings.parse(name, {"target": "embedded"}).stack == name
