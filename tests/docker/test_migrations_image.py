"""The migrations' image, built from its Dockerfile on a base made here, and run as Cloud Run would run it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import docker
import pytest
from docker.errors import APIError, BuildError
from docker.models.containers import Container

from migrations import revisions, runner
from tests.images import postgres16, python311
from tests.postgres import IDENTITY_KEY, PASSWORDS, Database, Server, running
from tests.postgres import unavailable as postgres_unavailable
from tests.standins.docker_names import Names
from tests.standins.sqladmin import SqlAdmin, serving

ROOT = Path(__file__).resolve().parents[2]
TAG = "gaia-test/migrations:test"
JOB = ["python", "-m", "migrations.job"]
TIMEOUT_S = 60


@pytest.fixture(scope="module")
def image(docker_client: docker.DockerClient) -> str:
    """The image; skips, with a reason, where its packages can't be had."""
    try:
        base = python311.ensure(docker_client)
    except postgres16.ImageError as error:
        pytest.skip(str(error))  # also in CI: it depends on whose Python this is
    before = {found.id for found in docker_client.images.list(TAG)}
    try:
        built, _ = docker_client.images.build(
            path=str(ROOT),
            dockerfile="migrations/Dockerfile",
            tag=TAG,
            buildargs={"BASE": base},
            network_mode="host",
            rm=True,
            forcerm=True,
        )
    except BuildError as error:
        log = "".join(str(line.get("stream", "")) for line in cast(Any, error.build_log))
        if "Failed to establish a new connection" in log or "Temporary failure in name resolution" in log:
            pytest.skip("the package index doesn't answer")
        raise AssertionError(log[-3000:]) from error
    stages = docker_client.images.list(filters={"dangling": True, "label": "gaia-db.stage=packages"})
    newest_first = sorted(stages, key=lambda stage: stage.attrs["Created"], reverse=True)
    for stale in [*(before - {built.id}), *(stage.id for stage in newest_first[1:])]:
        with contextlib.suppress(APIError):
            docker_client.images.remove(str(stale))
    return TAG


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if (reason := postgres_unavailable()) is not None:
        pytest.skip(reason)
    with running() as started:
        yield started


@pytest.fixture
def database(server: Server) -> Iterator[Database]:
    made = server.create("job")
    yield made
    server.drop("job")


@pytest.fixture
def admin() -> Iterator[SqlAdmin]:
    with serving() as state:
        yield state


def start(
    client: docker.DockerClient,
    image: str,
    names: Names,
    environment: dict[str, str],
    entrypoint: list[str] | None = None,
    command: list[str] | None = None,
) -> Container:
    """Locked down further than Cloud Run does, so that whatever it needs shows."""
    return client.containers.run(
        image,
        command,
        entrypoint=entrypoint,
        name=names(f"job{time.monotonic_ns()}"),
        labels=names.labels,
        environment=environment,
        network_mode="host",
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        mem_limit="512m",
        detach=True,
    )


def finished(container: Container) -> tuple[int, list[dict[str, Any]]]:
    code = int(container.wait(timeout=TIMEOUT_S)["StatusCode"])
    log = cast(bytes, container.logs()).decode()
    try:
        return code, [json.loads(line) for line in log.splitlines()]
    except ValueError:
        raise AssertionError(log) from None


def environment(database: Database, admin: SqlAdmin) -> dict[str, str]:
    return {
        "GAIA_MIGRATIONS_URL": database.url,
        "GAIA_IDENTITY_KEY": IDENTITY_KEY,
        "GAIA_APP_PASSWORD": PASSWORDS["gaia_app"],
        **admin.environment,
    }


def test_it_migrates_then_upgrades_and_maintains_as_nobody_on_a_file_system_it_cant_write(
    docker_client: docker.DockerClient, image: str, unique_name: Names, database: Database, admin: SqlAdmin
) -> None:
    given = environment(database, admin)
    code, lines = finished(start(docker_client, image, unique_name, given, entrypoint=JOB))
    assert code == 0, lines
    assert lines[-1]["ok"] and lines[-1]["after"] == runner.head()
    assert lines[-1]["backup"]["id"] == admin.runs[0]["id"]
    for command in (None, ["maintain", "--json"]):  # None: the image's own
        code, lines = finished(start(docker_client, image, unique_name, given, command=command))
        assert code == 0 and lines[-1]["ok"], lines
    assert len(admin.runs) == 1


def test_it_ends_at_once_when_it_is_stopped(
    docker_client: docker.DockerClient, image: str, unique_name: Names, database: Database, admin: SqlAdmin
) -> None:
    admin.polls = 1000
    container = start(docker_client, image, unique_name, environment(database, admin), entrypoint=JOB)
    deadline = time.monotonic() + TIMEOUT_S
    while not admin.runs and time.monotonic() < deadline:
        time.sleep(0.1)
    started = time.monotonic()
    container.stop(timeout=20)
    assert time.monotonic() - started < 10
    code, lines = finished(container)
    assert code == 143 and lines[-1]["error"] == "Terminated"


def test_a_missing_setting_is_one_json_line_and_code_2(
    docker_client: docker.DockerClient, image: str, unique_name: Names
) -> None:
    code, lines = finished(start(docker_client, image, unique_name, {}))
    assert code == 2 and lines[-1]["ok"] is False


LOOK = """
import json, os, importlib.metadata as m
from migrations.revisions import content_hash
files = [os.path.join(f, n) for top in ("/opt/gaia",) for f, _, names in os.walk(top) for n in names]
print(json.dumps({
    "uid": os.getuid(), "gid": os.getgid(), "writable": [f for f in files if os.access(f, os.W_OK)],
    "hash": content_hash(),
    "packages": sorted(d.metadata["Name"].lower() for d in m.distributions(path=["/opt/packages"])),
    "db": sorted(n for n in os.listdir("/opt/gaia/db") if n.endswith(".py")),
    "other": [f for f in files if not f.endswith((".py", ".pyc", ".mako", ".sql", "guards.json", "requirements.txt"))],
}))
"""


def test_it_holds_the_migrations_of_this_checkout_and_the_locked_packages_alone(
    docker_client: docker.DockerClient, image: str, unique_name: Names
) -> None:
    container = start(docker_client, image, unique_name, {}, entrypoint=["python", "-c", LOOK])
    code, lines = finished(container)
    assert code == 0
    (seen,) = lines
    assert (seen["uid"], seen["gid"], seen["writable"], seen["other"]) == (65532, 65532, [], [])
    assert seen["hash"] == revisions.content_hash()
    assert seen["db"] == ["__init__.py", "identity.py", "models.py"]
    assert seen["packages"] == [
        *("alembic", "mako", "markupsafe", "psycopg", "psycopg-binary", "sqlalchemy", "typing_extensions")
    ]
