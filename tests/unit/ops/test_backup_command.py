"""What ``./gaia backup`` and ``./gaia backups`` say and refuse; no server is asked."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup import folder
from backup.errors import BackupBusy
from ops import backup, backups, exits
from ops.exits import Refused, UsageFault
from ops.report import Report
from tests.unit.backup.samples import NOON, put

DAY = timedelta(days=1)


def test_a_stack_in_google_cloud_is_refused_with_where_its_backups_are() -> None:
    with pytest.raises(Refused, match=r"Google Cloud, which backs it up itself: docs/restore\.md"):
        backup.backup(Report(), stack_name="prod", form="directory", keep=10, folder=None)


def test_a_format_that_there_is_not_is_refused() -> None:
    with pytest.raises(UsageFault, match=r"--format custom: must be one of directory, sql\.gz"):
        backup.backup(Report(), stack_name="local", form="custom", keep=10, folder=None)


def test_the_list_is_a_table_for_people_and_one_document_for_programs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, NOON)
    bad = put(tmp_path, NOON + DAY, "sql.gz")
    bad.path.write_bytes(b"")
    assert backups.listed(Report(), folder=tmp_path) == exits.FINE
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines[:3]] == ["state", "damaged", "verified"]
    assert "has 0 bytes instead of" in lines[3]
    assert backups.listed(Report(as_json=True), folder=tmp_path) == exits.FINE
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is True
    assert [(one["name"], one["state"]) for one in document["backups"]] == [
        ("gaia_backup_20261124_120000.sql.gz", "damaged"),
        ("gaia_backup_20261123_120000", "verified"),
    ]
    assert document["backups"][1]["rows"] == 3


def test_without_backups_it_says_how_to_make_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (backups.listed, lambda report, folder: backups.verify(report, name=None, folder=folder)):
        assert command(Report(), folder=tmp_path / "none") == exits.FINE
        assert "make one with ./gaia backup" in capsys.readouterr().out
    assert not (tmp_path / "none").exists()


def test_verify_ends_with_1_where_one_is_damaged_and_says_which(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = put(tmp_path, NOON, "sql.gz"), put(tmp_path, NOON + DAY, "sql.gz")
    content = bytearray(bad.path.read_bytes())
    content[20] ^= 1
    bad.path.write_bytes(content)
    assert backups.verify(Report(), name=None, folder=tmp_path) == exits.FAILED
    out = capsys.readouterr().out
    assert f"{bad.name} is damaged" in out
    assert f"{good.name} is whole" in out
    assert backups.verify(Report(), name=good.name, folder=tmp_path) == exits.FINE


def test_damaged_ones_are_removed_only_where_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = put(tmp_path, NOON)
    bad.manifest_file.write_text("{}")
    assert backups.prune(Report(), keep=10, damaged=False, folder=tmp_path) == exits.FINE
    assert f"{bad.name} is damaged and stays" in capsys.readouterr().out
    assert backups.prune(Report(), keep=10, damaged=True, folder=tmp_path) == exits.FINE
    assert f"removed {bad.name}" in capsys.readouterr().out
    assert folder.entries(tmp_path) == []


def test_pruning_while_one_is_made_is_refused_as_busy_and_listing_is_not(tmp_path: Path) -> None:
    put(tmp_path, NOON)
    with folder.locked(tmp_path, "./gaia backup"):
        with pytest.raises(BackupBusy, match=r"\./gaia backup"):
            backups.prune(Report(), keep=10, damaged=False, folder=tmp_path)
        assert backups.listed(Report(), folder=tmp_path) == exits.FINE


@pytest.mark.parametrize(
    ("ago", "said"), [(5, "5 s"), (90, "2 min"), (7200, "2 h"), (3 * 86_400, "3 d"), (-3600, "in the future")]
)
def test_an_age_is_said_in_one_unit(tmp_path: Path, ago: int, said: str) -> None:
    assert backups.age(put(tmp_path, datetime.now(UTC) - timedelta(seconds=ago))) == said


@pytest.mark.parametrize(("amount", "said"), [(5, "5 B"), (1500, "2 kB"), (38e6, "38 MB"), (1.25e9, "1.2 GB")])
def test_a_size_is_said_in_one_unit(amount: float, said: str) -> None:
    assert backups.size(int(amount)) == said
