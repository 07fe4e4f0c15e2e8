"""What a rotation does next, from what was carried out last and what the settings say; and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine import checkout as places
from engine.checkout import Checkout
from infra.rotation import Rotation
from ops import preflight, rotate, stacks
from ops.exits import Missing, OpsError, Refused, UsageFault
from ops.report import Report
from ops.rotate import IDENTITY, PASSWORD, handed_over


class _Stack:
    """A stack whose schema was brought to this rotation."""

    name = "local"

    def __init__(self, checkout: Checkout, rotation: dict[str, Any] | None) -> None:
        self.checkout = checkout
        self._resource = {"type": stacks.SCHEMA_TYPE, "outputs": {"rotation": rotation}}

    def deployment(self) -> dict[str, Any]:
        return {"resources": [self._resource]}


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(root=tmp_path)
    places.prepare(made)
    made.stack_file("local").write_text("config: {gaia-db:target: embedded}\n")
    return made


def turn(number: int, *, retired: bool = False) -> Rotation:
    return Rotation(turn=number, retire_previous=retired)


@pytest.mark.parametrize(
    ("there", "wanted", "after"),
    [
        (turn(1), turn(1), turn(2)),
        (turn(2, retired=True), turn(2, retired=True), turn(3)),
        # Handed over and not retired: whoever has the old password keeps it.
        (turn(2), turn(2), turn(2)),
        # Killed before, or while, the database got the new password.
        (turn(1), turn(2), turn(2)),
        (turn(2, retired=True), turn(3), turn(3)),
        # Killed while retiring: somebody may have come back since, so that is looked at again.
        (turn(2), turn(2, retired=True), turn(2)),
        # Set by hand, both at once: first one, then the other.
        (turn(1), turn(2, retired=True), turn(2)),
        (turn(2, retired=True), turn(3, retired=True), turn(3)),
    ],
)
def test_a_rotation_that_is_over_is_followed_by_another_and_any_other_is_finished_first(
    there: Rotation, wanted: Rotation, after: Rotation
) -> None:
    assert handed_over(there, wanted, PASSWORD, begin=True) == after


def test_retiring_begins_nothing() -> None:
    assert handed_over(turn(1), turn(1), PASSWORD, begin=False) is None
    assert handed_over(turn(4, retired=True), turn(4, retired=True), PASSWORD, begin=False) is None
    assert handed_over(turn(4), turn(4), PASSWORD, begin=False) == turn(4)


def test_the_password_and_the_key_are_rotated_each_for_itself() -> None:
    both = Rotation(turn=3, retire_previous=False, identity_turn=1)
    assert handed_over(both, both, IDENTITY, begin=True) == Rotation(turn=3, identity_turn=2)
    keyed = Rotation(turn=1, identity_turn=5)
    assert handed_over(keyed, keyed, PASSWORD, begin=True) == Rotation(turn=2, identity_turn=5)


def test_whatever_is_interrupted_a_rotation_comes_to_its_end_without_skipping_a_turn() -> None:
    # Each step writes the settings, then carries them out: a kill leaves the one with the other undone.
    for killed in range(6):
        there, wanted, writes = turn(1), turn(1), 0
        while not (there == wanted == turn(2, retired=True)):
            after = handed_over(there, wanted, PASSWORD, begin=there.turn == 1 and wanted.turn == 1)
            assert after is not None
            for step in (after, turn(after.turn, retired=True)):
                wanted, writes = step, writes + 1
                if writes == killed:
                    break
                there = wanted
        assert writes <= 4


@pytest.mark.parametrize(
    ("rotation", "logins", "keys"),
    [
        (Rotation(), ("gaia_app", "gaia_app_b"), (1,)),
        (Rotation(turn=2, identity_turn=2), ("gaia_app_b", "gaia_app"), (2, 1)),
        (Rotation(turn=3, identity_turn=3, retire_previous_identity=True), ("gaia_app", "gaia_app_b"), (3,)),
    ],
)
def test_a_turn_says_whose_it_is_and_which_keys_count(
    rotation: Rotation, logins: tuple[str, str], keys: tuple[int, ...]
) -> None:
    assert ((rotation.current, rotation.other), rotation.identity_turns) == (logins, keys)


def test_a_state_from_before_there_were_turns_is_on_the_first(checkout: Checkout) -> None:
    stack: Any = _Stack(checkout, None)
    assert stacks.rotation(stack) == Rotation()
    numbers = {"turn": 2.0, "retire_previous": True, "identity_turn": 1.0, "retire_previous_identity": False}
    stack = _Stack(checkout, numbers)
    assert stacks.rotation(stack) == turn(2, retired=True)


def test_a_stack_that_is_not_up_has_no_turn(checkout: Checkout) -> None:
    stack: Any = _Stack(checkout, None)
    stack._resource["type"] = "another"
    with pytest.raises(Missing, match=r"stack local is not up: run \./gaia up --stack local"):
        stacks.rotation(stack)


def test_the_settings_of_this_checkout_are_changed_at_once_and_the_committed_file_is_not(checkout: Checkout) -> None:
    stack: Any = _Stack(checkout, None)
    before = checkout.stack_file("local").read_text()
    changed = rotate._set(stack, turn(1), Rotation(turn=2, identity_turn=2, retire_previous_identity=True))
    assert changed.rotation == stacks.read_settings(checkout, "local").rotation
    assert changed.rotation == Rotation(turn=2, identity_turn=2, retire_previous_identity=True)
    assert checkout.stack_file("local").read_text() == before


def test_settings_that_another_run_changed_meanwhile_are_left_alone(checkout: Checkout) -> None:
    stack: Any = _Stack(checkout, None)
    rotate._set(stack, turn(1), turn(2))
    with pytest.raises(OpsError, match="another run has rotated stack local meanwhile"):
        rotate._set(stack, turn(1), turn(2, retired=True))
    assert stacks.read_settings(checkout, "local").rotation == turn(2)


def test_an_earlier_turn_is_refused(checkout: Checkout) -> None:
    stack: Any = _Stack(checkout, {"turn": 3, "identity_turn": 2})
    rotate._set(stack, turn(1), turn(2))
    with pytest.raises(Refused, match=r"embedded\.rotation\.turn: stack local is on turn 3"):
        preflight.require_no_earlier_turn(stack, stacks.read_settings(checkout, "local"))
    rotate._set(stack, turn(2), turn(3))
    with pytest.raises(Refused, match=r"embedded\.rotation\.identity_turn: stack local is on turn 2"):
        preflight.require_no_earlier_turn(stack, stacks.read_settings(checkout, "local"))


def test_production_is_rotated_by_its_own_setting(checkout: Checkout) -> None:
    project = "gaia-db:gcp: {project: gaia-test, rotation: {turn: 4}}"
    checkout.stack_file("prod").write_text(f"config: {{gaia-db:target: gcp, {project}}}\n")
    settings = stacks.read_settings(checkout, "prod")
    with pytest.raises(UsageFault, match=r"raise gcp\.rotation\.turn in Pulumi\.prod\.yaml to 5, .*pulumi up -s prod"):
        rotate._require_local(settings, PASSWORD)
    with pytest.raises(UsageFault, match=r"raise gcp\.rotation\.identity_turn in Pulumi\.prod\.yaml to 2"):
        rotate._require_local(settings, IDENTITY)


@pytest.mark.parametrize(("users", "said"), [({"gaia-backend": 1}, "1 session"), ({"a": 2, "b": 1}, "3 sessions")])
def test_who_still_uses_the_old_login_is_counted_and_named(users: dict[str, int], said: str) -> None:
    text = rotate._password_text(turn(2), False, users)
    assert f"gaia_app keeps its password for {said} (" in text
    assert all(f"{name} {count}" in text for name, count in users.items())
    assert "./gaia rotate --retire" in text


def test_the_sessions_of_a_key_can_not_be_ended() -> None:
    with pytest.raises(UsageFault, match="--now: who signs with a key can't be seen"):
        rotate.rotate(Report(), stack_name="local", retire=False, now=True, wait_s=0, identity=True)
