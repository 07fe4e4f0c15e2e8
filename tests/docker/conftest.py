"""Fixtures for tests on a real Docker engine. They skip, with a reason, where none answers; in CI they fail."""

from __future__ import annotations

import os
from collections.abc import Iterator

import docker
import pytest
from docker.errors import DockerException

from tests.images import postgres16
from tests.loops import own_event_loop
from tests.standins.attached import official_plugin, running
from tests.standins.docker_names import Names, clear_leftovers

__all__ = ["own_event_loop"]

ENGINE_TIMEOUT_S = 120


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "docker: needs a Docker engine that answers")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "docker_client" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.docker)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    plugin = official_plugin("docker")
    provider = f"the official plugin, {plugin.name}" if plugin else "the stand-in in tests/standins"
    terminalreporter.write_line(f"docker provider: {provider}")


def unavailable(reason: str) -> None:
    """Skips the test; in CI, where everything must run, fails it."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def docker_client() -> Iterator[docker.DockerClient]:
    """A client of the engine that answers, cleared of what crashed test runs left."""
    try:
        client = docker.from_env(timeout=ENGINE_TIMEOUT_S)
        client.ping()
    except (DockerException, OSError) as error:
        unavailable(f"no Docker engine answers ({error}); .ci/docker starts one")
        raise
    clear_leftovers(client)
    yield client
    client.close()


@pytest.fixture(scope="session")
def postgres_image(docker_client: docker.DockerClient) -> str:
    """The tag of postgres:16-alpine, or of an image that behaves as it."""
    try:
        return postgres16.ensure(client=docker_client)
    except postgres16.ImageError as error:
        unavailable(str(error))
        raise


@pytest.fixture(scope="session")
def standin_docker(docker_client: docker.DockerClient) -> Iterator[dict[str, str]]:
    """The variables that give a Pulumi engine its docker provider: none where the official plugin is installed."""
    if official_plugin("docker"):
        yield {}
        return
    with running("tests.standins.docker_provider") as port:
        yield {"PULUMI_DEBUG_PROVIDERS": f"docker:{port}"}


@pytest.fixture
def unique_name(docker_client: docker.DockerClient) -> Iterator[Names]:
    """``unique_name("postgres")``: a name of this test's own. What carries one is removed when the test ends."""
    names = Names()
    yield names
    names.clear(docker_client)
