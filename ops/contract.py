"""``./gaia outputs``: the contract in the forms its readers take."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from infra.outputs import NAMES
from ops import stacks
from ops.exits import Missing, UsageFault
from ops.report import Report

Outputs = Mapping[str, Any]


def outputs(report: Report, *, stack_name: str | None, form: str) -> None:
    """Print the contract. Secret values are masked; references to secrets are not secret."""
    if form not in FORMS:
        raise UsageFault(f"--format {form}: must be one of {', '.join(FORMS)}")
    stack = stacks.open_stack(stack_name, report.long)
    found = stack.outputs(show_secrets=False)
    if "contract_version" not in found:
        raise Missing(f"stack {stack.name} is not up: run ./gaia up --stack {stack.name}")
    # The engine leaves nulls out; the contract has every name on every stack.
    contract = {name: found.get(name) for name in NAMES}
    text = FORMS[form](contract)
    report.result(text, {"ok": True, "stack": stack.name, "format": form, "outputs": contract})


def as_json(contract: Outputs) -> str:
    """One JSON object, as ``docs/outputs.schema.json`` describes it."""
    return json.dumps(contract, indent=2, sort_keys=True)


def as_env(contract: Outputs) -> str:
    """Shell assignments ``GAIA_DB_<NAME>=…``; nulls and masked values are left out."""
    return "\n".join(f"GAIA_DB_{name.upper()}={shlex.quote(value)}" for name, value in _texts(contract))


def as_github(contract: Outputs) -> str:
    """Lines for ``$GITHUB_OUTPUT``: ``name=value``; nulls and masked values are left out."""
    # A line break would start another output of the workflow.
    return "\n".join(f"{name}={' '.join(value.split())}" for name, value in _texts(contract))


def as_cloudrun(contract: Outputs) -> str:
    """The flags that ``gcloud run deploy`` takes, one a line. Raises ``UsageFault`` on a local stack."""
    if contract["target"] != "gcp":
        raise UsageFault(
            f"stack {contract['environment']} runs on target {contract['target']}: "
            "only a stack on gcp has Cloud Run flags"
        )
    references = {
        "DB_USER": contract["user_secret"],
        "DB_PASSWORD": contract["password_secret"],
        "DB_NAME": contract["name_secret"],
        "DATABASE_URL": contract["database_url_secret"],
        "GAIA_IDENTITY_KEY": contract.get("identity_key_secret"),
        # Files, each in a folder of its own: Cloud Run mounts one secret a folder.
        "/secrets/server-ca/server-ca.pem": contract.get("server_ca_secret"),
        "/secrets/client-cert/client-cert.pem": contract.get("client_certificate_secret"),
        "/secrets/client-key/client-key.pem": contract.get("client_key_secret"),
    }
    mounted = ",".join(f"{name}={_secret_name(ref)}:{ref['version']}" for name, ref in references.items() if ref)
    given = {flag: contract[name] for flag, name in _CLOUD_RUN_FLAGS if contract.get(name) is not None}
    if not str(contract["host"]).startswith("/cloudsql/"):
        given.pop("add-cloudsql-instances", None)  # an address: Cloud Run's socket isn't used, and can't reach PSC
    flags = [f"--{flag}={value}" for flag, value in given.items()]
    if mounted:
        flags.append(f"--set-secrets={mounted}")
    return "\n".join(shlex.quote(flag) for flag in flags)


_CLOUD_RUN_FLAGS = (
    ("add-cloudsql-instances", "instance_connection_name"),
    ("service-account", "runtime_service_account"),
    ("vpc-connector", "vpc_connector"),
    ("network", "vpc_network"),
    ("subnet", "vpc_subnetwork"),
    ("vpc-egress", "vpc_egress"),
    ("max-instances", "max_instances"),
)

FORMS: dict[str, Callable[[Outputs], str]] = {
    "json": as_json,
    "env": as_env,
    "cloudrun": as_cloudrun,
    "github": as_github,
}


def _secret_name(reference: Mapping[str, str]) -> str:
    return reference["id"].rsplit("/", 1)[-1]


def _texts(contract: Outputs) -> list[tuple[str, str]]:
    return [
        (name, value if isinstance(value, str) else json.dumps(value))
        for name, value in sorted(contract.items())
        if value is not None and value != "[secret]"
    ]
