"""Containers of the ``docker`` provider's stand-in, on a real Docker engine."""

from __future__ import annotations

import ipaddress
import threading
import time
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from rehearsal.provider.protocol import Properties
from tests.standins.docker_resources import HalfMadeError, OperationError, labels_of, pull, said
from tests.standins.docker_schema import nanoseconds

MIB = 1024 * 1024
HEALTH_POLL_S = 0.5
UPDATED_IN_PLACE = ("restart", "maxRetryCount", "cpuShares", "memory", "memorySwap", "memoryReservation")
"""What Docker itself can change in a container; the official provider changes no more than these either."""


class Containers:
    """``docker:index/container:Container``; the id is Docker's."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        """Set once the engine asks to stop: ends the wait for health."""

    def create(self, client: docker.DockerClient, inputs: Properties) -> tuple[str, Properties]:
        _have_image(client, inputs["image"])
        try:
            made = client.api.create_container_from_config(_request(inputs), name=inputs["name"])
        except (APIError, ValueError) as error:
            raise OperationError(f"Unable to create container: {said(error)}") from error
        container_id = str(made["Id"])
        try:
            _connect(client, container_id, inputs)
            if inputs.get("start", True):
                client.api.start(container_id)
            if inputs.get("wait", False):
                self._wait_for_health(client, container_id, inputs)
        except (APIError, OperationError) as error:
            found = self.read(client, container_id, inputs)
            words = said(error) if isinstance(error, OperationError) else f"Unable to start container: {said(error)}"
            raise HalfMadeError(words, container_id, found[1] if found else inputs) from error
        found = self.read(client, container_id, inputs)
        if found is None:
            raise OperationError(f"Unable to create container: {inputs['name']} was removed at once by someone else")
        return found

    def read(self, client: docker.DockerClient, resource_id: str, state: Properties) -> tuple[str, Properties] | None:
        try:
            seen = client.api.inspect_container(resource_id)
        except NotFound:
            return None
        return seen["Id"], {**state, **_seen_state(seen, state)}

    def update(
        self, client: docker.DockerClient, resource_id: str, state: Properties, inputs: Properties
    ) -> Properties:
        wanted = {**{key: value for key, value in state.items() if key not in UPDATED_IN_PLACE}, **inputs}
        if any(state.get(name) != inputs.get(name) for name in UPDATED_IN_PLACE):
            try:
                client.api.update_container(
                    resource_id,
                    cpu_shares=inputs.get("cpuShares"),
                    mem_limit=_bytes(inputs.get("memory")),
                    memswap_limit=_bytes(inputs.get("memorySwap")),
                    mem_reservation=_bytes(inputs.get("memoryReservation")),
                    restart_policy=_restart_policy(inputs),
                )
            except APIError as error:
                raise OperationError(f"Unable to update a container: {said(error)}") from error
        found = self.read(client, resource_id, wanted)
        if found is None:
            raise OperationError(f"Unable to update a container: No such container: {resource_id}")
        # As the official provider, an update takes the wish for the deed: only a refresh sees whether it runs.
        return {**found[1], "mustRun": inputs.get("mustRun", True)}

    def delete(self, client: docker.DockerClient, resource_id: str, state: Properties) -> None:
        grace_s = state.get("destroyGraceSeconds") or 0
        try:
            if grace_s > 0:
                client.api.stop(resource_id, timeout=grace_s)
            client.api.remove_container(resource_id, v=state.get("removeVolumes", True), force=True)
        except NotFound:
            return
        except APIError as error:
            if "is already in progress" not in said(error):
                raise OperationError(f"Error deleting container {resource_id}: {said(error)}") from error

    def _wait_for_health(self, client: docker.DockerClient, container_id: str, inputs: Properties) -> None:
        """Polls for ``healthy`` and nothing else, as the official provider: an exited container uses the whole time."""
        timeout_s = inputs.get("waitTimeout", 60)
        give_up = time.monotonic() + timeout_s
        while time.monotonic() < give_up and not self.cancelled.is_set():
            seen = client.api.inspect_container(container_id)
            if "Health" not in seen["State"]:
                raise OperationError(f"wait is set, but container {inputs['name']} has no healthcheck")
            if seen["State"]["Health"]["Status"] == "healthy":
                return
            self.cancelled.wait(HEALTH_POLL_S)
        reason = "the update was cancelled" if self.cancelled.is_set() else f"not healthy after {timeout_s} s"
        raise OperationError(f"container {inputs['name']} failed to be in healthy state: {reason}")


def _have_image(client: docker.DockerClient, name: str) -> None:
    try:
        client.images.get(name)
    except ImageNotFound as error:
        if name.startswith("sha256:"):
            raise OperationError(f"Unable to create container with image {name}: {said(error)}") from error
        pull(client, name)


def _request(inputs: Properties) -> dict[str, Any]:
    """The body of Docker's own ``POST /containers/create``."""
    ports = inputs.get("ports", [])
    request: dict[str, Any] = {
        "Image": inputs["image"],
        "Env": inputs.get("envs", []),
        "Labels": labels_of(inputs),
        "ExposedPorts": {_port_key(port): {} for port in ports},
        "HostConfig": _host_config(inputs),
    }
    named = {
        "command": "Cmd", "entrypoints": "Entrypoint", "user": "User", "workingDir": "WorkingDir",
        "hostname": "Hostname", "stopSignal": "StopSignal", "stopTimeout": "StopTimeout",
    }  # fmt: skip
    request |= {theirs: inputs[ours] for ours, theirs in named.items() if ours in inputs}
    if healthcheck := inputs.get("healthcheck"):
        request["Healthcheck"] = _healthcheck(healthcheck)
    return request


def _host_config(inputs: Properties) -> dict[str, Any]:
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in inputs.get("ports", []):
        binding = {"HostIp": port.get("ip", "0.0.0.0"), "HostPort": str(port.get("external", ""))}
        bindings.setdefault(_port_key(port), []).append(binding)
    config: dict[str, Any] = {
        "Binds": [_bind(volume) for volume in inputs.get("volumes", [])],
        "PortBindings": bindings,
        "RestartPolicy": _restart_policy(inputs),
        "ReadonlyRootfs": inputs.get("readOnly", False),
        "LogConfig": {"Type": inputs.get("logDriver", ""), "Config": inputs.get("logOpts", {})},
    }
    named = {"tmpfs": "Tmpfs", "securityOpts": "SecurityOpt", "init": "Init", "cpuShares": "CpuShares"}
    config |= {theirs: inputs[ours] for ours, theirs in named.items() if ours in inputs}
    sizes = {
        "shmSize": "ShmSize", "memory": "Memory", "memorySwap": "MemorySwap", "memoryReservation": "MemoryReservation",
    }  # fmt: skip
    config |= {theirs: _bytes(inputs[ours]) for ours, theirs in sizes.items() if ours in inputs}
    return config


def _bytes(mebibytes: int | None) -> int | None:
    """Docker counts bytes, the provider MiB; -1 (no limit) stays."""
    return mebibytes if mebibytes is None or mebibytes < 0 else mebibytes * MIB


def _mebibytes(size: int) -> int:
    return size if size < 0 else size // MIB


def _restart_policy(inputs: Properties) -> Any:
    return {"Name": inputs.get("restart", "no"), "MaximumRetryCount": inputs.get("maxRetryCount", 0)}


def _port_key(port: Properties) -> str:
    return f"{port['internal']}/{port.get('protocol', 'tcp')}"


def _bind(volume: Properties) -> str:
    source = volume.get("volumeName") or volume.get("hostPath")
    if not source or not volume.get("containerPath"):
        raise ValueError("each of volumes needs containerPath, and volumeName or hostPath")
    return f"{source}:{volume['containerPath']}{':ro' if volume.get('readOnly') else ''}"


def _healthcheck(healthcheck: Properties) -> dict[str, Any]:
    durations = {
        "interval": "Interval", "timeout": "Timeout", "startPeriod": "StartPeriod", "startInterval": "StartInterval",
    }  # fmt: skip
    given = {ours: theirs for ours, theirs in durations.items() if ours in healthcheck}
    request: dict[str, Any] = {theirs: nanoseconds(healthcheck[ours]) for ours, theirs in given.items()}
    if "tests" in healthcheck:
        request["Test"] = healthcheck["tests"]
    if "retries" in healthcheck:
        request["Retries"] = healthcheck["retries"]
    return request


def _connect(client: docker.DockerClient, container_id: str, inputs: Properties) -> None:
    """Takes the container off the default bridge and puts it on its own networks."""
    networks = inputs.get("networksAdvanced", [])
    if not networks:
        return
    try:
        client.api.disconnect_container_from_network(container_id, "bridge")
    except DockerException as error:
        if "is not connected" not in said(error):
            raise OperationError(f"Unable to disconnect the default network: {said(error)}") from error
    for network in networks:
        try:
            client.api.connect_container_to_network(
                container_id, network["name"], aliases=network.get("aliases"), ipv4_address=network.get("ipv4Address")
            )
        except APIError as error:
            raise OperationError(f"Unable to connect to network {network['name']!r}: {said(error)}") from error


def _seen_state(seen: dict[str, Any], state: Properties) -> Properties:
    """What Docker says of a container. Environment and labels stay as the program gave them: the image's own are
    mixed in there, which is why the official provider leaves them too.
    """
    config, host, network = seen["Config"], seen["HostConfig"], seen["NetworkSettings"]
    now: Properties = {
        "name": seen["Name"].lstrip("/"),
        "image": seen["Image"],
        "mustRun": seen["State"]["Running"],
        "ports": _seen_ports(network.get("Ports") or {}, state),
        "networkDatas": _seen_networks(network.get("Networks") or {}),
        "bridge": network.get("Bridge", ""),
        "command": config.get("Cmd") or [],
        "entrypoints": config.get("Entrypoint") or [],
        "user": config.get("User", ""),
        "workingDir": config.get("WorkingDir", ""),
        "hostname": config.get("Hostname", ""),
        "restart": host["RestartPolicy"]["Name"] or "no",
        "maxRetryCount": host["RestartPolicy"]["MaximumRetryCount"],
        "memory": _mebibytes(host.get("Memory") or 0),
        "memorySwap": _mebibytes(host.get("MemorySwap") or 0),
        "memoryReservation": _mebibytes(host.get("MemoryReservation") or 0),
        "shmSize": _mebibytes(host.get("ShmSize") or 0),
        "cpuShares": host.get("CpuShares") or 0,
        "logDriver": host["LogConfig"]["Type"],
        "logOpts": host["LogConfig"].get("Config") or {},
        "init": bool(host.get("Init")),
        "readOnly": bool(host.get("ReadonlyRootfs")),
        "securityOpts": host.get("SecurityOpt") or [],
        "stopSignal": config.get("StopSignal", ""),
        "stopTimeout": config.get("StopTimeout") or 0,
        "tmpfs": host.get("Tmpfs") or {},
    }
    if not seen["State"]["Running"]:
        now["exitCode"] = seen["State"]["ExitCode"]
    for unset_is_image_default in ("user", "workingDir"):
        if not state.get(unset_is_image_default):
            del now[unset_is_image_default]
    return now


def _seen_ports(ports: dict[str, list[dict[str, str]] | None], state: Properties) -> list[Properties]:
    """The published ports, in the order that the program gave them; none while the container is stopped."""
    found: list[Properties] = []
    for key, bindings in ports.items():
        internal, _, protocol = key.partition("/")
        for binding in bindings or []:
            # Docker publishes 0.0.0.0 on [::] as well, unasked.
            if binding["HostIp"] and ipaddress.ip_address(binding["HostIp"]) != ipaddress.ip_address("::"):
                found.append(
                    {
                        "internal": int(internal),
                        "external": int(binding["HostPort"]),
                        "ip": binding["HostIp"],
                        "protocol": protocol,
                    }
                )
    order = [_port_key(port) for port in state.get("ports", [])]
    return sorted(found, key=lambda port: order.index(_port_key(port)) if _port_key(port) in order else len(order))


def _seen_networks(networks: dict[str, dict[str, Any]]) -> list[Properties]:
    return [
        {
            "networkName": name,
            "ipAddress": seen.get("IPAddress", ""),
            "ipPrefixLength": seen.get("IPPrefixLen", 0),
            "gateway": seen.get("Gateway", ""),
            "globalIpv6Address": seen.get("GlobalIPv6Address", ""),
            "globalIpv6PrefixLength": seen.get("GlobalIPv6PrefixLen", 0),
            "ipv6Gateway": seen.get("IPv6Gateway", ""),
            "macAddress": seen.get("MacAddress", ""),
        }
        for name, seen in sorted(networks.items())
    ]
