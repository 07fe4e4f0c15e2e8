"""A backup in which one byte was changed, or whose end is missing, is refused before anything is touched."""

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backup import folder
from backup.errors import BackupDamaged, BackupMissing
from tests.postgres import Database
from tests.restoring import back_up, drop_kept, named_after, put_back

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(3600)]

CHANGED = 20, 300
CUT = 5, 50


@pytest.fixture
def places(database: Database, copy: folder.Entry, tmp_path: Path) -> Iterator[list[tuple[Path, list[Path]]]]:
    """A backup of each form, and the files of each."""
    packed = back_up(database, tmp_path / "packed", "sql.gz")
    yield [
        (copy.path, sorted(file for file in copy.path.rglob("*") if file.is_file())),
        (packed.path, [packed.path, packed.manifest_file]),
    ]
    shutil.rmtree(tmp_path / "packed")


def spoilt(places: list[tuple[Path, list[Path]]], dice: random.Random) -> tuple[Path, Path]:
    """A backup, and a file of it: larger ones more often, and none never."""
    path, files = dice.choice(places)
    return path, dice.choices(files, [50 + file.stat().st_size for file in files])[0]


def refused(database: Database, path: Path, what: str) -> bool:
    try:
        put_back(database, folder.look(path), replace=True)
    except (BackupDamaged, BackupMissing):
        return True
    pytest.fail(f"{what} of {path} was restored")


def test_a_changed_byte_is_refused_and_the_target_untouched(
    database: Database,
    places: list[tuple[Path, list[Path]]],
    counts: Callable[[int, int], int],
    record: Callable[[str, str], None],
) -> None:
    dice, times = random.Random(1), counts(*CHANGED)
    made = 0
    for _ in range(times):
        path, file = spoilt(places, dice)
        content = file.read_bytes()
        at = dice.randrange(len(content))
        file.write_bytes(content[:at] + bytes([content[at] ^ dice.randrange(1, 256)]) + content[at + 1 :])
        made += refused(database, path, f"byte {at} of {file.name}")
        file.write_bytes(content)
    assert named_after(database) == [database.name]
    for path, _ in places:  # it was the byte, nothing else
        put_back(database, folder.look(path), replace=True)
    drop_kept(database)
    record("one byte of a backup changed", f"{made} of {times} refused, the target untouched")


def test_a_cut_file_is_refused_and_the_target_untouched(
    database: Database,
    places: list[tuple[Path, list[Path]]],
    counts: Callable[[int, int], int],
    record: Callable[[str, str], None],
) -> None:
    dice, times = random.Random(2), counts(*CUT)
    made = 0
    for _ in range(times):
        path, file = spoilt(places, dice)
        content = file.read_bytes()
        size = dice.randrange(len(content))
        file.write_bytes(content[:size])
        made += refused(database, path, f"{file.name} cut to {size} bytes")
        file.write_bytes(content)
    assert named_after(database) == [database.name]
    record("a backup cut", f"{made} of {times} refused, the target untouched")
