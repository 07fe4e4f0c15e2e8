"""``./gaia setup``, ``test`` and ``check``: for whoever works on this code."""

from __future__ import annotations

import os
import subprocess
import sys

from engine import checkout as places
from ops import stacks
from ops.exits import FAILED, FINE, INTERRUPTED, USAGE, Missing, UsageFault
from ops.report import Report

TIERS = ("unit", "production", "rehearsal", "integration", "engine", "docker", "faults")
_PYTEST_CODES = {0: FINE, 2: INTERRUPTED, 4: USAGE}
"""pytest's exit codes in our words: https://docs.pytest.org/en/stable/reference/exit-codes.html; others are 1."""


def setup(report: Report) -> int:
    """Have everything at hand: the environment (made by the launcher), the engine, the development tools."""
    from engine.acquire import acquire

    checkout = places.here()
    places.prepare(checkout)
    with report.working("looking for the engine") as working:
        engine = acquire(say=report.long, environ=os.environ)
        working.now("installing the development tools")
        require_tools(checkout)
    text = (
        f"engine {engine.version}: {engine.source} ({engine.pulumi})\nready in {report.seconds:.1f} s; next: ./gaia up"
    )
    document = {
        "ok": True,
        "engine": {"version": engine.version, "source": engine.source, "path": str(engine.pulumi)},
        "seconds": report.seconds,
    }
    report.result(text, document)
    return FINE


def test(report: Report, *, tiers: list[str], full: bool, arguments: list[str]) -> int:
    """Run the tests of these tiers, or all of them; ``full`` makes each fault as often as the docs say."""
    checkout = places.here()
    if unknown := sorted(set(tiers) - set(TIERS)):
        raise UsageFault(f"--tier {unknown[0]}: must be one of {', '.join(TIERS)}")
    require_tools(checkout)
    stacks.with_engine(checkout, "local", report.long)  # built now, with progress, rather than within a test
    extra = {"GAIA_FAULTS": "full"} if full else {}
    paths = [f"tests/{tier}" for tier in tiers or TIERS]
    return _PYTEST_CODES.get(_python(checkout, "pytest", *paths, *arguments, **extra), FAILED)


def check(report: Report) -> int:
    """Format, lint and types; every one is run, whatever the others say."""
    checkout = places.here()
    require_tools(checkout)
    codes = []
    for command in (["ruff", "format", "--check", "."], ["ruff", "check", "."], ["basedpyright"]):
        report.say(f"$ {' '.join(command)}")
        codes.append(_python(checkout, *command))
    return max(codes)


def _python(checkout: places.Checkout, module: str, *arguments: str, **extra: str) -> int:
    # The tests make stacks of their own: what was chosen for this shell must not leak into them.
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("GAIA_STACK", "PULUMI_", "POSTGRES_"))
    }
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=checkout.root, env={**kept, **extra}, check=False).returncode


def require_tools(checkout: places.Checkout) -> None:
    """Have the development group of the lock installed. Raises ``Missing``."""
    from engine.environment import EnvironmentFailed, add_development_tools
    from engine.wheels import DownloadError

    try:
        add_development_tools(checkout.root)
    except (EnvironmentFailed, DownloadError, OSError) as error:
        raise Missing(f"the development tools can't be installed: {error}") from None
