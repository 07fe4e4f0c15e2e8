"""What a backend needs from the database's stack: ``./gaia outputs --format cloudrun``, read back, and what it lacks.

The flags are made in one place, ``ops.contract``; the command, the job and the YAML here all follow it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.outputs import CONTRACT_VERSION, NAMES
from ops import contract

SYNC_POOL = 1
"""Of an instance's connections, how many the package's pool for scripts gets; the others are the async pool's."""


class Unfit(Exception):
    """The outputs can't be deployed with; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Database:
    """A stack's outputs, as Cloud Run takes them."""

    outputs: Mapping[str, Any]
    flags: Mapping[str, str]
    """Flags of ``gcloud run deploy`` without their dashes, ``set-secrets`` apart."""
    secrets: Mapping[str, str]
    """Environment variable → ``secret:version``."""
    variables: Mapping[str, str]
    """Environment variables that are no secret."""


def read(found: Mapping[str, Any]) -> Database:
    """From ``pulumi stack output --json``, or ``./gaia outputs``. Raises ``Unfit``, ``ops.exits.UsageFault``."""
    if found.get("contract_version") != CONTRACT_VERSION:
        raise Unfit(
            f"contract_version is {found.get('contract_version')}, and this example reads {CONTRACT_VERSION}: "
            "take the outputs of a stack that is up, and the example of the same commit"
        )
    # The engine leaves nulls out; the contract has every name on every stack.
    outputs = {name: found.get(name) for name in NAMES} | dict(found)
    _require_pinned(outputs)
    flags = dict(line.removeprefix("--").split("=", 1) for line in shlex.split(contract.as_cloudrun(outputs)))
    secrets = dict(pair.split("=", 1) for pair in flags.pop("set-secrets", "").split(",") if pair)
    if not secrets:
        raise Unfit("the stack gives no secrets, so there is no login to deploy with: see its outputs *_secret")
    return Database(outputs=outputs, flags=flags, secrets=secrets, variables=_variables(outputs))


def _require_pinned(outputs: Mapping[str, Any]) -> None:
    """A secret's new version must not reach running instances by itself: half of them would have the old one."""
    references = {name: value for name, value in outputs.items() if name.endswith("_secret") and value}
    loose = [f"{name} ({value['version']})" for name, value in references.items() if not value["version"].isdecimal()]
    if loose:
        raise Unfit(f"these versions aren't pinned: {', '.join(loose)}; give their numbers")


def _variables(outputs: Mapping[str, Any]) -> dict[str, str]:
    """The database's host, and pools that together stay within the stack's connection budget."""
    size = int(outputs["pool_size"])
    if size <= SYNC_POOL:
        raise Unfit(f"pool_size is {size}: the package's two pools need {SYNC_POOL + 1} connections at the least")
    return {
        "DB_HOST": outputs["host"],
        "DATABASE_POOL_SIZE": str(size - SYNC_POOL),
        "DATABASE_POOL_OVERFLOW": str(int(outputs["pool_overflow"])),
        "DATABASE_SYNC_POOL_SIZE": str(SYNC_POOL),
    }
