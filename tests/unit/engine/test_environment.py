"""``./gaia`` makes the environment when it isn't made, and costs nothing when it is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.environment import is_made

ROOT = Path(__file__).parents[3]

UV = """#!/bin/sh
[ "$1" = --version ] && exit 0
echo "$@" >> "$0.asked"
[ -e "$0.fails" ] && exit 1
mkdir -p "$UV_PROJECT_ENVIRONMENT/bin"
cp "${0%/*}/made-python" "$UV_PROJECT_ENVIRONMENT/bin/python"
"""


@dataclass(frozen=True)
class Checkout:
    """A checkout with the launcher, a ``uv`` of its own, and an environment whose Python only says how it is run."""

    root: Path
    tools: Path
    environ: dict[str, str]

    def gaia(
        self, *arguments: str, start: Path | None = None, cwd: Path | None = None, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [start or self.root / "gaia", *arguments],
            cwd=cwd or self.root,
            env=self.environ | environ,
            capture_output=True,
            text=True,
        )

    def syncs(self) -> int:
        asked = self.tools / "uv.asked"
        return len(asked.read_text().splitlines()) if asked.exists() else 0


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root, tools = tmp_path / "checkout", tmp_path / "tools"
    (root / "engine").mkdir(parents=True)
    tools.mkdir()
    for name in ("gaia", "engine/environment.py", "engine/wheels.py"):
        shutil.copy2(ROOT / name, root / name)
    (root / "uv.lock").write_text("one")
    for name, text in (("uv", UV), ("made-python", '#!/bin/sh\necho "$PWD|${PYTHONPATH:-}|$@"\n')):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    python = Path(sys.base_prefix) / "bin"
    return Checkout(root, tools, {"PATH": f"{tools}:{python}:/usr/bin:/bin", "HOME": str(tmp_path / "home")})


def test_the_first_command_makes_the_environment_and_says_so_on_standard_error(checkout: Checkout) -> None:
    done = checkout.gaia("up", "two words")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{checkout.root}||-P -m ops up two words\n"
    assert "making the environment" in done.stderr
    assert is_made(checkout.root)


def test_the_second_command_makes_nothing(checkout: Checkout) -> None:
    checkout.gaia()
    done = checkout.gaia()
    assert (done.stderr, checkout.syncs()) == ("", 1)


def test_it_runs_in_the_callers_folder_through_a_link_too(checkout: Checkout, tmp_path: Path) -> None:
    checkout.gaia()
    link = tmp_path / "link"
    link.symlink_to("checkout/gaia")
    assert checkout.gaia("x", start=link, cwd=tmp_path).stdout == f"{tmp_path}||-P -m ops x\n"


def test_the_callers_python_settings_do_not_reach_it(checkout: Checkout) -> None:
    done = checkout.gaia("x", PYTHONPATH="/nowhere", PYTHONHOME="/nowhere", VIRTUAL_ENV="/nowhere")
    assert done.stdout == f"{checkout.root}||-P -m ops x\n"


def break_lock(root: Path) -> None:
    (root / "uv.lock").write_text("two")


def break_interruption(root: Path) -> None:
    (root / ".venv" / ".gaia-lock").unlink()


def break_python(root: Path) -> None:
    (root / ".venv" / "bin" / "python").unlink()


def break_environment(root: Path) -> None:
    shutil.rmtree(root / ".venv")


def break_move(root: Path) -> None:
    (root / ".venv" / ".gaia-root").write_text("/elsewhere\n")


@pytest.mark.parametrize("harm", [break_lock, break_interruption, break_python, break_environment, break_move])
def test_what_is_no_longer_right_is_made_again(checkout: Checkout, harm: Callable[[Path], None]) -> None:
    checkout.gaia()
    harm(checkout.root)
    assert not is_made(checkout.root)
    assert checkout.gaia().returncode == 0
    assert is_made(checkout.root)
    assert checkout.syncs() == 2


def test_a_uv_that_fails_leaves_an_environment_that_is_not_made(checkout: Checkout) -> None:
    (checkout.tools / "uv.fails").touch()
    (checkout.root / "uv.lock").write_text("version = 1\n")
    done = checkout.gaia("up")
    assert (done.returncode, done.stdout) == (3, "")
    assert "uv.lock has no uv" in done.stderr
    assert "Traceback" not in done.stderr
    assert not is_made(checkout.root)


def test_without_a_python_it_says_which_one_is_needed(checkout: Checkout, tmp_path: Path) -> None:
    tools = tmp_path / "few"
    tools.mkdir()
    for name in ("sh", "cmp", "readlink"):
        (tools / name).symlink_to(shutil.which(name) or "")
    done = checkout.gaia(PATH=str(tools))
    assert done.returncode == 3
    assert done.stderr == (
        "gaia: Python 3.11 or newer is needed and none is on PATH: install it, then run this again.\n"
    )
