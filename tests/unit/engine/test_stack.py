"""A stack as its state has it, the environment of its runs, and what the events of a run add up to."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engine import checkout as places
from engine import locks, stack
from engine.checkout import Checkout
from engine.errors import StateDamaged
from engine.stack import Pending, Stack

SECRET = "4dabf18193072939515e22adb298388d"
MARK = "1b47061264138c4ac30d75fd1eb44270"
CONTAINER = "urn:pulumi:local::gaia-db::gaia:local:PostgresContainer$docker:index/container:Container::postgres"


@pytest.fixture
def local(tmp_path: Path) -> Stack:
    """A stack of an empty checkout; its engine says nothing and succeeds."""
    checkout = Checkout(root=tmp_path)
    places.prepare(checkout)
    checkout.stack_file("local").write_text("config: {gaia-db:target: embedded}\n")
    (tmp_path / "Pulumi.yaml").write_text("name: gaia-db\nruntime: python\n")
    engine = tmp_path / "engine" / "pulumi"
    engine.parent.mkdir()
    engine.write_text("#!/bin/sh\n")
    engine.chmod(0o755)
    return Stack(name="local", checkout=checkout, engine=engine, environ={"PATH": "/usr/bin:/bin"})


def state(stack: Stack, latest: Any = None, text: str | None = None, suffix: str = "") -> Path:
    file = stack.state_file.with_name(f"{stack.state_file.name}{suffix}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"version": 3, "checkpoint": {"latest": latest}}) if text is None else text)
    return file


def with_environ(stack: Stack, **more: str) -> Stack:
    return dataclasses.replace(stack, environ={**stack.environ, **more})


# --- exported values ---


@pytest.mark.parametrize(
    ("exported", "plain"),
    [
        ({SECRET: MARK, "plaintext": '"hunter2"'}, "hunter2"),
        ({SECRET: MARK, "plaintext": '{"a": [1]}'}, {"a": [1]}),
        ({SECRET: MARK, "ciphertext": "AAAB"}, "[secret]"),
        ({"a": [{"b": {SECRET: MARK, "plaintext": "7"}}]}, {"a": [{"b": 7}]}),
        ([1, "x", None, True, 1.5], [1, "x", None, True, 1.5]),
        ({}, {}),
    ],
)
def test_exported_values_lose_their_wrapping(exported: Any, plain: Any) -> None:
    assert stack._plain(exported) == plain


# --- the state ---


def test_a_stack_that_was_never_made_has_nothing(local: Stack) -> None:
    assert (local.deployment(), local.pending(), local.resource_count()) == ({}, [], 0)


@pytest.mark.parametrize("latest", [None, {}, {"resources": None, "pending_operations": None}])
def test_a_stack_without_resources_has_nothing(local: Stack, latest: Any) -> None:
    state(local, latest)
    assert (local.pending(), local.resource_count()) == ([], 0)


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", "5", "{}", '{"checkpoint": null}', '{"checkpoint": 3}', "\x00"]
)
def test_a_damaged_state_says_so_and_is_left_as_it_is(local: Stack, text: str) -> None:
    file = state(local, text=text)
    with pytest.raises(StateDamaged, match=r"state of stack local is damaged .*nothing was changed.*--restore-state"):
        local.deployment()
    assert file.read_text() == text


def test_a_state_that_is_no_text_is_damaged(local: Stack) -> None:
    state(local).write_bytes(b"\xff\xfe")
    with pytest.raises(StateDamaged):
        local.deployment()


@pytest.mark.parametrize("latest", [[1], "x", {"resources": [{"urn": "u"}]}, {"pending_operations": [{}]}])
def test_a_state_of_another_shape_is_damaged(local: Stack, latest: Any) -> None:
    state(local, latest)
    with pytest.raises(StateDamaged):
        assert (local.resource_count(), local.pending()) == ()


def test_the_stack_itself_and_its_providers_do_not_count_as_resources(local: Stack) -> None:
    types = ("pulumi:pulumi:Stack", "pulumi:providers:docker", "docker:index/container:Container", "gaia:local:X")
    state(local, {"resources": [{"type": type_} for type_ in types]})
    assert local.resource_count() == 2


def test_what_a_killed_run_began_is_read_from_the_state(local: Stack) -> None:
    resource = {"urn": CONTAINER, "type": "docker:index/container:Container", "inputs": {"name": "gaia-postgres"}}
    bare = {"urn": "urn:pulumi:local::gaia-db::a:b:C::schema", "type": "a:b:C"}
    operations = [{"type": "creating", "resource": resource}, {"type": "deleting", "resource": bare}]
    state(local, {"pending_operations": operations})
    first, second = local.pending()
    assert first == Pending(
        operation="creating", urn=CONTAINER, type="docker:index/container:Container", inputs={"name": "gaia-postgres"}
    )
    assert (first.name, second.operation, second.name, second.inputs) == ("postgres", "deleting", "schema", {})


def test_going_back_keeps_the_damaged_state(local: Stack) -> None:
    damaged = state(local, text="half a fi")
    earlier = state(local, {"resources": []}, suffix=".bak")
    kept = local.restore_state()
    assert kept.read_text() == "half a fi"
    assert kept != damaged
    assert damaged.read_text() == earlier.read_text()
    assert damaged.stat().st_mode & 0o777 == 0o600
    assert local.deployment() == {"resources": []}


@pytest.mark.parametrize("backup", [None, "", "{", "[]", "{}"])
def test_without_an_earlier_state_nothing_is_touched(local: Stack, backup: str | None) -> None:
    damaged = state(local, text="half a fi")
    if backup is not None:
        state(local, text=backup, suffix=".bak")
    before = sorted(path.name for path in damaged.parent.iterdir())
    with pytest.raises(StateDamaged, match="no earlier state to go back to"):
        local.restore_state()
    assert damaged.read_text() == "half a fi"
    assert sorted(path.name for path in damaged.parent.iterdir()) == before


def test_a_state_that_is_fine_is_not_exchanged_for_an_earlier_one(local: Stack) -> None:
    latest = {"resources": [{"type": "a:b:C"}]}
    state(local, latest)
    state(local, {"resources": []}, suffix=".bak")
    with pytest.raises(Exception, match="not damaged"):
        local.restore_state()
    assert local.deployment() == latest


# --- the environment of a run ---


def test_the_environments_python_and_the_engine_come_first_on_path(local: Stack) -> None:
    path = local.environment()["PATH"].split(os.pathsep)
    assert path == [str(local.checkout.python_folder), str(local.engine.parent), "/usr/bin", "/bin"]


def test_the_callers_variables_stay_but_for_those_that_lead_python_astray(local: Stack) -> None:
    theirs = {"HTTPS_PROXY": "http://proxy", "VIRTUAL_ENV": "/x", "PYTHONPATH": "/x", "PYTHONHOME": "/x"}
    found = with_environ(local, **theirs).environment()
    assert found["HTTPS_PROXY"] == "http://proxy"
    assert not {"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME"} & set(found)


def test_a_run_is_marked_and_a_look_is_not(local: Stack) -> None:
    assert local.environment("run-1")[locks.RUN_MARK] == "run-1"
    assert locks.RUN_MARK not in local.environment()


def test_the_passphrase_itself_is_in_no_variable(local: Stack) -> None:
    secret = local.checkout.passphrase.read_text()
    assert all(secret not in value for value in local.environment("run-1").values())


def test_a_backend_of_ones_own_and_its_passphrase_are_left_alone(local: Stack) -> None:
    theirs = with_environ(local, PULUMI_BACKEND_URL="gs://state", PULUMI_CONFIG_PASSPHRASE="p")
    found = theirs.environment()
    assert (theirs.has_own_backend, local.has_own_backend) == (False, True)
    assert found["PULUMI_BACKEND_URL"] == "gs://state"
    assert "PULUMI_CONFIG_PASSPHRASE_FILE" not in found


def test_a_run_inside_a_prepared_shell_still_uses_the_checkouts_backend(local: Stack) -> None:
    inner = dataclasses.replace(local, environ=local.environment())
    assert inner.has_own_backend
    assert inner.environment() == local.environment()


# --- events ---


def step(op: str, type_: str = "a:b:C", name: str = "c", *, done: bool = True, **more: Any) -> dict[str, Any]:
    metadata = {"op": op, "type": type_, "urn": f"urn:pulumi:local::gaia-db::{type_}::{name}", **more}
    return {"resOutputsEvent" if done else "resourcePreEvent": {"metadata": metadata}}


def collected(*events: dict[str, Any]) -> stack._Collected:
    found = stack._Collected()
    for event in events:
        found.take(event)
    return found


def test_only_errors_among_the_diagnostics_are_failures() -> None:
    events = [
        {"diagnosticEvent": {"severity": severity, "message": severity}} for severity in ("info", "error", "warning")
    ]
    assert collected(*events).failures == ["error"]


def test_the_summary_counts_changes_and_has_the_stacks_outputs() -> None:
    outputs = {"port": 5432, "database_url": {SECRET: MARK, "ciphertext": "x"}}
    summary = collected(
        step("refresh", "pulumi:pulumi:Stack"),
        step("create", "pulumi:pulumi:Stack", new={"outputs": outputs}),
        step("create", new={"outputs": {"a": 1}}),
        {"summaryEvent": {"resourceChanges": {"create": 2, "same": 3}}},
        {"unknownEvent": {}},
    ).summary()
    assert summary.outputs == {"port": 5432, "database_url": "[secret]"}
    assert summary.resources == {"a:b:C": {"a": 1}}
    # The engine counts the stack itself, which nobody else takes for a resource.
    assert (summary.changes, summary.changed) == ({"create": 1, "same": 3}, 1)


def test_an_unchanged_stack_has_changed_nothing() -> None:
    assert collected({"summaryEvent": {"resourceChanges": {"same": 3}}}).summary().changed == 0
    assert collected({"summaryEvent": {}}).summary().changed == 0


def test_what_the_refresh_found_changed_is_named() -> None:
    summary = collected(
        step("refresh", detailedDiff={"status": {}}), step("refresh", name="d"), step("create")
    ).summary()
    assert summary.drifted == ("c",)


# --- by hand ---


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["up", "-s", "dev"], "dev"),
        (["--stack", "dev", "up"], "dev"),
        (["up", "--stack=dev"], "dev"),
        (["up", "-s=dev"], "dev"),
        (["up"], None),
        (["up", "-s"], None),
        ([], None),
        pytest.param(["up", "-sdev"], "dev"),
    ],
)
def test_the_stack_that_a_command_line_names_is_found(arguments: list[str], name: str | None) -> None:
    assert stack._named_stack(arguments) == name


class _Became(Exception):
    """What ``execve`` was asked to become."""


def become(local: Stack, monkeypatch: pytest.MonkeyPatch, *arguments: str, **environ: str) -> dict[str, str]:
    """Run a command line by hand; returns the variables that the engine would get."""
    started: list[dict[str, str]] = []

    def execve(path: Path, argv: Sequence[str], variables: dict[str, str]) -> None:
        assert list(argv) == [str(local.engine), *arguments]
        started.append(variables)
        raise _Became

    monkeypatch.setattr(os, "execve", execve)
    with pytest.raises(_Became):
        stack.by_hand(local.checkout, local.engine, arguments, {"PATH": "/bin", **environ})
    return started[0]


def test_a_run_by_hand_gets_its_stacks_own_environment_and_mark(local: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = become(local, monkeypatch, "up", "--stack", "local")
    run = locks.last_run(local.checkout, "local")
    assert run is not None
    assert (run.command, variables[locks.RUN_MARK]) == ("pulumi up", run.run_id)
    assert variables["PULUMI_STACK"] == "local"


def test_the_shells_stack_counts_where_the_command_line_names_none(
    local: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert become(local, monkeypatch, "preview", PULUMI_STACK="local")["PULUMI_OPTION_CONFIG_FILE"].endswith(
        "local.yaml"
    )
    assert locks.last_run(local.checkout, "local") is None


def test_a_stack_of_another_project_is_none_of_our_business(local: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    assert become(local, monkeypatch, "up", "-s", "theirs") == {"PATH": "/bin"}


def test_a_run_by_hand_is_guarded_wherever_its_flags_stand(local: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    assert locks.RUN_MARK in become(local, monkeypatch, "--stack", "local", "up")
