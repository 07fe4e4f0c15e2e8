"""The runbook of production, its commands as they stand in docs/restore.md: gcloud and the engine against the cloud."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from db.manager import DatabaseManager
from db.settings import from_environment
from engine.acquire import acquire
from rehearsal.cloud import endpoints
from rehearsal.run import backend, operator, phases
from rehearsal.run.play import chosen, play
from rehearsal.run.stage import Stage, opened
from tests import postgres

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.engine,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not (shutil.which("gcloud") and shutil.which("jq")), reason="needs gcloud and jq"),
]

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "restore.md").read_text(encoding="utf-8").partition("\n## In production\n")[2]
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
OLD, NEW = "gaia-prod-db", "gaia-prod-db-2"
TIMEOUT_S = 300
Shell = Callable[[str], str]


def block(words: str) -> str:
    """The first block of the page that has these words."""
    return next(text for text in BLOCKS if words in text)


@pytest.fixture
def stage() -> Iterator[Stage]:
    if (reason := postgres.unavailable()) is not None:
        pytest.skip(reason)
    with opened(ROOT, "prod", acquire(), choice="builtin") as made:
        yield made


@pytest.fixture
def shell(stage: Stage, tmp_path: Path) -> Shell:
    """Runs a block of the page as a person with gcloud and the engine would, variables and all."""
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(stage.cloud.operator_token)
    commands = tmp_path / "bin"
    commands.mkdir()
    pulumi = commands / "pulumi"
    pulumi.write_text(f'#!/bin/sh\nexec {shlex.quote(str(stage.stack.engine))} --cwd {shlex.quote(str(ROOT))} "$@"\n')
    pulumi.chmod(0o755)
    environ = stage.stack.environment() | {
        "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(token),
        "PULUMI_SKIP_CONFIRMATIONS": "true",
        **endpoints.gcloud(stage.cloud.url),
    }
    environ["PATH"] = os.pathsep.join([str(commands), environ["PATH"]])
    names = block("export PROJECT_ID").replace("my-project", stage.cloud.project)

    def run(text: str) -> str:
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{names}\n{text}"],
            cwd=tmp_path,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert ended.returncode == 0, f"{text}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    return run


def played(stage: Stage, *names: str) -> None:
    for phase in play(stage, chosen(names), on_phase=lambda _: None, on_check=lambda _: None):
        assert [check for check in phase.checks if not check.ok] == [], phase.name


def campaigns(stage: Stage) -> list[str]:
    """What a backend with the contract of now would have, seen by a user who may see all of it."""
    with operator.inside(stage) as connection:
        return [str(name) for (name,) in connection.execute("SELECT name FROM game.campaigns ORDER BY name")]


def serves(stage: Stage) -> bool:
    manager = DatabaseManager(from_environment(backend.environment(stage, stage.outputs())))
    try:
        with manager.get_sync_session() as session:
            return session.scalar("SELECT current_user") == stage.outputs()["app_user"]
    finally:
        manager.close()


def test_rows_deleted_by_mistake_come_back_from_a_clone_that_takes_the_instances_place(
    stage: Stage, shell: Shell
) -> None:
    played(stage, "backend", "export")
    assert campaigns(stage) == ["Rehearsed"]
    time.sleep(1.1)
    before = datetime.now(UTC)
    time.sleep(1.1)
    with operator.inside(stage) as connection:
        connection.execute("DELETE FROM game.campaigns")
    time.sleep(1.1)

    looked = shell(block("get-latest-recovery-time"))
    (taken,) = re.findall(r"`(gcloud sql backups create [^`]*)`", PAGE)
    shell(taken)
    shell(block("instances clone").replace("2026-11-23T11:58:00Z", before.strftime("%Y-%m-%dT%H:%M:%S.%fZ")))
    assert campaigns(stage) == [], "the old one is left as it is"

    state = block("pulumi stack export")
    shell(state)
    stage.set(gcp__instance__name=NEW)
    settings = yaml.safe_load(stage.stack.checkout.working_copy("prod").read_text(encoding="utf-8"))["config"]
    stage.settings["gaia-db:gcp"]["instance"] = settings["gaia-db:gcp"]["instance"]
    preview, up = block("pulumi preview -s prod --refresh").splitlines()
    said = shell(preview)
    assert not re.search(r"gcp:sql:\S+.*\b(replace|delete)", said), said
    shell(f"{up} --yes --skip-preview")

    assert campaigns(stage) == ["Rehearsed"]
    assert serves(stage)
    assert [check for check in phases.again(stage) if not check.ok] == []

    afterwards = block("--activation-policy=NEVER")
    shell(afterwards)
    assert not [name for name in stage.servers.instances if name == OLD]
    exported = re.search(rf"gs://\S*{OLD}-(\w+)\.sql\.gz", looked)
    assert exported, looked
    export = block("./gaia restore --drill").replace("-mon.sql.gz", f"-{exported[1]}.sql.gz")
    shell(export.replace("./gaia restore", f"{shlex.quote(str(ROOT / 'gaia'))} restore --dir ."))
