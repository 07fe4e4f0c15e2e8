"""The contract in the forms its readers take: evaluable, line by line, and without a secret value."""

from __future__ import annotations

import json
import shlex
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from infra.outputs import NAMES
from ops import contract, stacks
from ops.exits import Missing, UsageFault
from ops.report import Report

LOCAL: dict[str, Any] = {
    **dict.fromkeys(NAMES),
    "contract_version": 1,
    "environment": "local",
    "target": "embedded",
    "host": "127.0.0.1",
    "port": 5432,
    "database": "gaia",
    "app_user": "gaia_app",
    "database_url": "[secret]",
    "schema_revision": "0002",
    "max_connections": 200,
    "max_instances": 1,
    "pool_size": 20,
    "pool_overflow": 0,
}
GCP: dict[str, Any] = {
    **LOCAL,
    "environment": "prod",
    "target": "gcp",
    "host": "/cloudsql/gaia-prod:us-west1:gaia-db",
    "database_url": None,
    "project": "gaia-prod",
    "region": "us-west1",
    "instance_connection_name": "gaia-prod:us-west1:gaia-db",
    "runtime_service_account": "gaia-run@gaia-prod.iam.gserviceaccount.com",
    "user_secret": {"id": "projects/gaia-prod/secrets/gaia-db-user", "version": "1"},
    "password_secret": {"id": "projects/gaia-prod/secrets/gaia-db-password", "version": "7"},
    "name_secret": {"id": "projects/gaia-prod/secrets/gaia-db-name", "version": "2"},
    "database_url_secret": {"id": "projects/gaia-prod/secrets/gaia-db-url", "version": "12"},
    "vpc_connector": "gaia",
    "vpc_egress": "private-ranges-only",
    "max_instances": 4,
    "replicas": {"reports": "gaia-prod:us-west1:gaia-db-reports"},
}
ODD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)


def evaluated(text: str) -> dict[str, str]:
    """The variables that a shell has after reading the text."""
    script = f"set -a\n{text}\nexec env -0"
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=True, env={"PATH": "/usr/bin:/bin"})
    pairs = (entry.decode().partition("=") for entry in done.stdout.split(b"\0"))
    return {name: value for name, _, value in pairs if name.startswith("GAIA_DB_")}


@examples(max_examples=3, deadline=None, database=None)
@given(st.lists(ODD, min_size=6, max_size=6))
def test_a_shell_reads_every_value_as_it_was_meant(values: list[str]) -> None:
    odd = ["it's", "$(exit 3)", "a b\n`c`", "", "-n", '"\\$HOME', *values]
    found = {f"name_{number}": value for number, value in enumerate(odd)}
    assert evaluated(contract.as_env(found)) == {f"GAIA_DB_{name.upper()}": value for name, value in found.items()}


def test_the_environment_has_a_variable_for_each_value_that_is_neither_null_nor_secret() -> None:
    found = evaluated(contract.as_env(GCP))
    assert set(found) == {f"GAIA_DB_{name.upper()}" for name, value in GCP.items() if value is not None}
    assert (found["GAIA_DB_PORT"], found["GAIA_DB_HOST"]) == ("5432", GCP["host"])
    assert json.loads(found["GAIA_DB_PASSWORD_SECRET"]) == GCP["password_secret"]


def test_github_gets_one_line_for_each_value() -> None:
    lines = contract.as_github(GCP).split("\n")
    assert dict(line.split("=", 1) for line in lines) == {
        name: value if isinstance(value, str) else json.dumps(value) for name, value in GCP.items() if value is not None
    }


@pytest.mark.parametrize("newline", ["\n", "\r", "\u2028"])
def test_a_structured_value_never_breaks_a_line_of_github(newline: str) -> None:
    text = contract.as_github({"replicas": {"reports": f"x{newline}host=evil"}})
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_value_with_a_line_break_is_never_taken_for_two_outputs(newline: str) -> None:
    try:
        text = contract.as_github({"host": f"x{newline}database=evil"})
    except UsageFault:
        return
    assert "database=evil" not in text.splitlines()


def test_json_is_the_contract_itself_nulls_included() -> None:
    assert json.loads(contract.as_json(LOCAL)) == LOCAL


def test_cloud_run_gets_exactly_these_flags() -> None:
    secrets = ",".join(
        (
            "DB_USER=gaia-db-user:1",
            "DB_PASSWORD=gaia-db-password:7",
            "DB_NAME=gaia-db-name:2",
            "DATABASE_URL=gaia-db-url:12",
        )
    )
    assert contract.as_cloudrun(GCP).split("\n") == [
        "--add-cloudsql-instances=gaia-prod:us-west1:gaia-db",
        "--service-account=gaia-run@gaia-prod.iam.gserviceaccount.com",
        "--vpc-connector=gaia",
        "--vpc-egress=private-ranges-only",
        "--max-instances=4",
        f"--set-secrets={secrets}",
    ]


@pytest.mark.parametrize("host", ["10.9.0.5", "203.0.113.9"])
def test_cloud_run_gets_no_socket_where_the_host_is_an_address(host: str) -> None:
    assert "cloudsql" not in contract.as_cloudrun({**GCP, "host": host})


def test_cloud_run_gets_no_flag_for_what_the_stack_lacks() -> None:
    bare = {
        **GCP,
        **dict.fromkeys(("user_secret", "password_secret", "name_secret", "database_url_secret", "vpc_connector")),
    }
    text = contract.as_cloudrun(bare)
    assert "--set-secrets" not in text
    assert "--vpc-connector" not in text


@pytest.mark.parametrize("name", ["instance_connection_name", "runtime_service_account"])
def test_cloud_run_never_gets_none_for_a_value(name: str) -> None:
    assert "None" not in contract.as_cloudrun({**GCP, name: None})


def test_the_flags_survive_a_shell() -> None:
    odd = {**GCP, "runtime_service_account": "a b'c$(d)"}
    assert "--service-account=a b'c$(d)" in shlex.split(contract.as_cloudrun(odd))


@pytest.mark.parametrize("target", ["docker", "embedded"])
def test_a_local_stack_has_no_flags_for_cloud_run(target: str) -> None:
    with pytest.raises(UsageFault, match=f"stack local runs on target {target}: only a stack on gcp"):
        contract.as_cloudrun({**LOCAL, "target": target})


@pytest.mark.parametrize("form", ["env", "github"])
def test_a_masked_value_is_left_out(form: str) -> None:
    text = contract.FORMS[form](LOCAL)
    assert "[secret]" not in text
    assert "database_url=" not in text.lower()


# --- the command ---


class _Stack:
    """A stack with these outputs."""

    name = "local"

    def __init__(self, found: dict[str, Any]) -> None:
        self.found = found
        self.shown: list[bool] = []

    def outputs(self, *, show_secrets: bool) -> dict[str, Any]:
        self.shown.append(show_secrets)
        return self.found


def having(monkeypatch: pytest.MonkeyPatch, found: dict[str, Any]) -> _Stack:
    stack = _Stack(found)
    monkeypatch.setattr(stacks, "open_stack", lambda name, say: stack)
    return stack


@pytest.mark.parametrize("form", ["json", "env", "github"])
def test_the_command_never_asks_for_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    stack = having(monkeypatch, LOCAL)
    contract.outputs(Report(), stack_name=None, form=form)
    assert stack.shown == [False]
    assert capsys.readouterr().out == contract.FORMS[form](LOCAL) + "\n"


def test_the_command_gives_every_name_though_the_engine_leaves_nulls_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    having(monkeypatch, {name: value for name, value in LOCAL.items() if value is not None} | {"extra": 1})
    contract.outputs(Report(as_json=True), stack_name=None, form="json")
    assert json.loads(capsys.readouterr().out) == {"ok": True, "stack": "local", "format": "json", "outputs": LOCAL}


def test_a_stack_that_is_not_up_has_no_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    having(monkeypatch, {})
    with pytest.raises(Missing, match=r"stack local is not up: run \./gaia up --stack local"):
        contract.outputs(Report(), stack_name=None, form="json")


def test_an_unknown_form_names_the_known_ones() -> None:
    with pytest.raises(UsageFault, match="--format xml: must be one of json, env, cloudrun, github"):
        contract.outputs(Report(), stack_name=None, form="xml")
