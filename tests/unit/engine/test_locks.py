"""One run holds a stack: a dead holder's lock is released, a living or a foreign one's never."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine import checkout as places
from engine import locks
from engine.checkout import PROJECT, Checkout
from engine.errors import StackBusy


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(root=tmp_path)
    places.prepare(made)
    return made


@contextmanager
def sleeping(run_id: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing, marked as one of a run."""
    with subprocess.Popen(["/bin/sleep", "60"], env={locks.RUN_MARK: run_id} if run_id else {}) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def dead_pid() -> int:
    with subprocess.Popen(["/bin/true"]) as process:
        pass
    return process.pid


def stamp(*, ago_s: float = 0) -> str:
    """A time as Go's JSON has it."""
    taken = datetime.now(UTC) - timedelta(seconds=ago_s)
    return f"{taken:%Y-%m-%dT%H:%M:%S}.{taken.microsecond:06}789Z"


def lock(checkout: Checkout, content: Any = None, **changed: Any) -> Path:
    folder = locks.lock_folder(checkout.state, "local")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{len(list(folder.iterdir()))}.json"
    usual = {"pid": os.getpid(), "username": "ada", "hostname": socket.gethostname(), "timestamp": stamp()}
    file.write_text(content if isinstance(content, str) else json.dumps({**usual, **changed}))
    return file


def release(checkout: Checkout) -> list[str]:
    said: list[str] = []
    locks.release_dead_locks(checkout, "local", said.append)
    return said


# --- Pulumi's locks in the backend ---


def test_a_stack_without_locks_is_free(checkout: Checkout) -> None:
    assert release(checkout) == []


def test_what_a_dead_holder_was_writing_is_taken_away(checkout: Checkout, dead_pid: int) -> None:
    lock(checkout, pid=dead_pid)
    pulumi = checkout.state / ".pulumi"
    history, stacks = pulumi / "history" / PROJECT / "local", pulumi / "stacks" / PROJECT
    left = [
        history / "local-1.history.json.18ea.tmp",
        stacks / "local.json.18ea.tmp",
        stacks / "local.json.bak.18eb.tmp",
    ]
    kept = [history / "local-1.history.json", stacks / "local.json", stacks / "other.json.18ea.tmp"]
    for file in (*left, *kept):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    release(checkout)
    assert [file.exists() for file in left] == [False] * 3
    assert all(file.exists() for file in kept)


def test_a_dead_holders_lock_is_released_and_told(checkout: Checkout, dead_pid: int) -> None:
    file = lock(checkout, pid=dead_pid)
    (line,) = release(checkout)
    assert line.startswith(f"released the lock of a dead run: ada@{socket.gethostname()} (pid {dead_pid}) since 20")
    assert not file.exists()


def test_a_living_holder_keeps_its_lock_and_is_named(checkout: Checkout) -> None:
    with sleeping() as holder:
        file = lock(checkout, pid=holder.pid)
        with pytest.raises(StackBusy, match=rf"held by ada@.* \(pid {holder.pid}\) since .*; wait for it to end"):
            release(checkout)
    assert file.exists()


def test_a_lock_of_another_host_is_kept_though_its_process_id_is_dead_here(checkout: Checkout, dead_pid: int) -> None:
    file = lock(checkout, hostname="elsewhere.example", pid=dead_pid)
    with pytest.raises(StackBusy, match=r"held by ada@elsewhere\.example .*on another host; .*pulumi cancel"):
        release(checkout)
    assert file.exists()


def test_a_process_younger_than_the_lock_is_not_its_holder(checkout: Checkout) -> None:
    with sleeping() as later:
        file = lock(checkout, pid=later.pid, timestamp=stamp(ago_s=3600))
        assert len(release(checkout)) == 1
    assert not file.exists()


def test_a_process_that_ended_but_was_not_waited_for_is_dead(checkout: Checkout) -> None:
    with subprocess.Popen(["/bin/true"]) as process:
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.001)
        file = lock(checkout, pid=process.pid)
        release(checkout)
    assert not file.exists()


def test_in_doubt_the_holder_lives(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    lock(checkout, timestamp="yesterday")
    with pytest.raises(StackBusy, match="since yesterday"):
        release(checkout)

    def denied(self: psutil.Process) -> float:
        raise psutil.AccessDenied(self.pid)

    monkeypatch.setattr(psutil.Process, "create_time", denied)
    lock(checkout)
    with pytest.raises(StackBusy):
        release(checkout)


@pytest.mark.parametrize("content", ["", "{", "{}", '{"hostname": "h", "pid": "x", "timestamp": "t"}', "\x00"])
def test_a_lock_that_cannot_be_read_is_kept_and_named(checkout: Checkout, content: str) -> None:
    file = lock(checkout, content)
    with pytest.raises(StackBusy, match=r"has a lock that can't be read .*pulumi cancel") as caught:
        release(checkout)
    assert str(file) in str(caught.value)
    assert file.exists()


@pytest.mark.parametrize("content", ["null", "[]", '"x"', '{"hostname": "HOST", "pid": null, "timestamp": "t"}', "5"])
def test_a_lock_of_another_shape_is_kept_and_named(checkout: Checkout, content: str) -> None:
    lock(checkout, content.replace("HOST", socket.gethostname()))
    with pytest.raises(StackBusy, match="can't be read"):
        release(checkout)


def test_a_dead_lock_beside_a_living_one_leaves_the_stack_held(checkout: Checkout, dead_pid: int) -> None:
    lock(checkout, pid=dead_pid)
    living = lock(checkout)
    writes = checkout.state / ".pulumi" / "stacks" / PROJECT / "local.json.18ea.tmp"
    writes.parent.mkdir(parents=True, exist_ok=True)
    writes.touch()
    with pytest.raises(StackBusy):
        release(checkout)
    assert living.exists() and writes.exists()


def test_the_locks_of_other_stacks_are_left_alone(checkout: Checkout, dead_pid: int) -> None:
    file = lock(checkout, pid=dead_pid)
    locks.release_dead_locks(checkout, "dev", pytest.fail)
    assert file.exists()


# --- our own lock, and the record of a run ---


def test_a_second_command_is_told_who_holds_the_stack(checkout: Checkout) -> None:
    with locks.held(checkout, "local", "./gaia up", pytest.fail) as run:
        with (
            pytest.raises(
                StackBusy, match=rf"held by \./gaia up \(pid {os.getpid()}, .+, since \d\d:\d\d:\d\d\); wait"
            ),
            locks.held(checkout, "local", "./gaia destroy", pytest.fail),
        ):
            pytest.fail("both hold it")
        assert locks.last_run(checkout, "local") == run


def test_a_holder_that_left_no_record_yet_is_named_all_the_same(checkout: Checkout) -> None:
    with locks.held(checkout, "local", "./gaia up", pytest.fail):
        checkout.run_file("local", "json").unlink()
        with pytest.raises(StackBusy, match="held by another command"), locks.held(checkout, "local", "x", pytest.fail):
            pytest.fail("both hold it")


def test_two_stacks_are_held_at_once(checkout: Checkout) -> None:
    with locks.held(checkout, "local", "a", pytest.fail), locks.held(checkout, "dev", "b", pytest.fail):
        assert {locks.last_run(checkout, name) for name in ("local", "dev")} != {None}


def test_a_stack_is_free_again_when_its_command_ends_or_fails(checkout: Checkout) -> None:
    with pytest.raises(RuntimeError), locks.held(checkout, "local", "first", pytest.fail):
        raise RuntimeError
    with locks.held(checkout, "local", "second", pytest.fail) as run:
        assert run.command == "second"


def test_the_record_of_a_run_is_read_as_it_was_written(checkout: Checkout) -> None:
    run = locks.begin(checkout, "local", "./gaia up", pytest.fail)
    assert locks.last_run(checkout, "local") == run
    assert re.fullmatch(r"[0-9a-f]{32}", run.run_id)
    assert (run.pid, run.alive()) == (os.getpid(), True)
    assert checkout.run_file("local", "json").stat().st_mode & 0o777 == 0o600


def test_every_run_has_a_mark_of_its_own(checkout: Checkout) -> None:
    marks = {locks.begin(checkout, "local", "x", pytest.fail).run_id for _ in range(3)}
    assert len(marks) == 3


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"pid": 1}', '{"run_id": "x", "unknown": 1}'])
def test_a_record_that_is_none_counts_for_nothing(checkout: Checkout, text: str | None) -> None:
    if text is not None:
        checkout.run_file("local", "json").write_text(text)
    assert locks.last_run(checkout, "local") is None


def test_a_run_is_dead_when_its_process_id_is_anothers_or_nobodys(checkout: Checkout, dead_pid: int) -> None:
    run = locks.begin(checkout, "local", "x", pytest.fail)
    assert not replace(run, started=run.started - 60).alive()
    assert not replace(run, pid=dead_pid).alive()


def test_a_run_beside_a_living_engine_does_not_begin(checkout: Checkout) -> None:
    lock(checkout)
    with pytest.raises(StackBusy), locks.held(checkout, "local", "x", pytest.fail):
        pytest.fail("it began")
    assert locks.last_run(checkout, "local") is None


# --- what a killed run left ---


def test_what_carries_the_mark_of_a_run_is_ended_and_nothing_else() -> None:
    said: list[str] = []
    with sleeping("run-of-this-test") as left, sleeping("another-run") as other, sleeping() as unmarked:
        locks.end_leftovers("run-of-this-test", said.append)
        assert not psutil.pid_exists(left.pid)
        assert (other.poll(), unmarked.poll()) == (None, None)
        assert said == [f"ending what the killed run left behind: sleep (pid {left.pid})"]


def test_where_nothing_is_left_nothing_is_said() -> None:
    locks.end_leftovers("a-run-that-never-was", pytest.fail)


def test_a_leftover_that_does_not_listen_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "END_TIMEOUT_S", 0.02)
    command = ["/bin/sh", "-c", "trap '' TERM; echo ready; exec sleep 60"]
    with subprocess.Popen(command, env={locks.RUN_MARK: "deaf-run"}, stdout=subprocess.PIPE) as deaf:
        assert deaf.stdout is not None
        deaf.stdout.readline()
        monkeypatch.setattr(locks, "marked", lambda run_id: [psutil.Process(deaf.pid)])
        locks.end_leftovers("deaf-run", lambda line: None)
        try:
            assert not psutil.pid_exists(deaf.pid)
        finally:
            deaf.kill()


def test_this_process_is_never_one_of_its_own_leftovers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil.Process, "environ", lambda self: {locks.RUN_MARK: "ours"})
    monkeypatch.setattr(psutil, "process_iter", lambda: [psutil.Process(), psutil.Process(1)])
    assert [process.pid for process in locks.marked("ours")] == [1]


def test_the_next_run_ends_what_a_killed_one_left(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, dead_pid: int
) -> None:
    ended: list[str] = []
    monkeypatch.setattr(locks, "end_leftovers", lambda run_id, say: ended.append(run_id))
    first = locks.begin(checkout, "local", "x", pytest.fail)
    locks.begin(checkout, "local", "x", pytest.fail)
    assert ended == []
    checkout.run_file("local", "json").write_text(json.dumps(asdict(replace(first, pid=dead_pid))))
    locks.begin(checkout, "local", "x", pytest.fail)
    assert ended == [first.run_id]
