"""The local part of the restore's runbook, typed line by line in a clone, prints what the page says."""

from __future__ import annotations

import pytest

from tests import console
from tests.clone import ROOT, Clone

pytestmark = pytest.mark.engine

RUNBOOK = (ROOT / "docs" / "restore.md").read_text(encoding="utf-8")


def test_every_local_command_of_the_runbook_prints_what_it_says(clone: Clone, port: int) -> None:
    console.run(clone, RUNBOOK, port)


def test_the_runbook_has_its_local_commands_in_blocks_that_are_run() -> None:
    local = RUNBOOK.partition("## On a laptop")[2].partition("## In production")[0]
    assert local.count("```console") >= 5
    assert "```sh" not in local
