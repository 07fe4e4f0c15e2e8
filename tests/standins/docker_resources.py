"""Networks, volumes and images of the ``docker`` provider's stand-in, on a real Docker engine.

Each kind of resource has create, read, update and delete. ``read`` gives None for what is gone; ``delete`` of what is
gone succeeds. Docker's own words are kept in errors.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import docker
from docker import types
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.utils import parse_repository_tag

from rehearsal.provider.protocol import Properties

IN_USE_TIMEOUT_S = 20.0
"""How long a removal is tried while Docker says that something is still in use, as with the official provider."""


class OperationError(Exception):
    """Docker refused; the message is what it said."""


class HalfMadeError(OperationError):
    """The resource exists now, but it isn't as wanted."""

    def __init__(self, message: str, resource_id: str, state: Properties) -> None:
        super().__init__(message)
        self.resource_id = resource_id
        self.state = state


class Operations(Protocol):
    """What can be done with one type of resource."""

    def create(self, client: docker.DockerClient, inputs: Properties) -> tuple[str, Properties]:
        """Makes it; gives its id and its state. Raises OperationError."""
        ...

    def read(self, client: docker.DockerClient, resource_id: str, state: Properties) -> tuple[str, Properties] | None:
        """The id and the state as they are now, or None if it is gone."""
        ...

    def update(
        self, client: docker.DockerClient, resource_id: str, state: Properties, inputs: Properties
    ) -> Properties:
        """Changes what can be changed in place; gives the new state. Raises OperationError."""
        ...

    def delete(self, client: docker.DockerClient, resource_id: str, state: Properties) -> None:
        """Removes it. Raises OperationError."""
        ...


def said(error: Exception) -> str:
    """What Docker itself said, without the HTTP around it."""
    if isinstance(error, APIError) and error.explanation:
        return str(error.explanation)
    return str(error)


def labels_of(inputs: Properties) -> dict[str, str]:
    return {item["label"]: item["value"] for item in inputs.get("labels", [])}


def _label_items(labels: dict[str, str] | None) -> list[Properties]:
    return [{"label": key, "value": value} for key, value in sorted((labels or {}).items())]


def _remove_unused(remove: Callable[[], Any], what: str) -> None:
    """Removes what may be in use for a moment longer; what isn't there is removed already."""
    give_up = time.monotonic() + IN_USE_TIMEOUT_S
    while True:
        try:
            remove()
            return
        except NotFound:
            return
        except APIError as error:
            words = said(error)
            if not any(sign in words for sign in ("in use", "active endpoints")) or time.monotonic() > give_up:
                raise OperationError(f"Unable to remove {what}: {words}") from error
            time.sleep(0.5)


class Networks:
    """``docker:index/network:Network``; the id is Docker's."""

    def create(self, client: docker.DockerClient, inputs: Properties) -> tuple[str, Properties]:
        pools = [
            types.IPAMPool(subnet=pool.get("subnet"), gateway=pool.get("gateway"), iprange=pool.get("ipRange"))
            for pool in inputs.get("ipamConfigs", [])
        ]
        try:
            made = client.api.create_network(
                inputs["name"],
                driver=inputs.get("driver", "bridge"),
                options=inputs.get("options"),
                ipam=types.IPAMConfig(pool_configs=pools) if pools else None,
                check_duplicate=True,
                internal=inputs.get("internal", False),
                labels=labels_of(inputs),
                attachable=inputs.get("attachable"),
            )
        except APIError as error:
            raise OperationError(f"Unable to create network: {said(error)}") from error
        found = self.read(client, made["Id"], inputs)
        if found is None:
            raise OperationError(f"Unable to create network: {inputs['name']} was removed at once by someone else")
        return found

    def read(self, client: docker.DockerClient, resource_id: str, state: Properties) -> tuple[str, Properties] | None:
        try:
            seen = client.api.inspect_network(resource_id)
        except NotFound:
            return None
        now = {
            **state,
            "name": seen["Name"],
            "driver": seen["Driver"],
            "scope": seen["Scope"],
            "internal": seen["Internal"],
            "attachable": seen["Attachable"],
            "options": seen.get("Options") or {},
            "labels": _label_items(seen.get("Labels")),
            "ipamConfigs": [
                {
                    name: pool[key]
                    for name, key in (("subnet", "Subnet"), ("gateway", "Gateway"), ("ipRange", "IPRange"))
                    if pool.get(key)
                }
                for pool in seen["IPAM"].get("Config") or []
            ],
        }
        return seen["Id"], now

    def update(
        self, client: docker.DockerClient, resource_id: str, state: Properties, inputs: Properties
    ) -> Properties:
        return {**state, **inputs}

    def delete(self, client: docker.DockerClient, resource_id: str, state: Properties) -> None:
        _remove_unused(lambda: client.api.remove_network(resource_id), f"network {state.get('name', resource_id)}")


class Volumes:
    """``docker:index/volume:Volume``; the id is its name. One that is there already is taken, as Docker does."""

    def create(self, client: docker.DockerClient, inputs: Properties) -> tuple[str, Properties]:
        try:
            client.api.create_volume(
                inputs["name"],
                driver=inputs.get("driver"),
                driver_opts=inputs.get("driverOpts"),
                labels=labels_of(inputs),
            )
        except APIError as error:
            raise OperationError(f"Unable to create volume: {said(error)}") from error
        found = self.read(client, inputs["name"], inputs)
        if found is None:
            raise OperationError(f"Unable to create volume: {inputs['name']} was removed at once by someone else")
        return found

    def read(self, client: docker.DockerClient, resource_id: str, state: Properties) -> tuple[str, Properties] | None:
        try:
            seen = client.api.inspect_volume(resource_id)
        except NotFound:
            return None
        now = {
            **state,
            "name": seen["Name"],
            "driver": seen["Driver"],
            "driverOpts": seen.get("Options") or {},
            "labels": _label_items(seen.get("Labels")),
            "mountpoint": seen["Mountpoint"],
        }
        return seen["Name"], now

    def update(
        self, client: docker.DockerClient, resource_id: str, state: Properties, inputs: Properties
    ) -> Properties:
        return {**state, **inputs}

    def delete(self, client: docker.DockerClient, resource_id: str, state: Properties) -> None:
        _remove_unused(lambda: client.api.remove_volume(resource_id, force=True), f"volume {resource_id}")


class RemoteImages:
    """``docker:index/remoteImage:RemoteImage``; the id is the image's id and its name.

    A local image of that name is used without a pull.
    """

    def create(self, client: docker.DockerClient, inputs: Properties) -> tuple[str, Properties]:
        name = inputs["name"]
        found = self.read(client, "", inputs)
        if found is None:
            pull(client, name)
            found = self.read(client, "", inputs)
        if found is None:
            raise OperationError(f"Unable to read Docker image into resource: no image {name} after the pull")
        return found

    def read(self, client: docker.DockerClient, resource_id: str, state: Properties) -> tuple[str, Properties] | None:
        # An import gives the name alone.
        name = state.get("name") or resource_id
        try:
            seen = client.images.get(name)
        except ImageNotFound:
            return None
        digests = seen.attrs.get("RepoDigests") or [""]
        now = {**state, "name": name, "imageId": seen.id, "repoDigest": digests[0]}
        return f"{seen.id}{name}", now

    def update(
        self, client: docker.DockerClient, resource_id: str, state: Properties, inputs: Properties
    ) -> Properties:
        _, now = self.create(client, {**state, **inputs})
        return now

    def delete(self, client: docker.DockerClient, resource_id: str, state: Properties) -> None:
        if state.get("keepLocally"):
            return
        try:
            client.images.remove(state["name"], force=state.get("forceRemove", False))
        except ImageNotFound:
            return
        except APIError as error:
            raise OperationError(f"Unable to remove Docker image {state['name']}: {said(error)}") from error


def pull(client: docker.DockerClient, name: str) -> None:
    """Gets an image from its registry. Raises OperationError."""
    repository, tag = parse_repository_tag(name)
    try:
        client.images.pull(repository, tag=tag or "latest")
    except (DockerException, OSError) as error:
        raise OperationError(
            f"Unable to read Docker image into resource: unable to pull image {name}: {said(error)}. "
            f"An image of that name on this machine would be used without a pull: docker image ls"
        ) from error
