"""A container under the real Pulumi engine, with whichever docker provider this machine has."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import docker
import pulumi
import pulumi_docker
import pytest
from docker.models.containers import Container
from pulumi import automation

from engine.acquire import acquire
from engine.errors import EngineError
from tests.docker.conftest import unavailable
from tests.standins.docker_names import Names

pytestmark = [pytest.mark.engine, pytest.mark.timeout(180)]

PASSWORD = "canary-in-a-coal-mine-7291"


@pytest.fixture
def make_stack(
    standin_docker: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[], None]], automation.Stack]:
    """Makes a stack of an inline program, with its state in a folder of its own."""
    try:
        engine = acquire()
    except EngineError as error:
        unavailable(f"no Pulumi engine: {error}")
        raise
    monkeypatch.setenv("PATH", f"{engine.pulumi.parent}{os.pathsep}{os.environ['PATH']}")
    environment = {
        **standin_docker,
        "PULUMI_BACKEND_URL": tmp_path.as_uri(),
        "PULUMI_CONFIG_PASSPHRASE": "none",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }

    def make(program: Callable[[], None]) -> automation.Stack:
        options = automation.LocalWorkspaceOptions(env_vars=environment, secrets_provider="passphrase")
        return automation.create_stack("test", "standin", program=program, opts=options)

    return make


def shape(names: Names, image: str, port: int) -> Callable[[], None]:
    """The program: image, network, volume and container as the product has them."""

    def program() -> None:
        labels = names.labels.items()
        found = pulumi_docker.RemoteImage("image", name=image, keep_locally=True)
        network = pulumi_docker.Network(
            "network",
            name=names("net"),
            labels=[pulumi_docker.NetworkLabelArgs(label=key, value=value) for key, value in labels],
        )
        volume = pulumi_docker.Volume("volume", name=names("data"))
        pulumi_docker.Container(
            "container",
            name=names("postgres"),
            image=found.image_id,
            envs=["POSTGRES_USER=gaia", pulumi.Output.secret(f"POSTGRES_PASSWORD={PASSWORD}")],
            ports=[pulumi_docker.ContainerPortArgs(internal=5432, external=port, ip="127.0.0.1")],
            volumes=[
                pulumi_docker.ContainerVolumeArgs(volume_name=volume.name, container_path="/var/lib/postgresql/data")
            ],
            networks_advanced=[pulumi_docker.ContainerNetworksAdvancedArgs(name=network.name, aliases=["postgres"])],
            healthcheck=pulumi_docker.ContainerHealthcheckArgs(
                tests=["CMD-SHELL", "pg_isready -h 127.0.0.1 -U gaia -d gaia"], interval="1s", timeout="5s", retries=30
            ),
            log_driver="json-file",
            log_opts={"max-size": "10m"},
            restart="unless-stopped",
            must_run=True,
            wait=True,
            stop_timeout=30,
            destroy_grace_seconds=30,
            shm_size=64,
            opts=pulumi.ResourceOptions(delete_before_replace=True),
        )

    return program


def changes(result: automation.UpResult | automation.DestroyResult) -> dict[str, int]:
    counted = result.summary.resource_changes or {}
    return {operation: count for operation, count in counted.items() if operation != "same"}


def container(client: docker.DockerClient, names: Names) -> Container:
    return client.containers.get(names("postgres"))


def test_a_container_is_made_kept_mended_and_removed(
    docker_client: docker.DockerClient,
    postgres_image: str,
    unique_name: Names,
    make_stack: Callable[[Callable[[], None]], automation.Stack],
    tmp_path: Path,
) -> None:
    stack = make_stack(shape(unique_name, postgres_image, unique_name.port()))
    assert changes(stack.up()) == {"create": 5}
    assert changes(stack.up(refresh=True)) == {}
    assert container(docker_client, unique_name).exec_run("psql -U gaia -c 'create table kept()'").exit_code == 0

    container(docker_client, unique_name).kill()
    assert stack.preview(refresh=True).change_summary.get(automation.OpType.REPLACE) == 1
    assert changes(stack.up(refresh=True)) == {"replace": 1}
    assert container(docker_client, unique_name).exec_run("psql -U gaia -c 'table kept'").exit_code == 0

    container(docker_client, unique_name).remove(force=True)
    assert changes(stack.up(refresh=True)) == {"create": 1}

    state = "".join(file.read_text() for file in tmp_path.rglob("*.json*"))
    assert unique_name("postgres") in state
    assert PASSWORD not in state

    assert changes(stack.destroy()) == {"delete": 5}
    assert docker_client.containers.list(all=True, filters={"name": unique_name.prefix}) == []
    assert docker_client.volumes.list(filters={"name": unique_name.prefix}) == []
    assert docker_client.networks.list(filters={"name": unique_name.prefix}) == []


def test_a_taken_port_is_mended_by_the_next_up(
    docker_client: docker.DockerClient,
    postgres_image: str,
    unique_name: Names,
    make_stack: Callable[[Callable[[], None]], automation.Stack],
) -> None:
    port = unique_name.port()
    holder = docker_client.containers.run(
        postgres_image,
        entrypoint=["sleep", "600"],
        name=unique_name("holder"),
        ports={"80/tcp": ("127.0.0.1", port)},
        detach=True,
    )
    stack = make_stack(shape(unique_name, postgres_image, port))
    with pytest.raises(automation.CommandError, match="port is already allocated"):
        stack.up()
    holder.remove(force=True)
    stack.up(refresh=True)
    assert container(docker_client, unique_name).status == "running"
    stack.destroy()
