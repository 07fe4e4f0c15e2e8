"""A manifest is read back as it was written, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup import manifest as manifests
from backup.errors import BackupDamaged, BackupMissing
from tests.unit.backup.samples import manifest

WHOLE = manifests.render(manifest())


def test_what_was_written_is_read_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    file = tmp_path / "manifest.json"
    manifests.write(manifest(revision=None, verified_at=None), file)
    assert manifests.read(file) == manifest(revision=None, verified_at=None)
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_each_single_byte_counts() -> None:
    for place in range(len(WHOLE)):
        for change in (1, 2, 0x20, 0x80):
            changed = WHOLE[:place] + bytes([WHOLE[place] ^ change]) + WHOLE[place + 1 :]
            with pytest.raises(BackupDamaged):
                manifests.parse(changed, "it")


def test_cut_anywhere_it_is_damaged() -> None:
    for length in range(len(WHOLE)):
        with pytest.raises(BackupDamaged):
            manifests.parse(WHOLE[:length], "it")


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | st.just(b"[" * 100_000))
def test_anything_else_is_damaged_too(content: bytes) -> None:
    with pytest.raises(BackupDamaged):
        manifests.parse(content, "it")


@given(
    st.sampled_from(sorted(json.loads(WHOLE))),
    st.none()
    | st.integers()
    | st.floats()
    | st.text()
    | st.lists(st.integers())
    | st.dictionaries(st.text(), st.none()),
)
def test_values_of_any_other_kind_are_damage_and_no_crash(key: str, value: object) -> None:
    document = json.loads(WHOLE)
    changed = json.dumps({**document, key: value}).encode()
    if document[key] != value:
        with pytest.raises(BackupDamaged):
            manifests.parse(changed, "it")


def test_a_newer_format_says_what_to_do() -> None:
    document = {**json.loads(WHOLE), "format": manifests.FORMAT + 1}
    with pytest.raises(BackupDamaged, match="update the checkout"):
        manifests.parse(json.dumps(document).encode(), "it")


def test_where_there_is_none_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(BackupMissing, match="no manifest"):
        manifests.read(tmp_path / "manifest.json")
