"""What the program of the stack in PULUMI_STACK will import: its process imports this while the engine starts."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import re
from pathlib import Path
from types import ModuleType

_SELDOM = {"client_certificate", "encryption", "psc"}
"""Modules of shapes of production that few have."""
_NAMED = re.compile(r"\b([a-z]\w+)\.([A-Z]\w+)")


def _is_in_cloud(stack: str) -> bool:
    file = Path(__file__).parent.parent / f"Pulumi.{stack}.yaml"
    return file.exists() and "gaia-db:target: gcp" in file.read_text(encoding="utf-8")


def _production() -> None:
    from infra import gcp

    for name in {module.name for module in pkgutil.iter_modules(gcp.__path__)} - _SELDOM:
        module = importlib.import_module(f"infra.gcp.{name}")
        # The SDK's classes are imported when they are first used: those that the module names.
        for package, named in set(_NAMED.findall(inspect.getsource(module))):
            value = getattr(module, package, None)
            if isinstance(value, ModuleType) and value.__name__.startswith("pulumi_gcp."):
                getattr(value, named, None)


def _local() -> None:
    for name in ("schema", "embedded", "password"):
        importlib.import_module(f"infra.local.{name}")


importlib.import_module("infra.program")
if _is_in_cloud(os.environ.get("PULUMI_STACK", "")):
    _production()
else:
    _local()
