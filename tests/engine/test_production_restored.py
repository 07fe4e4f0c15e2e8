"""The runbook's way to hand a clone to the program: with it the engine replaces no part of the database."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

import pytest
from pulumi import automation

from tests.clone import ROOT
from tests.engine.test_production_preview import stack

__all__ = ["stack"]
# Parts of the provider's package warn, on import, that they are deprecated.
pytestmark = [pytest.mark.engine, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

REPLACES = {"name", "instance", "project", "region", "databaseVersion", "encryptionKeyName"}
"""What the provider makes a new resource for."""
HOLD = ("gcp:sql/", "gcp:compute/", "gcp:kms/")
OLD, NEW = "gaia-prod-db", "gaia-prod-db-2"
FILTER = re.findall(
    r"^jq --arg old \S+ --arg new \S+ '(.*?)' before.json", (ROOT / "docs" / "restore.md").read_text(), re.S | re.M
)


def edited(state: dict[str, Any]) -> dict[str, Any]:
    """The state as the runbook's command leaves it."""
    (program,) = FILTER
    command = ["jq", "--arg", "old", OLD, "--arg", "new", NEW, program]
    done = subprocess.run(command, input=json.dumps(state), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def rename(stack: automation.Stack) -> None:
    """What the runbook has one write into the stack file."""
    gcp = json.loads(stack.get_config("gaia-db:gcp").value)
    gcp["instance"] |= {"name": NEW}
    stack.set_config("gaia-db:gcp", automation.ConfigValue(value=json.dumps(gcp)))


def changed(stack: automation.Stack) -> dict[str, list[str]]:
    """URN → the properties that a preview would change, of what holds the database, its addresses and its key."""
    found: dict[str, list[str]] = {}

    def heard(event: Any) -> None:
        metadata = event.resource_pre_event.metadata if event.resource_pre_event else None
        if metadata is not None and metadata.type.startswith(HOLD) and metadata.op != automation.OpType.SAME:
            found[metadata.urn] = list(metadata.diffs or [])

    stack.preview(on_event=heard)
    return found


@pytest.mark.parametrize("stack", ["defaults"], indirect=True)
@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq, as the runbook does")
def test_the_clone_takes_the_old_instances_place_in_the_state(stack: automation.Stack) -> None:
    stack.up()
    before = stack.export_stack()
    rename(stack)
    without = changed(stack)
    assert {said for diffs in without.values() for said in diffs} & REPLACES, "the edit would not be needed"

    assert before.deployment is not None
    state = edited({"version": before.version, "deployment": dict(before.deployment)})
    stack.import_stack(automation.Deployment(version=state["version"], deployment=state["deployment"]))
    assert {said for diffs in changed(stack).values() for said in diffs} & REPLACES == set()
