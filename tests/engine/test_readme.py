"""The README's commands, typed in order in a clone, print what the README says."""

from __future__ import annotations

import pytest

from tests import console
from tests.clone import ROOT, Clone

pytestmark = pytest.mark.engine

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_command_of_the_readme_prints_what_it_says(clone: Clone, port: int) -> None:
    try:
        console.run(clone, README, port)
    finally:
        (clone.root / ".env").unlink(missing_ok=True)


def test_the_readme_begins_with_one_sentence_and_two_commands_that_exist(clone: Clone) -> None:
    _, sentence, block = README.split("\n\n", 3)[:3]
    assert sentence.count(". ") == 0
    assert sentence.endswith(".")
    first = [line.split()[1] for line in block.splitlines() if line.startswith("./gaia")]
    assert first == ["up", "test"]
    for command in first:
        assert f"Usage: ./gaia {command}" in clone.gaia(command, "--help").stdout
