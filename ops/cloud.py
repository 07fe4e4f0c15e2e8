"""``./gaia cloud``: Google's APIs on loopback, alone and in the foreground, for anybody's program or client."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from engine import checkout as places
from ops.exits import FINE, Missing, UsageFault
from ops.report import Report

PROJECT, REGION = "demo-project", "us-west1"


def cloud(report: Report, *, project: str, region: str, apis: list[str]) -> int:
    """Start the cloud, say where it is, and end with Ctrl-C. Nothing is left of it."""
    require_packages(places.here())
    from rehearsal.cloud.app import running
    from rehearsal.cloud.discovery import HOSTS
    from rehearsal.cloud.state import Cloud
    from rehearsal.sql.servers import Servers

    if unknown := sorted(set(apis) - {*HOSTS, "all"}):
        raise UsageFault(f"--api {unknown[0]}: must be all or some of {', '.join(sorted(HOSTS))}")
    with _ended_by_signals() as ended, closing(Servers()) as servers:
        # In the servers' folder, which is removed even after a SIGKILL.
        folder = servers.folder / "cloud"
        folder.mkdir(mode=0o700)
        made = Cloud(folder=folder, project=project, region=region, servers=servers)
        made.enabled |= set(HOSTS) if "all" in apis else set(apis)
        with running(made) as url:
            token_file = folder / "token"
            token_file.touch(mode=0o600)
            token_file.write_text(made.operator_token)
            document = _document(url, project, made.number, token_file)
            report.result(_text(document), document)
            report.say("the cloud is up; Ctrl-C ends it")
            _wait(ended)
            report.say(f"ended after {len(made.journal)} requests; nothing is left of it")
    return FINE


@contextmanager
def _ended_by_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and a polite kill set."""
    ended = threading.Event()
    before = {
        each: signal.signal(each, lambda *_: ended.set()) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield ended
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _wait(ended: threading.Event) -> None:
    while not ended.wait(3600):
        pass


def _document(url: str, project: str, number: str, token_file: Path) -> dict[str, Any]:
    from rehearsal.cloud import endpoints

    return {
        "ok": True,
        "url": url,
        "project": project,
        "project_number": number,
        "token_file": str(token_file),
        "services": endpoints.services(url),
        "pulumi": endpoints.pulumi(url),
        "terraform": endpoints.terraform(url),
        "gcloud": {
            **endpoints.gcloud(url),
            "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(token_file),
            "CLOUDSDK_CORE_PROJECT": project,
        },
    }


def _text(document: dict[str, Any]) -> str:
    token = f'export GOOGLE_OAUTH_ACCESS_TOKEN="$(cat {document["token_file"]})"'
    pulumi = [f"pulumi config set --plaintext {key} {value}" for key, value in document["pulumi"].items()]
    terraform = [f'  {key} = "{value}"' for key, value in document["terraform"].items()]
    gcloud = [f"export {key}={value}" for key, value in document["gcloud"].items()]
    return "\n".join(
        [
            f"project {document['project']} ({document['project_number']}) at {document['url']}",
            "",
            "# the operator's token, for Pulumi, Terraform and plain clients",
            token,
            "export PULUMI_GCP_SKIP_REGION_VALIDATION=true",
            "",
            "# Pulumi: the configuration of the official gcp plugin",
            *pulumi,
            "",
            "# Terraform: the google provider",
            'provider "google" {',
            f'  project = "{document["project"]}"',
            *terraform,
            "}",
            "",
            "# gcloud",
            *gcloud,
        ]
    )


def require_packages(checkout: places.Checkout) -> None:
    """Have the packages of the rehearsal installed, which ``./gaia up`` does without. Raises ``Missing``."""
    from engine.environment import EnvironmentFailed, add_rehearsal
    from engine.wheels import DownloadError

    try:
        add_rehearsal(checkout.root)
    except (EnvironmentFailed, DownloadError, OSError) as error:
        raise Missing(f"the packages of the rehearsal can't be installed: {error}") from None
