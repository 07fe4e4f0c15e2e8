"""What the doctor sees of a real container: well, stopped, paused, killed, off its network."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container

from engine.checkout import Checkout
from infra.settings import Database, Docker, Settings
from ops.doctor import container
from ops.doctor.scene import Scene
from tests.clone import free_port
from tests.standins.docker_names import Names


@dataclasses.dataclass(frozen=True, kw_only=True)
class Box:
    """A container of the test's own, and the scene that it is in."""

    client: docker.DockerClient
    handle: Container
    scene: Scene
    network: str

    def wrong(self) -> dict[str, str]:
        findings = container.look(self.scene, expected=True)
        # The engine's plugin is another test's matter.
        return {one.name: one.check.hint for one in findings if one.found and "plugin" not in one.name}


@pytest.fixture
def box(docker_client: docker.DockerClient, postgres_image: str, unique_name: Names, tmp_path: Path) -> Box:
    name, network, port = unique_name("doctor"), unique_name("net"), free_port()
    docker_client.networks.create(network)
    handle = docker_client.containers.run(
        postgres_image,
        name=name,
        detach=True,
        network=network,
        environment={"POSTGRES_PASSWORD": "not-a-secret-of-anybody"},
        ports={"5432/tcp": ("127.0.0.1", port)},
        healthcheck={
            "test": ["CMD-SHELL", "pg_isready -U postgres"],
            "interval": 10**9,
            "timeout": 5 * 10**9,
            "retries": 30,
        },
    )
    settings = Settings(
        stack="dev",
        target="docker",
        database=Database(port=port),
        docker=Docker(container=name, network=network, image=postgres_image),
    )
    scene = Scene(checkout=Checkout(root=tmp_path), stack="dev", chosen=True, environ={})
    scene.__dict__["_read"] = (settings, "")
    return Box(client=docker_client, handle=handle, scene=scene, network=network)


def test_a_container_is_named_by_what_became_of_it(box: Box) -> None:
    name = f"container {box.handle.name}"
    deadline = time.monotonic() + 60
    while box.handle.exec_run(["pg_isready", "-h", "127.0.0.1"]).exit_code and time.monotonic() < deadline:
        time.sleep(0.2)
    assert box.wrong() == {}

    box.handle.pause()
    assert f"docker unpause {box.handle.name}" in box.wrong()[name]
    box.handle.unpause()

    box.client.networks.get(box.network).disconnect(box.handle)
    assert "not in the network" in box.wrong()[f"network {box.network}"]
    box.client.networks.get(box.network).connect(box.handle)

    box.handle.kill()
    box.handle.wait()
    stopped = box.wrong()[name]
    assert "exited with exit code 137" in stopped and "./gaia up" in stopped

    box.handle.remove()
    box.client.networks.get(box.network).remove()
    gone = box.wrong()
    assert "it is gone" in gone[name] and "is gone" in gone[f"network {box.network}"]
