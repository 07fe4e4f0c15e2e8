"""A login's password: given, or generated once and then kept."""

from __future__ import annotations

import string

import pytest

from infra.local import password
from infra.local.password import PasswordProvider

KEEPER = PasswordProvider()


def test_a_generated_password_needs_no_escaping_and_is_never_the_same() -> None:
    made = [password.generate() for _ in range(50)]
    assert len(set(made)) == 50
    assert {len(one) for one in made} == {32}
    assert set("".join(made)) <= set(string.ascii_letters + string.digits)
    assert len(set("".join(made))) > 40


def test_a_given_password_is_taken_and_otherwise_one_is_generated() -> None:
    assert KEEPER.create({"given": "g" * 16}).outs == {"given": "g" * 16, "value": "g" * 16}
    outs = KEEPER.create({"given": None}).outs
    assert outs is not None
    assert len(outs["value"]) == password.LENGTH


@pytest.mark.parametrize(("given", "changes"), [(None, False), ("old" * 6, False), ("new" * 6, True)])
def test_only_another_given_password_is_a_change(given: str | None, changes: bool) -> None:
    assert KEEPER.diff("password", {"given": None, "value": "old" * 6}, {"given": given}).changes is changes


def test_a_password_stays_when_none_is_given_any_more() -> None:
    olds = {"given": "old" * 6, "value": "old" * 6}
    outs = KEEPER.update("password", olds, {"given": None}).outs
    assert outs == {"given": None, "value": "old" * 6}
    assert KEEPER.update("password", olds, {"given": "new" * 6}).outs == {"given": "new" * 6, "value": "new" * 6}
