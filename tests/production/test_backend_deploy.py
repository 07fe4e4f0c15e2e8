"""The example's commands and YAML: every flag is one of gcloud's, the login arrives as it was meant, versions stay."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema
import pytest
import yaml

from infra.outputs import NAMES

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "backend-deploy"
SCHEMA = json.loads((ROOT / "docs" / "outputs.schema.json").read_text(encoding="utf-8"))
FLAGS: dict[str, list[str]] = json.loads(Path(__file__).with_name("gcloud_flags.json").read_text())["commands"]
IMAGE = "us-west1-docker.pkg.dev/p-1/gaia/backend@sha256:" + "0" * 64
INSTANCE = "p-1:us-west1:gaia-prod-db"
ODD_PASSWORD = "a,b'c\"d$e%f^g:h@i/j?k&l=m#n`o\\p|q;r+s~t!(u)*v"
OUTPUTS: dict[str, Any] = {
    "contract_version": 1,
    "environment": "prod",
    "target": "gcp",
    "host": f"/cloudsql/{INSTANCE}",
    "port": 5432,
    "database": "gaia",
    "app_user": "gaia_app",
    "schema_revision": "0009",
    "max_connections": 50,
    "max_instances": 4,
    "pool_size": 4,
    "pool_overflow": 0,
    "project": "p-1",
    "region": "us-west1",
    "instance_connection_name": INSTANCE,
    "runtime_service_account": "gaia-backend-sa@p-1.iam.gserviceaccount.com",
    "user_secret": {"id": "projects/p-1/secrets/db-user", "version": "1"},
    "password_secret": {"id": "projects/p-1/secrets/db-password", "version": "7"},
    "name_secret": {"id": "projects/p-1/secrets/db-name", "version": "2"},
    "database_url_secret": {"id": "projects/p-1/secrets/db-url", "version": "12"},
    "vpc_connector": "gaia-prod-connector",
    "vpc_egress": "private-ranges-only",
}
"""What ``pulumi stack output --json`` prints of production: the engine leaves nulls out."""
FORMS = ("secrets", "environment", "job", "yaml")
COMMANDS = {"secrets": "run deploy", "environment": "run deploy", "job": "run jobs deploy"}


def run(form: str, outputs: Any, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLE), form, "--image", IMAGE, *more],
        input=outputs if isinstance(outputs, str) else json.dumps(outputs),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@cache
def printed(form: str) -> str:
    done = run(form, OUTPUTS)
    assert done.returncode == 0, done.stderr
    return done.stdout


def given(form: str) -> dict[str, str]:
    """The flags of the command that deploys, without their dashes."""
    words = shlex.split(printed(form)[printed(form).rindex("gcloud run ") :])
    return dict(word.removeprefix("--").split("=", 1) for word in words if word.startswith("--"))


def pairs(text: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in text.split(","))


def test_the_outputs_here_are_ones_that_the_contract_allows() -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate({**dict.fromkeys(NAMES), **OUTPUTS})


@pytest.mark.parametrize("form", COMMANDS)
def test_every_flag_is_one_that_the_command_takes(form: str) -> None:
    assert [flag for flag in given(form) if f"--{flag}" not in FLAGS[COMMANDS[form]]] == []


def test_the_script_takes_only_flags_of_gcloud_to_read_the_password() -> None:
    line = next(line for line in printed("environment").splitlines() if "secrets versions access" in line)
    flags = re.findall(r"--[a-z-]+", line)
    assert flags
    assert set(flags) <= set(FLAGS["secrets versions access"])


def test_a_service_takes_its_instance_as_services_do_and_a_job_as_jobs_do() -> None:
    assert given("secrets")["add-cloudsql-instances"] == given("environment")["add-cloudsql-instances"] == INSTANCE
    assert given("job")["set-cloudsql-instances"] == INSTANCE
    assert "--add-cloudsql-instances" not in FLAGS["run jobs deploy"]


@pytest.mark.parametrize("form", ["secrets", "environment", "job", "yaml"])
def test_nothing_mounts_a_socket_where_the_host_is_an_address(form: str) -> None:
    done = run(form, {**OUTPUTS, "host": "10.9.0.5"})
    assert (done.returncode, "cloudsql" in done.stdout) == (0, False), done.stderr


def test_the_command_has_what_the_document_deploys_with() -> None:
    flags = given("secrets")
    assert {name: flags[name] for name in ("image", "service-account", "vpc-connector")} == {
        "image": IMAGE,
        "service-account": OUTPUTS["runtime_service_account"],
        "vpc-connector": "gaia-prod-connector",
    }
    assert pairs(flags["set-secrets"]) == {
        "DB_USER": "db-user:1",
        "DB_PASSWORD": "db-password:7",
        "DB_NAME": "db-name:2",
        "DATABASE_URL": "db-url:12",
    }


@pytest.mark.parametrize("form", ["secrets", "job"])
def test_both_pools_of_an_instance_keep_within_what_the_stack_gives_it(form: str) -> None:
    variables = pairs(given(form)["set-env-vars"])
    assert int(variables["DATABASE_POOL_SIZE"]) + int(variables["DATABASE_SYNC_POOL_SIZE"]) == OUTPUTS["pool_size"]
    assert variables["DATABASE_POOL_OVERFLOW"] == "0"


@pytest.mark.parametrize("form", FORMS)
def test_no_version_is_latest(form: str) -> None:
    assert "latest" not in printed(form)


# --- gcloud itself ---


@pytest.mark.parametrize("form", COMMANDS)
def test_gcloud_itself_reads_the_command(form: str, tmp_path: Path) -> None:
    """It reads all flags before it looks for an account, of which there is none in an empty configuration."""
    if not shutil.which("gcloud"):
        pytest.skip("gcloud isn't installed: gcloud_flags.json stands for it")
    command = printed(form)[printed(form).rindex("gcloud run ") :]
    environ = {**os.environ, "CLOUDSDK_CONFIG": str(tmp_path), "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"}
    environ |= {
        "DB_USER": "u",
        "DB_PASSWORD": "p,q",
        "DB_NAME": "gaia",
        "DB_HOST": "/h",
        "DATABASE_URL": "postgresql://",
    }
    done = subprocess.run(["bash", "-c", command], env=environ, capture_output=True, text=True, check=False, timeout=60)
    assert "active account" in done.stderr, done.stderr
    assert done.returncode == 1


STAND_IN = """#!/bin/sh
case "$*" in
    *"secrets versions access"*) echo "$*" >>"$LOG.access"; cat "$LOG.password" ;;
    *) for word in "$@"; do printf '%s\\n' "$word"; done >"$LOG" ;;
esac
"""


def environment_given(tmp_path: Path, password: str) -> tuple[dict[str, str], str]:
    """The variables that the environment's script deploys with, and how it asked for the password."""
    stand_in, log = tmp_path / "gcloud", tmp_path / "log"
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)
    (tmp_path / "log.password").write_text(password)
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "LOG": str(log)}
    script = printed("environment")
    done = subprocess.run(["bash", "-c", script], env=environ, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    flag = next(line for line in log.read_text().splitlines() if line.startswith("--set-env-vars="))
    # ^X^ in front: gcloud splits at X in place of the comma (gcloud topic escaping).
    found = re.fullmatch(r"--set-env-vars=\^(.+?)\^(.*)", flag)
    assert found
    return dict(pair.split("=", 1) for pair in found[2].split(found[1])), Path(f"{log}.access").read_text()


def test_the_environment_has_the_login_as_it_is_and_percent_encoded_in_the_url(tmp_path: Path) -> None:
    if not shutil.which("jq"):
        pytest.skip("jq isn't installed: apt-get install jq")
    variables, asked = environment_given(tmp_path, ODD_PASSWORD)
    assert variables["DB_PASSWORD"] == ODD_PASSWORD
    found = re.fullmatch(r"postgresql://([^:@/]+):([^:@/]+)@/([^?]+)\?host=(.+)", variables["DATABASE_URL"])
    assert found
    assert [unquote(part) for part in found.groups()] == ["gaia_app", ODD_PASSWORD, "gaia", OUTPUTS["host"]]
    assert asked.split() == ["secrets", "versions", "access", "7", "--secret=db-password", "--project=p-1"]
    assert {"DB_USER": "gaia_app", "DB_NAME": "gaia", "DB_HOST": OUTPUTS["host"]}.items() <= variables.items()


def test_the_backends_package_reads_that_url(tmp_path: Path) -> None:
    if not shutil.which("jq"):
        pytest.skip("jq isn't installed: apt-get install jq")
    from sqlalchemy.engine import make_url

    url = make_url(environment_given(tmp_path, ODD_PASSWORD)[0]["DATABASE_URL"])
    assert (url.username, url.password, url.database, url.query["host"]) == (
        "gaia_app",
        ODD_PASSWORD,
        "gaia",
        OUTPUTS["host"],
    )


# --- the YAML ---


KNOWN_ANNOTATIONS = {
    "autoscaling.knative.dev/maxScale",
    "run.googleapis.com/cloudsql-instances",
    "run.googleapis.com/vpc-access-connector",
    "run.googleapis.com/vpc-access-egress",
}
"""As gcloud 528.0.0 writes them: googlecloudsdk/api_lib/run/{revision,container_resource}.py."""


def test_the_yaml_is_the_same_service_as_the_command() -> None:
    service = yaml.safe_load(printed("yaml"))
    revision = service["spec"]["template"]
    flags = given("secrets")
    assert (service["apiVersion"], service["kind"]) == ("serving.knative.dev/v1", "Service")
    assert service["metadata"]["labels"] == {"cloud.googleapis.com/location": "us-west1"}
    assert revision["metadata"]["annotations"] == {
        "autoscaling.knative.dev/maxScale": flags["max-instances"],
        "run.googleapis.com/cloudsql-instances": flags["add-cloudsql-instances"],
        "run.googleapis.com/vpc-access-connector": flags["vpc-connector"],
        "run.googleapis.com/vpc-access-egress": flags["vpc-egress"],
    }
    assert set(revision["metadata"]["annotations"]) == KNOWN_ANNOTATIONS
    assert revision["spec"]["serviceAccountName"] == flags["service-account"]
    variables = revision["spec"]["containers"][0]["env"]
    plain = {each["name"]: each["value"] for each in variables if "value" in each}
    references = {each["name"]: each["valueFrom"]["secretKeyRef"] for each in variables if "valueFrom" in each}
    assert plain == pairs(flags["set-env-vars"])
    assert {name: f"{each['name']}:{each['key']}" for name, each in references.items()} == pairs(flags["set-secrets"])


def test_every_value_of_the_yaml_is_text_as_cloud_run_wants_it() -> None:
    service = yaml.safe_load(printed("yaml"))
    template = service["spec"]["template"]
    values = [*template["metadata"]["annotations"].values()]
    values += [each.get("value", "") for each in template["spec"]["containers"][0]["env"]]
    assert {type(value) for value in values} == {str}


def loaded(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of the example."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    for module in ("flags", "commands", "manifest"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return importlib.import_module(name)


def test_a_certificate_is_mounted_as_the_file_that_the_flag_names(monkeypatch: pytest.MonkeyPatch) -> None:
    database = loaded("flags", monkeypatch).Database(
        outputs={"region": None}, flags={}, secrets={"/secrets/server-ca/server-ca.pem": "db-server-ca:2"}, variables={}
    )
    service = yaml.safe_load(importlib.import_module("manifest").service(database, name="n", image="i"))
    revision = service["spec"]["template"]["spec"]
    assert revision["volumes"] == [
        {
            "name": "server-ca",
            "secret": {"secretName": "db-server-ca", "items": [{"key": "2", "path": "server-ca.pem"}]},
        }
    ]
    mounted = [{"name": "server-ca", "mountPath": "/secrets/server-ca"}]
    assert revision["containers"] == [{"image": "i", "env": [], "volumeMounts": mounted}]


def test_direct_egress_is_an_interface_in_the_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = {"network": "default", "subnet": "default", "vpc-egress": "private-ranges-only"}
    made = loaded("flags", monkeypatch).Database(outputs={"region": None}, flags=flags, secrets={}, variables={})
    service = yaml.safe_load(importlib.import_module("manifest").service(made, name="n", image="i"))
    annotations = service["spec"]["template"]["metadata"]["annotations"]
    assert json.loads(annotations["run.googleapis.com/network-interfaces"]) == [
        {"network": "default", "subnetwork": "default"}
    ]


def test_a_flag_that_the_yaml_has_no_place_for_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    made = loaded("flags", monkeypatch).Database(outputs={"region": None}, flags={"gpu": "1"}, secrets={}, variables={})
    manifest = importlib.import_module("manifest")
    with pytest.raises(manifest.Unfit, match="no place in the YAML is known for gpu"):
        manifest.service(made, name="n", image="i")


# --- outputs that can't be deployed with ---


def without(*names: str, **changed: Any) -> dict[str, Any]:
    return {name: value for name, value in {**OUTPUTS, **changed}.items() if name not in names}


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        (without(target="embedded", environment="local"), "stack local runs on target embedded"),
        (without(password_secret={"id": "projects/p-1/secrets/db-password", "version": "latest"}), "aren't pinned"),
        (without(contract_version=2), "contract_version is 2"),
        ({}, "contract_version is None"),
        (without("user_secret", "password_secret", "name_secret", "database_url_secret"), "no secrets"),
        (without(pool_size=1), "pool_size is 1"),
        ("not JSON", "is no JSON object"),
    ],
)
@pytest.mark.parametrize("form", ["secrets", "yaml"])
def test_what_cannot_be_deployed_with_is_one_sentence_and_code_2(form: str, outputs: Any, says: str) -> None:
    done = run(form, outputs)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("form", FORMS)
def test_a_stack_without_a_connector_gives_no_flag_for_one(form: str) -> None:
    done = run(form, without("vpc_connector", "vpc_egress"))
    assert done.returncode == 0, done.stderr
    assert "vpc" not in done.stdout
    assert "None" not in done.stdout


def test_a_value_with_a_space_in_it_stays_one_word() -> None:
    text = run("secrets", OUTPUTS, "--name", "it's odd").stdout
    assert shlex.split(text)[3] == "it's odd"


def test_the_arguments_of_a_job_arrive() -> None:
    text = run("job", OUTPUTS, "--name", "gaia-nightly", "--argument=-m", "--argument=gaia.nightly").stdout
    assert "--args=-m,gaia.nightly" in shlex.split(text)
