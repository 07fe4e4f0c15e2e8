"""The contract keeps its names and types, and its JSON Schema is the one in the documentation."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import pulumi
import pytest

from infra import outputs
from infra.outputs import StackOutputs

DOCUMENTED = Path(__file__).resolve().parents[3] / "docs" / "outputs.schema.json"
VERSION_1 = {
    "contract_version",
    "environment",
    "target",
    "project",
    "region",
    "instance_connection_name",
    "host",
    "port",
    "private_ip",
    "database",
    "app_user",
    "database_url_secret",
    "password_secret",
    "user_secret",
    "name_secret",
    "runtime_service_account",
    "migration_job",
    "migration_image",
    "schema_revision",
    "vpc_connector",
    "vpc_egress",
    "max_connections",
    "pool_size",
    "pool_overflow",
    "max_instances",
    "server_ca_mode",
    "replicas",
    "database_url",
}
"""The names that version 1 promises. More may come; none of these may go."""
ADDED = {
    "identity_key_secret",
    "server_ca_secret",
    "client_certificate_secret",
    "client_key_secret",
    "vpc_network",
    "vpc_subnetwork",
    "database_replica_url",
}
"""Names that came later."""

COMMON: dict[str, Any] = {
    "contract_version": 1,
    "host": "127.0.0.1",
    "port": 5432,
    "database": "gaia",
    "app_user": "gaia_app",
    "schema_revision": "0002",
    "max_connections": 200,
    "pool_size": 20,
    "pool_overflow": 0,
    "max_instances": 1,
}
SECRET = {"id": "projects/1/secrets/gaia-db-password", "version": "3"}
SAMPLES: dict[str, dict[str, Any]] = {
    "docker": {"environment": "dev", "target": "docker", "database_url": "[secret]"},
    "embedded": {"environment": "local", "target": "embedded", "database_url": "[secret]"},
    "gcp": {
        "environment": "prod",
        "target": "gcp",
        "host": "/cloudsql/p:us-west1:gaia-db",
        "project": "p",
        "region": "us-west1",
        "instance_connection_name": "p:us-west1:gaia-db",
        "private_ip": "10.0.0.3",
        "database_url_secret": SECRET,
        "password_secret": SECRET,
        "user_secret": SECRET,
        "name_secret": SECRET,
        "runtime_service_account": "gaia@p.iam.gserviceaccount.com",
        "migration_job": "projects/p/locations/us-west1/jobs/gaia-migrate",
        "migration_image": "us-docker.pkg.dev/p/gaia/migrate@sha256:0",
        "vpc_connector": "gaia",
        "vpc_egress": "private-ranges-only",
        "server_ca_mode": "GOOGLE_MANAGED_CAS_CA",
        "replicas": {"reports": "p:us-west1:gaia-db-reports"},
    },
}


def sample(of: str, **changed: Any) -> dict[str, Any]:
    """The contract of a stack on this target, but for what is changed."""
    return {**dict.fromkeys(outputs.NAMES), **COMMON, **SAMPLES[of], **changed}


VALIDATOR = jsonschema.Draft202012Validator(outputs.schema())


def holds(contract: dict[str, Any]) -> bool:
    return VALIDATOR.is_valid(contract)


def test_the_contract_has_the_names_of_version_1() -> None:
    assert outputs.CONTRACT_VERSION == 1
    assert set(outputs.NAMES) == VERSION_1 | ADDED
    assert list(outputs.NAMES) == sorted(outputs.NAMES)


def test_the_schema_is_valid_and_has_every_name() -> None:
    schema = outputs.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert set(schema["properties"]) == set(schema["required"]) == set(outputs.NAMES)


def test_the_documentation_holds_this_schema() -> None:
    assert DOCUMENTED.read_text(encoding="utf-8") == json.dumps(outputs.schema(), indent=2) + "\n"


@pytest.mark.parametrize("target", SAMPLES)
def test_the_contract_of_each_target_validates(target: str) -> None:
    assert holds(sample(target))


@pytest.mark.parametrize("name", sorted(VERSION_1))
def test_a_contract_without_one_of_its_names_is_refused(name: str) -> None:
    contract = sample("docker")
    del contract[name]
    assert not holds(contract)


@pytest.mark.parametrize("name", sorted(VERSION_1))
def test_a_value_of_another_type_is_refused(name: str) -> None:
    assert not holds(sample("gcp", **{name: True}))
    assert not holds(sample("gcp", **{name: ["x"]}))


def test_only_what_a_stack_may_lack_may_be_null() -> None:
    needed = {field.name for field in dataclasses.fields(StackOutputs) if field.default is dataclasses.MISSING}
    needed |= {"contract_version"}
    assert {name for name in outputs.NAMES if not holds(sample("gcp", **{name: None}))} == needed


@pytest.mark.parametrize("version", ["latest", "", "3 ", 3, None])
def test_a_reference_to_a_secret_has_a_pinned_version(version: Any) -> None:
    assert not holds(sample("gcp", password_secret={"id": "projects/1/secrets/x", "version": version}))


def test_a_reference_to_a_secret_has_no_value() -> None:
    assert not holds(sample("gcp", password_secret={**SECRET, "value": "x"}))


@pytest.mark.parametrize("name", ["port", "max_connections", "pool_size", "pool_overflow", "max_instances"])
def test_numbers_are_whole_and_not_negative(name: str) -> None:
    assert not holds(sample("docker", **{name: -1}))
    assert not holds(sample("docker", **{name: 1.5}))
    assert not holds(sample("docker", **{name: "1"}))


def test_a_later_minor_version_may_add_names() -> None:
    assert holds(sample("docker", statement_timeout_s=30))


def test_nulls_are_exported_so_that_every_stack_has_the_same_names(monkeypatch: pytest.MonkeyPatch) -> None:
    exported: dict[str, Any] = {}
    monkeypatch.setattr(pulumi, "export", exported.__setitem__)
    values = {name: value for name, value in sample("embedded").items() if value is not None and name != "database_url"}
    outputs.export(StackOutputs(**values))
    assert exported == {**sample("embedded"), "database_url": None}
