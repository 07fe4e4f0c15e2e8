"""Production, rehearsed whole: every phase holds, no secret shows anywhere, and no right could be left out."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError

import pytest

from engine.acquire import Engine, acquire
from migrations import runner
from ops.checks import Check
from rehearsal.cloud import iam
from rehearsal.run import backend, html, operator, phases
from rehearsal.run.outcome import Run
from rehearsal.run.phases import PHASES
from rehearsal.run.play import chosen, play
from rehearsal.run.stage import Stage, opened
from tests import postgres

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(1200)]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return acquire()


@pytest.fixture
def stage(engine: Engine) -> Iterator[Stage]:
    if (reason := postgres.unavailable()) is not None:
        pytest.skip(reason)
    with opened(ROOT, "prod", engine, choice="builtin") as made:
        yield made


def failures(stage: Stage, names: list[str]) -> list[str]:
    """Play these; what failed."""
    played = list(play(stage, names, on_phase=lambda _: None, on_check=lambda _: None))
    return [f"{phase.name}: {check.name}: {check.hint}" for phase in played for check in phase.checks if not check.ok]


def test_production_goes_up_is_used_changed_broken_and_taken_down_and_no_secret_shows(stage: Stage) -> None:
    run, secrets = Run(stack="prod", provider=stage.provider), set[str]()
    for phase in play(stage, list(PHASES), on_phase=lambda _: None, on_check=lambda _: None):
        run.phases.append(phase)
        secrets |= _secrets(stage)
    failed = [f"{p.name}: {c.name}: {c.hint}" for p in run.phases for c in p.checks if not c.ok]
    assert failed == []
    assert [phase.name for phase in run.phases] == list(PHASES)
    assert len(secrets) >= 5, "passwords of three logins and their turns, and the key"
    shown = {
        "--json": json.dumps(run.document()),
        "--html": html.page(run, stage.nodes),
        "the engine's events": json.dumps(stage.events),
        "the cloud's journal": repr(stage.cloud.journal),
    }
    for folder in (stage.stack.checkout.own, stage.jobs.folder):
        files = [file for file in folder.rglob("*") if file.is_file() and not file.is_symlink()]
        shown |= {str(file): file.read_bytes().decode(errors="replace") for file in files}
    assert [where for where, text in shown.items() for secret in secrets if secret in text] == []


def test_each_right_that_the_program_gives_is_needed(stage: Stage) -> None:
    """Without any single one of its bindings the rehearsal fails. They are taken from the cloud, not from a list."""
    assert failures(stage, chosen(["backend"])) == []
    given = list(_given(stage))
    assert len(given) >= 12
    assert _works(stage) == "", "with all of them everything works"
    needless = []
    for policy, role, member in given:
        with _without(stage, policy, role, member):
            if _works(stage) == "":
                needless.append((policy, role, member))
    assert needless == []


def _given(stage: Stage) -> Iterator[tuple[str, str, str]]:
    """Every (policy, role, member) that the program made: the operator's own and Google's agents' aside."""
    agents = set(stage.cloud.collection("iam.agents"))
    for name, policy in list(stage.cloud.collection("policies").items()):
        for binding in policy.get("bindings", ()):
            for member in binding["members"]:
                email = member.partition(":")[2]
                if member != stage.cloud.operator and email not in agents and not member.startswith("project"):
                    yield name, binding["role"], member


@contextmanager
def _without(stage: Stage, policy: str, role: str, member: str) -> Iterator[None]:
    """The cloud without one member of one binding, for as long as the block lasts."""
    policies = stage.cloud.collection("policies")
    before = policies[policy]
    changed = copy.deepcopy(before)
    for binding in changed["bindings"]:
        if binding["role"] == role:
            binding["members"] = [each for each in binding["members"] if each != member]
    policies[policy] = changed
    try:
        yield
    finally:
        policies[policy] = before


def _works(stage: Stage) -> str:
    """Whatever rights are for, done once: what went wrong first, empty where nothing did."""
    for work in (_backend, _export, _maintain, _migrate):
        if why := work(stage):
            return f"{work.__name__}: {why}"
    return ""


def _backend(stage: Stage) -> str:
    try:
        return "" if all(check.ok for check in phases.backend_connects(stage)) else "a check failed"
    except backend.Shut as error:
        return str(error)


def _first_failure(checks: Iterator[Check]) -> str:
    return next((check.name for check in checks if not check.ok), "")


def _maintain(stage: Stage) -> str:
    return _first_failure(phases.maintenance(stage))


def _export(stage: Stage) -> str:
    day = next(name for name in stage.cloud.collection("cloudscheduler.jobs") if "/gaia-db-export-" in name)
    return operator.exported(stage, day.rpartition("/")[2])


def _migrate(stage: Stage) -> str:
    """With a revision pending, so that the job takes its backup first."""
    runner.downgrade(operator.migrator_url(stage), runner.history()[-2].id)
    job = f"projects/{stage.cloud.project}/locations/{stage.cloud.region}/jobs/gaia-db-migrate"
    try:
        operator.asked(stage, "run", f"v2/{job}:run", {})
    except HTTPError as error:
        return error.read().decode()
    return operator.executed(stage, "gaia-db-migrate")


def _secrets(stage: Stage) -> set[str]:
    """Everything random in the state, opened."""
    made = [each for each in stage.stack.resources() if each.type.startswith("random:")]
    return {str(each.outputs[name]) for each in made for name in ("result", "hex", "base64") if each.outputs.get(name)}


def test_a_request_that_nobody_signed_is_refused(stage: Stage) -> None:
    stage.cloud.operator_token = "somebody else's"
    with pytest.raises(HTTPError, match="401"):
        operator.asked(stage, "sqladmin", f"v1/projects/{stage.cloud.project}/instances")
    assert not iam.allowed(stage.cloud, "serviceAccount:nobody@example.com", "cloudsql.instances.get", "sqladmin", "x")
