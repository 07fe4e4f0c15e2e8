"""The servers of the tests themselves: real ones, closed to others, and never left behind."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest

from tests import postgres
from tests.postgres import Server

pytestmark = pytest.mark.postgres

ROOT = Path(postgres.__file__).parent.parent


def test_it_is_postgresql_16_with_scram_utf8_and_loopback_only(server: Server) -> None:
    with psycopg.connect(server.url()) as connection:
        names = ("server_version_num", "server_encoding", "listen_addresses", "password_encryption")
        found = [connection.execute("SELECT current_setting(%s)", (name,)).fetchone() for name in names]
    version, *others = [row[0] for row in found if row]
    assert version.startswith("16") and others == ["UTF8", "127.0.0.1", "scram-sha-256"]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.url(password="wrong"))


def test_the_server_of_a_killed_test_run_is_ended_and_removed_by_the_next() -> None:
    code = (
        "import time; from tests.postgres import running\n"
        "with running() as server: print(server.folder, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    folder = Path(process.stdout.readline().strip())
    postmaster = psutil.Process(int((folder / "data" / "postmaster.pid").read_text().splitlines()[0]))
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=10)
    process.stdout.close()
    assert postmaster.is_running()
    postgres.remove_stale()
    assert not folder.exists() and not (postmaster.is_running() and postmaster.status() != psutil.STATUS_ZOMBIE)


def test_the_server_of_a_living_test_run_is_left_alone(server: Server) -> None:
    postgres.remove_stale()
    with psycopg.connect(server.url()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
