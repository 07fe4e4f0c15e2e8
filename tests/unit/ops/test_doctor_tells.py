"""How the doctor tells, and that it goes on whatever breaks: text, JSON, deadlines, mends that are asked for."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from ops.doctor import command, examine, mends, scene
from ops.doctor.finding import UP, Finding, Mend, size, span
from ops.exits import FAILED, FINE, Refused, UsageFault
from ops.report import Report

WELL = Finding(name="settings")
FAULT = Finding(name="server process", found="it is stopped " * 10, way="run ./gaia up --stack local", mend=UP)
WARNING = Finding(
    name="indexes are valid",
    found="game.ix is invalid",
    way="run ./gaia psql -c 'DROP INDEX CONCURRENTLY game.ix_with_a_name_that_is_rather_long_for_a_line_of_eighty'",
    level="warning",
    mend=Mend(kind="index", title="drop the invalid index game.ix", subject="game.ix"),
)
NOTE = Finding(name="stack is held", found="./gaia up works on it", level="note")


def test_the_worst_comes_first_and_what_is_well_is_one_line() -> None:
    lines = command.text([WELL, NOTE, WARNING, FAULT], 0.4, 80).splitlines()
    heads = [line for line in lines if line[:1].strip()]
    assert [line.split()[0] for line in heads] == ["FAULT", "warning", "note", "well:", "1"]
    assert lines[-1] == "1 fault, 1 warning, 1 note; 4 checks in 0.4 s; ./gaia doctor --fix offers 2 mends"


def test_text_fits_80_columns_and_a_command_is_never_broken() -> None:
    lines = command.text([FAULT, WARNING], 0.4, 80).splitlines()
    assert all(len(line) <= 80 for line in lines if "→" not in line)
    assert any(line.endswith(WARNING.way) for line in lines)


def test_what_is_well_stays_within_its_line() -> None:
    well = [Finding(name=f"check number {number}") for number in range(40)]
    line, _ = command.text(well, 0.4, 80).splitlines()
    assert line == "well: check number 0, check number 1, check number 2, check number 3 and 36 more"


def test_nothing_wrong_is_said_in_words() -> None:
    assert command.text([WELL], 0.3, 80).endswith("nothing is wrong; 1 check in 0.3 s")


def test_what_fails_or_hangs_is_a_finding_and_keeps_nobody_waiting() -> None:
    def broken() -> Iterator[Finding]:
        yield WELL
        raise RuntimeError("the disk\nis on fire")

    def hanging() -> Iterator[Finding]:
        yield NOTE
        time.sleep(30)

    began = time.monotonic()
    said: list[str] = []
    found = examine.side_by_side({"a": broken, "b": hanging, "c": lambda: iter([FAULT])}, 1.2, said.append)
    assert time.monotonic() - began < 5
    names = [finding.name for finding in found]
    assert names == ["settings", "a can be looked at", "stack is held", "b answers in time", "server process"]
    assert "the disk" in found[1].found and "1.2 s" in found[3].found
    assert said and all(line.startswith("waiting for b (") for line in said)


def test_who_sits_on_the_port_makes_no_second_fault() -> None:
    port = Finding(name="port", found="taken", way="end that")
    answers = Finding(name="server answers", found="no answer", way="run ./gaia up", mend=UP)
    _, told = examine.untangled([port, answers])
    assert told.mend is None and "see above" in told.way
    assert examine.untangled([answers]) == [answers]


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[Finding]]:
    """What the examinations to come find, first to last."""
    rounds: list[list[Finding]] = []
    monkeypatch.setattr(command, "examine", lambda _scene, _say: rounds.pop(0))
    at = SimpleNamespace(stack="local", chosen=True, checkout=SimpleNamespace(root=tmp_path))
    monkeypatch.setattr(scene, "of", lambda _checkout, _name: at)
    return rounds


def doctor(*, fix: bool = False, yes: bool = False, as_json: bool = True) -> int:
    return command.doctor(Report(as_json=as_json), stack_name=None, fix=fix, yes=yes)


def test_the_document_is_the_checks_and_a_warning_alone_is_no_failure(
    found: list[list[Finding]], capsys: pytest.CaptureFixture[str]
) -> None:
    found.append([WELL, WARNING, NOTE])
    assert doctor() == FINE
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], document["stack"]) == (True, "local")
    assert [(check["name"], check["ok"]) for check in document["checks"]] == [
        ("settings", True),
        ("indexes are valid", False),
        ("stack is held", True),
    ]
    assert document["checks"][1]["hint"] == f"{WARNING.found}: {WARNING.way}"


def test_a_fault_ends_with_1(found: list[list[Finding]]) -> None:
    found.append([WELL, FAULT])
    assert doctor() == FAILED


def test_fix_without_a_terminal_lists_and_does_nothing(found: list[list[Finding]]) -> None:
    found.append([FAULT, WARNING])
    with pytest.raises(Refused, match=r"--yes to do all of: drop the invalid index game.ix; run ./gaia up"):
        doctor(fix=True)


def test_fix_does_each_mend_once_up_last_and_looks_again(
    found: list[list[Finding]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found += [[FAULT, WARNING, FAULT], [WELL]]
    done: list[str] = []

    def do(mend: Mend, _scene: object, _say: object) -> str:
        if mend.kind == "index":
            raise RuntimeError("no lock")
        done.append(mend.kind)
        return "ran ./gaia up"

    monkeypatch.setattr(mends, "do", do)
    assert doctor(fix=True, yes=True) == FINE
    printed = capsys.readouterr()
    assert done == ["up"] and json.loads(printed.out)["mended"] == ["ran ./gaia up"]
    assert "could not drop the invalid index game.ix: no lock" in printed.err


def test_nothing_to_mend_needs_no_answer(found: list[list[Finding]]) -> None:
    found.append([WELL])
    assert doctor(fix=True) == FINE


def test_yes_without_fix_is_a_slip(found: list[list[Finding]]) -> None:
    with pytest.raises(UsageFault, match="--fix"):
        doctor(yes=True)


def test_every_mend_that_a_rule_offers_can_be_done() -> None:
    import re

    folder = Path(command.__file__).parent
    offered = {kind for file in folder.glob("*.py") for kind in re.findall(r'Mend\(kind="(\w+)"', file.read_text())}
    assert offered == set(mends.KINDS)


def test_lengths_and_sizes_read_well() -> None:
    assert [span(s) for s in (5, 90, 600, -7200, 86400)] == ["5 s", "90 s", "10 min", "2 h", "1.0 days"]
    assert [size(n) for n in (5, 2048, 3 * 2**30, 2**40)] == ["5 B", "2 kB", "3 GB", "1.0 TB"]
