"""A rotation killed at each of its steps: nobody is locked out meanwhile, and the next run finishes it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil
import psycopg
import pytest
import yaml

from tests.backend import Backend
from tests.clone import Clone
from tests.faults.kill import kill

pytestmark = pytest.mark.engine

LOOK_EVERY_S = 0.002
STEP_TIMEOUT_S = 120


@dataclass
class Stack:
    """The clone's stack, as far as one can see it without a command."""

    clone: Clone
    superuser: str

    @property
    def rotation(self) -> dict[str, Any]:
        """What the settings say."""
        config = yaml.safe_load(self.clone.checkout.working_copy("local").read_text())["config"]
        return (config.get("gaia-db:embedded") or {}).get("rotation") or {}

    def names(self) -> set[str]:
        """The resources in the state."""
        return {entry["urn"].rsplit("::", 1)[-1] for entry in self._resources()}

    def carried_out(self) -> dict[str, Any]:
        """The turns of the schema in the state."""
        found = [entry["outputs"].get("rotation") for entry in self._resources() if entry["urn"].endswith("::schema")]
        return next(iter(found), None) or {}

    def verifier(self, login: str) -> str | None:
        """What the server has of a login's password."""
        with psycopg.connect(self.superuser) as connection:
            row = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", (login,)).fetchone()
        return str(row[0]) if row and row[0] else None

    def file_url(self) -> str:
        """The URL that the backend's file holds."""
        lines = (self.clone.root / ".env").read_text().splitlines()
        return next(line.partition("=")[2] for line in lines if line.startswith("DATABASE_URL="))

    def app_url(self) -> str:
        """What the command prints."""
        return self.clone.gaia("url", "--as", "app").stdout.strip()

    def _resources(self) -> list[dict[str, Any]]:
        file = self.clone.checkout.state / ".pulumi" / "stacks" / "gaia-db" / "local.json"
        try:
            return json.loads(file.read_text())["checkpoint"]["latest"].get("resources") or []
        except ValueError:  # it is just being written
            return []


Reached = Callable[[Stack, int, "str | None", "str | None", str], bool]
"""Whether a step is done, from: the stack, the turn, what the server had of both logins, the URL of the file."""

HANDING_OVER: dict[str, Reached] = {
    "the settings are written": lambda s, turn, *_: s.rotation.get("turn") == turn,
    "the password is made": lambda s, turn, *_: f"app-password-{turn}" in s.names(),
    "the server has it": lambda s, turn, new, *_: s.verifier(login_of(turn)) != new,
    "the state has it": lambda s, turn, *_: s.carried_out().get("turn") == turn,
    "the file has it": lambda s, turn, new, old, url: s.file_url() != url,
}
RETIRING: dict[str, Reached] = {
    "it is to be retired": lambda s, turn, *_: s.rotation.get("retire_previous") is True,
    "another password is made": lambda s, turn, *_: f"retired-password-{turn - 1}" in s.names(),
    "the server has another one": lambda s, turn, new, old, url: s.verifier(login_of(turn - 1)) != old,
    "the state has another one": lambda s, turn, *_: s.carried_out().get("retire_previous") is True,
}


def login_of(turn: int) -> str:
    return ("gaia_app_b", "gaia_app")[turn % 2]


def logs_in(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def killed_when(stack: Stack, step: Reached, turn: int, *arguments: str, children: bool) -> bool:
    """Run ``rotate`` and kill it at a step; False where it was over before."""
    before = stack.verifier(login_of(turn)), stack.verifier(login_of(turn - 1)), stack.file_url()
    run = stack.clone.start("rotate", *arguments)
    deadline = time.monotonic() + STEP_TIMEOUT_S
    while run.poll() is None and time.monotonic() < deadline and not step(stack, turn, *before):
        time.sleep(LOOK_EVERY_S)
    over = run.poll() is not None
    if not over:
        kill(psutil.Process(run.pid), children=children)
    said = run.communicate()[0]
    assert over or step(stack, turn, *before), f"never got there: {said}"
    return not over


@pytest.mark.timeout(3600)
def test_a_rotation_that_is_killed_locks_nobody_out_and_is_finished_by_the_next_run(
    clone: Clone, port: int, counts: Callable[[int, int], int], record: Callable[[str, str], None]
) -> None:
    clone.gaia("up", "--stack", "local", "--set", f"database.port={port}")
    clone.gaia("env", "--file", ".env")
    stack = Stack(clone=clone, superuser=clone.gaia("url").stdout.strip())
    turn, kills, worked = 1, 0, 0
    backend = Backend(stack.app_url()).start()
    rounds = [(step, number) for number in range(counts(1, 5)) for step in (*HANDING_OVER, *RETIRING)]
    for index, (step, _) in enumerate(rounds):
        turn, children, before = turn + 1, index % 2 == 0, stack.app_url()
        if step in HANDING_OVER:
            kills += killed_when(stack, HANDING_OVER[step], turn, "--wait", "20", children=children)
            # Whatever was printed or written at this moment is good.
            assert logs_in(stack.app_url()), step
            assert logs_in(stack.file_url()), step
        left = clone.json("rotate", "--wait", "0")
        assert (left["turn"], left["retired"], left["app_user"]) == (turn, False, login_of(turn)), step
        assert stack.file_url() == stack.app_url() != before, step
        worked += _stopped(backend)
        backend = Backend(stack.app_url()).start()
        if step in RETIRING:
            kills += killed_when(stack, RETIRING[step], turn, "--retire", children=children)
            assert logs_in(stack.app_url()), step
        # Either goes on: a rotation that nobody asked for isn't begun.
        if step in RETIRING and index % 4 == 1:
            clone.gaia("up")
        over = clone.json("rotate", "--retire")
        assert (over["turn"], over["retired"]) == (turn, True), step
        assert not logs_in(before), f"{step}: the old login is retired"
        assert stack.app_url() == stack.file_url(), step
    worked += _stopped(backend)
    assert clone.json("verify")["ok"]
    assert kills > len(rounds) // 2
    record("rotation killed at each step", f"{kills} kills, 0 of {worked} transactions failed, every turn finished")


def _stopped(backend: Backend) -> int:
    backend.stop()
    assert backend.failures == []
    return backend.worked
