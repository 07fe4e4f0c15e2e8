"""Prints what production registers, as JSON by logical name, under mocks: ``planned.py '{"<gcp settings>": …}'``.

A process of its own: Pulumi's mocks are a global of the process, and other tests have theirs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pulumi
import pulumi.runtime
import yaml

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "demo-project"
IMAGE = f"us-west1-docker.pkg.dev/{PROJECT}/gaia-db/migrations@sha256:{'a' * 64}"
ANSWERS = {
    "result": "x" * 32,
    "hex": "0" * 64,
    "version": "1",
    "connectionName": f"{PROJECT}:us-west1:gaia-prod-db",
    "serviceAccountEmailAddress": "p1-x@gcp-sa-cloud-sql.iam.gserviceaccount.com",
    "publicIpAddress": "203.0.113.9",
    "privateIpAddress": "10.9.0.3",
    "serverCaCerts": [{"cert": "PEM"}],
}
"""What only the provider could know."""

found: dict[str, dict[str, Any]] = {}


class Mocks(pulumi.runtime.Mocks):
    """Takes everything, and notes it."""

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        found[args.name] = args.inputs
        return f"{args.name}-id", {**ANSWERS, "name": args.name, **args.inputs}

    def call(self, args: pulumi.runtime.MockCallArgs) -> Any:
        raise AssertionError(f"a look-up: {args.token}")


def main() -> None:
    """Declare production as its stack file has it, with a project, an image and the settings of the argument."""
    file = yaml.safe_load((ROOT / "Pulumi.prod.yaml").read_text(encoding="utf-8"))["config"]
    gcp = {
        **(file.get("gaia-db:gcp") or {}),
        "project": PROJECT,
        "migration_job": {"image": IMAGE},
        **json.loads(sys.argv[1]),
    }
    values = {**file, "gaia-db:gcp": gcp}
    pulumi.runtime.set_mocks(Mocks(), project="gaia-db", stack="prod", preview=False)
    pulumi.runtime.set_all_config({k: v if isinstance(v, str) else json.dumps(v) for k, v in values.items()})
    from infra import program

    pulumi.runtime.test(program.deploy)()
    print(json.dumps(found, default=str))


if __name__ == "__main__":
    main()
