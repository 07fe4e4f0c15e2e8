"""``./gaia doctor`` on a whole stack: well, down, with everything broken at once, and mended by itself."""

from __future__ import annotations

import json
import signal
import socket
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine import locks
from tests.clone import Clone

pytestmark = pytest.mark.engine


def examined(clone: Clone, *arguments: str, code: int = 0, env: dict[str, str] | None = None) -> dict[str, Any]:
    return clone.json("doctor", *arguments, code=code, env=env)


def wrong(document: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["hint"] for check in document["checks"] if not check["ok"]}


def kill_server(clone: Clone) -> None:
    process = psutil.Process(int((clone.home() / "data" / "postmaster.pid").read_text().split("\n", 1)[0]))
    process.send_signal(signal.SIGKILL)
    for _ in range(100):
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.05)


def test_a_stack_is_well_then_down_then_mended(clone: Clone, port: int) -> None:
    fresh = examined(clone, code=1)
    assert fresh["stack"] is None and "./gaia up" in wrong(fresh)["stack is up"]

    clone.gaia("up", "--stack", "local", "--set", f"database.port={port}")
    document = examined(clone)
    assert document["ok"] and wrong(document) == {}
    assert {"server answers", "app can log in", "revision is head", "clocks agree"} <= {
        check["name"] for check in document["checks"]
    }
    assert "nothing is wrong" in clone.gaia("doctor").stdout

    kill_server(clone)
    with socket.create_server(("127.0.0.1", port)):
        taken = wrong(examined(clone, code=1))
        assert f"port {port} on 127.0.0.1 is taken by" in taken["port"]
        assert f"(pid {psutil.Process().pid})" in taken["port"]
    down = wrong(examined(clone, code=1))
    assert "it was killed" in down["server process"] and "Connection refused" in down["server answers"]

    refused = clone.gaia("doctor", "--fix", code=5)
    assert "--yes to do all of: run ./gaia up" in refused.stderr
    dead = Path(locks.lock_folder(clone.checkout.state, "local")) / "dead.json"
    dead.parent.mkdir(parents=True, exist_ok=True)
    holder = {"pid": 2**22 + 1, "hostname": socket.gethostname(), "timestamp": "2026-01-01T00:00:00Z", "username": "a"}
    dead.write_text(json.dumps(holder))
    mended = examined(clone, "--fix", "--yes")
    assert mended["ok"] and wrong(mended) == {} and not dead.exists()
    assert any("released the lock of a dead run" in said for said in mended["mended"])
    assert "ran ./gaia up" in mended["mended"]

    broken = "ALTER ROLE gaia_app PASSWORD 'another-one-altogether'"
    clone.gaia("psql", "-c", broken)
    assert "./gaia up" in wrong(examined(clone, code=1))["app can log in"]
    assert examined(clone, "--fix", "--yes")["ok"]


def test_everything_down_at_once_is_told_and_nothing_is_raised(clone: Clone, port: int, tmp_path: Path) -> None:
    clone.gaia("up", "--stack", "local", "--set", f"database.port={port}")
    kill_server(clone)
    checkout = clone.checkout
    state = checkout.state / ".pulumi" / "stacks" / "gaia-db" / "local.json"
    whole = state.read_text()
    state.write_text(whole[:200])
    checkout.passphrase.rename(checkout.passphrase.with_suffix(".away"))
    copy = checkout.working_copy("local")
    settings = copy.read_text()
    copy.write_text(f"{settings}  gaia-db:bogus: 1\n")
    no_engine = {"GAIA_ENGINE": "cache", "XDG_CACHE_HOME": str(tmp_path)}
    try:
        done = clone.gaia("doctor", "--json", code=1, env=no_engine)
        found = wrong(json.loads(done.stdout))
        assert {"Pulumi engine", "settings", "passphrase", "state", "server process", "server answers"} <= set(found)
        assert "Traceback" not in done.stderr
    finally:
        state.write_text(whole)
        checkout.passphrase.with_suffix(".away").rename(checkout.passphrase)
        copy.write_text(settings)
    assert examined(clone, "--fix", "--yes")["ok"]
