"""A local stack with a standby, as a stranger would use it: every command is run as a process."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from infra.local import postgres
from tests.clone import Clone, free_port

pytestmark = pytest.mark.engine

REPLICAS = ("--set", "database.replicas=1")


def up(clone: Clone, port: int, *flags: str) -> dict[str, object]:
    values = (f"database.port={port}", f"database.replica_port={free_port()}")
    return clone.json("up", "--stack", "local", *(part for value in values for part in ("--set", value)), *flags)


def asked(clone: Clone, query: str, *flags: str) -> object:
    with psycopg.connect(clone.gaia("url", *flags).stdout.strip()) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def standby(clone: Clone) -> dict[str, object]:
    return clone.json("status")["standby"]


def main_process(home: object) -> psutil.Process:
    return psutil.Process(int((Path(str(home)) / "data" / "postmaster.pid").read_text().split()[0]))


def test_a_standby_comes_stays_is_mended_and_goes_with_all_that_it_needed(clone: Clone, port: int) -> None:
    up(clone, port)
    assert clone.json("status")["standby"] is None
    clone.json("up", *REPLICAS)
    assert set(clone.json("up")["changes"].values()) == {0}
    assert standby(clone)["status"] == "streaming"
    assert any(check == {"name": "standby follows", "ok": True, "hint": ""} for check in clone.json("verify")["checks"])
    contract = json.loads(clone.gaia("outputs", "--format", "json").stdout)
    assert contract["replicas"] == {"standby": standby(clone)["address"]}
    assert contract["database_replica_url"] == "[secret]"
    clone.gaia("env", "--file", ".env")
    replica_url = clone.gaia("url", "--as", "app", "--replica").stdout.strip()
    assert f"DATABASE_REPLICA_URL={replica_url}" in (clone.root / ".env").read_text()
    with psycopg.connect(replica_url) as connection:
        assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)

    home = postgres.standby_home(clone.home())
    main_process(home).send_signal(signal.SIGKILL)
    assert any("Standby standby is stopped" in line for line in clone.json("preview", "--refresh")["drift"])
    assert clone.json("verify", code=1)["ok"] is False
    clone.json("up")
    assert standby(clone)["status"] == "streaming"
    shutil.rmtree(home / "data")
    clone.json("up")
    assert standby(clone)["status"] == "streaming"

    clone.json("up", "--set", "database.replicas=0")
    assert not home.exists()
    assert asked(clone, "SELECT count(*) FROM pg_replication_slots") == 0
    clone.json("up", *REPLICAS)
    clone.gaia("destroy", "--purge", "--yes")
    assert not home.exists() and not clone.home().exists()
    assert clone.processes() == []
    assert clone.dirty() == ""


def test_a_failover_keeps_the_url_and_every_row_and_can_be_killed(clone: Clone, port: int) -> None:
    assert "no standby" in up_without(clone, port)
    clone.json("up", *REPLICAS, "--set", "database.synchronous=true")
    url = clone.gaia("url").stdout
    insert = "INSERT INTO auth.users (username, email) VALUES ('ada', 'ada@example.org')"
    with psycopg.connect(url.strip()) as connection:
        connection.execute(insert)
    done = clone.json("failover")
    assert (done["ok"], done["lost_bytes"], done["address"]) == (True, 0, f"127.0.0.1:{port}")
    assert clone.gaia("url").stdout == url
    assert asked(clone, "SELECT count(*) FROM auth.users") == 1
    assert standby(clone)["status"] == "streaming"
    assert set(clone.json("up")["changes"].values()) == {0}

    for finisher in ("failover", "up"):
        killed = clone.start("failover")
        journal = clone.home() / "failover.json"
        deadline = time.monotonic() + 60
        while not journal.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        killed.kill()
        killed.communicate()
        assert journal.exists()
        clone.gaia(finisher)
        assert not journal.exists()
        assert asked(clone, "SELECT count(*) FROM auth.users") == 1
        assert clone.json("verify")["ok"]


def up_without(clone: Clone, port: int) -> str:
    """What ``failover`` says where there is no standby."""
    up(clone, port)
    return clone.gaia("failover", code=3).stderr


def test_a_primary_that_serves_is_not_failed_over_to_a_standby_that_does_not_follow(clone: Clone, port: int) -> None:
    up(clone, port, *REPLICAS)
    main_process(postgres.standby_home(clone.home())).kill()
    assert "run ./gaia up first" in clone.gaia("failover", code=5).stderr
    assert asked(clone, "SELECT pg_is_in_recovery()") is False
