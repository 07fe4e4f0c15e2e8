"""The migration files, read without running them."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrations import revisions
from migrations.errors import BrokenHistory, UnknownRevision


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the migrations."""
    ignore = shutil.ignore_patterns("__pycache__")
    return shutil.copytree(revisions.DIRECTORY, tmp_path / "migrations", ignore=ignore)


def write(tree: Path, name: str, revision: str, down: str | None) -> Path:
    path = tree / "versions" / name
    path.write_text(f'"""A title.\n\nMore."""\n\nrevision: str = "{revision}"\ndown_revision = {down!r}\n')
    return path


def test_the_files_are_one_line_numbered_from_0001_and_named_by_number_and_slug() -> None:
    line = revisions.history()
    assert [revision.id for revision in line] == [f"{number:04d}" for number in range(1, len(line) + 1)]
    assert all(revision.path.stem.startswith(f"{revision.id}_") for revision in line)
    assert revisions.head() == line[-1].id


def test_a_new_file_becomes_the_head(tree: Path) -> None:
    number = revisions.next_id(tree)
    write(tree, "new.py", number, revisions.head(tree))
    assert revisions.head(tree) == number
    assert revisions.history(tree)[-1].title == "A title."


def test_two_files_after_one_are_named(tree: Path) -> None:
    write(tree, "0098_a.py", "0098", "0001")
    with pytest.raises(BrokenHistory, match=r"0002_game_schema\.py and 0098_a\.py both follow 0001"):
        revisions.history(tree)


def test_a_number_used_twice_is_named(tree: Path) -> None:
    write(tree, "0099_again.py", "0001", "0003")
    with pytest.raises(BrokenHistory, match="two files have revision 0001"):
        revisions.history(tree)


def test_a_file_that_nothing_leads_to_is_named(tree: Path) -> None:
    write(tree, "0099_lost.py", "0099", "0042")
    with pytest.raises(BrokenHistory, match=r"0099_lost\.py: no way from base"):
        revisions.history(tree)


def test_a_branch_or_merge_is_refused(tree: Path) -> None:
    path = write(tree, "0099_merge.py", "0099", None)
    path.write_text('revision = "0099"\ndown_revision = ("0001", "0002")\n')
    with pytest.raises(BrokenHistory, match=r"0099_merge\.py"):
        revisions.history(tree)


def test_an_empty_folder_has_no_head(tmp_path: Path) -> None:
    with pytest.raises(BrokenHistory, match="no revision"):
        revisions.head(tmp_path)


@pytest.mark.parametrize("file", ["env.py", "versions/0001_auth_schema.py", "grants.py", "roles.py"])
def test_the_hash_follows_the_content(tree: Path, file: str) -> None:
    before = revisions.content_hash(tree)
    path = tree / file
    original = path.read_text()
    path.write_text(original + "# changed\n")
    assert revisions.content_hash(tree) != before
    path.write_text(original)
    assert revisions.content_hash(tree) == before


def test_the_hash_ignores_what_python_leaves_and_where_the_files_lie(tree: Path) -> None:
    assert revisions.content_hash(tree) == revisions.content_hash()
    cache = tree / "versions" / "__pycache__"
    cache.mkdir()
    (cache / "0001.cpython-311.pyc").write_bytes(b"x")
    (cache / "left.py").write_text("x")
    assert revisions.content_hash(tree) == revisions.content_hash()


def test_a_renamed_file_is_another_hash(tree: Path) -> None:
    before = revisions.content_hash(tree)
    path = revisions.history(tree)[0].path
    path.rename(path.with_name("0001_other.py"))
    assert revisions.content_hash(tree) != before


@given(st.integers(min_value=0, max_value=len(revisions.history())))
def test_every_revision_has_its_position(number: int) -> None:
    line = revisions.history()
    name = line[number - 1].id if number else "base"
    assert revisions.position(line, name) == number


def test_an_unknown_revision_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownRevision, match=r"no revision 0099 in this checkout \(it has: 0001 to "):
        revisions.position(revisions.history(), "0099")
