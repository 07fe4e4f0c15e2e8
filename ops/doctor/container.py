"""The container: Docker itself, the container's state and log, its network, room on its volume."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.plugins import has_plugin
from infra.local import docker_engine
from infra.local.errors import DockerMissing
from ops.doctor import disk, embedded, serverlog
from ops.doctor.finding import UP, Finding
from ops.doctor.scene import LOOK_TIMEOUT_S, Scene

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container as Handle

LOG_LINES = 1000
_WELL = ("healthy", "starting")
"""It is "starting" for its first ten seconds, while the server answers already."""


@dataclass(frozen=True, kw_only=True)
class Container:
    """What Docker says of the container."""

    name: str
    expected: bool
    """Whether the stack's state says that there is one."""
    status: str = "gone"
    exit_code: int = 0
    oom_killed: bool = False
    health: str | None = None
    restarts: int = 0
    last_words: str = ""
    network: str = ""
    network_there: bool = True
    attached: bool = True


def look(scene: Scene, *, expected: bool) -> Iterator[Finding]:
    """Everything of a container that needs no login."""
    yield from disk.look(scene.checkout.root)
    yield Finding(
        name="Docker plugin of the engine",
        found="" if has_plugin("docker", scene.environ) else "the engine has no Docker plugin",
        way="the next ./gaia up downloads it; where it can't, use ./gaia up --stack local",
        level="warning",
    )
    try:
        client = docker_engine.connect(scene.environ, timeout_s=LOOK_TIMEOUT_S, ping_timeout_s=LOOK_TIMEOUT_S)
    except DockerMissing as error:
        found, _, _ = str(error).partition(": start")
        yield Finding(name="Docker engine", found=found, way="start Docker, or use ./gaia up --stack local")
        return
    with contextlib.closing(client):
        yield Finding(name="Docker engine")
        yield from _of_client(scene, client, expected=expected)


def findings(found: Container) -> Iterator[Finding]:
    """Rules on the container and its network."""
    yield _container(found)
    gone = f"the network {found.network} is gone" if not found.network_there else ""
    cut_off = f"the container is not in the network {found.network}" if not found.attached else ""
    yield Finding(
        name=f"network {found.network}",
        found=(gone or cut_off) if found.expected else "",
        way="run ./gaia up, which makes it again",
        mend=UP,
    )


def _container(found: Container) -> Finding:
    name = f"container {found.name}"
    said = f"; its last words: {found.last_words}" if found.last_words else ""
    if found.status == "gone":
        return Finding(name=name, found="it is gone" if found.expected else "", way="run ./gaia up", mend=UP)
    if found.status == "paused":
        return Finding(name=name, found="it is paused", way=f"run docker unpause {found.name}")
    if found.oom_killed:
        way = "give Docker more memory, or run ./gaia up --set database.tuning.shared_buffers=64MB"
        return Finding(name=name, found=f"it was killed for want of memory{said}", way=way)
    if found.status == "restarting":
        what = f"it ends over and over (exit code {found.exit_code}, started {found.restarts} times){said}"
        return Finding(name=name, found=what, way=f"run docker logs {found.name}, mend what it names, then ./gaia up")
    if found.status != "running":
        what = f"it is {found.status} with exit code {found.exit_code}{said}"
        return Finding(name=name, found=what, way="run ./gaia up", mend=UP)
    well = found.health in _WELL
    what = "" if well else f"it runs, but is {found.health or 'without a healthcheck'}{said}"
    return Finding(name=name, found=what, way=f"run docker logs {found.name}, then ./gaia up")


def _of_client(scene: Scene, client: DockerClient, *, expected: bool) -> Iterator[Finding]:
    docker = scene.settings.docker
    assert docker is not None
    handle = docker_engine.find(client, docker.container)
    log = _log(handle) if handle else serverlog.ServerLog()
    yield from findings(_seen(client, docker.container, handle, log, docker.network, expected=expected))
    if scene.settings.database.replicas:
        standby = docker_engine.find(client, docker.standby_container)
        words = _log(standby) if standby else serverlog.ServerLog()
        yield _container(_seen(client, docker.standby_container, standby, words, docker.network, expected=expected))
    if handle:
        yield from serverlog.findings(log, scene.settings.database.tuning.shared_buffers)
    if handle and handle.status == "running":
        yield from disk.findings(_volumes(handle))
    else:
        yield embedded.port(_taken(scene, client))


def _log(handle: Handle) -> serverlog.ServerLog:
    lines = handle.logs(tail=LOG_LINES).decode("utf-8", errors="replace").splitlines()
    return serverlog.parse(lines, dt.datetime.now(dt.UTC))


def _seen(
    client: DockerClient, name: str, handle: Handle | None, log: serverlog.ServerLog, network: str, *, expected: bool
) -> Container:
    there = any(each.name == network for each in client.networks.list(names=[network]))
    if handle is None:
        return Container(name=name, expected=expected, network=network, network_there=there)
    state = handle.attrs["State"]
    return Container(
        name=name,
        expected=expected,
        status=handle.status,
        exit_code=state.get("ExitCode", 0),
        oom_killed=bool(state.get("OOMKilled")),
        health=(state.get("Health") or {}).get("Status"),
        restarts=handle.attrs.get("RestartCount", 0),
        last_words=log.last_words,
        network=network,
        network_there=there,
        attached=network in handle.attrs["NetworkSettings"]["Networks"],
    )


def _volumes(handle: Handle) -> list[disk.Volume]:
    """The volume as seen from within, in kilobytes and as POSIX has it."""
    said = handle.exec_run(["df", "-Pk", docker_engine.DATA]).output
    fields = said.decode("utf-8", errors="replace").splitlines()[-1].split() if isinstance(said, bytes) and said else []
    if len(fields) < 4 or not (fields[1].isdigit() and fields[3].isdigit()):
        return []
    total, free = int(fields[1]) * 1024, int(fields[3]) * 1024
    return [
        disk.Volume(
            what="data directory", folder=f"{docker_engine.DATA} in the container", free_bytes=free, total_bytes=total
        )
    ]


def _taken(scene: Scene, client: DockerClient) -> str:
    address, port = scene.address
    publisher = docker_engine.publisher(client, port)
    return embedded.taken(address, port, holder_name=f"container {publisher}" if publisher else None)
