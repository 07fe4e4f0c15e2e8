"""Nothing in the program knows of the rehearsal, and nothing installs its packages but the commands that need them."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = ("infra", "migrations", "db", "backup", "engine")


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("package", PROGRAM)
def test_the_program_imports_nothing_of_the_rehearsal(package: str) -> None:
    for file in (ROOT / package).rglob("*.py"):
        assert [name for name in imported(file) if name.split(".")[0] == "rehearsal"] == [], str(file)


def test_the_rehearsal_s_packages_are_a_group_of_their_own() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    group = {entry.partition(">=")[0] for entry in project["dependency-groups"]["rehearsal"]}
    usual = {entry.partition(">=")[0] for entry in project["project"]["dependencies"]}
    assert {"starlette", "uvicorn", "google-api-python-client"} <= group
    assert group.isdisjoint(usual)
