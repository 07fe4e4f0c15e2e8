"""The migrations' image, by its Dockerfile: small, pinned, not root, and with nothing in it that it doesn't need."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from tests.images import requirements

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "migrations" / "Dockerfile").read_text(encoding="utf-8")
KNOWN = {"ARG", "FROM", "COPY", "RUN", "LABEL", "ENV", "WORKDIR", "USER", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    lines = [line for line in TEXT.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined.splitlines() if line.strip()]


def of(name: str) -> list[str]:
    return [argument for instruction, argument in instructions() if instruction == name]


def test_it_uses_nothing_but_plain_instructions() -> None:
    assert {name for name, _ in instructions()} <= KNOWN  # no ADD, no HEALTHCHECK, no VOLUME


def test_its_base_is_pinned_by_digest_and_named_once() -> None:
    (base,) = of("ARG")
    assert re.fullmatch(r"BASE=python:3\.11-slim-bookworm@sha256:[0-9a-f]{64}", base)
    assert of("FROM") == ["${BASE} AS packages", "${BASE}"]


@pytest.mark.parametrize("name", ["RUN", "ENTRYPOINT", "CMD"])
def test_no_shell_is_involved(name: str) -> None:
    assert all(isinstance(json.loads(argument), list) for argument in of(name))


def test_it_is_not_root_in_the_end_by_number_so_that_anybody_can_check() -> None:
    assert of("USER") == ["65532:65532"]
    assert [name for name, _ in instructions()].index("USER") > max(
        number for number, (name, _) in enumerate(instructions()) if name in {"RUN", "COPY"}
    )


def test_packages_come_with_their_hashes_and_nothing_is_built() -> None:
    install = next(json.loads(argument) for argument in of("RUN") if "pip" in argument)
    assert {"--require-hashes", "--no-deps", "--only-binary=:all:", "--no-cache-dir"} <= set(install)


def test_the_requirements_are_those_of_the_lock() -> None:
    assert requirements.FILE.read_text(encoding="utf-8") == requirements.text(), (
        "uv.lock has other versions: python -m tests.images.requirements writes the file anew"
    )


def test_each_package_has_a_wheel_for_both_architectures() -> None:
    lock = {p["name"]: p for p in tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]}
    for block in requirements.text().split("\n")[1:]:
        if found := re.match(r"([\w-]+)==", block):
            names = [wheel["url"] for wheel in lock[found[1]]["wheels"] if requirements.WHEELS.search(wheel["url"])]
            either = any(name.endswith("none-any.whl") for name in names)
            assert either or ({"x86_64", "aarch64"} <= {re.findall(r"x86_64|aarch64", n)[-1] for n in names}), found[1]


def test_no_secret_is_baked_in() -> None:
    assert not re.search(r"(?i)password|secret|token|_key\b|://\w+:\w+@", TEXT)


def test_the_context_is_closed_but_for_what_is_copied() -> None:
    rules = [r for r in (ROOT / ".dockerignore").read_text().splitlines() if r and not r.startswith("#")]
    assert rules[0] == "*"
    assert {r[1:] for r in rules if r.startswith("!")} == {
        "db/__init__.py",
        "db/identity.py",
        "db/models.py",
        "migrations",
    }
    assert "**/__pycache__" in rules


def test_what_is_copied_of_db_needs_nothing_else_of_it() -> None:
    copied = {"identity", "models"}
    for name in copied:
        source = (ROOT / "db" / f"{name}.py").read_text(encoding="utf-8")
        imported = set(re.findall(r"^(?:from|import) db\.(\w+)|^from db import (\w+)", source, re.MULTILINE))
        assert {a or b for a, b in imported} <= copied
    users = [*(ROOT / "migrations").glob("*.py"), *(ROOT / "migrations" / "versions").glob("*.py")]
    for path in users:
        for found in re.findall(r"\bdb\.(\w+) import|^\s*from db import (\w+)", path.read_text("utf-8"), re.MULTILINE):
            assert (found[0] or found[1]) in copied, path.name
