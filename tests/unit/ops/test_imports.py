"""Commands import what they need only when they run: every such name is there all the same."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("backup", "db", "engine", "infra", "migrations", "ops", "rehearsal")


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def imported(file: Path) -> Iterator[tuple[str, str]]:
    """Every name that a module takes from a package of ours, wherever the import stands."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES:
            yield from ((node.module, alias.name) for alias in node.names)


def has(module: str, name: str) -> bool:
    folder = ROOT / Path(*module.split("."))
    if (folder / f"{name}.py").exists() or (folder / name / "__init__.py").exists():
        return True
    file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    body = [inner for node in tree(file).body for inner in ([node, *node.body] if isinstance(node, ast.If) else [node])]
    defined = {getattr(node, "name", "") for node in body}
    assigned = [node for node in body if isinstance(node, ast.Assign | ast.AnnAssign)]
    names = {inner.id for node in assigned for inner in ast.walk(node) if isinstance(inner, ast.Name)}
    taken = {alias.asname or alias.name for node in body if isinstance(node, ast.ImportFrom) for alias in node.names}
    return name in defined | names | taken


FILES = [pytest.param(file, id=str(file.relative_to(ROOT))) for file in sorted((ROOT / "ops").rglob("*.py"))]


@pytest.mark.parametrize("file", FILES)
def test_what_a_command_imports_is_there(file: Path) -> None:
    assert [f"{module}.{name}" for module, name in imported(file) if not has(module, name)] == []
