"""The proof as a document, and what two moments of a database are compared by."""

import dataclasses
import json
from pathlib import Path

import pytest

from db.models import Base
from migrations.errors import ProofFailed
from migrations.proof import content, document, queries, watch
from migrations.proof.content import Content
from migrations.revisions import Revision, content_hash
from ops import prove as command

ROOT = Path(__file__).parents[3]
MOVE = document.Move(
    seconds=0.5, locks={"game.campaigns": "SHARE"}, longest_wait_ms=3.2, waited_for="game.campaigns", rewritten=("a.b",)
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Migrations of one revision."""
    (tmp_path / "versions").mkdir()
    (tmp_path / "versions" / "0001_a.py").write_text('"""A."""\nrevision = "0001"\ndown_revision = None\n')
    return tmp_path


def proof_of(tree: Path, **changes: object) -> document.Proof:
    proved = document.Proved(revision="0001", title="A", up=MOVE, down=MOVE, dropped={"a.b": 3}, queries=2)
    made = document.Proof(
        migrations=content_hash(tree),
        head="0001",
        server_version="16.14",
        made_at="2026-11-01T00:00:00+00:00",
        seconds=1.0,
        rows_asked=10,
        rows={"a.b": 10},
        revisions=(proved,),
    )
    return dataclasses.replace(made, **changes)  # pyright: ignore[reportArgumentType]


def test_what_is_written_is_read_again(tree: Path, tmp_path: Path) -> None:
    file = tmp_path / "new" / "proof.json"
    document.write(proof_of(tree), file)
    assert document.load(file) == proof_of(tree)
    assert document.valid_for(document.load(file), tree) == []
    assert json.loads(file.read_text())["ok"] is True
    assert [path.name for path in file.parent.iterdir()] == ["proof.json"]


def test_a_proof_of_other_migrations_does_not_count(tree: Path) -> None:
    proof = proof_of(tree)
    (tree / "versions" / "0001_a.py").write_text('"""A."""\nrevision = "0001"\ndown_revision = None\nx = 1\n')
    (reason,) = document.valid_for(proof, tree)
    assert "have changed since the proof of 2026-11-01" in reason and "./gaia migrate prove" in reason


def test_a_proof_of_another_server_does_not_count(tree: Path) -> None:
    (reason,) = document.valid_for(proof_of(tree, server_version="15.3"), tree)
    assert "PostgreSQL 15.3, not on 16" in reason


def test_a_proof_that_found_a_fault_does_not_count(tree: Path) -> None:
    bad = document.Proved(revision="0001", title="A", faults=("loses data",))
    assert document.valid_for(proof_of(tree, revisions=(bad,), faults=("not proved: 0002",)), tree) == [
        "0001: loses data",
        "not proved: 0002",
    ]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 99}', "\0"])
def test_what_is_no_proof_says_so(tmp_path: Path, text: str) -> None:
    file = tmp_path / "proof.json"
    file.write_text(text)
    with pytest.raises(ProofFailed, match=r"proof\.json.*run \./gaia migrate prove"):
        document.load(file)
    with pytest.raises(ProofFailed, match="there is no proof"):
        document.load(tmp_path / "none.json")


def test_every_field_is_in_the_docs() -> None:
    text = (ROOT / "docs" / "proof.md").read_text()
    for kind in (document.Proof, document.Proved, document.Move):
        for field in dataclasses.fields(kind):
            assert f"`{field.name}`" in text, f"docs/proof.md says nothing of {kind.__name__}.{field.name}"


def a_table(rows: int = 2, whole: int = 5, **columns: int) -> Content:
    return Content(rows=rows, whole=whole, columns=columns, values=dict.fromkeys(columns, rows))


def test_lost_rows_and_lost_values_are_told() -> None:
    before = {"a.b": a_table(x=1, y=2), "a.gone": a_table(x=1)}
    assert content.changed(before, {"a.b": a_table(x=1, y=2)}) == []
    assert content.changed(before, {"a.b": a_table(rows=1, x=1, y=2)}) == ["a.b has 1 rows instead of 2"]
    assert content.changed(before, {"a.b": a_table(x=1, y=7)}) == ["a.b has other values in y"]
    assert content.changed(before, {"a.b": a_table(whole=6, x=1, y=2)}) == ["a.b has its values in other rows"]
    assert content.changed(before, {"a.b": a_table(whole=6, x=1)}) == []  # another set of columns: rows differ anyway
    assert content.only_in(before, {"a.b": a_table(x=1)}) == {"a.gone": 2, "a.b.y": 2}


def test_dumps_are_compared_line_by_line() -> None:
    assert content.differences("a\nb\n", "a\nb\n") == []
    assert content.differences("a\nb\n", "a\nc\n") == ["- b", "+ c"]


def test_locks_are_said_as_the_manual_does() -> None:
    assert watch.in_words("AccessExclusiveLock") == "ACCESS EXCLUSIVE"
    assert watch.in_words("ShareUpdateExclusiveLock") == "SHARE UPDATE EXCLUSIVE"


def test_storage_that_changed_is_a_rewrite() -> None:
    before = watch.Tables(names={1: "a.b", 2: "a.c"}, storage={"a.b": (1, 10), "a.c": (2, 20)})
    after = watch.Tables(names={1: "a.b"}, storage={"a.b": (1, 11)})  # a.c is gone: no rewrite
    assert before.rewritten(after) == ("a.b",)


def test_each_table_of_the_models_has_a_query_of_an_earlier_release() -> None:
    text = " ".join(query.sql for query in queries.QUERIES)
    for table in Base.metadata.tables.values():
        assert table.fullname in text, f"no query of {table.fullname} in migrations/proof/queries.py"
    names = [query.name for query in (*queries.QUERIES, *queries.of_models())]
    assert len(names) == len(set(names))


def test_a_query_is_no_longer_asked_from_the_revision_that_ends_it() -> None:
    line = tuple(Revision(id=i, down=None, title="", path=Path()) for i in ("0001", "0002"))
    query = queries.Query(name="old", sql="SELECT 1", until="0002")
    assert queries.asked_at([query], line, "0001") == [query]
    assert queries.asked_at([query], line, "0002") == []


def test_what_a_person_reads_fits_80_columns_and_counts_more_locks_than_three() -> None:
    three = {f"game.table_{n}": "ACCESS EXCLUSIVE" for n in range(3)}
    some = dataclasses.replace(MOVE, locks=three)
    many = dataclasses.replace(MOVE, locks=three | {"auth.users": "ACCESS EXCLUSIVE"})
    proved = document.Proved(
        revision="0001", title="Long " * 20, up=many, down=some, faults=("pg_dump differs:\n+ " + "x " * 60,)
    )
    lines = command._line(proved).splitlines()
    assert max(len(line) for line in lines) <= 80
    said = " ".join(" ".join(lines).split())
    assert "ACCESS EXCLUSIVE on 4 tables (--json names them)" in said
    assert "ACCESS EXCLUSIVE on game.table_0, game.table_1, game.table_2" in said
    assert [line[:15] for line in lines if line.startswith("      ! ")] == ["      ! pg_dump"]
    assert sum(line.startswith("        + x") for line in lines) == 1


def test_the_last_lines_say_where_the_proof_is_and_what_is_wrong(tree: Path) -> None:
    file = Path(".gaia/proof.json")
    assert command._text(proof_of(tree), file).splitlines() == [
        "the migrations to 0001 are proved (PostgreSQL 16.14, 10 rows, 1 s)",
        "written to .gaia/proof.json",
    ]
    bad = command._text(proof_of(tree, faults=("not proved: " + "0002 " * 30,)), file).splitlines()
    assert bad[0].startswith("the migrations to 0001 are NOT proved (") and bad[1].startswith("  not proved: ")
    assert max(map(len, bad)) <= 80
