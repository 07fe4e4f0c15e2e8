"""A preview of the engine writes nothing into the state: whoever previews in a pull request needs only to read it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pulumi import automation, export

from engine.acquire import Engine

pytestmark = pytest.mark.engine


@pytest.fixture
def stack(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], automation.Stack]:
    """A stack with its state in ``tmp_path/state``; each call gives it another program."""
    (tmp_path / "state").mkdir()
    environ = {
        "PATH": f"{engine.pulumi.parent}:{os.environ['PATH']}",
        "PULUMI_BACKEND_URL": f"file://{tmp_path}/state",
        "PULUMI_CONFIG_PASSPHRASE": "none",
        "PULUMI_HOME": str(tmp_path / "home"),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return lambda value: automation.create_or_select_stack("prod", "gaia-db", lambda: export("value", value))


def files(state: Path) -> dict[str, str]:
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in state.rglob("*") if file.is_file()}


def test_a_preview_leaves_the_state_as_it_is(stack: Callable[[str], automation.Stack], tmp_path: Path) -> None:
    stack("old").up()
    before = files(tmp_path / "state")
    stack("new").preview()
    assert files(tmp_path / "state") == before


def test_a_preview_takes_no_lock_so_it_runs_beside_a_deploy(
    stack: Callable[[str], automation.Stack], tmp_path: Path
) -> None:
    stack("old").up()
    locks = tmp_path / "state" / ".pulumi" / "locks" / "organization" / "gaia-db" / "prod"
    locks.mkdir(parents=True, exist_ok=True)
    lock = {"pid": 1, "username": "deploy", "hostname": "elsewhere", "timestamp": "2026-01-01T00:00:00Z"}
    (locks / "someone.json").write_text(json.dumps(lock))
    stack("new").preview()
    with pytest.raises(automation.CommandError, match="locked"):
        stack("new").up()
