"""The command line explains itself, its examples are right, and every error ends in a sentence and a code."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from engine.errors import StackBusy
from infra.settings import SettingsError
from ops import cli, exits
from ops.exits import Missing, Refused, UsageFault
from ops.report import Report

ROOT: Any = typer.main.get_command(cli.app)


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command below this one, by what one types."""
    for name, inner in getattr(command, "commands", {}).items():
        yield " ".join((*path, name)), inner
        yield from walk(inner, (*path, name))


COMMANDS = dict(walk(ROOT))
PROMISED = [
    "setup",
    "up",
    "preview",
    "destroy",
    "status",
    "verify",
    "stats",
    "secrets",
    "psql",
    "url",
    "env",
    "outputs",
    "migrate",
    "logs",
    "seed",
    "test",
    "check",
]


def examples(command: Any) -> list[list[str]]:
    """The example command lines of a command's help, each as what follows ./gaia."""
    shown = re.findall(r"\[bold\](.*?)\[/bold\]", command.epilog or "")
    inner = [re.search(r"\$\((.*?)\)", line) for line in shown]
    lines = [found[1] if found else line for line, found in zip(shown, inner, strict=True)]
    return [shlex.split(line) for line in lines]


EXAMPLES = [(name, example) for name, command in COMMANDS.items() for example in examples(command)]


def parsed(arguments: list[str]) -> str:
    """Parse a command line as the app does, without running it; returns the command's path."""
    command, context, path = ROOT, ROOT.make_context("gaia", arguments), []
    while hasattr(command, "commands"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)
        path.append(name)
    return " ".join(path)


@pytest.fixture(autouse=True)
def no_stack_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GAIA_STACK", raising=False)


def test_every_promised_command_is_there() -> None:
    assert set(PROMISED) <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_an_example(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    assert command.help.strip().endswith(".")
    assert examples(command)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_help(name: str) -> None:
    for parameter in COMMANDS[name].params:
        if parameter.param_type_name == "option":
            assert parameter.help, parameter.name


@pytest.mark.parametrize(
    ("name", "example"), EXAMPLES, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_every_example_is_a_command_line_of_its_command(name: str, example: list[str]) -> None:
    assert example[0] == "./gaia"
    assert parsed(example[1:]).startswith(name)


def test_a_wrong_example_would_be_seen() -> None:
    for wrong in (["up", "--colour"], ["migrate", "nope"], ["logs", "-n", "many"], ["nope"]):
        with pytest.raises(Exception, match=r"No such|valid integer"):
            parsed(wrong)


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if not hasattr(command, "commands")])
def test_the_stack_can_come_from_the_environment(name: str) -> None:
    options = {option: parameter for parameter in COMMANDS[name].params for option in parameter.opts}
    without = ("setup", "test", "check", "migrate history", "migrate prove", "cloud", "rehearse")
    if name not in without and not name.startswith("backups "):
        assert options["--stack"].envvar == "GAIA_STACK"


@pytest.mark.parametrize("name", PROMISED)
def test_every_command_is_in_one_of_the_groups(name: str) -> None:
    assert COMMANDS[name].rich_help_panel in (cli.DAILY, cli.INSPECT, cli.REHEARSE, cli.DEVELOP)


def test_help_names_every_exit_code() -> None:
    for code, meaning in exits.MEANINGS.items():
        assert f"{code} {meaning}" in ROOT.epilog


@pytest.mark.parametrize("arguments", [["nope"], ["up", "--nope"], ["logs", "-n", "0"], ["migrate", "downgrade"]])
def test_a_wrong_command_line_ends_with_2_and_says_why_on_stderr(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert cli.main(arguments) == exits.USAGE
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageFault("no such thing"), 2),
        (SettingsError("Pulumi.x.yaml", ["a: is missing", "b: is missing"]), 2),
        (Missing("run ./gaia up"), 3),
        (StackBusy("stack local is held"), 4),
        (Refused("say so with --yes"), 5),
    ],
)
def test_an_error_of_ours_is_a_sentence_on_stderr_or_a_document_on_stdout(
    capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    def fail(report: Report) -> int:
        report.say("looking")
        raise error

    assert cli._run(False, fail) == code
    assert capsys.readouterr() == ("", f"looking\ngaia: {error}\n")
    assert cli._run(True, fail) == code
    said = capsys.readouterr()
    assert json.loads(said.out) == {"ok": False, "error": str(error), "exit_code": code}
    assert said.err == "looking\n"


def test_an_error_that_nobody_expected_keeps_its_traceback() -> None:
    def fail(report: Report) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cli._run(True, fail)


def test_an_interrupt_ends_as_shells_count_it(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(report: Report) -> int:
        raise KeyboardInterrupt

    assert cli._run(False, interrupted) == 130
    assert "run the command again" in capsys.readouterr().err


def test_a_commands_own_exit_code_is_the_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.status.status", lambda report, *, stack_name: 7)
    assert cli.main(["status"]) == 7
    monkeypatch.setattr("ops.status.status", lambda report, *, stack_name: None)
    assert cli.main(["status", "--json"]) == exits.FINE


def test_what_pulumi_is_asked_by_hand_reaches_it_unparsed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(cli, "_pulumi", asked.append)
    assert cli.main(["pulumi", "up", "--help", "-s", "dev"]) == exits.FINE
    assert asked == [["up", "--help", "-s", "dev"]]


SLOW = {"pulumi", "psycopg", "sqlalchemy", "alembic", "docker", "pydantic", "psutil", "yaml", "infra", "engine"}


@pytest.mark.parametrize("name", ["ops.cli", "ops.exits", "ops.report", "ops.checks"])
def test_starting_the_command_line_imports_nothing_slow(name: str) -> None:
    lines = Path(importlib.import_module(name).__file__ or "").read_text(encoding="utf-8").splitlines()
    imported = {line.split()[1].partition(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert not SLOW & imported


def test_when_nobody_reads_a_command_ends_without_a_word() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-P", "-m", "ops", "migrate", "history"]
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(command, cwd=root, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (exits.FAILED, "")
