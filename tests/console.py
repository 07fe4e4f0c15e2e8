"""Console blocks of a page, typed in a clone as a person would, and what they print compared with what they show."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.clone import Clone

PORT = "5432"
"""The port that the pages show."""
ANY = "…"
"""In a page: any lines, where it stands alone; else any text within its line."""
MARK = "@@ command {number} @@"

# What differs from run to run, in both texts alike.
MASKS = (
    (r"(?m)^waiting for .*\n", ""),  # said by what takes longer than a second
    (r"\b\d+\.\d+ s\b", "N s"),
    (r"(?<=://gaia:)[^*@\s]+(?=@)|(?<=://gaia_app:)[^*@\s]+(?=@)", ANY),
)


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of a console block, and what the block shows of its output."""

    line: str
    shown: list[str]


def blocks(page: str) -> list[str]:
    """The page's console blocks."""
    return re.findall(r"^```console\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


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
    # No Docker engine answers here: what a page shows is the machine without one, and nobody's container is met.
    done = clone.run(["bash", "-c", "\n".join(lines)], env={"DOCKER_HOST": "unix:///nowhere/docker.sock"}, code=None)
    for number, command in enumerate(block):
        rest = done.stdout.partition(f"{MARK.format(number=number)}\n")[2]
        output, _, code = rest.partition("@@ code ")
        assert code.startswith("0 "), f"$ {command.line}\n{output}"
        yield output.splitlines()


def run(clone: Clone, page: str, port: int) -> None:
    """Type every console block of a page. The clone differs from the page in one thing, the port in its stack file."""
    stack_file = clone.checkout.stack_file("local")
    stack_file.write_text(stack_file.read_text(encoding="utf-8").replace(PORT, str(port)), encoding="utf-8")
    before = clone.dirty()
    for block in map(commands, blocks(page)):
        for command, output in zip(block, typed(clone, block), strict=True):
            shown = settled([line.replace(PORT, str(port)) for line in command.shown])
            printed = "\n".join([*settled(output), ""]) if output else "\n"
            assert re.fullmatch(pattern(shown), printed), f"$ {command.line}\n{printed}"
    assert clone.dirty() == before
