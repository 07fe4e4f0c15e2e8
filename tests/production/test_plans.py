"""Each stack, and each shape of production, is planned and compared with its file in ``tests/plans``."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.production import plan_files, planning
from tests.production.plan_files import COMMAND, PLANS

MOST_FOR_EACH_CPU_S = 5
"""So much more than the import of the SDK and SQLAlchemy may planning production take, its own imports included."""
VARIANTS = planning.variants()


@pytest.mark.parametrize("name", sorted(plan_files.names()))
def test_the_plan_is_the_one_that_was_reviewed(name: str) -> None:
    file = PLANS / f"{name}.yaml"
    kept = file.read_text(encoding="utf-8") if file.exists() else ""
    if plan_files.text(name) != kept:
        differs = "is missing" if not kept else "differs from what up would declare"
        pytest.fail(f"tests/plans/{name}.yaml {differs}; look at it with: {COMMAND} {name} && git diff tests/plans")


def test_no_plan_is_left_over() -> None:
    assert {file.stem for file in PLANS.glob("*.yaml")} == set(plan_files.names())


@pytest.mark.parametrize("name", VARIANTS)
def test_production_asks_nobody(name: str) -> None:
    made = planning.plan("prod", VARIANTS[name])
    assert made.calls == []
    assert [each.name for each in made.custom() if each.type.startswith("pulumi:providers")] == []


def test_the_same_settings_make_the_same_plan() -> None:
    first, second = (planning.plan("prod", VARIANTS["scaled"]) for _ in range(2))
    assert first.resources == second.resources


def test_without_an_image_there_are_no_jobs_and_the_schema_is_at_its_base() -> None:
    made = planning.plan("prod", VARIANTS["minimal"])
    assert made.of("cloudrunv2/Job") == {}
    assert made.outputs["schema_revision"] == "base"
    assert "migration_job" not in made.outputs
    assert made.of("artifactregistry/Repository")


def test_loading_the_settings_and_planning_costs_little_more_than_the_sdk() -> None:
    # Time of the processor, not of the clock, beside a yardstick: other tests run here, and machines differ.
    planned = "from tests.production import planning; planning.plan('prod', planning.production())"
    pairs = [(cpu_s("import pulumi, sqlalchemy"), cpu_s(planned)) for _ in range(4)][1:]  # the first one compiles
    assert min(mine for _, mine in pairs) <= MOST_FOR_EACH_CPU_S * min(yardstick for yardstick, _ in pairs)


def cpu_s(program: str) -> float:
    """What this program takes of a processor in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; import time; print(time.process_time())"],
        cwd=planning.ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        capture_output=True,
        check=True,
        text=True,
    )
    return float(done.stdout)


# --- the contract ---


def test_direct_egress_is_told_as_network_and_subnetwork() -> None:
    outputs = planning.planned(VARIANTS["scaled"]).outputs
    assert (outputs["vpc_network"], outputs["vpc_subnetwork"]) == ("default", "default")
    assert "vpc_connector" not in outputs
    assert outputs["replicas"] == {
        "reports": "gaia-test:us-west1:gaia-prod-db-reports",
        "search": "gaia-test:us-west1:gaia-prod-db-search",
    }


def test_the_contract_carries_the_budget_to_the_backend() -> None:
    outputs = planning.planned(VARIANTS["defaults"]).outputs
    names = ("pool_size", "pool_overflow", "max_instances", "max_connections")
    assert [outputs[name] for name in names] == [4, 0, 4, 50]
    flags = planning.planned(VARIANTS["defaults"]).one("sql/DatabaseInstance", "primary").inputs["settings"]
    assert {"name": "max_connections", "value": "50"} in flags["databaseFlags"]
