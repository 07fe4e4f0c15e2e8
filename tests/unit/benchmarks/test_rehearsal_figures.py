"""The arithmetic of the rehearsal's benchmarks, and how the memory of a run is counted; no stage is opened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from benchmarks import rehearsal
from infra import settings


def test_twice_as_many_may_add_twice_as_much() -> None:
    figure = rehearsal.proportion("users", 8, none=[6.0, 5.0, 7.0], half=[8.0], full=[10.0])
    assert (figure.baseline, figure.value, figure.ok) == (10.0, 1.0, True)


def test_more_than_in_proportion_is_over_its_bar() -> None:
    """Quadratic: 8 add 2 s, 16 add 8 s."""
    assert not rehearsal.proportion("users", 8, none=[6.0], half=[8.0], full=[14.0]).ok


@pytest.mark.parametrize("name", list(rehearsal.GROWING))
def test_what_grows_are_settings_that_production_takes(name: str) -> None:
    what = rehearsal.GROWING[name]
    ((path, text),) = rehearsal.grown(what, 2 * what.half).given
    _, section, *rest = path.split(".")
    for key in reversed(rest):
        text = f"{{{key}: {text}}}"
    given = {"target": "gcp", "gcp": {"project": "gaia-test", section: yaml.safe_load(text)}}
    found = settings.parse("prod", given).gcp
    assert found is not None
    many = {"replicas": found.replicas, "alerts": found.alerts.emails, "users": found.access.iam_users}[name]
    assert len(many) == 2 * what.half


def test_the_yardstick_is_a_checkout_of_its_own_that_goes_again() -> None:
    with rehearsal.nothing(3) as program:
        found = {file.name for file in program.root.iterdir()}
        assert found == {"Pulumi.yaml", ".venv", "__main__.py", "Pulumi.prod.yaml"}
        assert "range(3)" in (program.root / "__main__.py").read_text()
    assert not program.root.exists()


def test_memory_is_that_of_a_process_and_of_what_it_starts(tmp_path: Path) -> None:
    """100 MB in the child of a child."""
    ready = tmp_path / "ready"
    held = f"import pathlib, time; x = b'x' * 100_000_000; pathlib.Path({str(ready)!r}).touch(); time.sleep(600)"
    starts = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {held!r}])"
    process = subprocess.Popen([sys.executable, "-c", starts], start_new_session=True)
    try:
        while not ready.exists():
            assert process.poll() is None
            time.sleep(0.01)
        assert 100 < rehearsal.memory_mb(psutil.Process(process.pid)) < 300
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
