"""The program's process between an engine's two hosts, without an engine."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from engine import program_process
from engine.program_process import ProgramProcess

TIMEOUT_S = 60


@pytest.fixture
def engine() -> Iterator[subprocess.Popen[bytes]]:
    """Something with a process number that lives."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture(autouse=True)
def own_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # A socket's path may have a hundred characters, which pytest's folders have already.
    with tempfile.TemporaryDirectory(prefix="g") as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        yield


def leave(host: ProgramProcess) -> None:
    """Close the connection, as a host does by ending."""
    host.stop()
    host.connection.close()


def kill(host: ProgramProcess) -> None:
    assert host.process is not None
    host.process.kill()
    host.process.wait()
    host.connection.close()


def process_of(taken: ProgramProcess) -> psutil.Process:
    assert taken.process is not None
    return psutil.Process(taken.process.pid)


def ended(process: psutil.Process) -> bool:
    until = time.monotonic() + TIMEOUT_S
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def test_the_next_host_takes_over_what_the_last_one_left(engine: subprocess.Popen[bytes]) -> None:
    first = ProgramProcess.take_over_or_start(sys.executable, engine.pid)
    leave(first)
    second = ProgramProcess.take_over_or_start(sys.executable, engine.pid)
    try:
        assert second.process is None, "nothing was started"
        assert process_of(first).is_running()
    finally:
        leave(second)
        engine.kill()
        engine.wait()
    assert ended(process_of(first)), "it ends with the engine"
    assert first.process is not None
    assert first.process.wait() == 0
    assert list(Path(tempfile.gettempdir()).rglob("*")) == [program_process.address(engine.pid, "x").parent]


def test_what_was_killed_is_not_waited_for(engine: subprocess.Popen[bytes]) -> None:
    first = ProgramProcess.take_over_or_start(sys.executable, engine.pid)
    kill(first)
    second = ProgramProcess.take_over_or_start(sys.executable, engine.pid)
    assert second.process is not None
    kill(second)


def test_a_process_that_ended_without_an_answer_says_how(engine: subprocess.Popen[bytes]) -> None:
    taken = ProgramProcess.start(sys.executable, engine.pid)
    process_of(taken).kill()
    assert taken.run(b"a request") == -9


def test_each_engine_has_its_own(engine: subprocess.Popen[bytes]) -> None:
    addresses = {program_process.address(number, python) for number in (1, 2) for python in ("a", "b")}
    assert len(addresses) == 4


def test_a_folder_that_others_may_write_to_is_not_trusted(engine: subprocess.Popen[bytes]) -> None:
    folder = program_process.address(engine.pid, sys.executable).parent
    folder.chmod(0o777)
    with pytest.raises(PermissionError, match="remove it"):
        program_process.address(engine.pid, sys.executable)
    own = ProgramProcess.take_over_or_start(sys.executable, engine.pid)
    assert os.listdir(folder) == []
    kill(own)


def test_a_long_temporary_folder_is_no_hindrance(
    engine: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    long = Path(tempfile.gettempdir()) / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    for host in (
        ProgramProcess.start(sys.executable, engine.pid),
        ProgramProcess.take_over_or_start(sys.executable, engine.pid),
    ):
        kill(host)
    address = program_process.address(engine.pid, sys.executable)
    assert len(os.fsencode(address)) <= 103
    address.unlink(missing_ok=True)
