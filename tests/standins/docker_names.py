"""Names for what a test makes in Docker, which say whose they are, and the clearing of what was left behind.

A name carries the host, the process and the process's start: what belongs to a dead process of this host may go.
Whatever has another name is never touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import platform
import random
import re
import socket
from collections.abc import Callable

import docker
import psutil
from docker.errors import APIError, NotFound

LABEL = "gaia-test"
NAME = re.compile(r"^gaia-test-(?P<owner>(?P<host>[0-9a-f]{6})-(?P<pid>\d+)-(?P<start>\d+))-")

_numbers = itertools.count(1)
_ports_given: set[int] = set()


def _host() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:6]


def this_owner() -> str:
    """This process, told apart from an earlier one with the same number."""
    return f"{_host()}-{os.getpid()}-{int(psutil.Process().create_time())}"


class Names:
    """The names of one test: ``names("postgres")`` is a new one, to be used for a container, volume or network."""

    labels: dict[str, str]
    """For what a test makes itself."""

    def __init__(self) -> None:
        self.prefix = f"gaia-test-{this_owner()}-{next(_numbers)}-"
        self.labels = {LABEL: this_owner()}

    def __call__(self, what: str) -> str:
        return self.prefix + what

    def port(self) -> int:
        """A port of 127.0.0.1 that was free a moment ago, given once."""
        while True:
            # Not from the range that the engine and its plugins are given ports from.
            port = random.randint(10_000, 32_000)
            with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
                if port not in _ports_given:
                    _ports_given.add(port)
                    return port

    def clear(self, client: docker.DockerClient) -> None:
        """Removes whatever of this test is still there."""
        _remove(client, lambda name: name.startswith(self.prefix))


def clear_leftovers(client: docker.DockerClient) -> None:
    """Removes what test processes of this host left that are no longer alive."""
    _remove(client, _is_leftover)


def _is_leftover(name: str) -> bool:
    match = NAME.match(name)
    if not match or match["host"] != _host():
        return False
    try:
        return int(psutil.Process(int(match["pid"])).create_time()) != int(match["start"])
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False


def _remove(client: docker.DockerClient, ours: Callable[[str], bool]) -> None:
    # Two workers may clear the same leftover at once: whatever the other one took is gone, which is what was wanted.
    for container in client.containers.list(all=True, ignore_removed=True, filters={"name": "gaia-test-"}):
        if ours(str(container.name)):
            with contextlib.suppress(NotFound, APIError):
                container.remove(force=True, v=True)
    for volume in client.volumes.list(filters={"name": "gaia-test-"}):
        if ours(str(volume.name)):
            with contextlib.suppress(NotFound, APIError):
                volume.remove(force=True)
    for network in client.networks.list(filters={"name": "gaia-test-"}):
        if ours(str(network.name)):
            with contextlib.suppress(NotFound, APIError):
                network.remove()
