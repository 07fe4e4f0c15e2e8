"""What a failover reads from PostgreSQL's programs, and what stands beside a server's data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.local import failover, postgres, replication

START = "0/32A5EA8"


@pytest.mark.parametrize(
    ("said", "bytes_"),
    [
        ("pg_waldump: error: could not find a valid record after 0/32A5EA8", 0),
        ("pg_waldump: error: error in WAL record at 0/32A5EA8: invalid record length at 0/32A5F08: expected 24", 0x60),
        ("pg_waldump: error: error in WAL record at 0/32A5EB8: unexpected pageaddr 0/1000000 in WAL segment "
         "000000010000000000000003, LSN 0/32A6000, offset 2777088", 0x158),
        ('pg_waldump: error: could not find file "000000010000000000000004": No such file', 0x4000000 - 0x32A5EA8),
        ("pg_waldump: error: it burns", None),
    ],
)  # fmt: skip
def test_how_far_a_log_goes_is_read_from_where_pg_waldump_gives_up(said: str, bytes_: int | None) -> None:
    assert failover.log_end(said, START) == bytes_


def test_a_failover_is_under_way_as_long_as_its_notes_are_there(tmp_path: Path) -> None:
    assert failover.finish(tmp_path) is None
    assert not failover.under_way(tmp_path)
    (tmp_path / "failover.json").write_text("{}")
    assert failover.under_way(tmp_path)


@pytest.mark.parametrize("text", [None, "", "{", "[]", "null"])
def test_a_mark_that_is_missing_or_broken_is_none(tmp_path: Path, text: str | None) -> None:
    standby = postgres.Server(home=tmp_path, binaries=tmp_path, user=None)
    if text is not None:
        (tmp_path / "follows.json").write_text(text)
    assert replication.follows(standby) is None
    (tmp_path / "follows.json").write_text(json.dumps({"synchronous": True}))
    assert replication.follows(standby) == {"synchronous": True}
    replication.forget(standby)
    assert replication.follows(standby) is None


def test_where_only_the_standby_has_data_the_primarys_place_is_still_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "outside"
    monkeypatch.setattr(postgres, "_outside", lambda _checkout: outside)
    (outside / "local-standby" / "data").mkdir(parents=True)
    assert postgres.home_for(tmp_path / "gaia", "local") == outside / "local"
    assert postgres.standby_home(outside / "local") == outside / "local-standby"
