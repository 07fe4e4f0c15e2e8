"""What ``python -m migrations`` takes besides a revision: a bound for statements, and retention for maintain."""

import json
from typing import Any

import pytest

from migrations import partitions
from migrations.__main__ import main
from migrations.connection import STATEMENT_TIMEOUT_S, statement_timeout_from_environment
from migrations.errors import BadSetting


def test_a_statement_may_run_as_long_as_the_environment_says() -> None:
    assert statement_timeout_from_environment({}) == STATEMENT_TIMEOUT_S
    assert statement_timeout_from_environment({"GAIA_MIGRATIONS_STATEMENT_TIMEOUT_S": "0"}) == 0
    assert statement_timeout_from_environment({"GAIA_MIGRATIONS_STATEMENT_TIMEOUT_S": "2.5"}) == 2.5


@pytest.mark.parametrize("given", ["ten", "-1", "nan", "inf", "1e9", "5 min"])
def test_what_is_no_number_of_seconds_is_named(given: str) -> None:
    with pytest.raises(BadSetting, match=r"GAIA_MIGRATIONS_STATEMENT_TIMEOUT_S is .* give seconds"):
        statement_timeout_from_environment({"GAIA_MIGRATIONS_STATEMENT_TIMEOUT_S": given})


@pytest.mark.parametrize("given", ["-1", "nan", "soon"])
def test_a_bound_on_the_command_line_is_a_number_of_seconds(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["upgrade", f"--statement-timeout-s={given}"])
    assert caught.value.code == 2
    assert f"it is {given!r}: give seconds" in capsys.readouterr().err


def test_maintain_hands_its_retention_on_and_says_what_it_did(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, Any] = {}

    def maintain(url: str, **options: Any) -> partitions.Maintained:
        given.update(options, url=url)
        return partitions.Maintained(made=("game.chat_history_2026_11",), detached=("game.chat_history_2020_01",))

    monkeypatch.setattr(partitions, "maintain", maintain)
    monkeypatch.setenv("GAIA_MIGRATIONS_URL", "postgresql://nowhere/gaia")
    assert main(["maintain", "--chat-retention-months", "24"]) == 0
    assert given == {
        "url": "postgresql://nowhere/gaia",
        "chat_retention_months": 24,
        "audit_retention_months": None,
    }
    assert capsys.readouterr().out == "made game.chat_history_2026_11\ndetached game.chat_history_2020_01\n"
    assert main(["maintain", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["detached"] == ["game.chat_history_2020_01"]


@pytest.mark.parametrize("given", ["0", "-1", "many"])
def test_a_retention_is_a_number_of_months(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["maintain", "--audit-retention-months", given])
    assert caught.value.code == 2
    capsys.readouterr()
