"""The PostgreSQL image: what the product and the documentation ask of ``postgres:16-alpine``, real or built."""

from __future__ import annotations

import time
from typing import cast

import docker
import pytest
from docker.models.containers import Container

from infra.local import docker_engine
from tests.images import postgres16
from tests.standins.docker_names import Names

PASSWORD = 'it\'s a $long "password"'
START_TIMEOUT_S = 30


def start(client: docker.DockerClient, image: str, names: Names, **environment: str) -> Container:
    return client.containers.run(
        image,
        ["postgres", "-c", "shared_buffers=32MB"],
        name=names("postgres"),
        environment=environment,
        labels=names.labels,
        detach=True,
    )


def log_of(container: Container) -> str:
    return cast(bytes, container.logs()).decode()


def output_of(container: Container, command: str | list[str], **environment: str) -> tuple[int, str]:
    """Exit code and output of a command in the container."""
    code, output = container.exec_run(command, environment=environment)
    return int(code or 0), cast(bytes, output).decode().strip()


def await_server(container: Container) -> None:
    give_up = time.monotonic() + START_TIMEOUT_S
    while container.exec_run("pg_isready -h 127.0.0.1").exit_code != 0:
        assert time.monotonic() < give_up, log_of(container)
        time.sleep(0.2)


def psql(container: Container, *arguments: str) -> str:
    code, output = output_of(container, ["psql", "-U", "gaia", "-d", "gaia", "-At", *arguments])
    assert code == 0, output
    return output


def test_a_container_is_not_removed_in_the_middle_of_filling_its_volume(
    docker_client: docker.DockerClient, postgres_image: str, unique_name: Names
) -> None:
    def run() -> Container:
        return docker_client.containers.run(
            postgres_image,
            name=unique_name("postgres"),
            environment={"POSTGRES_USER": "gaia", "POSTGRES_PASSWORD": PASSWORD},
            labels={**unique_name.labels, "gaia.stack": "dev"},
            volumes={unique_name("data"): {"bind": "/var/lib/postgresql/data", "mode": "rw"}},
            detach=True,
        )

    run()
    ours = {"gaia.stack": "dev"}
    docker_engine.remove_unknown(docker_client, container=unique_name("postgres"), network=None, ours=ours)
    again = run()
    await_server(again)
    _, rules = output_of(again, ["cat", "/var/lib/postgresql/data/pg_hba.conf"])
    assert "host all all all" in rules


def test_it_runs_the_documents_commands_as_the_official_image(
    docker_client: docker.DockerClient, postgres_image: str, unique_name: Names
) -> None:
    container = start(docker_client, postgres_image, unique_name, POSTGRES_USER="gaia", POSTGRES_PASSWORD=PASSWORD)
    await_server(container)
    assert psql(container, "-c", "SELECT 1") == "1"
    assert psql(container, "-c", "SHOW shared_buffers") == "32MB"
    assert psql(container, "-c", "SHOW server_version_num").startswith("16")
    assert psql(container, "-c", "SELECT pg_encoding_to_char(encoding) FROM pg_database LIMIT 1") == "UTF8"
    assert psql(container, "-h", "/var/run/postgresql", "-c", "SHOW data_directory") == "/var/lib/postgresql/data"
    assert container.exec_run("pg_isready -U gaia -d gaia").exit_code == 0
    assert container.exec_run("pg_dump -U gaia -d gaia").exit_code == 0
    assert output_of(container, "id -u postgres") == (0, "70")
    assert "PostgreSQL init process complete; ready for start up." in log_of(container)


def test_a_login_from_outside_needs_the_password(
    docker_client: docker.DockerClient, postgres_image: str, unique_name: Names
) -> None:
    container = start(docker_client, postgres_image, unique_name, POSTGRES_USER="gaia", POSTGRES_PASSWORD=PASSWORD)
    await_server(container)
    outside = ["sh", "-c", 'psql -w -h "$(hostname -i)" -U gaia -d gaia -Atc "SELECT 1"']
    code, words = output_of(container, outside)
    assert code != 0
    assert "no password supplied" in words
    assert output_of(container, outside, PGPASSWORD=PASSWORD) == (0, "1")


def test_without_a_password_it_refuses_to_start(
    docker_client: docker.DockerClient, postgres_image: str, unique_name: Names
) -> None:
    container = start(docker_client, postgres_image, unique_name, POSTGRES_USER="gaia")
    assert container.wait(timeout=START_TIMEOUT_S)["StatusCode"] == 1
    assert "superuser password is not specified" in log_of(container)


def test_it_stops_cleanly_with_clients_connected_and_keeps_its_data(
    docker_client: docker.DockerClient, postgres_image: str, unique_name: Names
) -> None:
    container = start(docker_client, postgres_image, unique_name, POSTGRES_USER="gaia", POSTGRES_PASSWORD=PASSWORD)
    await_server(container)
    psql(container, "-c", "CREATE TABLE kept AS SELECT 42 AS answer")
    container.exec_run(["psql", "-U", "gaia", "-d", "gaia", "-c", "SELECT pg_sleep(300)"], detach=True)
    started = time.monotonic()
    container.stop(timeout=30)
    assert time.monotonic() - started < 20
    container.start()
    await_server(container)
    log = log_of(container)
    assert "Skipping initialization" in log
    assert "was not properly shut down" not in log
    assert psql(container, "-c", "TABLE kept") == "42"


def test_the_initdb_arguments_are_respected(
    docker_client: docker.DockerClient, postgres_image: str, unique_name: Names
) -> None:
    container = start(
        docker_client,
        postgres_image,
        unique_name,
        POSTGRES_USER="gaia",
        POSTGRES_PASSWORD=PASSWORD,
        POSTGRES_INITDB_ARGS="--data-checksums --encoding=UTF8 --lc-collate=C --lc-ctype=C.UTF-8",
    )
    await_server(container)
    assert psql(container, "-c", "SHOW data_checksums") == "on"
    assert psql(container, "-c", "SELECT datcollate, datctype FROM pg_database WHERE datname = 'gaia'") == "C|C.UTF-8"


def test_it_is_built_once_and_never_under_the_official_tag(
    docker_client: docker.DockerClient, postgres_image: str
) -> None:
    if postgres_image == postgres16.OFFICIAL_TAG:
        pytest.skip("the official image is on this machine")
    before = docker_client.images.get(postgres_image).id
    assert postgres16.ensure(client=docker_client) == postgres16.BUILT_TAG
    assert docker_client.images.get(postgres_image).id == before
    assert docker_client.images.list(postgres16.OFFICIAL_TAG) == []
