"""What the program registers is what the provider knows: types, properties, required inputs, enums, replacements.

The SDK's own types are always there. The schema of 9.35.0 and the recordings of what the official plugin did are data
beside the repository: GAIA_SHARED names their folder, else ``../shared``.
"""

from __future__ import annotations

import csv
import functools
import importlib
import inspect
import json
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.gcp.settings import Gcp
from tests.production import planning
from tests.production.planning import Plan, Registered, merged, short
from tests.production.test_bad_settings import keys_of

SHARED = Path(os.environ.get("GAIA_SHARED") or planning.ROOT.parent / "shared")
VARIANTS = planning.variants()
KEPT = ("sql/DatabaseInstance", "sql/Database", "secretmanager/Secret", "storage/Bucket")
"""What no setting that people change may ever replace."""


def planned(name: str) -> Plan:
    return planning.planned(VARIANTS[name])


def changed(name: str) -> Plan:
    return planning.planned(merged(VARIANTS["defaults"], CHANGES[name]))


@functools.cache
def schema() -> dict[str, Any]:
    file = SHARED / "schemas" / "gcp.json"
    if not file.exists():
        pytest.skip(f"{file} isn't here: the provider's schema is no part of the repository")
    return json.loads(file.read_text(encoding="utf-8"))


def recording(name: str) -> list[dict[str, str]]:
    file = SHARED / "recordings" / name
    if not file.exists():
        pytest.skip(f"{file} isn't here: the recordings are no part of the repository")
    with file.open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def google(plan: Plan) -> list[Registered]:
    return [each for each in plan.custom() if each.type.startswith("gcp:")]


# --- the SDK ---


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def args_class(type_: str) -> Any:
    """The SDK's class of a resource's inputs; ``gcp:sql/user:User`` has ``pulumi_gcp.sql.UserArgs``."""
    _, module, name = type_.split(":")
    package = importlib.import_module(f"pulumi_gcp.{module.split('/')[0]}")
    resource = getattr(package, name)
    return getattr(importlib.import_module(resource.__module__), f"{name}Args")


@pytest.mark.parametrize("name", VARIANTS)
def test_every_input_is_one_that_the_sdk_knows_and_none_that_it_requires_is_missing(name: str) -> None:
    for each in google(planned(name)):
        parameters = dict(inspect.signature(args_class(each.type).__init__).parameters)
        parameters.pop("__self__", None)
        given = {snake(key) for key in each.inputs}
        required = {key for key, one in parameters.items() if one.default is inspect.Parameter.empty}
        assert given <= set(parameters), each.urn
        assert required <= given, each.urn


def test_no_deprecated_property_is_used() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in VARIANTS:
            planning.plan("prod", VARIANTS[name])


# --- the schema ---


def problems(value: Any, kind: dict[str, Any], where: str) -> Iterator[str]:
    """What the schema has against a value; unknown properties come as ``unknown``."""
    if reference := kind.get("$ref"):
        found = schema()["types"].get(reference.removeprefix("#/types/"))
        if found is None:
            return
        if "enum" in found:
            if value not in [one["value"] for one in found["enum"]]:
                yield f"{where}: {value!r} is no member of the enum"
        elif not isinstance(value, dict):
            yield f"{where}: {value!r} is no object"
        else:
            yield from members(value, found.get("properties", {}), found.get("required", []), where)
    elif kind.get("type") == "array":
        if not isinstance(value, list):
            yield f"{where}: {value!r} is no list"
        else:
            for index, inner in enumerate(value):
                yield from problems(inner, kind["items"], f"{where}[{index}]")
    elif kind.get("type") in ("string", "integer", "boolean", "number"):
        python = {"string": str, "integer": int | float, "boolean": bool, "number": int | float}[kind["type"]]
        if not isinstance(value, python) or (kind["type"] == "integer" and not float(value).is_integer()):
            yield f"{where}: {value!r} is no {kind['type']}"


def members(value: dict[str, Any], known: dict[str, Any], required: list[str], where: str) -> Iterator[str]:
    yield from (f"{where}.{name}: is required" for name in required if name not in value)
    for name, inner in value.items():
        if name.startswith("__"):
            continue
        if name not in known:
            yield f"unknown {where}.{name}"
        else:
            yield from problems(inner, known[name], f"{where}.{name}")


@pytest.mark.parametrize("name", VARIANTS)
def test_every_value_is_valid_by_the_schema(name: str, record_property: Any) -> None:
    found: list[str] = []
    for each in google(planned(name)):
        resource = schema()["resources"].get(each.type)
        if resource is None:
            found.append(f"unknown {each.type}")
            continue
        where = f"{short(each.type)} {each.name}"
        found += members(each.inputs, resource["inputProperties"], resource.get("requiredInputs", []), where)
    # The schema is of 9.35.0, the SDK newer: what only the SDK knows is listed, not failed.
    newer = [problem for problem in found if problem.startswith("unknown ")]
    record_property("newer than the schema", newer)
    print("\n".join(newer))
    assert [problem for problem in found if problem not in newer] == []


# --- what is replaced ---

ALERTS = {
    "cpu": 0.5, "memory": 0.5, "disk": 0.5, "down_s": 300, "connections": 0.5, "idle_in_transaction": 9,
    "transaction_ids": 0.3, "deadlocks_per_hour": 1, "log_archive_failures": 1, "replica_lag_s": 5,
    "export_missing_h": 80, "backup_missing_h": 50, "drill_missing_h": 30,
}  # fmt: skip
CHANGES: dict[str, dict[str, Any]] = {
    "tier": {"gcp": {"instance": {"tier": "db-custom-2-7680"}}},
    "disk": {"gcp": {"instance": {"disk_gb": 100}}},
    "disk type": {"gcp": {"instance": {"disk_type": "SSD"}}},
    "disk limit": {"gcp": {"instance": {"disk_limit_gb": 500}}},
    "availability": {"gcp": {"instance": {"availability": "regional"}}},
    "flags": {"gcp": {"instance": {"flags": {"work_mem": "8192"}}}},
    "tuning": {"database": {"tuning": {"shared_buffers": "300MB", "idle_in_transaction_session_timeout": "1min"}}},
    "connections": {"database": {"tuning": {"max_connections": 100}, "pool": {"size": 8}}},
    "audit": {"gcp": {"instance": {"audit": ["all"]}}},
    "server CA": {"gcp": {"instance": {"server_ca": "GOOGLE_MANAGED_CAS_CA"}}},
    "connector enforcement": {"gcp": {"instance": {"require_connector": False}}},
    "deletion protection": {"gcp": {"instance": {"deletion_protection": False}}},
    "password policy": {"gcp": {"instance": {"password_min_length": 20}}},
    "IAM authentication": {"gcp": {"instance": {"iam_authentication": False}}},
    "maintenance": {"gcp": {"maintenance_window": {"day": "SUN", "hour": 3, "track": "week5"}}},
    "deny period": {"gcp": {"maintenance_window": {"deny_from": "12-01", "deny_until": "12-31"}}},
    "backups": {"gcp": {"backups": {"start": "03:00", "kept": 14, "location": "us", "final_days": 90, "log_days": 5}}},
    "no backups": {"gcp": {"backups": {"enabled": False, "point_in_time_recovery": False}}},
    "insights": {
        "gcp": {
            "insights": {
                "enabled": False,
                "query_length": 4500,
                "plans_per_minute": 0,
                "application_tags": False,
                "client_address": False,
            }
        }
    },
    "replicas": {"gcp": {"replicas": {"reports": {}}}},
    "IAM users": {"gcp": {"access": {"iam_users": {"ada": "ada@example.com"}, "backend_iam_login": True}}},
    "rotation": {"gcp": {"rotation": {"turn": 2, "identity_turn": 2}}},
    "image": {"gcp": {"migration_job": {"image": planning.IMAGE.replace("a" * 64, "b" * 64)}}},
    "job": {"gcp": {"migration_job": {"timeout_s": 7200, "memory": "1Gi", "cpu": "2", "run": 2}}},
    "maintenance job": {
        "gcp": {"maintenance_job": {"schedule": "0 4 * * *", "time_zone": "Europe/Berlin", "timeout_s": 60}}
    },
    "retention": {"database": {"retention": {"chat_months": 12, "audit_months": 24}}},
    "exports": {"gcp": {"exports": {"hour": 4, "kept_days": 30, "days": ["MON", "WED", "FRI"]}, "alerts": ALERTS}},
    "alerts": {"gcp": {"alerts": {**ALERTS, "runbooks_url": "https://example.com/runbooks"}}},
    "channels": {
        "gcp": {
            "alerts": {
                "emails": {"oncall": "oncall@example.com"},
                "channels": ["projects/p/notificationChannels/1"],
            }
        }
    },
    "drills": {"gcp": {"access": {"drill_principal": "principal://iam.googleapis.com/projects/1/x"}}},
    "previews": {"gcp": {"access": {"preview_principal": "principalSet://iam.googleapis.com/projects/1/x"}}},
    "direct egress": {"gcp": {"network": {"egress": "direct", "subnetwork": "gaia"}}},
    "connector's size": {"gcp": {"network": {"connector": {"max_instances": 5, "min_instances": 4}}}},
    "connector": {
        "gcp": {
            "network": {
                "connector": {
                    "name": "gaia",
                    "range": "10.8.1.0/28",
                    "machine_type": "e2-standard-4",
                    "region": "us-west1",
                }
            }
        }
    },
    "retired": {
        "gcp": {
            "rotation": {
                "turn": 2,
                "identity_turn": 2,
                "retire_previous": True,
                "retire_previous_identity": True,
            }
        }
    },
}
"""Settings that people change while the database lives."""

MAY_BE_REPLACED = {
    "rotation": {"secretmanager/SecretVersion"},
    "replicas": {"projects/IAMMember"},
    "retired": {"secretmanager/SecretVersion"},
    "connector": {"vpcaccess/Connector"},
}
"""What is replaced on purpose: a new version of a secret, the condition that names the instances, the connector."""


CHOSEN_ONCE: dict[str, dict[str, Any]] = {
    "project": {"project": "gaia-other"},
    "region": {"region": "us-east1"},
    "instance.name": {"instance": {"name": "gaia-other-db"}},
    "encryption.own_key": {"encryption": {"own_key": True}},
    "network.network": {"network": {"network": "gaia"}},
    "network.allocated_range": {"network": {"allocated_range": "10.10.0.0/20"}},
    "exports.bucket": {"exports": {"bucket": "gaia-other-backups"}},
    "exports.location": {"exports": {"location": "US"}},
}
"""What is settled when the stack is made: another value makes something anew, which its protection refuses."""

ELSEWHERE = {
    "instance.edition": "goes with the tier: an update, as recorded in replace.csv",
    "network.mode": "goes with the settings of its mode; leaving private is a replacement (recorded), so chosen once",
    "network.authorized": "mode public alone; a list of the instance's settings, an update",
    "network.client_certificates": "mode public alone; ssl_mode, an update as recorded",
    "encryption.rotation_days": "with a key of one's own alone; an update as recorded",
}
"""Settings that a change of one key alone can't show, and why."""


def keys_in(change: Any, known: set[str], prefix: str = "") -> set[str]:
    if prefix.removesuffix(".") in known:
        return {prefix.removesuffix(".")}
    return {key for name, value in change.items() for key in keys_in(value, known, f"{prefix}{name}.")}


def test_for_every_setting_a_test_says_what_a_change_does() -> None:
    known = set(keys_of(Gcp))
    changed_by_tests = {key for change in CHANGES.values() for key in keys_in(change.get("gcp", {}), known)}
    assert known - changed_by_tests - set(CHOSEN_ONCE) == set(ELSEWHERE)


@pytest.mark.parametrize("name", CHOSEN_ONCE)
def test_what_is_chosen_once_is_seen_to_make_something_anew(name: str) -> None:
    before = planned("defaults")
    after = planning.planned(merged(VARIANTS["defaults"], {"gcp": CHOSEN_ONCE[name]}))
    assert replaced(before, after) & {*KEPT, "compute/GlobalAddress", "servicenetworking/Connection"}


def replaced(before: Plan, after: Plan) -> set[str]:
    """The types of those resources of both plans that the schema says a change replaces."""
    found = set()
    for urn, old in before.resources.items():
        new = after.resources.get(urn)
        if new is None or new.inputs == old.inputs or not old.type.startswith("gcp:"):
            continue
        properties = schema()["resources"].get(old.type, {}).get("inputProperties", {})
        changed = {key for key in {*old.inputs, *new.inputs} if old.inputs.get(key) != new.inputs.get(key)}
        if any(properties.get(key, {}).get("willReplaceOnChanges") for key in changed) or nested(old, new):
            found.add(short(old.type))
    return found


def nested(old: Registered, new: Registered) -> bool:
    """Whether a changed property inside another one replaces, such as ``settings.collation``."""

    def look(a: Any, b: Any, kind: dict[str, Any]) -> bool:
        if a == b:
            return False
        if kind.get("willReplaceOnChanges"):
            return True
        inner = schema()["types"].get(kind.get("$ref", "").removeprefix("#/types/"), {}).get("properties", {})
        if isinstance(a, dict) and isinstance(b, dict):
            return any(look(a.get(key), b.get(key), inner.get(key, {})) for key in {*a, *b})
        return False

    properties = schema()["resources"].get(old.type, {}).get("inputProperties", {})
    return any(look(old.inputs.get(key), new.inputs.get(key), kind) for key, kind in properties.items())


def gone(before: Plan, after: Plan) -> set[str]:
    return {short(before.resources[urn].type) for urn in set(before.resources) - set(after.resources)}


@pytest.mark.parametrize("name", CHANGES)
def test_a_setting_that_people_change_replaces_no_data(name: str) -> None:
    before, after = planned("defaults"), changed(name)
    assert before.resources != after.resources
    assert replaced(before, after) <= MAY_BE_REPLACED.get(name, set())
    assert not gone(before, after) & set(KEPT)


@pytest.mark.parametrize("name", CHANGES)
def test_no_name_changes_with_a_setting(name: str) -> None:
    before, after = planned("defaults"), changed(name)
    allowed = {
        "rotation": {"random:index/randomPassword:RandomPassword", "random:index/randomBytes:RandomBytes"},
        "retired": {"random:index/randomPassword:RandomPassword", "random:index/randomBytes:RandomBytes"},
        "exports": {"cloudscheduler/Job"},
        "direct egress": {"vpcaccess/Connector", "projects/Service"},
    }
    assert gone(before, after) <= allowed.get(name, set())


def test_the_plugin_itself_replaced_nothing_for_what_people_change() -> None:
    rows = recording("replace.csv")
    verdicts = {(row["type"], row["property"]): row["verdict"] for row in rows}
    used = (
        "settings.tier",
        "settings.disk_size",
        "settings.disk_type",
        "settings.availability_type",
        "settings.ip_configuration.ssl_mode",
        "settings.ip_configuration.server_ca_mode",
        "settings.database_flags",
        "settings.backup_configuration.location",
        "settings.backup_configuration.point_in_time_recovery_enabled",
        "deletion_protection",
    )
    assert {verdicts["sql.DatabaseInstance", name] for name in used} <= {"update", "no-change"}
    # Why autoresize is no setting: with it a smaller disk is no change, without it the instance is replaced.
    assert verdicts["sql.DatabaseInstance", "settings.disk_size +settings.disk_autoresize"] == "replace"
    assert planned("defaults").one("sql/DatabaseInstance", "primary").inputs["settings"]["diskAutoresize"] is True
    # The same for the job, the alerts and the schedules.
    others = {key: value for key, value in verdicts.items() if key[0] in ("monitoring.AlertPolicy", "cloudrunv2.Job")}
    kept = ("name", "location", "project")
    assert {value for (_, name), value in others.items() if name not in kept} == {"update"}


def test_every_property_whose_change_the_plugin_replaces_is_one_that_stays() -> None:
    """A recorded replacement of what we set comes from a name, a place or a secret's value, never from a tuning."""
    fixed = {
        "name", "region", "location", "project", "instance", "secret", "secret_id", "account_id", "service", "network",
        "repository_id", "role", "member", "condition", "encryption_key_name", "host", "type", "secret_data", "purpose",
        "replication", "address_type", "prefix_length", "ip_cidr_range", "format", "mode", "key_ring", "description",
        "max_instances", "tags", "kms_key_name", "master_instance_name",
    }  # fmt: skip
    ours = {short(each.type).replace("/", ".") for each in google(planned("scaled"))}
    for row in recording("replace.csv"):
        if row["verdict"] != "replace" or row["type"].removesuffix("(replica)") not in ours:
            continue
        single = re.split(r"[ .]", row["property"])[0]
        assert single in fixed or not set_by_us(row["type"], row["property"]), row


def set_by_us(type_: str, name: str) -> bool:
    path = [part.title().replace("_", "") for part in re.split(r"[ .]", name)[0:3] if not part.startswith("+")]
    path = [part[0].lower() + part[1:] for part in path]
    for each in google(planned("scaled")):
        at: Any = each.inputs if short(each.type) == type_.replace(".", "/") else None
        for part in path:
            at = at.get(part) if isinstance(at, dict) else None
        # Shrinking without autoresize and leaving the private network are the two that our settings exclude.
        if at is not None and "disk_autoresize" not in name and "private_network" not in name:
            return path[-1] not in ("rotationPeriod", "destroyScheduledDuration")
    return False


@pytest.mark.parametrize("file", ["accepted_in_preview.csv", "rejected.csv"])
def test_no_value_that_the_plugin_or_the_server_refuses_is_one_of_ours(file: str) -> None:
    ours = {short(each.type).replace("/", ".") for name in VARIANTS for each in google(planned(name))}
    rows = [row for row in recording(file) if row["type"].removesuffix("(replica)") in ours and row["value"]]
    assert len(rows) > 20
    used = {json.dumps(each.inputs) for name in VARIANTS for each in google(planned(name))}
    for row in rows:
        last = row["property"].split(" ")[0].split(".")[-1]
        camel = last.split("_")[0] + "".join(part.title() for part in last.split("_")[1:])
        assert not any(f'"{camel}": "{row["value"]}"' in text for text in used), row
