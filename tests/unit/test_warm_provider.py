"""How an engine is attached to the provider that runs already."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from engine import warm_provider
from engine.warm_provider import ATTACHED, WarmProvider


@contextmanager
def provider(code: str) -> Iterator[WarmProvider]:
    with tempfile.TemporaryFile("w+") as errors:
        command = [sys.executable, "-c", code]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
            yield WarmProvider(process=process, errors=errors)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, "pulumi-python:1234"),
        ({ATTACHED: ""}, "pulumi-python:1234"),
        ({ATTACHED: "docker:1"}, "docker:1,pulumi-python:1234"),
        ({ATTACHED: "pulumi-python:7"}, "pulumi-python:7"),
    ],
)
def test_attached_beside_the_callers_own(before: dict[str, str], after: str) -> None:
    with provider("print(1234)") as warm:
        assert warm.attach({"HOME": "/h", **before}) == {"HOME": "/h", ATTACHED: after}


def test_one_that_failed_leaves_the_engine_to_start_its_own() -> None:
    with provider("import sys; sys.exit('no SDK')") as warm:
        assert warm.attach({"HOME": "/h"}) == {"HOME": "/h"}
        warm.process.wait()
        assert "no SDK" in warm.said()


def test_it_ends_with_the_block() -> None:
    root = Path(warm_provider.__file__).parent.parent
    with warm_provider.started(root, "run", {"PATH": "/usr/bin:/bin"}) as warm:
        process = psutil.Process(warm.process.pid)
        assert warm.attach({})[ATTACHED].startswith("pulumi-python:")
        assert process.environ()["GAIA_RUN"] == "run"  # which a process that has only just begun may not have yet
    assert not process.is_running()
