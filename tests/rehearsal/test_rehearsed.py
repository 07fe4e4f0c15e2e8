"""Production, rehearsed whole: every phase holds, no secret shows anywhere, and no right could be left out."""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError

import pytest

from engine.acquire import Engine, acquire
from migrations import runner
from ops.checks import Check
from rehearsal.cloud import iam
from rehearsal.cloud.run_executions import EXECUTIONS
from rehearsal.cloud.services.cloudkms import KEYS
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


_POOL = "principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/github/subject/"
SHAPES: dict[str, dict[str, str]] = {
    "defaults": {},
    "all that is optional": {
        "gcp.access.iam_users": "{ada: ada@example.com}",
        "gcp.access.backend_iam_login": "true",
        "gcp.access.preview_principal": f"{_POOL}repo:gaia/gaia-db:pull_request",
        "gcp.access.drill_principal": f"{_POOL}repo:gaia/gaia-db:environment:drill",
        "gcp.encryption.own_key": "true",
        "gcp.instance.require_connector": "false",
        "gcp.network.mode": "public",
        "gcp.network.authorized": "{office: 203.0.113.0/24}",
        "gcp.network.client_certificates": "true",
    },
}


@pytest.mark.parametrize("shape", list(SHAPES))
def test_each_right_that_the_program_gives_is_needed(engine: Engine, shape: str) -> None:
    """Without any single one of its bindings the rehearsal fails. They are taken from the cloud, not from a list."""
    if (reason := postgres.unavailable()) is not None:
        pytest.skip(reason)
    with opened(ROOT, "prod", engine, choice="builtin", given=list(SHAPES[shape].items())) as stage:
        assert failures(stage, chosen(["backend"])) == []
        given = list(_given(stage))
        assert len(given) >= {"defaults": 15, "all that is optional": 25}[shape]
        assert _works(stage) == "", "with all of them everything works"
        needless = []
        for policy, role, member in given:
            with _without(stage, policy, role, member):
                why = _works(stage)
            if not any(word in why for word in _REFUSALS):
                needless.append((policy, role, member, why))
        assert needless == []
        assert _works(stage) == "", "and it was the bindings, each alone"


_REFUSALS = ("ermission", "denied", "NOT_AUTHORIZED", "does not have")


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
    for work in (_backend, _principals, _drill, _export, _maintain, _migrate, _encrypt):
        if why := work(stage):
            return f"{work.__name__}: {why}"
    return ""


def _backend(stage: Stage) -> str:
    try:
        return _first_failure(phases.backend_connects(stage))
    except backend.Shut as error:
        return str(error)


def _first_failure(checks: Iterator[Check]) -> str:
    return next((f"{check.name}: {check.hint}" for check in checks if not check.ok), "")


def _principals(stage: Stage) -> str:
    """Whoever comes from elsewhere has no token of this cloud, and PostgreSQL here no login without a password: what
    they would be asked for is looked up."""
    instance = ("sqladmin", f"projects/{stage.cloud.project}/instances/{stage.gcp['instance']['name']}")
    wanted: list[tuple[str, str, str, str]] = [
        (f"user:{email}", permission, *instance)
        for email in stage.gcp["access"]["iam_users"].values()
        for permission in ("cloudsql.instances.connect", "cloudsql.instances.login")
    ]
    if stage.gcp["access"]["backend_iam_login"]:
        member = f"serviceAccount:{stage.cloud.service_account('gaia-backend-sa')}"
        wanted.append((member, "cloudsql.instances.login", *instance))
    for account in ("preview", "drill"):
        if principal := stage.gcp["access"][f"{account}_principal"]:
            email = stage.cloud.service_account(f"gaia-{account}-sa")
            name = f"projects/{stage.cloud.project}/serviceAccounts/{email}"
            wanted.append((principal, "iam.serviceAccounts.getAccessToken", "iam", name))
    refused = [f"Permission {each[1]} denied to {each[0]}" for each in wanted if not iam.allowed(stage.cloud, *each)]
    return "; ".join(refused)


def _drill(stage: Stage) -> str:
    """What the nightly workflow does as its account: it lists the exports, and writes into the log."""
    if not stage.gcp["access"]["drill_principal"]:
        return ""
    token = stage.cloud.token_for(stage.cloud.service_account("gaia-drill-sa"))
    bucket = next(iter(stage.cloud.collection("storage.buckets")))
    entry = {"logName": f"projects/{stage.cloud.project}/logs/drill", "textPayload": "", "resource": {"type": "global"}}
    return _refused_to(
        lambda: operator.asked(stage, "storage", f"storage/v1/b/{bucket}/o", token=token)
    ) or _refused_to(lambda: operator.asked(stage, "logging", "v2/entries:write", {"entries": [entry]}, token=token))


def _encrypt(stage: Stage) -> str:
    """An instance more with the key, as a replica or a restore into a new one would be."""
    if not stage.gcp["encryption"]["own_key"]:
        return ""
    (key,) = stage.cloud.collection(KEYS)
    body = {
        "name": f"gaia-{uuid.uuid4().hex[:8]}",
        "region": stage.cloud.region,
        "databaseVersion": "POSTGRES_16",
        "settings": {"tier": "db-g1-small", "edition": "ENTERPRISE"},
        "diskEncryptionConfiguration": {"kmsKeyName": key},
    }
    path = f"v1/projects/{stage.cloud.project}/instances"
    return _refused_to(lambda: operator.asked(stage, "sqladmin", path, body))


def _refused_to(ask: Callable[[], object]) -> str:
    """What the cloud says where it refuses; empty where it doesn't."""
    try:
        ask()
    except HTTPError as error:
        return error.read().decode()
    return ""


def _maintain(stage: Stage) -> str:
    return _first_failure(phases.maintenance(stage))


def _export(stage: Stage) -> str:
    """Into an empty bucket: Cloud SQL replaces no object."""
    operator.empty_buckets(stage)
    day = next(name for name in stage.cloud.collection("cloudscheduler.jobs") if "/gaia-db-export-" in name)
    return operator.exported(stage, day.rpartition("/")[2])


def _migrate(stage: Stage) -> str:
    """With a revision pending, so that the job takes its backup first."""
    runner.downgrade(operator.migrator_url(stage), runner.history()[-2].id)
    job = f"projects/{stage.cloud.project}/locations/{stage.cloud.region}/jobs/gaia-db-migrate"
    asked, before = len(stage.cloud.journal), set(stage.cloud.collection(EXECUTIONS))
    if why := _refused_to(lambda: operator.asked(stage, "run", f"v2/{job}:run", {})):
        return why
    (execution,) = set(stage.cloud.collection(EXECUTIONS)) - before

    def refused() -> list[str]:
        return [str(entry.message) for entry in stage.cloud.journal[asked:] if entry.code == 403]

    def over() -> bool:
        return bool(refused() or stage.cloud.collection(EXECUTIONS)[execution].get("completionTime"))

    operator.until(over, "the job does not end")
    if why := refused():
        # It would go on for two minutes: a binding of a moment ago isn't in force yet.
        operator.asked(stage, "run", f"v2/{execution}:cancel", {})
    ended = operator.executed(stage, "gaia-db-migrate")
    return why[0] if why else ended


def _secrets(stage: Stage) -> set[str]:
    """Everything random in the state, opened."""
    made = [each for each in stage.stack.resources() if each.type.startswith("random:")]
    return {str(each.outputs[name]) for each in made for name in ("result", "hex", "base64") if each.outputs.get(name)}


def test_a_request_that_nobody_signed_is_refused(stage: Stage) -> None:
    stage.cloud.operator_token = "somebody else's"
    with pytest.raises(HTTPError, match="401"):
        operator.asked(stage, "sqladmin", f"v1/projects/{stage.cloud.project}/instances")
    assert not iam.allowed(stage.cloud, "serviceAccount:nobody@example.com", "cloudsql.instances.get", "sqladmin", "x")
