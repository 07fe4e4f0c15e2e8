"""The folder of the backups: what it lists, what it finds damaged, what it removes, who may work in it."""

from __future__ import annotations

import gzip
import multiprocessing
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup import files, folder, manifest
from backup.errors import BackupBusy, BackupDamaged, BackupMissing
from backup.folder import Entry
from backup.manifest import DumpFormat
from tests.unit.backup.samples import NOON, put
from tests.unit.backup.samples import manifest as made

FORMATS: tuple[DumpFormat, ...] = ("directory", "sql.gz")
DAY = timedelta(days=1)
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def names(place: Path) -> list[str]:
    return [entry.name for entry in folder.entries(place)]


def damage(entry: Entry) -> None:
    """Change one byte of its largest file; its size stays."""
    assert entry.manifest
    file = entry.file(max(entry.manifest.files, key=lambda name: entry.file(name).stat().st_size))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_the_newest_by_its_manifest_comes_first_whatever_it_is_called_and_touched(tmp_path: Path) -> None:
    _, new = put(tmp_path, NOON), put(tmp_path, NOON + DAY, "sql.gz")
    os.utime(new.path, (0, 0))
    assert names(tmp_path) == ["gaia_backup_20261124_120000.sql.gz", "gaia_backup_20261123_120000"]
    assert folder.newest(tmp_path).name == new.name


@pytest.mark.parametrize("dump_format", FORMATS)
def test_two_of_the_same_second_have_names_of_their_own(tmp_path: Path, dump_format: DumpFormat) -> None:
    moments = [NOON + timedelta(milliseconds=number) for number in range(3)]
    assert [put(tmp_path, moment, dump_format).name[:27] for moment in moments] == [
        f"gaia_backup_20261123_12000{second}" for second in range(3)
    ]
    assert [entry.manifest.number for entry in folder.entries(tmp_path) if entry.manifest] == [3, 2, 1]


@pytest.mark.parametrize("dump_format", FORMATS)
def test_one_changed_byte_is_found_by_reading_and_then_remembered(tmp_path: Path, dump_format: DumpFormat) -> None:
    entry = put(tmp_path, NOON, dump_format)
    damage(entry)
    assert folder.look(entry.path).verified  # at first sight
    with pytest.raises(BackupDamaged, match=entry.name):
        folder.verify(entry)
    assert folder.look(entry.path).state == "damaged"
    with pytest.raises(BackupMissing, match="no verified backup"):
        folder.newest(tmp_path)


def test_a_changed_byte_that_no_checksum_of_gzip_covers_is_found(tmp_path: Path) -> None:
    entry = put(tmp_path, NOON)
    (entry.archive / "toc.dat").write_bytes(b"tok")
    with pytest.raises(BackupDamaged, match=r"dump/toc\.dat isn't what was written"):
        folder.check(entry)


@pytest.mark.parametrize("dump_format", FORMATS)
def test_a_cut_or_missing_file_is_seen_without_reading_it(tmp_path: Path, dump_format: DumpFormat) -> None:
    cut, gone = put(tmp_path, NOON, dump_format), put(tmp_path, NOON + DAY, dump_format)
    for entry in (cut, gone):
        assert entry.manifest
        file = entry.file(sorted(entry.manifest.files)[0])
        os.truncate(file, file.stat().st_size - 1) if entry is cut else file.unlink()
    assert [entry.state for entry in folder.entries(tmp_path)] == ["damaged", "damaged"]
    assert "is missing" in str(folder.look(gone.path).fault)
    assert "bytes instead of" in str(folder.look(cut.path).fault)


def test_one_that_was_found_damaged_and_is_whole_again_counts_again(tmp_path: Path) -> None:
    entry = put(tmp_path, NOON)
    damage(entry)
    with pytest.raises(BackupDamaged):
        folder.verify(entry)
    damage(entry)  # the same bit once more
    assert folder.verify(folder.look(entry.path)).verified
    assert folder.look(entry.path).verified


def test_a_gzip_file_that_is_as_its_manifest_says_and_yet_no_gzip_file_is_damaged(tmp_path: Path) -> None:
    entry = put(tmp_path, NOON, "sql.gz")
    content = gzip.compress(b"x" * 1000)[:-3]
    entry.path.write_bytes(content)
    manifest.write(made(files={entry.name: files.content(entry.path)}, dump_format="sql.gz"), entry.manifest_file)
    with pytest.raises(BackupDamaged, match="its end is missing"):
        folder.check(folder.look(entry.path))


def test_what_is_being_made_or_removed_is_not_listed_and_cleared_once_its_maker_is_dead(tmp_path: Path) -> None:
    entry, packed = put(tmp_path, NOON), put(tmp_path, NOON + DAY, "sql.gz")
    with folder.locked(tmp_path, "a test"):
        _, partial = folder.reserve(tmp_path, NOON + 2 * DAY)
        (partial / "dump").mkdir()
        (tmp_path / ".gaia_backup_20261124_120000.unfinished").mkdir()
        assert names(tmp_path) == [entry.name]
        said: list[str] = []
        folder.clear(tmp_path, said.append)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", entry.name]
    assert not packed.path.exists()
    assert len(said) == 2


def test_another_programs_dump_is_listed_and_never_counts_nor_goes(tmp_path: Path) -> None:
    foreign = tmp_path / "gaia_backup_20240101_120000.sql.gz"
    foreign.write_bytes(gzip.compress(b"SELECT 1;"))
    for day in range(4):
        put(tmp_path, NOON + day * DAY)
    with folder.locked(tmp_path, "a test"):
        assert len(folder.prune(tmp_path, 2)) == 2
    assert foreign.exists()
    assert folder.look(foreign).state == "no manifest"
    with pytest.raises(BackupMissing, match="has no manifest"):
        folder.verify(folder.look(foreign))


@pytest.mark.parametrize("dump_format", FORMATS)
def test_pruning_removes_the_oldest_with_all_their_files(tmp_path: Path, dump_format: DumpFormat) -> None:
    there = [put(tmp_path, NOON + day * DAY, dump_format) for day in range(4)]
    with folder.locked(tmp_path, "a test"):
        assert folder.prune(tmp_path, 2) == [there[0].name, there[1].name]
    assert names(tmp_path) == [there[3].name, there[2].name]
    beside = 1 if dump_format == "directory" else 2
    assert len(list(tmp_path.iterdir())) == 1 + 2 * beside  # and the lock


def test_before_one_goes_those_that_stay_are_read_again_once_a_day(tmp_path: Path) -> None:
    there = [put(tmp_path, NOON + day * DAY, verified_at=LONG_AGO) for day in range(3)]
    damage(there[2])
    with folder.locked(tmp_path, "a test"):
        assert folder.prune(tmp_path, 2) == []
    assert [entry.state for entry in folder.entries(tmp_path)] == ["damaged", "verified", "verified"]
    fresh = folder.look(there[1].path)
    assert fresh.manifest and fresh.manifest.verified_at and fresh.manifest.verified_at > LONG_AGO


@pytest.mark.parametrize("dump_format", FORMATS)
def test_a_backup_is_found_by_its_name_its_path_and_what_lies_in_it(tmp_path: Path, dump_format: DumpFormat) -> None:
    entry = put(tmp_path, NOON, dump_format)
    inside = [str(entry.archive), str(entry.manifest_file)] if dump_format == "directory" else [str(entry.path)]
    for what in (entry.name, "gaia_backup_20261123_120000", str(entry.path), *inside):
        assert folder.find(tmp_path, what).path == entry.path
    with pytest.raises(BackupMissing, match="backups list"):
        folder.find(tmp_path, "gaia_backup_20261123_130000")


def test_a_moved_backup_is_as_good_as_before(tmp_path: Path) -> None:
    entry = put(tmp_path / "a", NOON)
    shutil.move(entry.path, tmp_path / "elsewhere")
    assert folder.verify(folder.find(tmp_path / "a", str(tmp_path / "elsewhere"))).verified


def test_of_two_at_once_one_is_told_who_the_other_is(tmp_path: Path) -> None:
    ready, done = multiprocessing.Event(), multiprocessing.Event()
    other = multiprocessing.Process(target=_hold, args=(tmp_path, ready, done))
    other.start()
    try:
        assert ready.wait(20)
        with pytest.raises(BackupBusy, match=rf"\./gaia backup \(pid {other.pid}, "), folder.locked(tmp_path, "mine"):
            pass
        done.set()
        other.join(20)
        with folder.locked(tmp_path, "mine"):
            pass
    finally:
        other.kill()
        other.join()


def _hold(place: Path, ready: object, done: object) -> None:
    with folder.locked(place, "./gaia backup"):
        ready.set()  # pyright: ignore[reportAttributeAccessIssue]
        done.wait(20)  # pyright: ignore[reportAttributeAccessIssue]


def test_the_folder_and_what_is_in_it_are_for_the_owner_alone(tmp_path: Path) -> None:
    place = tmp_path / "backups"
    put(place, NOON)
    put(place, NOON + DAY, "sql.gz")
    paths = [place, *place.iterdir(), place / "gaia_backup_20261123_120000" / "manifest.json"]
    modes = {path.name: path.stat().st_mode & 0o777 for path in paths if not path.name.endswith(".sql.gz")}
    assert {name: mode for name, mode in modes.items() if mode not in (0o600, 0o700)} == {}


def test_a_folder_that_is_not_there_has_no_backups(tmp_path: Path) -> None:
    assert folder.entries(tmp_path / "none") == []
