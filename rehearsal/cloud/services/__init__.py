"""The services, one module each: functions registered by the discovery id of the method they answer."""

from __future__ import annotations

import importlib
import pkgutil

from rehearsal.cloud import rules
from rehearsal.cloud.call import METHODS, Registered


def registered() -> dict[str, Registered]:
    """Every method that is answered, by discovery id; imports the services and their rules on the first call."""
    for package in (rules.__path__, __path__):
        prefix = f"{rules.__name__ if package is rules.__path__ else __name__}."
        for module in pkgutil.iter_modules(package, prefix):
            importlib.import_module(module.name)
    return METHODS
