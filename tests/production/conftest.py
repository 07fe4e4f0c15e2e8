"""The provider's package is imported once, before any test: parts of it warn that they are deprecated, on import."""

from __future__ import annotations

import importlib
import warnings

MODULES = (
    "artifactregistry cloudrunv2 cloudscheduler compute dns kms logging monitoring projects secretmanager"
    " serviceaccount servicenetworking sql storage vpcaccess"
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    for name in MODULES.split():
        # Importing alone is lazy: asking for what isn't there runs the module.
        getattr(importlib.import_module(f"pulumi_gcp.{name}"), "nothing", None)
