"""``./gaia rehearse`` as a person or a pipeline runs it: its exit codes, its JSON, its page, and what it leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.local.postgres import packaged_binaries
from ops import exits
from tests import postgres

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 300


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Without Pulumi's plugins and anybody's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PULUMI_", "GAIA_", "GOOGLE_"))}
    return {**kept, "PULUMI_HOME": str(tmp_path / "home")}


def rehearse(environ: dict[str, str], *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, the document, and what was said."""
    if (reason := postgres.unavailable()) is not None:
        pytest.skip(reason)
    command = [ROOT / "gaia", "rehearse", "--json", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=TIMEOUT_S)
    return done.returncode, json.loads(done.stdout), done.stderr


def test_a_phase_is_played_and_reported(environ: dict[str, str], tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    code, document, said = rehearse(environ, "--phase", "preview", "--html", str(page))
    assert code == exits.FINE, said
    assert list(document) == ["ok", "stack", "provider", "seconds", "phases", "notes"]
    assert (document["ok"], document["provider"]) == (True, "builtin")
    (phase,) = document["phases"]
    assert list(phase) == ["name", "ok", "seconds", "checks"]
    assert [list(check) for check in phase["checks"]] == [["name", "ok", "hint"]] * len(phase["checks"])
    assert any("built-in provider" in note for note in document["notes"])
    text = page.read_text(encoding="utf-8")
    assert "Rehearsal of prod" in text
    assert "http" not in text.replace("http-equiv", ""), "it needs nothing from anywhere"


def test_a_setting_that_google_refuses_fails_its_phase_in_googles_words(environ: dict[str, str]) -> None:
    """A tier that this edition doesn't have: the settings know that one; this name only Google can know."""
    code, document, _ = rehearse(environ, "--phase", "up", "--set", "gcp.network.network=nowhere")
    assert code == exits.FAILED
    (phase,) = document["phases"]
    assert not document["ok"]
    assert not phase["ok"]
    assert "nowhere" in phase["checks"][-1]["hint"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--phase", "nope"), exits.USAGE, "preview"),
        (("--fault", "nope"), exits.USAGE, "primary-lost"),
        (("--provider", "mine"), exits.USAGE, "builtin"),
        (("--stack", "local"), exits.USAGE, "Google Cloud"),
        (("--set", "gcp.region"), exits.USAGE, "KEY=VALUE"),
        (("--provider", "official", "--phase", "preview"), exits.MISSING, "--provider builtin"),
    ],
)
def test_what_can_not_be_is_refused_with_the_way_out(
    environ: dict[str, str], arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended, document, _ = rehearse(environ, *arguments)
    assert ended == code
    assert said in document["error"]


def test_what_is_kept_can_be_worked_on_by_hand_until_ctrl_c(environ: dict[str, str]) -> None:
    if (reason := postgres.unavailable()) is not None:
        pytest.skip(reason)
    command = [ROOT / "gaia", "rehearse", "--phase", "migrate", "--keep", "--json"]
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stderr is not None
        said = ""
        while "in another terminal: " not in said:
            said = running.stderr.readline().decode()
            assert said, "it ended"
        file = Path(said.partition("in another terminal: . ")[2].strip())
        assert file.stat().st_mode & 0o777 == 0o600
        psql = packaged_binaries() / "psql"
        assert by_hand(environ, file, f"{psql} -AtX -c 'SELECT current_user' \"$DATABASE_URL\"") == "gaia_app"
        assert "gaia-prod-db" in by_hand(environ, file, "pulumi stack output -s prod instance_connection_name")
        if shutil.which("gcloud"):
            assert by_hand(environ, file, "gcloud sql instances list --format='value(name)'") == "gaia-prod-db"
        running.send_signal(signal.SIGINT)
        out, _ = running.communicate(timeout=TIMEOUT_S)
    assert running.returncode == exits.FINE
    assert json.loads(out)["ok"]
    assert not file.exists()


def by_hand(environ: dict[str, str], file: Path, command: str) -> str:
    """What a command says in a shell that has read the file."""
    done = subprocess.run(
        ["bash", "-euc", f". {file}; {command}"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_however_it_ends_nothing_is_left(environ: dict[str, str], how: signal.Signals) -> None:
    if (reason := postgres.unavailable()) is not None:
        pytest.skip(reason)
    command = [ROOT / "gaia", "rehearse", "--phase", "up"]
    running = subprocess.Popen(
        command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert running.stderr is not None
    line = ""
    while "up" not in line.split():
        line = running.stderr.readline()
        assert line, "it ended before its first phase"
    time.sleep(2)
    inside = psutil.Process(running.pid).children(recursive=True)
    folders = {argument for each in inside for argument in _arguments(each) if "/gc-" in argument}
    assert inside
    assert folders
    running.send_signal(how)
    code = running.wait(TIMEOUT_S)
    running.stderr.close()
    assert code == (exits.INTERRUPTED if how == signal.SIGINT else -signal.SIGKILL)
    until = time.monotonic() + 60
    while (left := [each for each in inside if _lives(each)]) and time.monotonic() < until:
        time.sleep(0.1)
    assert left == []
    while any(Path(folder).exists() for folder in folders) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(Path(folder).exists() for folder in folders)


def _arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
