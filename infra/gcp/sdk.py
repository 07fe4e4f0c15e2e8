"""One resource of the provider's package without the three hundred others of its module."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pulumi_gcp

if TYPE_CHECKING:
    from pulumi_gcp.compute import GlobalAddress


def global_address() -> type[GlobalAddress]:
    """``pulumi_gcp.compute.GlobalAddress``, from its own file: the whole of ``compute`` takes as long to import as all
    else that production needs, and this is the only class of it that the usual network uses."""
    file = Path(pulumi_gcp.__file__).parent / "compute" / "global_address.py"
    spec = importlib.util.spec_from_file_location("pulumi_gcp.compute.global_address", file)
    if spec is None or spec.loader is None:
        from pulumi_gcp.compute import GlobalAddress

        return GlobalAddress
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.GlobalAddress
