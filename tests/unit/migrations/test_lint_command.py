"""``./gaia migrate lint``: what it prints, and what it ends with."""

import json
from typing import Any

import pytest

from migrations.lint import check, findings
from ops import develop, exits, lint, stacks
from ops.report import Report

RULE = findings.Rule(id="GAIA999", slug="test", reason="For a test.", safe="don't")
FAULT = findings.finding(RULE, "it is so", file="migrations/versions/0001_a.py", line=3, revision="0001")


@pytest.fixture(autouse=True)
def no_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is installed, no stack is up."""
    monkeypatch.setattr(develop, "require_tools", lambda _checkout: None)
    monkeypatch.setattr(stacks, "chosen", lambda _checkout: None)


def revisions_have(monkeypatch: pytest.MonkeyPatch, *found: findings.Finding) -> None:
    monkeypatch.setattr(check, "revisions", lambda: list(found))


def test_without_a_finding_it_ends_with_zero_and_says_what_was_looked_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    revisions_have(monkeypatch)
    assert lint.lint(Report(), stack_name=None) == exits.FINE
    said = "no finding in the revisions; no stack is up, so no database was looked at\n"
    assert capsys.readouterr().out == said


def test_a_finding_has_its_safe_way_on_a_line_of_its_own_and_the_last_line_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    revisions_have(monkeypatch, FAULT, FAULT)
    assert lint.lint(Report(), stack_name=None) == exits.FAILED
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines == ["migrations/versions/0001_a.py:3: error GAIA999-test: it is so", "    Safe way: don't"] * 2
    assert last.startswith("2 errors in the revisions; no stack is up")


def test_json_is_one_document(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    revisions_have(monkeypatch, FAULT)
    assert lint.lint(Report(as_json=True), stack_name=None) == exits.FAILED
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert document["findings"][0] | {"rule": "GAIA999-test", "line": 3} == document["findings"][0]


def test_a_terminal_gets_lines_that_fit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    long = findings.finding(RULE, "it is so " * 20, file="migrations/versions/0001_a.py")
    revisions_have(monkeypatch, long)
    monkeypatch.setattr(lint, "_width", lambda: 80)
    lint.lint(Report(), stack_name=None)
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert "    Safe way: don't" in lines
