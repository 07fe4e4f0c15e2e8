"""The workflows, parsed, and the linter for them."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from engine import build, wheels
from engine.errors import EngineError

ROOT = Path(__file__).resolve().parents[3]
LINTER = ROOT / ".ci" / "actionlint"


@pytest.fixture(scope="session")
def actionlint() -> Path:
    """actionlint, built from its Go module by the hashes of go.sum; kept in the user's cache, as the engine is.

    Its wheel on PyPI downloads the program from GitHub while it is installed: docs/decisions/actionlint.md.
    """
    recipe = hashlib.sha256(b"".join((LINTER / name).read_bytes() for name in ("go.mod", "go.sum"))).hexdigest()[:16]
    program = wheels.cache_folder() / "actionlint" / recipe / "actionlint"
    program.parent.mkdir(parents=True, exist_ok=True)
    with wheels.locked(program.with_suffix(".lock")):
        if not program.exists():
            _build(program)
    return program


def _build(program: Path) -> None:
    try:
        go = build.find_go(lock=ROOT / "uv.lock", cache=wheels.cache_folder(), environ=os.environ, say=print)
    except EngineError as error:
        return _unavailable(f"actionlint needs Go: {error}")
    aside = program.with_suffix(".new")
    environ = {**os.environ, "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}
    if go.cache is not None:
        environ |= {"GOPATH": str(go.cache / "path"), "GOCACHE": str(go.cache / "cache")}
    command = [go.executable, "build", "-trimpath", "-o", str(aside), "github.com/rhysd/actionlint/cmd/actionlint"]
    done = subprocess.run(command, cwd=LINTER, env=environ, capture_output=True, text=True, check=False, timeout=280)
    if done.returncode != 0:
        return _unavailable(f"actionlint can't be built: {done.stderr[-400:]}")
    aside.replace(program)
    return None


def _unavailable(reason: str) -> None:
    """Skips the test; in CI, where everything must run, fails it."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
