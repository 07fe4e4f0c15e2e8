"""Which stack `./gaia up` takes when none is named, and that it stays with it."""

from __future__ import annotations

import pytest

from tests.clone import Clone

pytestmark = pytest.mark.engine

NO_DOCKER = {"DOCKER_HOST": "tcp://127.0.0.1:1"}


def test_without_docker_it_is_the_embedded_server_and_says_why(clone: Clone, port: int) -> None:
    done = clone.gaia("up", "--set", f"database.port={port}", env=NO_DOCKER)
    assert "stack local: no Docker engine answers" in done.stderr
    assert "stack local is up (embedded)" in done.stdout


def test_it_stays_with_the_choice_until_that_is_destroyed(clone: Clone, port: int) -> None:
    clone.gaia("up", "--set", f"database.port={port}", env=NO_DOCKER)
    # Docker and its plugin are at hand now, as far as the command can tell: the data is in the embedded server.
    again = clone.json("up", env={"PULUMI_DEBUG_PROVIDERS": "docker:1"})
    assert (again["stack"], again["changes"]["create"]) == ("local", 0)
    clone.gaia("destroy", "--purge", "--yes")
    assert clone.json("status")["stack"] is None


def test_an_engine_without_its_plugin_is_passed_over_in_bounded_time(clone: Clone, port: int) -> None:
    done = clone.gaia("up", "--set", f"database.port={port}", code=None)
    if "stack dev" in done.stderr + done.stdout:
        pytest.fail("the docker plugin can be had here: this test must not bring up its container")
    assert "stack local" in done.stderr
