"""What the program of the stack in PULUMI_STACK will import: its process imports this while the engine starts."""

from __future__ import annotations

import importlib
import os
import pkgutil
from pathlib import Path
from types import ModuleType

_SELDOM = {"encryption", "psc", "sdk"}
"""What few shapes of production need: ``pulumi_gcp.compute`` and ``kms`` take as long as all else together."""


def _is_in_cloud(stack: str) -> bool:
    file = Path(__file__).parent.parent / f"Pulumi.{stack}.yaml"
    return file.exists() and "gaia-db:target: gcp" in file.read_text(encoding="utf-8")


def _production() -> None:
    from infra import gcp

    for name in {module.name for module in pkgutil.iter_modules(gcp.__path__)} - _SELDOM:
        for value in list(vars(importlib.import_module(f"infra.gcp.{name}")).values()):
            if isinstance(value, ModuleType) and value.__name__.startswith("pulumi_gcp."):
                getattr(value, "outputs", None)  # the SDK imports a module when something of it is used


def _local() -> None:
    for name in ("schema", "embedded", "password"):
        importlib.import_module(f"infra.local.{name}")


importlib.import_module("infra.program")
if _is_in_cloud(os.environ.get("PULUMI_STACK", "")):
    _production()
else:
    _local()
