"""The job on a real PostgreSQL, with a stand-in for Google's APIs: a backup first, then everything; or nothing."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from db.identity import key_id
from migrations import job, revisions, runner
from tests.postgres import IDENTITY_KEY, PASSWORDS, Database
from tests.standins.sqladmin import CONNECTION_NAME, Fault, SqlAdmin, serving

pytestmark = pytest.mark.postgres


@pytest.fixture
def admin() -> Iterator[SqlAdmin]:
    with serving() as state:
        state.polls = 0
        yield state


def environment(database: Database, admin: SqlAdmin | None = None, **more: str) -> dict[str, str]:
    return {
        "GAIA_MIGRATIONS_URL": database.url,
        "GAIA_IDENTITY_KEY": IDENTITY_KEY,
        "GAIA_APP_PASSWORD": PASSWORDS["gaia_app"],
        "GAIA_APP_PASSWORD_B": PASSWORDS["gaia_app_b"],
        **(admin.environment if admin else {}),
        **more,
    }


def ran(capsys: pytest.CaptureFixture[str], given: dict[str, str]) -> tuple[int, list[dict[str, Any]]]:
    capsys.readouterr()
    code = job.main(given)
    captured = capsys.readouterr()
    hidden = [given[name] for name in (*job.SECRETS, "GAIA_MIGRATIONS_URL") if given.get(name)]
    assert not [secret for secret in hidden if secret in captured.out + captured.err]
    return code, [json.loads(line) for line in captured.out.splitlines()]


def at(database: Database) -> str | None:
    return runner.current(database.url)


def test_the_first_run_backs_up_then_makes_a_database_that_the_backend_can_use(
    empty_database: Database, admin: SqlAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    given = environment(empty_database, admin, CLOUD_RUN_EXECUTION="gaia-db-migrate-x7k2p")
    code, lines = ran(capsys, given)
    result = lines[-1]
    assert code == 0 and result["ok"], result
    assert at(empty_database) == result["after"] == runner.head()
    (run,) = admin.runs
    assert run["description"] == f"gaia: before 0001..{runner.head()} (gaia-db-migrate-x7k2p)"
    assert result["backup"]["id"] == run["id"] and result["backup"]["instance"] == CONNECTION_NAME
    done = next(number for number, line in enumerate(lines) if line.get("backup_id") == run["id"])
    begun = next(number for number, line in enumerate(lines) if line.get("event") == "upgrading")
    assert done < begun
    for login in ("gaia_app", "gaia_app_b"):
        with empty_database.connect(login) as connection:
            connection.execute("SELECT count(*) FROM auth.users")
    with empty_database.connect() as connection:
        assert connection.execute("SELECT key_id FROM auth.identity_keys").fetchall() == [(key_id(IDENTITY_KEY),)]


def test_the_second_run_takes_no_backup_and_changes_nothing(
    database: Database, admin: SqlAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = ran(capsys, environment(database, admin))
    assert code == 0 and lines[-1]["applied"] == [] and lines[-1]["backup"] is None
    assert admin.requests == [] and admin.token_requests == 0


def test_without_an_instance_it_says_that_there_is_no_backup(
    empty_database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = ran(capsys, environment(empty_database))
    assert code == 0 and lines[0]["message"] == "no backup: GAIA_INSTANCE is not set"


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        (Fault(status=403, reason="accessNotConfigured", message="API has not been used"), "API has not been used"),
        (Fault(status=400, reason="invalid", message="Invalid request"), "Invalid request"),
    ],
    ids=["403", "400"],
)
def test_without_a_backup_nothing_is_migrated(
    empty_database: Database, admin: SqlAdmin, capsys: pytest.CaptureFixture[str], fault: Fault, word: str
) -> None:
    admin.faults = [fault]
    code, lines = ran(capsys, environment(empty_database, admin))
    assert code == 1 and word in lines[-1]["message"]
    assert at(empty_database) is None


def test_a_failed_backup_stops_it_too(
    empty_database: Database, admin: SqlAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    admin.ends_as = "FAILED"
    code, lines = ran(capsys, environment(empty_database, admin))
    assert code == 1 and "ended as FAILED" in lines[-1]["message"]
    assert at(empty_database) is None


def test_a_backup_that_takes_too_long_stops_it_too(
    empty_database: Database, admin: SqlAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    admin.polls = 1000
    code, lines = ran(capsys, environment(empty_database, admin, GAIA_BACKUP_TIMEOUT_S="1"))
    assert code == 1 and "GAIA_BACKUP_TIMEOUT_S" in lines[-1]["message"]
    assert at(empty_database) is None


def checkout_with(folder: Path, body: str) -> Path:
    """A copy of the migrations with one revision more."""
    copy = folder / "migrations"
    shutil.copytree(revisions.DIRECTORY, copy, ignore=shutil.ignore_patterns("__pycache__"))
    head = runner.head()
    number = f"{int(head) + 1:04d}"
    (copy / "versions" / f"{number}_more.py").write_text(
        f'"""More."""\n\nfrom alembic import op\n\nrevision = "{number}"\ndown_revision = "{head}"\n\n\n'
        f"def upgrade() -> None:\n    {body}\n\n\ndef downgrade() -> None:\n    pass\n"
    )
    return copy


def test_a_revision_that_fails_names_the_backup_from_before_it(
    database: Database, admin: SqlAdmin, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    log = job.Log()
    directory = checkout_with(tmp_path, "op.execute('SELECT 1/0')")
    with pytest.raises(job.MigrationError, match="division by zero"):
        job.run(job.settings_of(environment(database, admin)), log=log, directory=directory)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1]["severity"] == "WARNING" and lines[-1]["backup_id"] == admin.runs[0]["id"]
    assert at(database) == runner.head()


def test_a_database_ahead_of_the_checkout_is_refused_before_a_backup(
    database: Database, admin: SqlAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    with database.connect() as connection:
        connection.execute("UPDATE public.alembic_version SET version_num = '9999'")
    code, lines = ran(capsys, environment(database, admin))
    assert code == 2 and "9999" in lines[-1]["message"]
    assert admin.requests == []


def test_a_wrong_password_ends_with_3_and_is_not_shown(
    database: Database, admin: SqlAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = database.url_as("gaia", "wrong-" + secrets.token_hex(8))
    code, lines = ran(capsys, environment(database, admin, GAIA_MIGRATIONS_URL=wrong))
    assert code == 3 and "password authentication failed" in lines[-1]["message"]


def test_a_password_given_anew_is_the_one_that_counts(
    database: Database, admin: SqlAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    other = secrets.token_urlsafe(24)
    code, _ = ran(capsys, environment(database, admin, GAIA_APP_PASSWORD_B=other))
    try:
        assert code == 0
        import psycopg

        with psycopg.connect(database.url_as("gaia_app_b", other)) as connection:
            connection.execute("SELECT 1")
    finally:  # the roles belong to the whole server
        assert ran(capsys, environment(database, admin))[0] == 0


def test_as_a_process_it_ends_at_once_on_sigterm_and_leaves_the_database_as_it_was(
    empty_database: Database, admin: SqlAdmin
) -> None:
    admin.polls = 1000
    given = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", **environment(empty_database, admin)}
    process = subprocess.Popen(
        [sys.executable, "-m", "migrations.job"], env=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 30
    while not admin.runs and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 143, (out, err)
    assert json.loads(out.splitlines()[-1])["error"] == "Terminated" and err == ""
    assert at(empty_database) is None
