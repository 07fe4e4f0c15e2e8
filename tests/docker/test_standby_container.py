"""The standby of a Docker stack: a second container, which takes the primary's place."""

from __future__ import annotations

import json
import signal
import time

import docker
import psycopg
import pytest
from docker.errors import NotFound
from docker.models.containers import Container

from infra.local.docker_engine import DATA
from tests.clone import clone, session_clone
from tests.docker.dev_stack import Dev, dev
from tests.load import ROW_BYTES, WRITERS, writing

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1200)]

__all__ = ["clone", "dev", "session_clone"]

SYNCHRONOUS = ("--set", "database.synchronous=true")


def up(dev: Dev, *flags: str) -> dict[str, object]:
    return dev.up("--set", "database.replicas=1", "--set", f"database.replica_port={dev.replica_port}", *flags)


def standby(dev: Dev) -> dict[str, object]:
    return dev.json("status")["standby"]


def asked(dev: Dev, query: str, *flags: str) -> object:
    url = dev.clone.gaia("url", "--stack", "dev", *flags, env=dev.env).stdout.strip()
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def said(container: Container, *command: str) -> str:
    output = container.exec_run(list(command)).output
    assert isinstance(output, bytes)
    return output.decode()


def volumes(client: docker.DockerClient, dev: Dev) -> list[str]:
    return sorted(str(volume.name) for volume in client.volumes.list(filters={"name": dev.volume}))


def containers(client: docker.DockerClient, dev: Dev) -> dict[str, str]:
    """What is there, each with its volume."""
    found = client.containers.list(all=True, filters={"label": f"gaia.checkout={dev.mark}"})
    return {str(each.name): each.attrs["Mounts"][0]["Name"] for each in found}


def test_a_standby_comes_stays_is_mended_and_goes_with_container_and_volume(
    dev: Dev, docker_client: docker.DockerClient
) -> None:
    dev.up()
    dev.add_user("ada")
    up(dev)
    assert set(dev.up()["changes"].values()) == {0}  # type: ignore[attr-defined]
    assert standby(dev)["status"] == "streaming"
    checks = {check["name"]: check["ok"] for check in dev.json("verify")["checks"]}
    assert checks["standby follows"] and checks[f"container {dev.container}-standby"]
    assert all("standby" not in finding["name"] or finding["ok"] for finding in dev.json("doctor")["checks"])

    contract = json.loads(dev.gaia("outputs", "--format", "json").partition("\n}")[0] + "\n}")
    assert contract["replicas"] == {"standby": f"127.0.0.1:{dev.replica_port}"}
    assert contract["database_replica_url"] == "[secret]"
    assert asked(dev, "SELECT pg_is_in_recovery()", "--as", "app", "--replica") is True
    dev.gaia("env", "--file", ".env", "--for", "docker")
    assert "@postgres-standby:5432/" in (dev.clone.root / ".env").read_text()
    (dev.clone.root / ".env").unlink()

    primary, second = (docker_client.containers.get(name).attrs for name in (dev.container, f"{dev.container}-standby"))
    for same in ("Healthcheck", "Labels", "StopTimeout", "Env"):
        assert primary["Config"][same] == second["Config"][same], same
    assert second["HostConfig"]["PortBindings"]["5432/tcp"] == [
        {"HostIp": "127.0.0.1", "HostPort": str(dev.replica_port)}
    ]
    assert "postgres-standby" in second["NetworkSettings"]["Networks"][dev.network]["Aliases"]

    docker_client.containers.get(f"{dev.container}-standby").kill()
    assert dev.json("verify", code=1)["ok"] is False
    dev.up()
    assert standby(dev)["status"] == "streaming"
    docker_client.containers.get(f"{dev.container}-standby").remove(force=True)
    docker_client.volumes.get(f"{dev.volume}-standby").remove()
    dev.up()
    assert standby(dev)["status"] == "streaming"
    assert asked(dev, "SELECT count(*) FROM auth.users", "--replica") == 1

    dev.up("--set", "database.replicas=0")
    assert list(containers(docker_client, dev)) == [dev.container]
    assert volumes(docker_client, dev) == [dev.volume]
    assert asked(dev, "SELECT count(*) FROM pg_replication_slots") == 0
    assert asked(dev, "SELECT count(*) FROM pg_roles WHERE rolname = 'gaia_replication'") == 0
    assert dev.users() == 1
    assert dev.clone.dirty() == ""


def test_the_replication_password_is_in_one_file_and_in_no_process(
    dev: Dev, docker_client: docker.DockerClient
) -> None:
    up(dev)
    names = containers(docker_client, dev)
    second = docker_client.containers.get(f"{dev.container}-standby")
    entry = said(second, "cat", f"{DATA}/replication.pass")
    password = entry.strip().rpartition(":")[2]
    assert len(password) > 16
    assert said(second, "ls", "-l", f"{DATA}/replication.pass").startswith("-rw-------")
    shown = "".join(json.dumps(docker_client.containers.get(name).attrs) for name in names)
    shown += "".join(str(docker_client.containers.get(name).top(ps_args="-eo pid,args")) for name in names)
    shown += said(second, "cat", f"{DATA}/gaia-replication.conf")
    shown += (dev.clone.checkout.state / ".pulumi/stacks/gaia-db/dev.json").read_text()
    assert password not in shown + second.logs().decode()


def test_a_failover_keeps_the_url_and_every_row_there_and_back(dev: Dev, docker_client: docker.DockerClient) -> None:
    up(dev, *SYNCHRONOUS)
    dev.add_user("ada")
    url, first = dev.gaia("url"), containers(docker_client, dev)
    assert first == {dev.container: dev.volume, f"{dev.container}-standby": f"{dev.volume}-standby"}
    done = dev.json("failover")
    assert (done["ok"], done["lost_bytes"], done["address"]) == (True, 0, f"127.0.0.1:{dev.port}")
    assert dev.gaia("url") == url
    assert containers(docker_client, dev) == dict(zip(first, reversed(first.values()), strict=True))
    assert dev.users() == 1
    assert standby(dev)["status"] == "streaming"
    assert set(dev.up()["changes"].values()) == {0}  # type: ignore[attr-defined]
    assert dev.json("verify")["ok"]
    backup = dev.json("backup")
    assert backup["ok"]
    dev.gaia("rotate")
    dev.add_user("eve")
    assert asked(dev, "SELECT pg_is_in_recovery()", "--as", "app", "--replica") is True

    # The copy may go, whichever volume it has; the data stays, wherever it is, and so it does without the state.
    dev.up("--set", "database.replicas=0", "--set", "database.synchronous=false")
    assert containers(docker_client, dev) == {dev.container: f"{dev.volume}-standby"}
    assert volumes(docker_client, dev) == [f"{dev.volume}-standby"]
    dev.gaia("destroy")
    assert volumes(docker_client, dev) == [f"{dev.volume}-standby"]
    up(dev)
    assert dev.users() == 2
    assert dev.json("failover")["lost_bytes"] == 0
    assert containers(docker_client, dev) == first
    assert "only ./gaia failover changes it" in dev.gaia("up", "--set", "docker.failovers=1", code=5)
    dev.gaia("destroy", "--purge", "--yes")
    assert (volumes(docker_client, dev), containers(docker_client, dev)) == ([], {})
    assert not list((dev.clone.root / ".gaia" / "data").glob("dev*"))


def test_a_failover_that_is_killed_is_finished_by_the_next_or_by_up(
    dev: Dev, docker_client: docker.DockerClient
) -> None:
    up(dev, *SYNCHRONOUS)
    dev.add_user("ada")
    journal = dev.clone.root / ".gaia" / "data" / "dev" / "failover.json"
    for finisher, step in (("failover", "fence"), ("up", "fence"), ("up", "promote"), ("failover", "promote")):
        killed = dev.clone.start("failover", "--stack", "dev", env=dev.env)
        _wait_for(lambda step=step: journal.exists() and f'"{step}"' in journal.read_text())
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        assert journal.exists(), step
        assert dev.json("status")["server"] == "in the middle of a failover"
        dev.gaia(finisher)
        assert not journal.exists()
        assert dev.users() == 1
        assert dev.json("verify")["ok"], (finisher, step)
        assert standby(dev)["status"] == "streaming"
    assert len(containers(docker_client, dev)) == 2


def _wait_for(holds: object, *, within_s: float = 120) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if holds():  # type: ignore[operator]
                return
        except OSError:
            pass
        time.sleep(0.005)
    pytest.fail("it never held")


def test_with_synchronous_replication_no_acknowledged_row_is_lost_under_writers(
    dev: Dev, docker_client: docker.DockerClient
) -> None:
    up(dev, *SYNCHRONOUS)
    with writing(dev.gaia("url").strip()) as load:
        for killed in (False, True):
            time.sleep(2)
            if killed:
                docker_client.containers.get(dev.container).kill()
            done = dev.json("failover")
            assert done["synchronous"] or done["lost_bytes"] == 0
            noted = load.noted()
            assert all(noted), "nobody wrote"
            assert load.lost(noted) == [[] for _ in range(WRITERS)]
    assert dev.json("verify")["ok"]


def test_without_it_the_loss_is_told_and_asked_for(dev: Dev, docker_client: docker.DockerClient) -> None:
    up(dev)
    with writing(dev.gaia("url").strip()) as load:
        time.sleep(2)
        second = docker_client.containers.get(f"{dev.container}-standby")
        second.pause()
        # More than the connection between the two holds: the standby reads that after its primary's end.
        load.fill(megabytes=64)
        docker_client.containers.get(dev.container).kill()
        second.unpause()
        assert "bytes of log that its standby lacks" in dev.gaia("failover", code=5)
        noted = load.noted()
        done = dev.json("failover", "--yes")
        lost = load.lost(noted)
        load.forget(lost)
        assert sum(map(len, lost)) * ROW_BYTES <= done["lost_bytes"]
        assert done["lost_bytes"] > 0
    assert dev.json("verify")["ok"]


def test_a_lost_primary_is_never_made_anew_beside_its_standby(dev: Dev, docker_client: docker.DockerClient) -> None:
    up(dev)
    dev.add_user("ada")
    docker_client.containers.get(dev.container).remove(force=True)
    docker_client.volumes.get(dev.volume).remove()
    assert "run ./gaia failover" in dev.gaia("up", code=5)
    assert dev.json("failover", "--yes")["lost_bytes"] is None
    assert dev.users() == 1
    assert standby(dev)["status"] == "streaming"
    with pytest.raises(NotFound):
        docker_client.containers.get(f"{dev.volume}-aside")
