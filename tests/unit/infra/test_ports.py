"""A port that is taken names its holder and the way round."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from infra.local import ports
from infra.local.errors import PortTaken


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_port_with_a_listener_is_not_free_and_free_again_without(taken: int) -> None:
    assert not ports.is_free("127.0.0.1", taken)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        other = listener.getsockname()[1]
    assert ports.is_free("127.0.0.1", other)


def test_the_holder_is_named_by_program_and_process(taken: int) -> None:
    with pytest.raises(PortTaken) as caught:
        ports.require_free("127.0.0.1", taken)
    assert f"port {taken} on 127.0.0.1 is taken by " in str(caught.value)
    assert f"(pid {os.getpid()})" in str(caught.value)


def test_another_port_that_is_free_is_offered(taken: int) -> None:
    with pytest.raises(PortTaken) as caught:
        ports.require_free("127.0.0.1", taken, holder_name="container other")
    assert "is taken by container other; " in str(caught.value)
    offered = int(str(caught.value).rpartition("--set database.port=")[2])
    assert offered != taken
    assert ports.is_free("127.0.0.1", offered)


def test_a_free_port_is_fine() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    ports.require_free("127.0.0.1", port)
