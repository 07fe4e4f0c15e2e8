"""Two rehearsals of one checkout at the same time: both go through, they don't meet, and nothing of them is left."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from infra.local.postgres import ended
from ops import exits
from tests import postgres

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
LEAVE_S = 60
_CLOUD = re.compile(r"/[^\s\"=]*/gc-\d+/\w{8}")


@dataclass(kw_only=True)
class Run:
    """A ``./gaia rehearse``, and what was seen of it while it ran."""

    process: subprocess.Popen[str]
    temporary: Path
    """Its own TMPDIR."""
    below: set[psutil.Process] = field(default_factory=set)
    """What it started, and what that did."""
    folders: set[Path] = field(default_factory=set)
    """The folder of its cloud: servers, sockets, state."""
    addresses: set[str] = field(default_factory=set)
    """Where its processes listened."""

    def look(self) -> None:
        try:
            found = {psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)}
        except psutil.NoSuchProcess:
            return
        self.below |= found
        for each in found:
            try:
                self.folders |= {Path(found) for found in _CLOUD.findall(" ".join(each.cmdline()))}
                listening = (where for where in each.net_connections("tcp") if where.status == psutil.CONN_LISTEN)
                self.addresses |= {where.laddr.ip for where in listening}
            except psutil.Error:
                continue

    @property
    def left(self) -> list[str]:
        """Processes that live on, and files."""
        alive = [str(each) for each in self.below if not ended(each, 0)]
        return alive + [str(folder) for folder in self.folders if folder.exists()]


def test_two_at_once_from_one_checkout_both_go_through_and_leave_nothing(tmp_path: Path) -> None:
    if (reason := postgres.unavailable()) is not None:
        pytest.skip(reason)
    before = _git_status()
    both = 0
    with _started(tmp_path / "a") as one, _started(tmp_path / "b") as other:
        while True:
            running = [run for run in (one, other) if run.process.poll() is None]
            for run in running:
                run.look()
            both += len(running) == 2
            if not running:
                break
            time.sleep(0.1)
        for run in (one, other):
            said, _ = run.process.communicate()
            document = json.loads(said)
            assert (run.process.returncode, document["ok"]) == (exits.FINE, True), said
            assert [phase["name"] for phase in document["phases"]] == ["up", "migrate"]
    assert both > 10, "they ran side by side"
    assert len(one.folders) == len(other.folders) == 1
    assert one.folders.isdisjoint(other.folders)
    assert {
        ipaddress.ip_address(each.removeprefix("::ffff:")).is_loopback for each in one.addresses | other.addresses
    } == {True}
    until = time.monotonic() + LEAVE_S
    while (left := [*one.left, *other.left]) and time.monotonic() < until:
        time.sleep(0.1)
    assert left == []
    assert [str(file) for run in (one, other) for file in run.temporary.rglob("*") if not file.is_dir()] == []
    assert _git_status() == before


@contextmanager
def _started(temporary: Path) -> Iterator[Run]:
    temporary.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PULUMI_", "GAIA_", "GOOGLE_"))}
    process = subprocess.Popen(
        [ROOT / "gaia", "rehearse", "--json", "--provider", "builtin", "--phase", "migrate"],
        cwd=ROOT,
        env={**kept, "TMPDIR": str(temporary)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield Run(process=process, temporary=temporary)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(LEAVE_S)
        assert process.stdout is not None
        process.stdout.close()


def _git_status() -> str:
    return subprocess.run(
        ["git", "status", "--porcelain"], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    ).stdout
