"""The Docker stack, brought up with ``./gaia`` on a real engine, under names and ports of the test's own."""

from __future__ import annotations

import json
import os
import random
import stat
import time

import docker
import jsonschema
import psutil
import psycopg
import pytest
from docker.errors import NotFound

from engine import locks
from tests.clone import ROOT, clone, session_clone
from tests.docker.dev_stack import Dev, dev
from tests.standins.docker_names import Names

pytestmark = pytest.mark.engine

__all__ = ["clone", "dev", "session_clone"]

CANARY = "canary-in-the-dev-stack-4410"


def test_the_container_is_as_documented_and_everything_checks(dev: Dev, docker_client: docker.DockerClient) -> None:
    first = dev.up()
    assert (first["ok"], first["target"]) == (True, "docker")
    assert dev.clone.json("verify", "--stack", "dev", env=dev.env)["ok"]
    assert set(dev.up()["changes"].values()) == {0}  # type: ignore[attr-defined]

    attributes = docker_client.containers.get(dev.container).attrs
    config, host = attributes["Config"], attributes["HostConfig"]
    assert host["PortBindings"] == {"5432/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(dev.port)}]}
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    check = config["Healthcheck"]
    assert [check[key] // 10**9 for key in ("Interval", "Timeout")] == [10, 5]
    assert check["Retries"] == 5
    assert config["StopTimeout"] == 60
    assert {"gaia.profile.dev": "true", "gaia.profile.gpu": "true"}.items() <= config["Labels"].items()
    assert {name.split("=")[0] for name in config["Env"]} >= {"POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD"}
    assert "postgres" in attributes["NetworkSettings"]["Networks"][dev.network]["Aliases"]
    labels = docker_client.networks.get(dev.network).attrs["Labels"]
    assert labels["com.docker.compose.network"] == "default"
    assert labels["com.docker.compose.project"] == "gaia"
    mounts = {mount["Destination"]: mount["Name"] for mount in attributes["Mounts"]}
    assert mounts["/var/lib/postgresql/data"] == dev.volume

    contract = json.loads(dev.clone.gaia("outputs", "--stack", "dev", env=dev.env).stdout)
    jsonschema.validate(contract, json.loads((ROOT / "docs" / "outputs.schema.json").read_text()))
    said = docker_client.containers.get(dev.container).exec_run("psql -U gaia -d gaia -At -c 'SELECT 1'")
    assert said.output == b"1\n"
    assert dev.clone.dirty() == ""


def test_killed_or_removed_by_hand_is_drift_that_up_mends_with_every_row(
    dev: Dev, docker_client: docker.DockerClient
) -> None:
    dev.up()
    dev.add_user("ada")

    docker_client.containers.get(dev.container).kill()
    assert "drift: Container" in dev.gaia("preview", "--refresh")
    dev.up()
    assert dev.users() == 1

    docker_client.containers.get(dev.container).remove(force=True)
    assert "gone" in dev.gaia("preview", "--refresh")
    dev.up()
    assert dev.users() == 1
    assert dev.clone.json("verify", "--stack", "dev", env=dev.env)["ok"]


def test_a_changed_password_is_changed_in_the_database_too(dev: Dev) -> None:
    dev.up(env={"POSTGRES_PASSWORD": f"{CANARY}-1"})
    dev.add_user("ada")
    dev.up(env={"POSTGRES_PASSWORD": f"{CANARY}-2"})
    assert dev.users() == 1
    url = dev.clone.gaia("url", "--stack", "dev", env=dev.env).stdout
    assert f"{CANARY}-2" in url
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url.replace(f"{CANARY}-2", f"{CANARY}-1").strip())


def test_destroy_keeps_the_data_and_up_takes_it_over_with_a_new_password(
    dev: Dev, docker_client: docker.DockerClient
) -> None:
    dev.up()
    dev.add_user("ada")
    dev.gaia("destroy")
    assert docker_client.containers.list(all=True, filters={"name": dev.container}) == []
    docker_client.volumes.get(dev.volume)
    dev.up()
    assert dev.users() == 1
    dev.gaia("destroy", "--purge", "--yes")
    with pytest.raises(NotFound):
        docker_client.volumes.get(dev.volume)
    assert docker_client.networks.list(names=[dev.network]) == []


def test_a_container_that_ends_at_once_fails_up_with_its_log(dev: Dev) -> None:
    started = time.monotonic()
    said = dev.gaia("up", *dev.settings, "--set", "database.tuning.effective_cache_size=40GB",
                    "--set", "database.tuning.shared_buffers=30000GB", code=2)  # fmt: skip
    assert "effective_cache_size" in said
    said = dev.gaia("up", *dev.settings, "--set", "database.tuning.effective_cache_size=4000GB",
                    "--set", "database.tuning.shared_buffers=3000GB", code=1)  # fmt: skip
    assert dev.container in said
    assert "shared memory" in said or "shared_buffers" in said
    assert time.monotonic() - started < 60


def test_a_port_that_another_container_publishes_names_it(
    dev: Dev, docker_client: docker.DockerClient, unique_name: Names, postgres_image: str
) -> None:
    other = unique_name("other")
    docker_client.containers.run(
        postgres_image,
        name=other,
        detach=True,
        environment={"POSTGRES_PASSWORD": "x" * 20},
        ports={"5432/tcp": ("127.0.0.1", dev.port)},
    )
    said = dev.gaia("up", *dev.settings, code=1)
    assert f"container {other}" in said
    assert "--set database.port=" in said
    assert docker_client.containers.list(all=True, filters={"name": dev.container}) == []


def test_without_a_docker_engine_one_sentence_says_so(dev: Dev) -> None:
    said = dev.gaia("up", *dev.settings, code=3, env={"DOCKER_HOST": "tcp://127.0.0.1:1"})
    assert "no Docker engine answers" in said
    assert "--stack local" in said


def test_the_env_file_is_for_the_host_or_for_containers(dev: Dev) -> None:
    dev.up()
    dev.gaia("env", "--file", ".env")
    file = dev.clone.root / ".env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert f"@127.0.0.1:{dev.port}/gaia" in file.read_text()
    dev.gaia("env", "--file", ".env", "--for", "docker")
    assert "@postgres:5432/gaia" in file.read_text()
    file.unlink()


@pytest.mark.timeout(600)
def test_up_killed_at_any_moment_converges_to_one_container_without_lost_rows(
    dev: Dev, docker_client: docker.DockerClient
) -> None:
    generator = random.Random(os.environ.get("GAIA_TEST_SEED"))
    users = 0
    for moment in sorted(generator.uniform(0.5, 6.0) for _ in range(int(os.environ.get("GAIA_TEST_KILLS", "4")))):
        run = dev.clone.start("up", "--stack", "dev", *dev.settings, env=dev.env)
        time.sleep(moment)
        family = psutil.Process(run.pid).children(recursive=True)
        for process in (psutil.Process(run.pid), *family):
            if process.is_running():
                process.kill()
        run.communicate()
        before = locks.last_run(dev.clone.checkout, "dev")

        dev.up()
        if before:
            assert locks.marked(before.run_id) == [], f"killed after {moment:.2f} s"
        containers = docker_client.containers.list(all=True, filters={"volume": dev.volume})
        assert [container.name for container in containers] == [dev.container]
        assert len(docker_client.networks.list(names=[dev.network])) == 1
        assert dev.users() == users, f"killed after {moment:.2f} s"
        dev.add_user(f"u{users}")
        users += 1
        dev.gaia("destroy")
    dev.up()
    assert dev.clone.json("verify", "--stack", "dev", env=dev.env)["ok"]


def test_no_password_in_output_state_or_log(dev: Dev, docker_client: docker.DockerClient) -> None:
    done = dev.clone.gaia("up", "--stack", "dev", *dev.settings, env={**dev.env, "POSTGRES_PASSWORD": CANARY})
    said = done.stdout + done.stderr
    for command in (["status"], ["verify"], ["outputs"], ["env"], ["logs"], ["preview", "--refresh"]):
        said += dev.gaia(*command)
    said += dev.clone.run(["cat", str(dev.clone.checkout.state / ".pulumi/stacks/gaia-db/dev.json")]).stdout
    said += docker_client.containers.get(dev.container).logs().decode()
    said += str(docker_client.containers.get(dev.container).top(ps_args="-eo pid,args"))
    assert CANARY not in said


def test_a_lost_state_takes_over_the_container_with_every_row(dev: Dev, docker_client: docker.DockerClient) -> None:
    dev.up()
    dev.add_user("ada")
    (dev.clone.checkout.state / ".pulumi/stacks/gaia-db/dev.json").unlink()
    dev.up()
    assert dev.users() == 1
    assert len(docker_client.networks.list(names=[dev.network])) == 1


def test_a_foreign_container_of_the_same_name_is_left_alone(
    dev: Dev, docker_client: docker.DockerClient, postgres_image: str
) -> None:
    password = {"POSTGRES_PASSWORD": "x" * 20}
    foreign = docker_client.containers.run(postgres_image, name=dev.container, detach=True, environment=password)
    assert "isn't this stack's" in dev.gaia("up", *dev.settings, code=5)
    foreign.reload()
    assert foreign.status == "running"
    foreign.remove(force=True, v=True)


def test_a_paused_container_is_named_with_its_mend(dev: Dev, docker_client: docker.DockerClient) -> None:
    dev.up()
    container = docker_client.containers.get(dev.container)
    container.pause()
    try:
        assert f"docker unpause {dev.container}" in dev.gaia("up", code=1)
    finally:
        container.unpause()
    dev.up()
    assert dev.users() == 0


def test_data_does_not_move_to_another_volume_unasked(dev: Dev) -> None:
    dev.up()
    dev.add_user("ada")
    assert "has its data under" in dev.gaia("up", "--set", "docker.volume=another", code=5)
    assert dev.users() == 1
