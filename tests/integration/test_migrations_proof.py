"""The proof on real servers: what must not be is found, what is measured is right, and nothing is left behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
import pytest

from migrations import runner
from migrations.proof import document, run
from ops import prove as command
from ops import throwaway
from ops.report import Report
from tests.postgres import PASSWORDS, Server

pytestmark = pytest.mark.postgres

ROOT = Path(runner.__file__).parent.parent
ALTER = "ALTER TABLE game.campaigns"
BAD: Mapping[str, tuple[str, str]] = {
    "0004": (  # upgrade, downgrade: the column comes back, its values don't
        f"{ALTER} DROP COLUMN state",
        f"{ALTER} ADD COLUMN state jsonb DEFAULT '{{}}' NOT NULL CONSTRAINT ck_campaigns_state_object"
        " CHECK (jsonb_typeof(state) = 'object')",
    ),
    "0005": (
        "ALTER TABLE game.chat_history ALTER COLUMN content TYPE varchar(9000)",
        "ALTER TABLE game.chat_history ALTER COLUMN content TYPE text;"
        " DROP TABLE IF EXISTS game.sent; UPDATE game.chat_history SET metadata = metadata || '{\"x\": 1}'",
    ),
    "0006": (f"{ALTER} ADD COLUMN note text; SELECT pg_sleep(0.6)", f"{ALTER} DROP COLUMN note"),
    "0007": (
        "ALTER TABLE auth.sessions RENAME COLUMN user_agent TO client",
        "ALTER TABLE auth.sessions RENAME COLUMN client TO user_agent",
    ),
    "0008": ("CREATE OR REPLACE FUNCTION game.left() RETURNS int LANGUAGE sql AS 'SELECT 1'", "SELECT 1"),
    "0009": ("CREATE TABLE game.odd (code text NOT NULL CHECK (code ~ '^[0-9]$'))", "DROP TABLE game.odd"),
    "0010": ("CREATE TABLE game.plain (n int, at timestamptz)", "DROP TABLE game.plain"),
    "0011": (
        "DELETE FROM auth.sessions WHERE false",
        "DELETE FROM auth.sessions WHERE ctid = (SELECT min(ctid) FROM auth.sessions)",
    ),
    "0012": ("SELECT 1", "DO $$BEGIN RAISE 'no way back'; END$$"),
    "0013": (
        "indexes.create_concurrently(op, 'ix_late', 'chat_history', ['content'], schema='game')",
        "indexes.drop_concurrently(op, 'ix_late', 'chat_history', schema='game')",
    ),
    "0014": ("SELECT 1/0", "SELECT 1"),
    "0015": ("SELECT 1", "SELECT 1"),
}
"""Revisions, most with a fault, after the first three: number → SQL (or a helper's call) up and down."""


@pytest.fixture(scope="module")
def proof(server: Server) -> Iterator[document.Proof]:
    """A proof of the first three revisions and of those with faults."""
    folder = Path(tempfile.mkdtemp())
    tree = shutil.copytree(runner.DIRECTORY, folder / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
    for revision in runner.history(tree)[3:]:
        revision.path.unlink()
    for number, both in BAD.items():
        up, down = (change if change.startswith("indexes.") else f"op.execute({change!r})" for change in both)
        (tree / "versions" / f"{number}_bad.py").write_text(
            f'"""Bad {number}."""\n\nfrom alembic import op\n\nfrom migrations import indexes\n\n'
            f'revision = "{number}"\ndown_revision = "{int(number) - 1:04d}"\n\n\n'
            f"def upgrade() -> None:\n    {up}\n\n\n"
            f"def downgrade() -> None:\n    {down}\n"
        )
    database = server.create("proved")
    try:
        site = run.Site(
            superuser_url=database.url,
            bootstrap_url=database.url,
            migrator_url=database.url_as("gaia_migrator"),
            passwords=PASSWORDS,
            pg_dump=server.binaries / "pg_dump",
            directory=tree,
            messages=1000,
        )
        yield run.prove(site)
    finally:
        server.drop("proved")
        shutil.rmtree(folder)


def of(proof: document.Proof, revision: str) -> document.Proved:
    return next(found for found in proof.revisions if found.revision == revision)


def test_good_revisions_are_proved_with_data(proof: document.Proof) -> None:
    for number in ("0001", "0002", "0003", "0010"):
        assert of(proof, number).faults == ()
    assert of(proof, "0002").dropped["game.chat_history"] == 1000
    assert of(proof, "0010").dropped["game.plain"] == 100  # a table that nobody told the proof of
    assert of(proof, "0003").queries > 10


def test_a_downgrade_that_loses_data_is_found(proof: document.Proof) -> None:
    assert "up and down loses data: game.campaigns has other values in state" in of(proof, "0004").faults
    lost = [fault for fault in of(proof, "0011").faults if "loses data" in fault]
    assert lost and "auth.sessions has 119 rows instead of 120" in lost[0]


def test_a_rewritten_table_is_shown(proof: document.Proof) -> None:
    down, up = of(proof, "0005").down, of(proof, "0005").up
    assert up is not None and down is not None
    assert up.rewritten == ("game.chat_history",)
    assert down.rewritten == ()  # varchar to text stores the same bytes
    assert up.locks["game.chat_history"] == "ACCESS EXCLUSIVE"
    assert any("other values in metadata" in fault for fault in of(proof, "0005").faults)


def test_a_reader_that_had_to_wait_is_shown(proof: document.Proof) -> None:
    up = of(proof, "0006").up
    assert up is not None
    assert up.waited_for == "game.campaigns" and up.longest_wait_ms > 500
    assert up.locks["game.campaigns"] == "ACCESS EXCLUSIVE" and up.seconds > 0.6
    quiet = of(proof, "0010").up
    assert quiet is not None and quiet.longest_wait_ms < 500 and "game.campaigns" not in quiet.locks


def test_a_query_of_the_previous_release_that_fails_is_named(proof: document.Proof) -> None:
    faults = of(proof, "0007").faults
    expected = "the query 'Session of 0003' worked at 0006 and fails now: column \"user_agent\" does not exist"
    assert faults[0] == expected, faults


def test_a_downgrade_that_leaves_something_is_found(proof: document.Proof) -> None:
    faults = of(proof, "0008").faults
    assert any("pg_dump -s differs after down" in fault and 'game."left"()' in fault for fault in faults), faults


def test_a_new_table_without_rows_is_reported(proof: document.Proof) -> None:
    (fault,) = of(proof, "0009").faults
    assert fault.startswith("game.odd has no rows (") and "migrations/proof/rows.py" in fault


def test_a_revision_without_a_way_back_is_found(proof: document.Proof) -> None:
    (fault,) = of(proof, "0012").faults
    assert "no way back" in fault and "the database stays at 0012" in fault
    assert of(proof, "0013").ok


def test_what_runs_outside_a_transaction_is_measured_too(proof: document.Proof) -> None:
    for way in (of(proof, "0013").up, of(proof, "0013").down):
        assert way is not None and way.locks == {"game.chat_history": "SHARE UPDATE EXCLUSIVE"}


def test_what_comes_after_a_revision_that_fails_is_not_proved(proof: document.Proof) -> None:
    (fault,) = of(proof, "0014").faults
    assert fault == "revision 0014 failed: division by zero at: SELECT 1/0 (the database stays at 0013)"
    assert proof.faults == ("not proved: 0015",)


def test_a_proof_with_faults_does_not_count(proof: document.Proof) -> None:
    assert not proof.ok
    assert any(sentence.startswith("0004: ") for sentence in proof.sentences())


def test_the_migrations_of_this_checkout_are_proved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "proof.json"
    code = command.prove(Report(as_json=True), rows=300, out=file)
    said = json.loads(capsys.readouterr().out)
    assert document.load(file).sentences() == [] and code == 0
    assert document.valid_for(document.load(file)) == []
    assert (said["ok"], said["file"]) == (True, str(file))
    assert [r["revision"] for r in said["revisions"]] == [r.id for r in runner.history()]
    assert all(rows > 0 for rows in said["rows"].values())


@pytest.fixture
def temp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files that the server's user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="gaia-test-"))
    folder.chmod(0o711)
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    throwaway.remove_stale()
    monkeypatch.undo()
    tempfile.tempdir = None
    shutil.rmtree(folder)


def test_ctrl_c_leaves_nothing_behind(temp: Path) -> None:
    process = _started(temp)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode != 0
    assert list(temp.glob("gaia-throwaway-*/server-*")) == []


def test_what_a_killed_proof_left_is_removed_by_the_next(temp: Path) -> None:
    process = _started(temp)
    port = _port(temp)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert len(list(temp.glob("gaia-throwaway-*/server-*"))) == 1
    throwaway.remove_stale()
    assert list(temp.glob("gaia-throwaway-*/server-*")) == []
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(f"postgresql://gaia@127.0.0.1:{port}/gaia")


def _started(temp: Path) -> "subprocess.Popen[bytes]":
    """A proof that has come as far as to its server."""
    code = (
        "import pathlib; from ops import prove; from ops.report import Report;"
        f"prove.prove(Report(), rows=300, out=pathlib.Path({str(temp / 'proof.json')!r}))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 40
    while not _port(temp):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    return process


def _port(temp: Path) -> int | None:
    for file in temp.glob("gaia-throwaway-*/server-*/pg/data/postmaster.pid"):
        lines = file.read_text().splitlines()
        if len(lines) > 7 and lines[7].strip() == "ready":
            return int(lines[3])
    return None
