"""Killed, interrupted, two at once: the next `up` converges, and nothing of the dead run is left."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import time

import psutil
import psycopg
import pytest

from engine import locks
from tests.clone import Clone

pytestmark = pytest.mark.engine

KILLS = int(os.environ.get("GAIA_TEST_KILLS", "4"))
"""How many random moments; more find more."""


def kill_all(process: psutil.Process, *, children: bool) -> None:
    """SIGKILL the command, and the engine and plugins below it too if asked to."""
    family = process.children(recursive=True) if children else []
    for one in (process, *family):
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue


@pytest.mark.parametrize("children", [False, True], ids=["the command alone", "the engine too"])
def test_up_killed_at_any_moment_converges_without_leftovers_or_lost_rows(
    clone: Clone, port: int, children: bool
) -> None:
    generator = random.Random(os.environ.get("GAIA_TEST_SEED"))
    moments = sorted(generator.uniform(0.2, 5.0) for _ in range(KILLS))
    expected = 0
    for moment in moments:
        run = clone.start("up", "--stack", "local", "--set", f"database.port={port}")
        time.sleep(moment)
        kill_all(psutil.Process(run.pid), children=children)
        run.communicate()
        before = locks.last_run(clone.checkout, "local")

        done = clone.gaia("up", "--stack", "local", "--set", f"database.port={port}", code=None)
        assert done.returncode == 0, f"killed after {moment:.2f} s:\n{done.stdout}{done.stderr}"
        if before:
            assert locks.marked(before.run_id) == [], f"killed after {moment:.2f} s"
        with psycopg.connect(clone.gaia("url").stdout.strip()) as connection:
            assert connection.execute("SELECT count(*) FROM auth.users").fetchone() == (expected,)
            connection.execute(
                "INSERT INTO auth.users (username, email) VALUES (%s, %s)", (f"u{expected}", f"u{expected}@example.org")
            )
        expected += 1
        clone.gaia("destroy", "--stack", "local")
    clone.gaia("up", "--stack", "local")
    assert clone.json("verify")["ok"]
    servers = [process for process in clone.processes() if process.name() == "postgres"]
    assert len({process.ppid() for process in servers} & {process.pid for process in servers}) == 1


def test_ctrl_c_ends_in_good_order_and_up_goes_on(clone: Clone, port: int) -> None:
    for moment in (0.5, 2.0, 3.0):
        run = clone.start("up", "--stack", "local", "--set", f"database.port={port}")
        time.sleep(moment)
        os.kill(run.pid, signal.SIGINT)
        said = run.communicate(timeout=60)[0]
        assert run.returncode in (130, 0), said
        assert "Traceback" not in said
        left = locks.last_run(clone.checkout, "local")
        assert left is None or locks.marked(left.run_id) == []
    clone.gaia("up", "--stack", "local", "--set", f"database.port={port}")
    assert clone.json("verify")["ok"]


def test_of_two_at_once_one_goes_on_and_the_other_names_it(clone: Clone, port: int) -> None:
    arguments = ("up", "--stack", "local", "--set", f"database.port={port}")
    clone.gaia("--help")
    first = clone.start(*arguments)
    lock = clone.checkout.run_file("local", "json")
    deadline = time.monotonic() + 20
    while not lock.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    second = clone.gaia(*arguments, code=4)
    assert f"pid {first.pid}" in second.stderr
    first.communicate(timeout=120)
    assert first.returncode == 0
    assert clone.json("verify")["ok"]


def lock_file(clone: Clone, **changes: object) -> None:
    folder = locks.lock_folder(clone.checkout.state, "local")
    folder.mkdir(parents=True, exist_ok=True)
    content = {"pid": 1, "username": "somebody", "hostname": "elsewhere", "timestamp": "2026-01-01T00:00:00.123456789Z"}
    (folder / "made-up.json").write_text(json.dumps({**content, **changes}))


def test_a_foreign_lock_is_never_freed(clone: Clone, port: int) -> None:
    clone.gaia("up", "--stack", "local", "--set", f"database.port={port}")
    lock_file(clone)
    assert "somebody@elsewhere" in clone.gaia("up", code=4).stderr
    assert "somebody@elsewhere" in clone.gaia("destroy", code=4).stderr


def test_a_lock_of_a_living_process_is_never_freed(clone: Clone, port: int) -> None:
    clone.gaia("up", "--stack", "local", "--set", f"database.port={port}")
    now = time.strftime("%Y-%m-%dT%H:%M:%S.999999999Z", time.gmtime())
    lock_file(clone, pid=os.getpid(), hostname=socket.gethostname(), timestamp=now)
    assert f"pid {os.getpid()}" in clone.gaia("up", code=4).stderr


def test_a_lock_of_a_dead_process_of_this_host_is_freed(clone: Clone, port: int) -> None:
    clone.gaia("up", "--stack", "local", "--set", f"database.port={port}")
    lock_file(clone, pid=2**22 - 3, hostname=socket.gethostname())
    assert "released the lock of a dead run" in clone.gaia("up").stderr
