"""``./gaia restore --drill``: a backup restored on a server of its own, and what it leaves on record."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from backup import drill as drills
from backup.folder import Entry
from ops import drill, exits, throwaway
from ops.report import Report
from tests.postgres import Database
from tests.restoring import back_up, manifest_of, rewritten

pytestmark = pytest.mark.postgres


def drilled(entry: Entry, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    code = drill.drill(Report(as_json=True), file=entry.name, jobs=2, place=entry.path.parent)
    return code, json.loads(capsys.readouterr().out)


def servers() -> set[str]:
    return {folder.name for folder in throwaway._base().glob("server-*")}


def test_a_good_drill_is_timed_and_recorded_and_leaves_no_server(
    copy: Entry, capsys: pytest.CaptureFixture[str]
) -> None:
    # A role that only this backup's server had is made for the drill.
    known = manifest_of(copy)
    entry = rewritten(copy, roles=(*known.roles, "grafana"))
    before = servers()
    code, said = drilled(entry, capsys)
    assert (code, said["ok"], said["fault"]) == (exits.FINE, True, None)
    (recorded,) = drills.history(copy.path.parent)
    assert recorded.ok and recorded.backup == copy.name
    assert recorded.seconds == said["recovery_s"] > 0
    assert recorded.age_s == said["age_s"] is not None
    assert drill.check(copy.path.parent).ok
    assert servers() <= before


def test_an_export_of_cloud_sql_which_gives_googles_roles_their_rights_is_drilled(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = back_up(database, tmp_path / "backups", "sql.gz")
    end = "--\n-- PostgreSQL database dump complete"
    with gzip.open(made.path, "rt", encoding="utf-8") as file:
        before, _, after = file.read().rpartition(end)
    (export := tmp_path / "exports" / "gaia-prod-db-mon.sql.gz").parent.mkdir()
    with gzip.open(export, "wt", encoding="utf-8") as file:
        file.write(f"{before}GRANT USAGE ON SCHEMA public TO cloudsqlsuperuser;\n\n{end}{after}")
    code = drill.drill(Report(as_json=True), file=str(export), jobs=2, place=tmp_path / "clone" / "backups")
    said = json.loads(capsys.readouterr().out)
    assert said["fault"] is None
    assert (code, said["ok"]) == (exits.FINE, True)


def test_a_drill_of_what_can_not_be_restored_fails_and_says_why(
    copy: Entry, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = rewritten(copy, revision="9999")
    code, said = drilled(entry, capsys)
    assert code == exits.FAILED
    assert not said["ok"] and "is at revision 9999" in str(said["fault"])

    (copy.path / "dump" / "toc.dat").write_bytes(b"")
    code, said = drilled(copy, capsys)
    assert code == exits.FAILED
    assert "damaged" in str(said["fault"])
    assert [one.ok for one in drills.history(copy.path.parent)] == [False, False]
    assert not drill.check(copy.path.parent).ok
