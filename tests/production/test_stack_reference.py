"""The example's Pulumi program, under mocks: what it reads of the stack, and the service that it declares."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from functools import cache
from typing import Any

import pytest

from infra import outputs
from tests.production.test_backend_deploy import EXAMPLE, IMAGE, INSTANCE, OUTPUTS, given, pairs

PROGRAM = EXAMPLE / "stack_reference"

UNDER_MOCKS = """
import asyncio, json, sys
import pulumi

found, declared = json.loads(sys.argv[1]), []

class Mocks(pulumi.runtime.Mocks):
    def new_resource(self, args):
        declared.append({"type": args.typ, "name": args.name, "inputs": args.inputs})
        if args.typ == "pulumi:pulumi:StackReference":
            return args.name, {"name": args.name, "outputs": found, "secretOutputNames": []}
        return f"{args.name}-id", args.inputs
    def call(self, args):
        raise AssertionError(f"looks up {args.token}")

pulumi.runtime.set_mocks(Mocks(), project="gaia-backend", stack="prod", preview=False)
pulumi.runtime.set_all_config({"gaia-backend:database": "organization/gaia-db/prod", "gaia-backend:image": sys.argv[2]})

@pulumi.runtime.test
def run():
    import runpy
    runpy.run_path("__main__.py", run_name="__main__")
    return None

run()
print(json.dumps(declared))
"""


@cache
def declared(outputs: str) -> dict[str, Any]:
    """The service's inputs, for a stack with these outputs."""
    done = subprocess.run(
        [sys.executable, "-c", UNDER_MOCKS, outputs, IMAGE],
        cwd=PROGRAM,
        env={"PYTHONPATH": str(PROGRAM), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    resources = json.loads(done.stdout)
    # In the order in which they arrive, which is the engine's.
    found = {each["type"]: each for each in resources}
    assert len(found) == len(resources)
    assert set(found) == {"pulumi:pulumi:StackReference", "gaia:example:Backend", "gcp:cloudrunv2/service:Service"}
    assert found["pulumi:pulumi:StackReference"]["name"] == "organization/gaia-db/prod"
    return found["gcp:cloudrunv2/service:Service"]["inputs"]


def service(**changed: Any) -> dict[str, Any]:
    outputs = {**OUTPUTS, **changed}
    return declared(json.dumps({name: value for name, value in outputs.items() if value is not None}))


def variables(inputs: dict[str, Any]) -> list[dict[str, Any]]:
    return inputs["template"]["containers"][0]["envs"]


def test_the_service_is_that_of_the_command() -> None:
    inputs, flags = service(), given("secrets")
    template = inputs["template"]
    assert (inputs["name"], inputs["location"]) == ("gaia-backend", "us-west1")
    assert template["serviceAccount"] == flags["service-account"]
    assert template["scaling"] == {"maxInstanceCount": 4}
    assert template["containers"][0]["image"] == IMAGE
    assert template["volumes"] == [{"name": "cloudsql", "cloudSqlInstance": {"instances": [INSTANCE]}}]
    assert template["containers"][0]["volumeMounts"] == [{"name": "cloudsql", "mountPath": "/cloudsql"}]
    assert template["vpcAccess"] == {"connector": "gaia-prod-connector", "egress": "PRIVATE_RANGES_ONLY"}


def test_its_environment_is_that_of_the_command_with_pinned_versions() -> None:
    flags = given("secrets")
    plain = {each["name"]: each["value"] for each in variables(service()) if "value" in each}
    assert plain == pairs(flags["set-env-vars"])
    references = {
        each["name"]: each["valueSource"]["secretKeyRef"] for each in variables(service()) if "valueSource" in each
    }
    assert {
        name: f"{each['secret'].rsplit('/', 1)[-1]}:{each['version']}" for name, each in references.items()
    } == pairs(flags["set-secrets"])


def test_the_key_that_signs_identities_is_mounted_where_the_stack_exports_its_secret() -> None:
    reference = {"id": "projects/p-1/secrets/db-identity-key", "version": "3"}
    found = {each["name"]: each for each in variables(service(identity_key_secret=reference))}
    assert found["GAIA_IDENTITY_KEY"]["valueSource"]["secretKeyRef"] == {
        "secret": reference["id"],
        "version": "3",
    }
    assert "GAIA_IDENTITY_KEY" not in {each["name"] for each in variables(service())}


def test_a_stack_without_a_connector_has_no_access_to_a_network() -> None:
    assert service(vpc_connector=None, vpc_egress=None)["template"].get("vpcAccess") is None


def test_direct_egress_gives_an_interface_in_the_stacks_network() -> None:
    template = service(vpc_connector=None, vpc_network="default", vpc_subnetwork="default")["template"]
    assert template["vpcAccess"] == {
        "networkInterfaces": [{"network": "default", "subnetwork": "default"}],
        "egress": "PRIVATE_RANGES_ONLY",
    }


def test_where_the_server_is_at_an_address_its_authority_is_mounted_in_place_of_the_socket() -> None:
    reference = {"id": "projects/p-1/secrets/db-server-ca", "version": "2"}
    template = service(host="10.0.0.5", server_ca_secret=reference)["template"]
    assert template["volumes"] == [
        {
            "name": "server-ca",
            "secret": {"secret": reference["id"], "items": [{"path": "server-ca.pem", "version": "2"}]},
        }
    ]
    assert template["containers"][0]["volumeMounts"] == [{"name": "server-ca", "mountPath": "/secrets/server-ca"}]


def test_certificates_are_mounted_where_the_url_of_the_stack_names_them() -> None:
    declared_in = (EXAMPLE.parents[1] / "infra" / "gcp" / "secrets.py").read_text(encoding="utf-8")
    program = (PROGRAM / "backend.py").read_text(encoding="utf-8")
    paths = re.findall(r'"(/secrets/[^"]+)"', program)
    assert len(paths) == 3
    assert [path for path in paths if f'"{path}"' not in declared_in] == []


def test_every_output_that_it_reads_is_in_the_contract() -> None:
    tree = ast.parse((PROGRAM / "backend.py").read_text(encoding="utf-8"))
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    taken = [node for node in ast.walk(tree) if isinstance(node, ast.Subscript)]
    read = {
        str(node.slice.value)
        for node in taken
        if getattr(node.value, "id", "") == "found" and isinstance(node.slice, ast.Constant)
    }
    read |= {text for text in texts if re.fullmatch(r"[a-z_]+_secret|vpc_[a-z]+", text)}
    assert {"host", "pool_size", "instance_connection_name", "password_secret", "vpc_connector"} <= read
    assert sorted(read - set(outputs.NAMES)) == []


@pytest.mark.parametrize("name", ["region", "runtime_service_account", "instance_connection_name"])
def test_a_stack_that_lacks_what_is_needed_ends_the_program(name: str) -> None:
    with pytest.raises(AssertionError, match=name):
        service(**{name: None})
