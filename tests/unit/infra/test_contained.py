"""What a server in a container is known by, and the loop that a standby's container runs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local import contained, postgres
from infra.local.contained import ContainedServer
from infra.settings import Docker

ENTRY_POINT = f"""#!{sys.executable}
import os, signal, sys, time
with open(os.path.join(os.environ["PGDATA"], "log"), "a") as log:
    print("started", *sys.argv[1:], file=log)
time.sleep(0.5)  # deaf, as a shell's child in the background is
signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
while True:
    time.sleep(60)
"""


def server(tmp_path: Path, failovers: int = 0) -> ContainedServer:
    return contained.of_settings(tmp_path / "dev", Docker(failovers=failovers), {"gaia.stack": "dev"})


def test_a_server_is_made_again_from_what_was_noted(tmp_path: Path) -> None:
    first = server(tmp_path)
    assert ContainedServer.noted(first.home, json.loads(json.dumps(first.to_note()))) == first


def test_a_failover_swaps_the_volumes_and_leaves_the_names(tmp_path: Path) -> None:
    before, after = server(tmp_path), server(tmp_path, failovers=1)
    assert (before.volume, before.beside().volume) == (after.beside().volume, after.volume)
    assert (before.container, before.beside().container) == (after.container, after.beside().container)
    assert before.beside().home == postgres.standby_home(before.home)


def test_a_volume_is_removed_only_where_its_standby_left_it_for_that(tmp_path: Path) -> None:
    standby = server(tmp_path).beside()
    standby.note(contained.REMOVABLE, "another")
    contained.forget_volume(standby.home, standby.volume)  # asks no engine
    assert standby.home.exists()


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The loop of a standby's container, with an entry point that notes what becomes of it."""
    program = tmp_path / "docker-entrypoint.sh"
    program.write_text(ENTRY_POINT)
    program.chmod(0o755)
    variables = {"PATH": f"{tmp_path}:/usr/bin:/bin", "PGDATA": str(tmp_path)}
    command = ["sh", "-c", contained.SUPERVISE, "standby", "postgres", "-c", "a=b"]
    running = subprocess.Popen(command, env=variables, start_new_session=True)
    yield running
    with contextlib.suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGKILL)  # with its server, which outlives it as in a container it can't
    running.wait()


def logged(folder: Path, text: str, *, within_s: float = 30) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if (folder / "log").exists() and text in (folder / "log").read_text():
            return True
        time.sleep(0.02)
    return False


def test_the_loop_starts_a_server_only_on_data_that_says_whose_standby_it_is(
    loop: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    (tmp_path / postgres.REPLICATION_CONF).write_text("synchronous_standby_names = ''\n")
    (tmp_path / postgres.STANDBY_SIGNAL).touch()
    assert not logged(tmp_path, "started", within_s=1.5), "a fenced primary is nobody's standby"
    (tmp_path / "postmaster.pid").write_text("1\n")
    (tmp_path / postgres.REPLICATION_CONF).write_text("primary_conninfo = 'host=a'\n")
    assert logged(tmp_path, "started postgres -c a=b")
    assert not (tmp_path / "postmaster.pid").exists()
    assert loop.poll() is None


def test_the_loop_ends_with_its_server_at_the_signal_of_docker(loop: subprocess.Popen[bytes], tmp_path: Path) -> None:
    (tmp_path / postgres.REPLICATION_CONF).write_text("primary_conninfo = 'host=a'\n")
    (tmp_path / postgres.STANDBY_SIGNAL).touch()
    assert logged(tmp_path, "started")
    loop.send_signal(signal.SIGINT)
    assert loop.wait(30) == 0
    assert (tmp_path / "gaia-ended").exists()


def test_an_idle_loop_ends_at_the_signal_of_docker(loop: subprocess.Popen[bytes]) -> None:
    time.sleep(0.2)
    loop.send_signal(signal.SIGINT)
    assert loop.wait(30) == 0
