"""Production in the real engine, with a provider that takes everything: no look-up, no secret in the plain."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pulumi import automation

from engine.acquire import Engine
from infra import program
from migrations.revisions import head
from tests.production import planning
from tests.standins import attached

# Parts of the provider's package warn, on import, that they are deprecated.
pytestmark = [pytest.mark.engine, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=sorted(planning.variants()))
def stack(
    request: pytest.FixtureRequest, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[automation.Stack]:
    """The stack ``prod`` in one of its shapes; its state is in ``tmp_path``."""
    (tmp_path / "state").mkdir()
    with attached.running("tests.standins.gcp_provider") as port:
        environ = {
            "PATH": f"{engine.pulumi.parent}:{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PULUMI_BACKEND_URL": f"file://{tmp_path}/state",
            "PULUMI_CONFIG_PASSPHRASE": "none",
            "PULUMI_DEBUG_PROVIDERS": f"gcp:{port},random:{port}",
            "PULUMI_HOME": str(tmp_path / "home"),
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        made = automation.create_or_select_stack("prod", "gaia-db", program.deploy)
        for key, value in planning.variants()[request.param].items():
            text = value if isinstance(value, str) else json.dumps(value)
            made.set_config(f"gaia-db:{key}", automation.ConfigValue(value=text))
        yield made


def test_the_engine_previews_and_makes_it_looks_nothing_up_and_the_state_holds_no_secret_in_the_plain(
    stack: automation.Stack, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    shape = request.node.callspec.params["stack"]
    previewed = stack.preview().change_summary
    assert set(previewed) == {automation.OpType.CREATE}
    assert sum(previewed.values()) == len(planning.plan("prod", planning.variants()[shape]).resources)
    stack.up()
    outputs = stack.outputs()
    assert outputs["app_user"].value == "gaia_app"
    assert outputs["schema_revision"].value == ("base" if shape == "minimal" else head())
    # An export through the Automation API opens the secrets: these are what the state itself must not hold.
    resources = (stack.export_stack().deployment or {})["resources"]
    made = [each["outputs"] for each in resources if each["type"].startswith("random:")]
    secrets = [(outputs.get("result") or outputs["hex"])["plaintext"].strip('"') for outputs in made]
    assert len(set(secrets)) == len(secrets) == 4
    files = [file for file in (tmp_path / "state").rglob("*") if file.is_file()]
    assert any("gaia-prod-db" in file.read_text(encoding="utf-8") for file in files)
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert not [secret for secret in secrets if secret in text], file.name
        assert "postgresql://" not in text, file.name
    assert set(stack.preview().change_summary) == {automation.OpType.SAME}
