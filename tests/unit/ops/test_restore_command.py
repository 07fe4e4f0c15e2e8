"""``./gaia restore`` before it asks a server: which backup is meant, who is asked, what a drill leaves on record."""

from __future__ import annotations

import dataclasses
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup import drill as drills
from backup import folder, manifest
from backup.drill import Drill
from backup.manifest import Manifest
from ops import cli, drill, exits, restore
from ops.exits import Missing, UsageFault
from ops.report import Report

NOW = datetime.now(UTC)


def made(place: Path, number: int, *, hours_ago: float = 0) -> Path:
    """A backup of no tables, whole as far as its manifest goes."""
    moment = NOW - timedelta(hours=hours_ago)
    path = place / f"gaia_backup_20260101_{number:06}"
    path.mkdir(parents=True)
    values = {
        field.name: {} if field.name in ("extensions", "tables", "sequences", "guards", "files") else ()
        for field in dataclasses.fields(Manifest)
    }
    known = {
        "name": path.name,
        "number": number,
        "stack": "local",
        "database": "gaia",
        "made_at": moment,
        "duration_s": 1.0,
        "postgres_version": "16.14",
        "revision": None,
        "table_bytes": 0,
        "dump_format": "directory",
        "compression": "gzip:1",
        "verified_at": moment,
    }
    manifest.write(Manifest(**{**values, **known}), path / folder.MANIFEST)  # pyright: ignore[reportArgumentType]
    return path


def drilled(ago: timedelta, *, ok: bool = True) -> Drill:
    return Drill(time=NOW - ago, backup="b", ok=ok, seconds=1.0, age_s=1.0, fault=None if ok else "why")


def test_without_a_name_and_nobody_to_ask_the_list_is_the_answer(tmp_path: Path) -> None:
    names = [made(tmp_path, number, hours_ago=24 - number).name for number in range(1, 13)]
    with pytest.raises(UsageFault) as refused:
        restore.chosen(Report(), tmp_path, None, "./gaia restore")
    said = str(refused.value)
    assert said.startswith(
        f"which backup? ./gaia restore {names[-1]}, or another of these:\n   1  {names[-1]}  verified"
    )
    assert said.endswith("and 2 more: ./gaia backups list")
    assert names[1] not in said


def test_a_person_chooses_by_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older, newer = made(tmp_path, 1, hours_ago=2), made(tmp_path, 2, hours_ago=1)

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for given, chosen in (("\n", newer), ("2\n", older)):
        monkeypatch.setattr("sys.stdin", Terminal(given))
        monkeypatch.setattr("sys.stderr", Terminal())
        assert restore.chosen(Report(), tmp_path, None, "./gaia restore").path == chosen
    monkeypatch.setattr("sys.stdin", Terminal("3\n"))
    with pytest.raises(UsageFault, match="a number from 1 to 2"):
        restore.chosen(Report(), tmp_path, None, "./gaia restore")


def test_newest_is_the_newest_that_was_verified(tmp_path: Path) -> None:
    whole, damaged = made(tmp_path, 1, hours_ago=2), made(tmp_path, 2, hours_ago=1)
    (damaged / folder.MANIFEST).write_text("{}")
    assert restore.chosen(Report(), tmp_path, restore.NEWEST, "./gaia restore").path == whole


def test_no_backups_at_all_say_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"make one with \./gaia backup"):
        restore.chosen(Report(), tmp_path, None, "./gaia restore")


@pytest.mark.parametrize(
    "words", [["--drill", "--replace"], ["--drill", "--discard-old"], ["--discard-old", "name"], ["--jobs", "0"]]
)
def test_what_can_not_be_meant_is_a_usage_fault(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["restore", *words]) == exits.USAGE
    assert capsys.readouterr().out == ""


def test_a_stack_in_the_cloud_is_refused_with_the_way_to_its_runbook(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["restore", "newest", "--stack", "prod"]) == exits.REFUSED
    assert "docs/restore.md" in capsys.readouterr().err


def test_the_last_hundred_drills_are_remembered(tmp_path: Path) -> None:
    for number in range(drills.KEPT + 3):
        drills.record(tmp_path, drilled(timedelta(hours=200 - number)))
    found = drills.history(tmp_path)
    assert len(found) == drills.KEPT
    assert found[-1].time == (NOW - timedelta(hours=200 - drills.KEPT - 2)).replace(microsecond=0)
    document = json.loads((tmp_path / drills.FILE).read_text())
    assert set(document["drills"][0]) == {"time", "backup", "ok", "seconds", "age_s", "fault"}
    assert (tmp_path / drills.FILE).stat().st_mode & 0o777 == 0o600


def test_a_record_that_can_not_be_read_begins_anew(tmp_path: Path) -> None:
    (tmp_path / drills.FILE).write_text('{"drills": [{"time": 1}]}')
    assert drills.last_good(tmp_path) is None
    drills.record(tmp_path, drilled(timedelta(0)))
    assert len(drills.history(tmp_path)) == 1


@pytest.mark.parametrize(
    ("history", "ok", "said"),
    [
        ([], False, "no drill has gone well yet: run ./gaia restore --drill"),
        ([drilled(timedelta(days=1), ok=False)], False, "no drill has gone well yet"),
        ([drilled(timedelta(days=8))], False, "the last good drill is 8 days old: run ./gaia restore --drill"),
        ([drilled(timedelta(days=6))], True, ""),
        ([drilled(timedelta(days=6)), drilled(timedelta(days=1), ok=False)], True, ""),
        ([drilled(timedelta(days=-30))], False, "run ./gaia restore --drill"),  # the clock had jumped
    ],
)
def test_verify_wants_a_good_drill_within_a_week(tmp_path: Path, history: list[Drill], ok: bool, said: str) -> None:
    assert drill.check(tmp_path).ok, "there is nothing to try yet"
    made(tmp_path, 1)
    for one in history:
        drills.record(tmp_path, one)
    found = drill.check(tmp_path)
    assert found.ok == ok
    assert said in found.hint


@pytest.mark.parametrize(
    ("ago", "said"),
    [
        (timedelta(seconds=5), "5 s"),
        (timedelta(minutes=3), "3 minutes"),
        (timedelta(hours=30), "30 hours"),
        (timedelta(days=9), "9 days"),
        (-timedelta(days=9), "0 s"),
    ],
)
def test_ages_are_said_as_people_say_them(ago: timedelta, said: str) -> None:
    assert restore.age(NOW - ago, NOW) == said
