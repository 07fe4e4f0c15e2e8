"""The provider's modules, each class from its own file: ``from infra.gcp.sdk import sql``.

A module of ``pulumi_gcp`` imports all its resources when one is used: hundreds where production needs forty, and that
takes as long as all else in a preview. Here a module is a package that takes each name out of its file when it is
first used, and is imported as a whole where it has no such file.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pulumi_gcp

if TYPE_CHECKING:
    from pulumi_gcp import artifactregistry as artifactregistry
    from pulumi_gcp import cloudrunv2 as cloudrunv2
    from pulumi_gcp import cloudscheduler as cloudscheduler
    from pulumi_gcp import compute as compute
    from pulumi_gcp import dns as dns
    from pulumi_gcp import kms as kms
    from pulumi_gcp import logging as logging
    from pulumi_gcp import monitoring as monitoring
    from pulumi_gcp import projects as projects
    from pulumi_gcp import secretmanager as secretmanager
    from pulumi_gcp import serviceaccount as serviceaccount
    from pulumi_gcp import servicenetworking as servicenetworking
    from pulumi_gcp import sql as sql
    from pulumi_gcp import storage as storage
    from pulumi_gcp import vpcaccess as vpcaccess

_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class Package(ModuleType):
    """``pulumi_gcp.<name>``: ``BucketIAMMember`` is in ``bucket_iam_member.py``, what it nests in ``_inputs.py``."""

    def __init__(self, name: str) -> None:
        super().__init__(f"pulumi_gcp.{name}")
        self._folder = Path(pulumi_gcp.__file__).parent / name
        file = self._folder / "__init__.py"
        self.__spec__ = importlib.util.spec_from_file_location(
            self.__name__, file, submodule_search_locations=[str(self._folder)]
        )
        self.__file__, self.__path__, self.__package__ = str(file), [str(self._folder)], self.__name__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        for file in (_file_of(name), "_inputs"):
            if (self._folder / f"{file}.py").exists():
                module = importlib.import_module(f"{self.__name__}.{file}")
                found = module if name == file else getattr(module, name, None)
                if found is not None:
                    setattr(self, name, found)
                    return found
        return self._whole(name)

    def _whole(self, name: str) -> Any:
        """As the package itself has it. Raises ``AttributeError``."""
        if "_utilities" not in self.__dict__ and self.__spec__ and self.__spec__.loader:
            self.__spec__.loader.exec_module(self)
            if name in self.__dict__:
                return self.__dict__[name]
        raise AttributeError(f"module {self.__name__} has no attribute {name}")


def _file_of(name: str) -> str:
    """``bucket_iam_member`` of ``BucketIAMMember`` and of ``BucketIAMMemberArgs``."""
    return _WORDS.sub("_", name.removesuffix("Args")).lower()


def __getattr__(name: str) -> Any:
    if name.startswith("_") or not (Path(pulumi_gcp.__file__).parent / name).is_dir():
        raise AttributeError(name)
    package = Package(name)
    sys.modules[package.__name__] = package
    setattr(pulumi_gcp, name, package)
    globals()[name] = package
    return package
