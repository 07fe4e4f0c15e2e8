"""The plans in ``tests/plans``: what matters of each resource, how many there are, and the contract.

``python -m tests.production.plan_files`` writes them anew; with names, only those.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from migrations.revisions import head
from tests.production import planning
from tests.production.planning import Plan

PLANS = planning.ROOT / "tests" / "plans"
COMMAND = ".venv/bin/python -m tests.production.plan_files"

MATTERS: dict[str, tuple[str, ...]] = {
    "sql/DatabaseInstance": (
        "name",
        "region",
        "databaseVersion",
        "settings",
        "deletionProtection",
        "encryptionKeyName",
    ),
    "sql/Database": ("name", "deletionPolicy"),
    "sql/User": ("name", "type", "deletionPolicy"),
    "secretmanager/SecretIamMember": ("secretId", "member", "role"),
    "projects/IAMMember": ("member", "role", "condition"),
    "storage/Bucket": ("name", "location", "lifecycleRules", "versioning"),
    "storage/BucketIAMMember": ("member", "role"),
    "cloudrunv2/Job": ("name", "template"),
    "cloudrunv2/JobIamMember": ("name", "member", "role"),
    "cloudscheduler/Job": ("name", "schedule", "timeZone"),
    "compute/GlobalAddress": ("address", "prefixLength", "purpose"),
    "vpcaccess/Connector": ("name", "ipCidrRange", "minInstances", "maxInstances"),
    "docker:index/container:Container": ("name", "command", "ports", "restart", "networksAdvanced"),
    "docker:index/volume:Volume": ("name",),
    "docker:index/network:Network": ("name",),
    "pulumi-python:dynamic/gaia:EmbeddedServer": ("settings",),
}
"""Whose properties a reviewer wants to see change; of all others only the number."""


def names() -> dict[str, tuple[str, dict[str, Any]]]:
    """Every plan: the stack, and its configuration."""
    local = {
        name: (name, planning.config_of(planning.ROOT / f"Pulumi.{name}.yaml"))
        for name in (file.name.split(".")[1] for file in planning.ROOT.glob("Pulumi.*.yaml"))
        if name != "prod"
    }
    paired = {"dev-standby": ("dev", planning.merged(local["dev"][1], {"database": {"replicas": 1}}))}
    shapes = {f"prod-{name}": ("prod", config) for name, config in planning.variants().items() if name != "defaults"}
    return {**local, **paired, "prod": ("prod", planning.production()), **shapes}


def document(plan: Plan) -> dict[str, Any]:
    """What the file holds."""
    counts = Counter(planning.short(each.type) for each in plan.custom())
    resources: dict[str, Any] = {}
    for each in sorted(plan.custom(), key=lambda one: (planning.short(one.type), one.name)):
        kind = planning.short(each.type)
        if shown := {name: _tidy(each.raw[name]) for name in MATTERS.get(kind, ()) if name in each.raw}:
            resources[f"{kind} {each.name}"] = shown | ({"protect": True} if each.protect else {})
    outputs = {name: _tidy(value) for name, value in sorted(plan.outputs.items())}
    if outputs.get("schema_revision") == head():
        # A new revision is no change of the plan.
        outputs["schema_revision"] = "(the last one)"
    return {
        "resources": sum(counts.values()),
        "counts": dict(sorted(counts.items())),
        "outputs": outputs,
        "what matters": resources,
    }


def _tidy(value: Any) -> Any:
    if isinstance(value, dict):
        if planning.SIGNATURE in value:
            return "[secret]"
        if set(value) == {"name", "value"}:
            return f"{value['name']}={_tidy(value['value'])}"
        return {key: _tidy(inner) for key, inner in value.items() if not key.startswith("__")}
    if isinstance(value, list):
        return [_tidy(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value == planning.UNKNOWN:
        return "(known after up)"
    # The checkout's own folder differs between machines; so does the digest of its path.
    return value.replace(str(planning.ROOT), "<checkout>") if isinstance(value, str) else value


def text(name: str) -> str:
    """The plan as it is now."""
    stack, config = names()[name]
    body = yaml.safe_dump(document(planning.plan(stack, config)), sort_keys=True, width=120, allow_unicode=True)
    return f"# What `up` would declare. Written by: {COMMAND} {name}\n{body}"


def main() -> None:
    """Write the plans."""
    PLANS.mkdir(exist_ok=True)
    for name in sys.argv[1:] or names():
        file = Path(PLANS / f"{name}.yaml")
        file.write_text(text(name), encoding="utf-8")
        print(f"wrote {file.relative_to(planning.ROOT)}")


if __name__ == "__main__":
    main()
