"""Writes ``gcloud_flags.json``: ``python tests/production/record_flags.py``, where gcloud is installed.

The table stands for gcloud's public reference on machines without it.
"""

from __future__ import annotations

import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TABLE = Path(__file__).with_name("gcloud_flags.json")
COMMANDS = (
    "artifacts docker images describe",
    "artifacts repositories add-iam-policy-binding",
    "auth configure-docker",
    "builds submit",
    "iam service-accounts add-iam-policy-binding",
    "iam service-accounts create",
    "iam workload-identity-pools create",
    "iam workload-identity-pools describe",
    "iam workload-identity-pools providers create-oidc",
    "iam workload-identity-pools providers describe",
    "kms keyrings create",
    "kms keys add-iam-policy-binding",
    "kms keys create",
    "logging write",
    "projects add-iam-policy-binding",
    "projects describe",
    "run deploy",
    "run jobs deploy",
    "run jobs execute",
    "run services replace",
    "secrets versions access",
    "services enable",
    "sql instances describe",
    "storage buckets add-iam-policy-binding",
    "storage buckets create",
    "storage buckets update",
    "storage cp",
    "storage ls",
)


def version() -> str:
    """Of the Google Cloud SDK on this machine."""
    done = subprocess.run(["gcloud", "version", "--format=json"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["Google Cloud SDK"]


def flags(command: str) -> list[str]:
    """Every flag that a command's help names, with its negation."""
    done = subprocess.run(["gcloud", *command.split(), "--help"], capture_output=True, text=True, check=True)
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    options = re.findall(r"--(\[no-\])?([a-z][a-z0-9-]*[a-z0-9])", text)
    return sorted({f"--{name}" for _, name in options} | {f"--no-{name}" for negated, name in options if negated})


def main() -> None:
    """Ask gcloud, and write the table."""
    with ThreadPoolExecutor(2) as pool:
        commands = dict(zip(COMMANDS, pool.map(flags, COMMANDS), strict=True))
    TABLE.write_text(json.dumps({"gcloud": version(), "commands": commands}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
