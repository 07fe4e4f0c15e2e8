"""``./gaia cloud`` says where it is in everybody's words, serves until it is told to end, and leaves nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 120


@contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    command = [sys.executable, "-m", "ops", "cloud", "--json", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process, document(process)
        finally:
            process.terminate()
            process.wait(timeout=TIMEOUT_S)


def document(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The one document, up to the brace that ends it; the process stays up."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if line.rstrip() == "}":
            break
    return json.loads("".join(lines))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_end_and_leaves_nothing(how: signal.Signals) -> None:
    with started("--api", "secretmanager") as (process, said):
        token_file = Path(said["token_file"])
        assert said["ok"] and token_file.stat().st_mode & 0o077 == 0
        token = token_file.read_text()
        url = f"{said['services']['secretmanager']}/v1/projects/{said['project']}/secrets"
        with requests.get(url, headers={"authorization": f"Bearer {token}"}, timeout=TIMEOUT_S) as answer:
            assert answer.json() == {"totalSize": 0}
        process.send_signal(how)
        assert process.wait(timeout=TIMEOUT_S) == 0
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.read() == "" and token not in process.stderr.read() + json.dumps(said)
        assert not token_file.parent.exists()


def test_the_endpoints_are_this_cloud_s_in_every_form() -> None:
    with started() as (_, said):
        forms = (said["services"], said["pulumi"], said["terraform"])
        assert all(value.startswith(said["url"]) for form in forms for value in form.values())
        assert said["pulumi"]["gcp:sqlCustomEndpoint"] == f"{said['url']}/sqladmin/sql/v1beta4/"
        assert said["terraform"]["secret_manager_custom_endpoint"] == f"{said['url']}/secretmanager/v1/"
        assert said["gcloud"]["CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE"] == f"{said['url']}/compute/compute/v1/"


def test_an_api_that_there_is_not_is_a_fault_of_the_command_line() -> None:
    command = [sys.executable, "-m", "ops", "cloud", "--api", "nonsense"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert ended.returncode == 2 and "--api nonsense: must be all or some of" in ended.stderr
