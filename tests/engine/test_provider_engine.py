"""Production in the real engine with the built-in providers, against the rehearsal's cloud: from nothing to nothing."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pulumi import automation

from engine.acquire import Engine
from infra import program
from rehearsal.cloud import app
from rehearsal.cloud.state import Cloud
from rehearsal.provider import attach
from rehearsal.provider.endpoints import endpoints
from tests.production import planning

# Parts of the provider's package warn, on import, that they are deprecated.
pytestmark = [
    pytest.mark.engine,
    pytest.mark.postgres,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
ROOT = Path(__file__).resolve().parents[2]
SAME, UPDATE = automation.OpType.SAME, automation.OpType.UPDATE


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    (tmp_path / "cloud").mkdir()
    made = Cloud(folder=tmp_path / "cloud", project=planning.PROJECT, region="us-west1")
    with app.running(made):
        yield made


@pytest.fixture(params=["minimal", "defaults", "scaled", "public"])
def stack(
    request: pytest.FixtureRequest, engine: Engine, cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[automation.Stack]:
    """The stack ``prod``, its provider's endpoints those of the cloud; its state is in ``tmp_path``."""
    (tmp_path / "state").mkdir()
    with attach.running(cloud.operator_token) as providers:
        environ = {
            "PATH": f"{engine.pulumi.parent}:{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PULUMI_BACKEND_URL": f"file://{tmp_path}/state",
            "PULUMI_CONFIG_PASSPHRASE": "none",
            "PULUMI_DEBUG_PROVIDERS": providers,
            "PULUMI_HOME": str(tmp_path / "home"),
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        made = automation.create_or_select_stack("prod", "gaia-db", program.deploy)
        settings(made, values(request.param))
        for key, value in endpoints(cloud.url).items():
            made.set_config(key, automation.ConfigValue(value=value))
        yield made


def values(shape: str) -> dict[str, Any]:
    """A variant's settings. The scaled one goes without its job, which connects through an address of the network."""
    found = copy.deepcopy(planning.variants()[shape])
    if shape == "scaled":
        del found["gcp"]["migration_job"]["image"]
    return found


def settings(stack: automation.Stack, values: dict[str, Any]) -> None:
    for key, value in values.items():
        text = value if isinstance(value, str) else json.dumps(value)
        stack.set_config(f"gaia-db:{key}", automation.ConfigValue(value=text))


def changes(result: automation.UpResult | automation.RefreshResult | automation.DestroyResult) -> dict[str, int]:
    return {str(kind): count for kind, count in (result.summary.resource_changes or {}).items()}


def test_production_is_made_kept_changed_and_taken_down(
    stack: automation.Stack, cloud: Cloud, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    shape = values(request.node.callspec.params["stack"])
    stack.preview()
    assert cloud.journal == [], "a preview calls nothing"
    made = changes(stack.up())
    assert set(made) == {"create"}
    assert set(stack.preview().change_summary) == {SAME}
    assert set(changes(stack.refresh())) == {"same"}
    # What others change is seen by the next refresh, and only that.
    secrets = cloud.collection("secretmanager.secrets")
    with cloud.lock:
        secret = next(each for each in secrets.values() if each["name"].endswith("/db-user"))
        secret["labels"]["stack"] = "another"
    assert changes(stack.refresh())["update"] == 1
    assert changes(stack.up())["update"] == 1
    # The next machine whose memory the flags still fit.
    tier = "db-custom-4-15360" if "scaled" in request.node.name else "db-custom-2-7680"
    bigger = {"tier": tier, "deletion_protection": False}
    settings(stack, planning.merged(shape, {"gcp": {"instance": bigger}}))
    assert stack.preview().change_summary.get(UPDATE)
    assert set(changes(stack.up())) == {"same", "update"}
    assert set(stack.preview().change_summary) == {SAME}
    state = stack.export_stack().deployment or {}
    drawn = [each["outputs"] for each in state["resources"] if each["type"].startswith("random:")]
    hidden = [json.loads((each.get("result") or each["hex"])["plaintext"]) for each in drawn]
    for file in (tmp_path / "state").rglob("*"):
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            assert not [one for one in hidden if one in text], file.name
    assert set(changes(stack.destroy())) == {"delete"}
    assert secrets == {}
    assert cloud.collection("sqladmin.instances") == {}
