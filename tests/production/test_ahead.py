"""What is imported while the engine starts is what the program of a stack needs: no less, and little more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LATER = """
import sys

import infra.ahead

before = set(sys.modules)
from tests.production import planning

planning.plan("prod", planning.variants()["defaults"])
print(*sorted(name for name in set(sys.modules) - before if name.startswith(("infra.", "pulumi_gcp."))))
"""
LOADED = (
    "import sys, infra.ahead; print(*sorted(name for name in sys.modules if name.startswith(('infra.', 'pulumi_gcp'))))"
)


def printed(program: str, stack: str) -> set[str]:
    environ = {**os.environ, "PULUMI_STACK": stack, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_production_imports_next_to_nothing_later() -> None:
    later = printed(LATER, "prod")
    assert later == set()


@pytest.mark.parametrize("stack", ["local", "dev", "none of ours"])
def test_a_local_stack_imports_nothing_of_production(stack: str) -> None:
    loaded = printed(LOADED, stack)
    assert "infra.local.schema" in loaded
    assert not {name for name in loaded if name.startswith("pulumi_gcp")} | (loaded & {"infra.gcp.instance"})
