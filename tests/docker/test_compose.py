"""The Compose file in examples/compose, run for real beside a PostgreSQL container like the product's."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import docker
import pytest
import yaml

from tests.docker.conftest import unavailable
from tests.standins.attached import REPOSITORY
from tests.standins.docker_names import Names

COMPOSE_FILE = REPOSITORY / "examples" / "compose" / "compose.yaml"
PASSWORD = 'cor$rect #horse"%40battery'
"""With everything that an env file, a shell or a URL could take for its own."""
COMMAND_TIMEOUT_S = 120
START_TIMEOUT_S = 30


def compose_commands() -> list[tuple[str, ...]]:
    """Each Compose on this machine: the plugin of the docker command, and the stand-alone one."""
    found: list[tuple[str, ...]] = []
    if shutil.which("docker"):
        plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False, timeout=30)
        if plugin.returncode == 0:
            found.append(("docker", "compose"))
    if shutil.which("docker-compose"):
        found.append(("docker-compose",))
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "compose_command" in metafunc.fixturenames:
        commands = compose_commands() or [()]
        metafunc.parametrize("compose_command", commands, ids=["-".join(command) or "none" for command in commands])


@dataclass(frozen=True, kw_only=True)
class Project:
    """A Compose project in a folder of its own, on the network of a running database."""

    command: Sequence[str]
    folder: Path
    name: str
    network: str
    image: str
    backend: str
    """The name of the backend's container."""

    def run(self, *arguments: str, files: Sequence[Path]) -> subprocess.CompletedProcess[str]:
        chosen = [part for file in files for part in ("-f", str(file))]
        return subprocess.run(
            [*self.command, "-p", self.name, "--project-directory", str(self.folder), *chosen, *arguments],
            cwd=self.folder,
            env={**os.environ, "GAIA_NETWORK": self.network, "GAIA_BACKEND_IMAGE": self.image},
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_TIMEOUT_S,
        )

    def override(self, service: str) -> Path:
        """In place of the backend: a client that asks the database once, with the variables it was given."""
        path = self.folder / f"{service}.yaml"
        query = "select 'seen by ' || current_user"
        definition = {
            "container_name": self.backend,
            "restart": "no",
            # In place of the image's anonymous volume, which would stay behind.
            "tmpfs": ["/var/lib/postgresql/data"],
            "entrypoint": ["sh", "-c"],
            "command": [f'psql "$$DATABASE_URL" -Atc "{query}" && PGPASSWORD="$$POSTGRES_PASSWORD" '
                        f'psql -h postgres -U "$$POSTGRES_USER" -d "$$POSTGRES_DB" -Atc "{query}"'],
        }  # fmt: skip
        path.write_text(yaml.safe_dump({"services": {service: definition}}))
        return path


@pytest.fixture
def project(
    compose_command: tuple[str, ...],
    docker_client: docker.DockerClient,
    postgres_image: str,
    unique_name: Names,
    tmp_path: Path,
) -> Project:
    if not compose_command:
        unavailable("no Compose on this machine: apt-get install docker-compose")
    name = unique_name("project")
    made = Project(
        command=compose_command,
        folder=tmp_path,
        name=name,
        network=f"{name}_default",
        image=postgres_image,
        backend=unique_name("backend"),
    )
    docker_client.networks.create(
        made.network,
        labels={"com.docker.compose.network": "default", "com.docker.compose.project": name, **unique_name.labels},
    )
    _start_database(docker_client, made, unique_name)
    (tmp_path / ".env").write_text(
        f"DATABASE_URL='postgresql://gaia:{quote(PASSWORD, safe='')}@postgres:5432/gaia'\n"
        f"POSTGRES_DB='gaia'\nPOSTGRES_USER='gaia'\nPOSTGRES_PASSWORD='{PASSWORD}'\nDATABASE_ECHO='false'\n"
    )
    return made


def _start_database(client: docker.DockerClient, project: Project, names: Names) -> None:
    container = client.containers.create(
        project.image,
        name=names("postgres"),
        environment={"POSTGRES_USER": "gaia", "POSTGRES_DB": "gaia", "POSTGRES_PASSWORD": PASSWORD},
        labels=names.labels,
    )
    client.networks.get("bridge").disconnect(container)
    client.networks.get(project.network).connect(container, aliases=["postgres"])
    container.start()
    give_up = time.monotonic() + START_TIMEOUT_S
    # Over TCP: while the image is made ready its server listens on the unix socket alone.
    while container.exec_run("pg_isready -h 127.0.0.1 -U gaia -d gaia").exit_code != 0:
        assert time.monotonic() < give_up, container.logs().decode()
        time.sleep(0.2)


def test_backend_dev_reaches_the_database_and_down_leaves_the_network(
    project: Project, docker_client: docker.DockerClient
) -> None:
    files = [COMPOSE_FILE, project.override("backend-dev")]
    up = project.run("--profile", "dev", "up", "--exit-code-from", "backend-dev", "backend-dev", files=files)
    assert up.returncode == 0, up.stdout + up.stderr
    assert up.stdout.count("seen by gaia") == 2
    assert "WARN" not in up.stderr

    down = project.run("--profile", "dev", "down", "--volumes", files=files)
    assert down.returncode == 0, down.stderr
    assert [network.name for network in docker_client.networks.list(names=[project.network])] == [project.network]
    assert project.backend not in [container.name for container in docker_client.containers.list(all=True)]


def test_down_leaves_the_network_of_a_stopped_database(
    project: Project, docker_client: docker.DockerClient, unique_name: Names
) -> None:
    docker_client.containers.get(unique_name("postgres")).stop()
    down = project.run("--profile", "dev", "down", "--volumes", "--remove-orphans", files=[COMPOSE_FILE])
    assert down.returncode == 0, down.stderr
    assert docker_client.networks.list(names=[project.network])
    assert docker_client.containers.get(unique_name("postgres"))


def test_a_project_named_as_the_networks_label_takes_it_for_its_default_network(project: Project) -> None:
    plain = project.folder / "plain.yaml"
    service = {"image": project.image, "env_file": ".env"}
    plain.write_text(yaml.safe_dump({"services": {"backend-dev": service}}))
    files = [plain, project.override("backend-dev")]
    up = project.run("up", "--exit-code-from", "backend-dev", "backend-dev", files=files)
    assert up.returncode == 0, up.stdout + up.stderr
    assert up.stdout.count("seen by gaia") == 2
    assert "not created" not in up.stderr


@pytest.mark.parametrize(("profile", "service"), [("dev", "backend-dev"), ("gpu", "backend-gpu")])
def test_each_profile_has_its_backend_with_the_variables_and_the_network(
    compose_command: tuple[str, ...], tmp_path: Path, profile: str, service: str
) -> None:
    if not compose_command:
        unavailable("no Compose on this machine: apt-get install docker-compose")
    (tmp_path / ".env").write_text("DATABASE_URL='postgresql://gaia@postgres:5432/gaia'\n")
    chosen = ["--project-directory", str(tmp_path), "-f", str(COMPOSE_FILE), "--profile", profile]
    shown = subprocess.run(
        [*compose_command, *chosen, "config"],
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_TIMEOUT_S,
    )
    assert shown.returncode == 0, shown.stderr
    config = yaml.safe_load(shown.stdout)
    assert config["services"][service]["container_name"] == f"gaia-{service}"
    assert config["services"][service]["environment"]["DATABASE_URL"] == "postgresql://gaia@postgres:5432/gaia"
    assert config["networks"]["default"]["name"] == "gaia_default"
    assert config["networks"]["default"]["external"]
