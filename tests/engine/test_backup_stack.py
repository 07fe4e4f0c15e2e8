"""``./gaia backup`` of a stack that is up, and what two at once say."""

from __future__ import annotations

import json
import os

import pytest

from backup import folder
from tests.clone import Clone

pytestmark = pytest.mark.engine


def test_a_stack_is_backed_up_listed_and_verified_and_git_sees_nothing_of_it(clone: Clone, port: int) -> None:
    assert "no stack is up" in clone.gaia("backup", code=3).stderr
    clone.gaia("up", "--stack", "local", "--set", f"database.port={port}")
    made = [clone.json("backup"), clone.json("backup", "--format", "sql.gz")]
    listed = clone.json("backups", "list")["backups"]
    assert [one["name"] for one in listed] == [made[1]["name"], made[0]["name"]]
    assert {one["state"] for one in listed} == {"verified"}
    assert {one["stack"] for one in made} == {"local"}
    assert all((clone.root / "backups" / one["name"]).exists() for one in made)
    assert clone.json("backups", "verify")["ok"] is True
    assert clone.dirty() == ""

    place = clone.root / "backups"
    with folder.locked(place, "./gaia backup"):
        busy = clone.gaia("backup", "--json", code=4)
    assert f"./gaia backup (pid {os.getpid()}" in json.loads(busy.stdout)["error"]
    assert len(folder.entries(place)) == 2
