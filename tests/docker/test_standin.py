"""The stand-in for the docker provider: its process, and life cycles on a real engine through the protocol."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import docker
import grpc
import pytest
from docker.errors import NotFound
from google.protobuf import empty_pb2
from google.rpc import status_pb2
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from rehearsal.provider.protocol import UNKNOWN, Properties, to_plain, to_struct
from tests.standins.attached import REPOSITORY, running
from tests.standins.docker_names import Names
from tests.standins.docker_schema import CONTAINER, NETWORK, REMOTE_IMAGE, VOLUME

PASSWORD = "correct-horse-battery"


def test_it_ends_when_its_starter_does() -> None:
    with running("tests.standins.docker_provider") as port:
        assert port > 0
    with pytest.raises(grpc.RpcError), grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        provider_pb2_grpc.ResourceProviderStub(channel).GetPluginInfo(empty_pb2.Empty(), timeout=2)


def test_started_as_a_plugin_it_prints_its_port_and_ends_on_sigterm() -> None:
    command = [sys.executable, "-m", "tests.standins.docker_provider", "127.0.0.1:1"]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline().strip().isdigit()
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    process.stdout.close()


@dataclass
class Provider:
    """The provider's protocol, in plain values."""

    stub: provider_pb2_grpc.ResourceProviderStub

    def urn(self, token: str) -> str:
        return f"urn:pulumi:dev::gaia-db::{token}::it"

    def checked(self, token: str, inputs: Properties) -> Properties:
        answer = self.stub.Check(provider_pb2.CheckRequest(urn=self.urn(token), news=to_struct(inputs)))
        assert not answer.failures, answer.failures
        return to_plain(answer.inputs)

    def create(self, token: str, inputs: Properties, *, preview: bool = False) -> tuple[str, Properties]:
        answer = self.stub.Create(
            provider_pb2.CreateRequest(
                urn=self.urn(token), properties=to_struct(self.checked(token, inputs)), preview=preview
            )
        )
        return answer.id, to_plain(answer.properties)

    def read(self, token: str, resource_id: str, state: Properties, inputs: Properties) -> tuple[str, Properties]:
        answer = self.stub.Read(
            provider_pb2.ReadRequest(
                id=resource_id, urn=self.urn(token), properties=to_struct(state), inputs=to_struct(inputs)
            )
        )
        return answer.id, to_plain(answer.properties)

    def diff(self, token: str, resource_id: str, state: Properties, inputs: Properties) -> Any:
        return self.stub.Diff(
            provider_pb2.DiffRequest(
                id=resource_id,
                urn=self.urn(token),
                olds=to_struct(state),
                news=to_struct(self.checked(token, inputs)),
            )
        )

    def update(self, token: str, resource_id: str, state: Properties, inputs: Properties) -> Properties:
        answer = self.stub.Update(
            provider_pb2.UpdateRequest(
                id=resource_id, urn=self.urn(token), olds=to_struct(state), news=to_struct(inputs)
            )
        )
        return to_plain(answer.properties)

    def delete(self, token: str, resource_id: str, state: Properties) -> None:
        self.stub.Delete(provider_pb2.DeleteRequest(id=resource_id, urn=self.urn(token), properties=to_struct(state)))


@pytest.fixture(scope="module")
def provider(docker_client: docker.DockerClient) -> Iterator[Provider]:
    with running("tests.standins.docker_provider") as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = provider_pb2_grpc.ResourceProviderStub(channel)
        stub.Configure(provider_pb2.ConfigureRequest())
        yield Provider(stub)


def postgres(names: Names, image: str, **more: Any) -> Properties:
    """A container of the shape that the product has."""
    return {
        "name": names("postgres"),
        "image": image,
        "envs": ["POSTGRES_USER=gaia", "POSTGRES_DB=gaia", f"POSTGRES_PASSWORD={PASSWORD}"],
        "command": ["postgres", "-c", "shared_buffers=32MB"],
        "ports": [{"internal": 5432, "external": names.port(), "ip": "127.0.0.1"}],
        "healthcheck": {
            # Over TCP: while it is made ready, the server answers on the unix socket too.
            "tests": ["CMD-SHELL", "pg_isready -h 127.0.0.1 -U gaia -d gaia"],
            "interval": "1s",
            "timeout": "5s",
            "retries": 5,
        },
        "labels": [{"label": key, "value": value} for key, value in names.labels.items()],
        "destroyGraceSeconds": 30,
        "logOpts": {"max-size": "10m"},
        **more,
    }


def idle(names: Names, image: str, **more: Any) -> Properties:
    """A container that does nothing, and ends at once when told to."""
    return {
        "name": names("idle"),
        "image": image,
        "entrypoints": ["sh", "-c"],
        "command": ["trap 'exit 0' INT TERM; while :; do sleep 0.1; done"],
        **more,
    }


def image_id(client: docker.DockerClient, tag: str) -> str:
    return str(client.images.get(tag).id)


def test_the_products_container_lives_dies_and_comes_back_with_its_data(
    docker_client: docker.DockerClient, provider: Provider, postgres_image: str, unique_name: Names
) -> None:
    network_id, network = provider.create(NETWORK, {"name": unique_name("net")})
    volume_id, volume = provider.create(VOLUME, {"name": unique_name("data")})
    _, image = provider.create(REMOTE_IMAGE, {"name": postgres_image, "keepLocally": True})
    inputs = postgres(
        unique_name,
        image["imageId"],
        volumes=[{"volumeName": volume["name"], "containerPath": "/var/lib/postgresql/data"}],
        networksAdvanced=[{"name": network["name"], "aliases": ["postgres"]}],
        wait=True,
    )
    container_id, state = provider.create(CONTAINER, inputs)
    container = docker_client.containers.get(container_id)
    assert container.attrs["State"]["Health"]["Status"] == "healthy"
    assert list(container.attrs["NetworkSettings"]["Networks"]) == [network["name"]]
    assert state["networkDatas"][0]["ipAddress"]
    assert container.exec_run('psql -U gaia -d gaia -c "CREATE TABLE kept AS SELECT 1"').exit_code == 0

    read_id, state = provider.read(CONTAINER, container_id, state, inputs)
    assert read_id == container_id
    assert list(provider.diff(CONTAINER, container_id, state, inputs).diffs) == []

    container.kill()
    _, stopped = provider.read(CONTAINER, container_id, state, inputs)
    assert stopped["mustRun"] is False
    difference = provider.diff(CONTAINER, container_id, stopped, inputs)
    assert set(difference.diffs) == {"ports", "mustRun"}
    assert list(difference.replaces) == ["ports"]
    assert difference.deleteBeforeReplace

    provider.delete(CONTAINER, container_id, stopped)
    container_id, state = provider.create(CONTAINER, inputs)
    container = docker_client.containers.get(container_id)
    assert container.exec_run('psql -U gaia -d gaia -c "SELECT * FROM kept"').exit_code == 0

    provider.delete(CONTAINER, container_id, state)
    provider.delete(CONTAINER, container_id, state)
    assert provider.read(CONTAINER, container_id, state, inputs) == ("", {})
    provider.delete(VOLUME, volume_id, volume)
    provider.delete(NETWORK, network_id, network)
    with pytest.raises(NotFound):
        docker_client.volumes.get(volume_id)
    assert provider.read(NETWORK, network_id, network, {}) == ("", {})


def test_a_delete_lets_the_server_shut_down_cleanly(
    docker_client: docker.DockerClient, provider: Provider, postgres_image: str, unique_name: Names
) -> None:
    provider.create(VOLUME, {"name": unique_name("data")})
    mount = [{"volumeName": unique_name("data"), "containerPath": "/var/lib/postgresql/data"}]
    inputs = postgres(unique_name, image_id(docker_client, postgres_image), volumes=mount, wait=True)
    container_id, state = provider.create(CONTAINER, inputs)
    provider.delete(CONTAINER, container_id, state)
    container_id, state = provider.create(CONTAINER, inputs)
    log = docker_client.containers.get(container_id).logs().decode()
    assert "database system was shut down at" in log
    assert "automatic recovery" not in log


def test_a_taken_name_is_told_in_dockers_words(
    docker_client: docker.DockerClient, provider: Provider, postgres_image: str, unique_name: Names
) -> None:
    inputs = idle(unique_name, image_id(docker_client, postgres_image))
    provider.create(CONTAINER, inputs)
    with pytest.raises(grpc.RpcError, match="is already in use by container"):
        provider.create(CONTAINER, inputs)


def test_a_taken_port_leaves_a_container_that_the_engine_knows_of(
    docker_client: docker.DockerClient, provider: Provider, postgres_image: str, unique_name: Names
) -> None:
    ports = [{"internal": 80, "external": unique_name.port(), "ip": "127.0.0.1"}]
    image = image_id(docker_client, postgres_image)
    provider.create(CONTAINER, idle(unique_name, image, ports=ports))
    with pytest.raises(grpc.RpcError, match="port is already allocated") as caught:
        provider.create(CONTAINER, idle(unique_name, image, ports=ports, name=unique_name("second")))
    half_made = _half_made(caught.value)
    container = docker_client.containers.get(half_made.id)
    assert container.status == "created"
    assert to_plain(half_made.properties)["mustRun"] is False


def _half_made(error: Any) -> provider_pb2.ErrorResourceInitFailed:
    trailers = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    detail = provider_pb2.ErrorResourceInitFailed()
    assert status.details[0].Unpack(detail)
    return detail


def test_waiting_for_health_ends_with_its_time(
    docker_client: docker.DockerClient, provider: Provider, postgres_image: str, unique_name: Names
) -> None:
    sick = {"tests": ["CMD", "false"], "interval": "1s", "retries": 1}
    image = image_id(docker_client, postgres_image)
    with pytest.raises(grpc.RpcError, match="not healthy after 2 s"):
        provider.create(CONTAINER, idle(unique_name, image, healthcheck=sick, wait=True, waitTimeout=2))


def test_an_image_that_cannot_be_pulled_is_told_clearly(provider: Provider) -> None:
    started = time.monotonic()
    with pytest.raises(grpc.RpcError, match=r"unable to pull image gaia-test\.invalid/nothing:1"):
        provider.create(REMOTE_IMAGE, {"name": "gaia-test.invalid/nothing:1"})
    assert time.monotonic() - started < 60


def test_an_image_kept_locally_stays(
    docker_client: docker.DockerClient, provider: Provider, postgres_image: str
) -> None:
    resource_id, state = provider.create(REMOTE_IMAGE, {"name": postgres_image, "keepLocally": True})
    assert state["imageId"] == image_id(docker_client, postgres_image)
    provider.delete(REMOTE_IMAGE, resource_id, state)
    assert docker_client.images.get(postgres_image)


def test_an_image_named_by_its_tag_replaces_the_container_on_every_update(
    provider: Provider, postgres_image: str, unique_name: Names
) -> None:
    inputs = idle(unique_name, postgres_image)
    container_id, state = provider.create(CONTAINER, inputs)
    assert list(provider.diff(CONTAINER, container_id, state, inputs).replaces) == ["image"]


def test_the_restart_policy_changes_in_place(
    docker_client: docker.DockerClient, provider: Provider, postgres_image: str, unique_name: Names
) -> None:
    inputs = idle(unique_name, image_id(docker_client, postgres_image))
    container_id, state = provider.create(CONTAINER, inputs)
    wanted = {**inputs, "restart": "unless-stopped"}
    difference = provider.diff(CONTAINER, container_id, state, wanted)
    assert (list(difference.diffs), list(difference.replaces)) == (["restart"], [])
    state = provider.update(CONTAINER, container_id, state, wanted)
    assert list(provider.diff(CONTAINER, container_id, state, wanted).diffs) == []
    container = docker_client.containers.get(container_id)
    assert container.attrs["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"


def test_a_network_of_a_taken_name_is_refused(provider: Provider, unique_name: Names) -> None:
    provider.create(NETWORK, {"name": unique_name("net")})
    with pytest.raises(grpc.RpcError, match="already exists"):
        provider.create(NETWORK, {"name": unique_name("net")})


def test_a_preview_makes_nothing_and_knows_no_outputs(
    docker_client: docker.DockerClient, provider: Provider, unique_name: Names
) -> None:
    resource_id, state = provider.create(CONTAINER, {"name": unique_name("none"), "image": UNKNOWN}, preview=True)
    assert resource_id == ""
    assert {state["networkDatas"], state["exitCode"], state["hostname"]} == {UNKNOWN}
    with pytest.raises(NotFound):
        docker_client.containers.get(unique_name("none"))


def test_no_engine_is_one_clear_sentence() -> None:
    with running("tests.standins.docker_provider") as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = provider_pb2_grpc.ResourceProviderStub(channel)
        stub.Configure(provider_pb2.ConfigureRequest(args=to_struct({"host": "unix:///nowhere/docker.sock"})))
        with pytest.raises(grpc.RpcError, match="Cannot connect to the Docker daemon at unix:///nowhere/"):
            Provider(stub).create(VOLUME, {})
