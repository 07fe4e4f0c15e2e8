"""The docs are whole: commands, settings, outputs and exit codes have their place, and every link leads somewhere."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
import typer

from infra import outputs, settings
from ops import cli, exits

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
COMMAND_PAGES = sorted((DOCS / "commands").glob("*.md"))
COMMANDS: dict[str, Any] = getattr(typer.main.get_command(cli.app), "commands")  # noqa: B009
WITHOUT_OPTIONS_OF_THEIR_OWN = {"psql", "test"}
"""Commands that hand other arguments on."""


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def words(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def rows(text: str) -> dict[str, str]:
    """The rows of all tables of a page, by the code in their first cell."""
    return {found[1]: found[0] for found in re.finditer(r"^\| `([^`]+)` \|.*$", text, re.MULTILINE)}


def typed(text: str) -> Iterator[list[str]]:
    """Every ``./gaia`` command line in a page: in blocks, and between backquotes."""
    for block in re.findall(r"^```(?:console|text|sh)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            if found := re.match(r"(?:\$ )?(\./gaia\b.*)", line):
                yield shlex.split(found[1].replace("'", "").replace('"', ""), comments=True)
    for inline in re.findall(r"`(\./gaia [^`]*)`", text):
        yield inline.replace("'", "").replace('"', "").split()


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.*)$", words(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_command_has_a_page_and_every_page_a_command() -> None:
    assert {page.stem for page in COMMAND_PAGES} == set(COMMANDS)


@pytest.mark.parametrize("page", COMMAND_PAGES, ids=named)
def test_a_commands_page_names_each_of_its_options(page: Path) -> None:
    command = COMMANDS[page.stem]
    inner = getattr(command, "commands", {}).values()
    options = {option for each in (command, *inner) for parameter in each.params for option in parameter.opts}
    text = words(page)
    shared = {"--stack", "--json"} if page.stem == "migrate" else set()
    assert sorted(option for option in options - shared if option.startswith("--") and option not in text) == []


@pytest.mark.parametrize("page", COMMAND_PAGES, ids=named)
def test_a_commands_page_says_when_it_ends_with_which_code(page: Path) -> None:
    _, heading, table = words(page).partition("## Exit codes")
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    assert heading
    assert {exits.FINE, exits.FAILED} <= codes <= set(exits.MEANINGS)


def test_the_readme_lists_the_exit_codes_as_they_are() -> None:
    listed = dict(re.findall(r"^\| (\d+) \| (.*) \|$", words(ROOT / "README.md"), re.MULTILINE))
    assert {int(code): meaning for code, meaning in listed.items()} == exits.MEANINGS


def test_the_readme_leads_to_every_page() -> None:
    linked = {(ROOT / target).resolve() for target in re.findall(r"\]\(([\w/.-]+)", words(ROOT / "README.md"))}
    folders = {DOCS / "decisions", DOCS / "runbooks"}
    assert [named(page) for page in PAGES if page.parent not in folders and page not in linked] == ["README.md"]
    assert folders <= linked


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_line_in_a_page_can_be_typed(page: Path) -> None:
    for _, *arguments in typed(words(page)):
        if not arguments or not re.fullmatch(r"[a-z]+", arguments[0]):
            continue  # `./gaia --help`, `./gaia …`
        command = COMMANDS[arguments[0]]
        inner = getattr(command, "commands", {}).get(arguments[1]) if len(arguments) > 1 else None
        known = {option for each in (command, inner) if each for parameter in each.params for option in parameter.opts}
        given = {argument.partition("=")[0] for argument in arguments if argument.startswith("--")}
        if arguments[0] not in WITHOUT_OPTIONS_OF_THEIR_OWN:
            assert given <= {*known, "--help"}, arguments


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", words(page)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), target
        if anchor:
            assert anchor in anchors(place), target


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_page_names_no_folder_that_only_its_writer_has(page: Path) -> None:
    text = words(page)
    assert re.findall(r"/root\b|/work\b|/home/\w|/Users/\w|\btmp/\w|\bTODO\b|\bAI agents?\b|issue #?\d", text) == []


def defaults(cls: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a stack file below this dataclass, with its default."""
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        inner = next((each for each in (hint, *get_args(hint)) if dataclasses.is_dataclass(each)), None)
        if inner:
            # The keys of a mapping are names that the stack file gives.
            yield from defaults(inner, f"{prefix}{field.name}.{'<name>.' if get_origin(hint) is dict else ''}")
        elif field.name != "stack":
            made = field.default_factory
            yield f"{prefix}{field.name}", field.default if made is dataclasses.MISSING else made()


def test_every_setting_is_in_its_page_with_its_default_and_no_other_is() -> None:
    text = words(DOCS / "settings.md")
    keys = dict(defaults(settings.Settings))
    table = {key: row for key, row in rows(text).items() if not key.isupper() and "_HOME" not in key}
    listed = {key for key in table if not key.startswith(("PULUMI_", "GAIA_", "POSTGRES_", "DOCKER_"))}
    assert listed == {*keys, "password"}
    for key, default in keys.items():
        shown = table[key].split("|")[2].strip()
        if default is dataclasses.MISSING:
            assert shown == "(must be given)"
        elif default is None:
            assert shown == "(none)"
        else:
            plain = f"[{', '.join(default)}]" if isinstance(default, tuple) else str(default)
            assert shown == f"`{plain}`", key


def test_every_name_of_the_contract_is_in_its_page_and_no_other_is() -> None:
    table, _, _ = words(DOCS / "outputs.md").partition("## Forms")
    assert sorted(rows(table)) == list(outputs.NAMES)


def test_every_dependency_has_a_decision() -> None:
    text = " ".join(words(page) for page in (DOCS / "decisions").glob("*.md")).lower()
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^dependencies = \[(.*?)^\]", project, re.DOTALL | re.MULTILINE)
    assert listed
    names = re.findall(r'"([\w-]+)', listed[1])
    assert [name for name in names if name.lower() not in text] == []
