"""The README's commands, typed in order in a clone, print what the README says."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.clone import ROOT, Clone

pytestmark = pytest.mark.engine

README = (ROOT / "README.md").read_text(encoding="utf-8")
PORT = "5432"
"""The port that the README shows."""
ANY = "…"
"""In the README: any lines, where it stands alone; else any text within its line."""
MARK = "@@ command {number} @@"

# What differs from run to run, in both texts alike.
MASKS = (
    (r"\b\d+\.\d+ s\b", "N s"),
    (r"(?<=://gaia:)[^*@\s]+(?=@)|(?<=://gaia_app:)[^*@\s]+(?=@)", ANY),
)


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of a console block, and what the block shows of its output."""

    line: str
    shown: list[str]


def blocks(language: str) -> list[str]:
    """The README's fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def commands(block: str) -> list[Command]:
    """A console block's commands: ``$ `` begins one, all until the next is its output."""
    _, *parts = re.split(r"^\$ ", block, flags=re.MULTILINE)
    return [Command(line=line, shown=shown) for line, *shown in (part.splitlines() for part in parts)]


def settled(lines: list[str]) -> list[str]:
    """Lines without what differs from run to run. Steps that ran side by side are put in order."""
    text = "\n".join(line.rstrip() for line in lines).strip("\n")
    for pattern, mask in MASKS:
        text = re.sub(pattern, mask, text)
    groups = itertools.groupby(text.split("\n"), key=lambda line: bool(re.match(r"  (created|updated|deleted) ", line)))
    return [line for steps, group in groups for line in (sorted(group) if steps else group)]


def pattern(lines: list[str]) -> str:
    """What the output must match: ``…`` alone is any number of lines, within a line any text."""
    parts = []
    for line in lines:
        if line == ANY:
            parts.append(r"(?:.*\n)*")
        else:
            parts.append(re.escape(line).replace(re.escape(ANY), ".*") + r"\n")
    return "".join(parts)


def typed(clone: Clone, block: list[Command]) -> Iterator[list[str]]:
    """What each command of a block prints, standard error included. One shell runs them all, as a person's would."""
    lines = ["exec 2>&1"]
    for number, command in enumerate(block):
        lines += [f"echo '{MARK.format(number=number)}'", command.line, 'echo "@@ code $? @@"']
    # No Docker engine answers here: what the README shows is the machine without one, and nobody's container is met.
    done = clone.run(["bash", "-c", "\n".join(lines)], env={"DOCKER_HOST": "unix:///nowhere/docker.sock"}, code=None)
    for number, command in enumerate(block):
        rest = done.stdout.partition(f"{MARK.format(number=number)}\n")[2]
        output, _, code = rest.partition("@@ code ")
        assert code.startswith("0 "), f"$ {command.line}\n{output}"
        yield output.splitlines()


def test_every_command_of_the_readme_prints_what_it_says(clone: Clone, port: int) -> None:
    # The clone differs from the README in one thing, the port in its stack file.
    stack_file = clone.checkout.stack_file("local")
    stack_file.write_text(stack_file.read_text(encoding="utf-8").replace(PORT, str(port)), encoding="utf-8")
    before = clone.dirty()
    try:
        for block in map(commands, blocks("console")):
            for command, output in zip(block, typed(clone, block), strict=True):
                shown = settled([line.replace(PORT, str(port)) for line in command.shown])
                printed = "\n".join([*settled(output), ""]) if output else "\n"
                assert re.fullmatch(pattern(shown), printed), f"$ {command.line}\n{printed}"
        assert clone.dirty() == before
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
