"""Progress goes to stderr, the result to stdout: with --json one document and nothing else."""

from __future__ import annotations

import json

import pytest

from ops.checks import Check, tell
from ops.exits import FAILED, FINE
from ops.report import Report


def test_as_json_stdout_is_one_document_whatever_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(as_json=True)
    report.say("looking")
    with report.working("title") as working:
        working.now("moving")
        working.done("a step")
    report.result("text for people", {"ok": True, "name": "Zoë"})
    said = capsys.readouterr()
    assert json.loads(said.out) == {"ok": True, "name": "Zoë"}
    assert said.err == "looking\na step\n"


def test_for_people_stdout_is_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    Report().result("text for people", {"ok": True})
    assert capsys.readouterr() == ("text for people\n", "")


def test_the_order_of_a_documents_keys_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    Report(as_json=True).result("", {"ok": True, "b": 1, "a": 2})
    assert list(json.loads(capsys.readouterr().out)) == ["ok", "b", "a"]


def test_time_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    report = Report()
    now[0] += 1.2345
    assert report.seconds == 1.23


def test_one_check_that_fails_fails_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    checks = [Check("server answers", True), Check("revision is head", False, "is 0001: run ./gaia migrate upgrade")]
    assert tell(Report(), "local", checks) == FAILED
    assert capsys.readouterr().out.splitlines() == [
        "ok    server answers",
        "FAIL  revision is head: is 0001: run ./gaia migrate upgrade",
        "1 of 2 checks hold, 1 failed",
    ]


@pytest.mark.parametrize("ok", [True, False])
def test_checks_as_json_have_name_ok_and_hint(capsys: pytest.CaptureFixture[str], ok: bool) -> None:
    assert tell(Report(as_json=True), "local", [Check("a", ok, "hint")]) == (FINE if ok else FAILED)
    assert json.loads(capsys.readouterr().out) == {
        "ok": ok,
        "stack": "local",
        "checks": [{"name": "a", "ok": ok, "hint": "hint"}],
    }
