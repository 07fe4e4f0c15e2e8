"""The Docker engine of this machine: where it is, and what became of a container of ours."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from infra.local.errors import ContainerFailed, DockerMissing

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

STACK_LABEL = "gaia.stack"
CHECKOUT_LABEL = "gaia.checkout"
ASIDE_LABEL = "gaia.aside"
"""Of a container that works on a volume for a moment."""
DATA = "/var/lib/postgresql/data"
"""Where the container has its volume."""
PING_TIMEOUT_S = 5
CALL_TIMEOUT_S = 60
BEGIN_TIMEOUT_S = 30
"""How long a first start may take: the image fills the volume meanwhile."""
LOOK_EVERY_S = 0.2


def endpoint(environ: Mapping[str, str]) -> str | None:
    """The engine's address: DOCKER_HOST, else the current Docker context's; None means Docker's default."""
    if environ.get("DOCKER_HOST"):
        return environ["DOCKER_HOST"]
    from docker.context import ContextAPI
    from docker.errors import DockerException

    try:
        context = ContextAPI.get_current_context()
    except (DockerException, ValueError, OSError):
        return None
    return context.Host if context and context.name != "default" else None


def connect(
    environ: Mapping[str, str] = os.environ, *, timeout_s: int = CALL_TIMEOUT_S, ping_timeout_s: int = PING_TIMEOUT_S
) -> DockerClient:
    """A client of an engine that answers. Raises ``DockerMissing``."""
    import docker
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    try:
        client = docker.DockerClient(base_url=endpoint(environ), timeout=ping_timeout_s)
        client.ping()
    except (DockerException, RequestException, OSError) as error:
        raise DockerMissing(
            f"no Docker engine answers at {endpoint(environ) or 'its default address'}: start Docker, "
            "or use the embedded server: ./gaia up --stack local"
        ) from error
    client.api.timeout = timeout_s
    return client


def find(client: DockerClient, name: str) -> Container | None:
    """The container of this name, running or not."""
    from docker.errors import NotFound

    try:
        return client.containers.get(name)
    except NotFound:
        return None


def require_running(client: DockerClient, name: str, *, restarts_before: int | None) -> int:
    """Raise ``ContainerFailed``, with the end of its log, unless the container runs or is about to.

    One that ends over and over is started again by its restart policy, and seems to run in between: so this
    returns how often it was started again, for the next look to compare with.
    """
    container = find(client, name)
    if container is None:
        raise ContainerFailed(f"container {name} is gone: run ./gaia up again")
    restarts: int = container.attrs["RestartCount"]
    if container.status in ("running", "created") and (restarts_before is None or restarts <= restarts_before):
        return restarts
    if container.status == "paused":
        raise ContainerFailed(f"container {name} is paused: docker unpause {name}, then run ./gaia up again")
    state = container.attrs["State"]
    cause = "was killed for want of memory" if state.get("OOMKilled") else f"ended with exit code {state['ExitCode']}"
    log = b"".join(container.logs(tail=20, stream=True, follow=False)).decode("utf-8", errors="replace").strip()
    raise ContainerFailed(f"container {name} {cause}; the end of its log:\n{log}")


def reset_password(client: DockerClient, name: str, superuser: str, verifier: str) -> None:
    """Give the superuser a new password over the container's own socket, which trusts its users."""
    container = client.containers.get(name)
    statement = f"ALTER ROLE \"{superuser}\" PASSWORD '{verifier}'"
    # By its environment, not its arguments: those stand in the container's process list.
    done = container.exec_run(
        ["sh", "-c", f'printf "%s" "$STATEMENT" | psql -X -q -v ON_ERROR_STOP=1 -U {superuser} -d postgres'],
        environment={"STATEMENT": statement},
        user="postgres",
    )
    if done.exit_code != 0:
        said = str(done.output, "utf-8", errors="replace").strip() if isinstance(done.output, bytes) else ""
        raise ContainerFailed(f"the password of {superuser} in container {name} could not be set: {said}")


def labels_of(checkout: Path, stack: str) -> dict[str, str]:
    """The labels that tell whose a container, network or volume is: of this checkout's stack, not of another's."""
    return {STACK_LABEL: stack, CHECKOUT_LABEL: hashlib.sha256(str(checkout).encode()).hexdigest()[:12]}


def is_ours(labels: Mapping[str, str] | None, ours: Mapping[str, str]) -> bool:
    """Whether something with these labels was made by this checkout's stack."""
    return ours.items() <= dict(labels or {}).items()


def remove_unknown(
    client: DockerClient,
    *,
    container: str | None,
    network: str | None,
    ours: Mapping[str, str],
    standby: str | None = None,
) -> list[str]:
    """Remove the containers and the network that were made by this stack, and return their names.

    For what a run made that was killed before it noted it, or whose state is lost: Docker would refuse a second one.
    No data goes: that is in the volume, which a second create takes over as it is.
    """
    removed = []
    for name in (standby, container):
        found = find(client, name) if name else None
        if found is None or not is_ours(found.labels, ours):
            continue
        if name == container:
            _let_it_begin(found)
        found.stop()
        found.remove()
        removed.append(f"container {name}")
    for candidate in client.networks.list(names=[network]) if network else []:
        if candidate.name == network and is_ours(candidate.attrs["Labels"], ours):
            candidate.remove()
            removed.append(f"network {network}")
    return removed


def _let_it_begin(container: Container) -> None:
    """Wait until a starting server answers over TCP, or can't any more: then its volume holds a whole database.

    The image fills a new volume in several steps and never again: one that was stopped between two of them would be
    taken for whole by the next container.
    """
    deadline = time.monotonic() + BEGIN_TIMEOUT_S
    while time.monotonic() < deadline:
        container.reload()
        if container.status != "running":
            return
        if container.exec_run(["pg_isready", "-q", "-h", "127.0.0.1"]).exit_code == 0:
            return
        time.sleep(LOOK_EVERY_S)


def end_asides(client: DockerClient, volume: str) -> None:
    """End what a run has at work on a volume, one that was killed too: each is a step that can be repeated."""
    from docker.errors import NotFound

    there: dict[str, str | list[str] | bool] = {"volume": volume, "label": ASIDE_LABEL}
    for container in client.containers.list(all=True, filters=there, ignore_removed=True):
        with contextlib.suppress(NotFound):
            container.remove(force=True)


def mounted(container: Container) -> str | None:
    """The volume that a container has its data in."""
    return next((each.get("Name") for each in container.attrs["Mounts"] if each["Destination"] == DATA), None)


def has_volume(client: DockerClient, name: str) -> bool:
    """Whether there is a volume of this name."""
    from docker.errors import NotFound

    try:
        client.volumes.get(name)
    except NotFound:
        return False
    return True


def remove_volume(name: str) -> None:
    """Remove a volume and all that is in it; nothing happens where it is gone already."""
    from docker.errors import APIError, NotFound

    client = connect()
    try:
        end_asides(client, name)
        client.volumes.get(name).remove()
    except NotFound:
        pass
    except APIError as error:
        raise ContainerFailed(f"volume {name} can't be removed: {error.explanation}") from None
    finally:
        client.close()


def publisher(client: DockerClient, port: int) -> str | None:
    """The running container that publishes a port of this machine, by name."""
    for container in client.containers.list():
        for published in container.ports.values():
            if any(binding["HostPort"] == str(port) for binding in published or []):
                return container.name
    return None
