"""``./gaia migrate lint`` with a stack: its database is looked at when it is up and at head."""

from types import SimpleNamespace

import pytest

from migrations import runner
from migrations.lint import check
from ops import develop, exits, lint, stacks
from ops.exits import Missing
from ops.report import Report
from tests.postgres import Database

pytestmark = pytest.mark.postgres


@pytest.fixture(autouse=True)
def stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack that this checkout chose; the revisions are another test's."""
    monkeypatch.setattr(develop, "require_tools", lambda _checkout: None)
    monkeypatch.setattr(stacks, "chosen", lambda _checkout: "local")
    monkeypatch.setattr(stacks, "open_stack", lambda _name, _say: SimpleNamespace(name="local"))
    monkeypatch.setattr(check, "revisions", list)


def at(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(stacks, "logins", lambda _stack: SimpleNamespace(superuser=SimpleNamespace(url=url)))


def test_a_database_at_head_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database: Database
) -> None:
    at(monkeypatch, database.url)
    assert lint.lint(Report(), stack_name=None) == exits.FINE
    assert capsys.readouterr().out == "no finding in the revisions and the database of stack local\n"
    with database.connect() as connection:
        connection.execute("CREATE VIEW game.lint_v AS SELECT 1")
    assert lint.lint(Report(), stack_name=None) == exits.FAILED
    assert capsys.readouterr().out.startswith("database: error GAIA109-view-without-invoker: game.lint_v is a view")


def test_a_database_behind_head_is_not_looked_at_and_the_last_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], empty_database: Database
) -> None:
    at(monkeypatch, empty_database.url)
    assert lint.lint(Report(), stack_name=None) == exits.FINE
    assert f"stack local is at base, not {runner.head()}: its database was not looked at" in capsys.readouterr().out


def test_a_stack_that_is_not_up_matters_only_if_it_was_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def down(_stack: object) -> None:
        raise Missing("stack local is not up: run ./gaia up --stack local")

    monkeypatch.setattr(stacks, "logins", down)
    assert lint.lint(Report(), stack_name=None) == exits.FINE
    assert "stack local is not up, so no database was looked at" in capsys.readouterr().out
    with pytest.raises(Missing):
        lint.lint(Report(), stack_name="local")
