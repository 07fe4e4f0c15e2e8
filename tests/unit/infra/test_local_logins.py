"""What a turn declares on a local stack, and what a state from before there were turns makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.schema import SchemaProvider, _keys, _passwords
from tests.production import planning

SCHEMA = "pulumi-python:dynamic/gaia:Schema"
OLD = {"app_password": "a" * 32, "identity_key": "ab" * 32, "head": "0009", "revision": "0009"}
"""A state from before there were turns, as far as the logins go."""
FIRST = {**OLD, "app_user": "gaia_app", "other_user": "gaia_app_b", "other_password": None, "rotation": None}
ODD = {
    **FIRST,
    "app_user": "gaia_app_b",
    "app_password": "b" * 32,
    "other_user": "gaia_app",
    "other_password": "a" * 32,
    "rotation": {"turn": 2},
}


def planned(**rotation: Any) -> planning.Plan:
    return planning.plan("local", {"target": "embedded", "embedded": {"rotation": rotation}})


def declared(**rotation: Any) -> set[str]:
    kinds = ("pulumi-python:dynamic/gaia:Password", "pulumi-python:dynamic/gaia:IdentityKey")
    return {name for kind in kinds for name in planned(**rotation).of(kind)} - {"superuser-password"}


@pytest.mark.parametrize(
    ("rotation", "names"),
    [
        ({}, {"app-password", "identity-key"}),
        ({"turn": 2}, {"app-password-2", "app-password", "identity-key"}),
        ({"turn": 2, "retire_previous": True}, {"app-password-2", "retired-password-1", "identity-key"}),
        ({"turn": 3}, {"app-password-3", "app-password-2", "identity-key"}),
        ({"identity_turn": 2}, {"app-password", "identity-key-2", "identity-key"}),
        ({"identity_turn": 2, "retire_previous_identity": True}, {"app-password", "identity-key-2"}),
    ],
)
def test_a_turn_has_a_password_of_its_own_and_the_first_keeps_its_name(
    rotation: dict[str, Any], names: set[str]
) -> None:
    assert declared(**rotation) == names


def test_the_contract_gives_the_login_whose_turn_it_is() -> None:
    assert planned().outputs["app_user"] == "gaia_app"
    assert planned(turn=2).outputs["app_user"] == "gaia_app_b"


def test_the_schema_gets_the_passwords_of_both_and_every_key_that_counts() -> None:
    inputs = planned(turn=2, identity_turn=2).one(SCHEMA, "schema").inputs
    assert _passwords(inputs) == {
        "gaia_app_b": f"{planning.CANARY}-app-password-2",
        "gaia_app": f"{planning.CANARY}-app-password",
    }
    assert _keys(inputs) == [f"{planning.CANARY}-identity-key-2", f"{planning.CANARY}-identity-key"]


def test_a_stack_that_was_never_rotated_does_not_differ_from_its_state_of_before() -> None:
    assert not SchemaProvider().diff("schema", OLD, FIRST).changes
    assert _passwords(OLD) == _passwords(FIRST) == {"gaia_app": "a" * 32}


@pytest.mark.parametrize("change", [{"other_password": "c" * 32}, {"rotation": {"turn": 2, "retire_previous": True}}])
def test_another_password_or_turn_is_a_change(change: dict[str, Any]) -> None:
    assert SchemaProvider().diff("schema", FIRST, ODD).changes
    assert SchemaProvider().diff("schema", ODD, {**ODD, **change}).changes
    assert not SchemaProvider().diff("schema", ODD, ODD).changes
