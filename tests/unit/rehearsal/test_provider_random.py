"""Random values: what they are made of, and what makes them anew."""

from __future__ import annotations

import base64
import string

import pytest

from rehearsal.provider import random_values
from rehearsal.provider.protocol import UNKNOWN

PASSWORD = "random:index/randomPassword:RandomPassword"
BYTES = "random:index/randomBytes:RandomBytes"
ID = "random:index/randomId:RandomId"


def test_a_password_has_its_length_and_its_alphabet() -> None:
    inputs, failures = random_values.check(PASSWORD, {"length": 32, "special": False})
    assert failures == []
    made = [random_values.create(PASSWORD, inputs, preview=False)[1]["result"] for _ in range(20)]
    assert {len(each) for each in made} == {32}
    assert len(set(made)) == 20
    assert set("".join(made)) <= set(string.ascii_letters + string.digits)


def test_a_password_has_the_least_of_each_kind() -> None:
    inputs, failures = random_values.check(PASSWORD, {"length": 8, "minSpecial": 4, "minUpper": 4})
    assert failures == []
    for _ in range(20):
        text = random_values.create(PASSWORD, inputs, preview=False)[1]["result"]
        assert sum(each in random_values.SPECIAL for each in text) == 4
        assert sum(each.isupper() for each in text) == 4


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, 'The argument "length" is required'),
        ({"length": 0}, "must be at least 1"),
        ({"length": 2, "minLower": 3}, "must be at least 3"),
        ({"length": 9, "lenght": 9}, "unknown key"),
        ({"length": 9, "special": False, "upper": False, "lower": False, "numeric": False}, "must be true"),
    ],
)
def test_what_makes_no_sense_is_refused(inputs: dict[str, object], words: str) -> None:
    _, failures = random_values.check(PASSWORD, inputs)
    assert words in failures[0].message


def test_bytes_are_told_twice_and_their_id_says_nothing() -> None:
    resource_id, made = random_values.create(BYTES, {"length": 32}, preview=False)
    assert bytes.fromhex(made["hex"]) == base64.b64decode(made["base64"])
    assert resource_id == "none"


def test_an_id_is_its_own_value() -> None:
    resource_id, made = random_values.create(ID, {"byteLength": 8}, preview=False)
    assert resource_id == made["b64Url"]
    assert int(made["hex"], 16) == int(made["dec"])


def test_a_preview_knows_no_value() -> None:
    _, made = random_values.create(PASSWORD, {"length": 9}, preview=True)
    assert made["result"] == UNKNOWN


@pytest.mark.parametrize("change", [{"keepers": {"turn": "2"}}, {"length": 33}, {"special": True}])
def test_a_change_makes_it_anew(change: dict[str, object]) -> None:
    before, _ = random_values.check(PASSWORD, {"length": 32, "special": False})
    after, _ = random_values.check(PASSWORD, {"length": 32, "special": False, **change})
    assert random_values.diff(PASSWORD, before, before) == []
    assert all(each.replaces for each in random_values.diff(PASSWORD, before, after))
    assert random_values.diff(PASSWORD, before, after)
