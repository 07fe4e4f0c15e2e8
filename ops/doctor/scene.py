"""What is looked at: the checkout, the stack, and its settings as far as they can be read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from engine.checkout import Checkout
from ops import stacks
from ops.exits import UsageFault

if TYPE_CHECKING:
    from engine.stack import Stack
    from infra.settings import Settings

LOOK_TIMEOUT_S = 2
"""How long Docker, the server or the address of either may take to answer."""
ENGINE_TIMEOUT_S = 30
"""How long the engine may take to open the stack's secrets: half a second, unless the machine is busy."""
BACKEND_TIMEOUT_S = 2.5
"""The same where the state lies in a backend of the user's own, which may not answer at all."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One stack of one checkout."""

    checkout: Checkout
    stack: str
    chosen: bool
    """Whether somebody chose this stack, or it is only the one that would be looked at first."""
    environ: Mapping[str, str]

    @cached_property
    def _read(self) -> tuple[Settings, str]:
        return _settings(self.checkout, self.stack)

    @property
    def settings(self) -> Settings:
        """Defaults where the file can't be read. Importing what reads it takes a while."""
        return self._read[0]

    @property
    def settings_fault(self) -> str:
        """Why the file can't be read."""
        return self._read[1]

    @property
    def address(self) -> tuple[str, int]:
        """Where the server should answer."""
        host = self.settings.docker.address if self.settings.docker else "127.0.0.1"
        return host, self.settings.database.port


def of(checkout: Checkout, name: str | None) -> Scene:
    """The scene of a stack; of the one that is up where no name is given. Raises ``UsageFault`` for a foreign name."""
    if name is not None and name not in checkout.stacks():
        raise UsageFault(f"there is no stack {name}: no file Pulumi.{name}.yaml; known: {', '.join(checkout.stacks())}")
    chosen = name or stacks.chosen(checkout)
    return Scene(checkout=checkout, stack=chosen or "local", chosen=chosen is not None, environ=os.environ)


def with_engine(scene: Scene) -> Stack | None:
    """The stack with the engine that is at hand; None where there is none: nothing is downloaded here."""
    from engine.acquire import present
    from engine.stack import Stack

    engine = present(environ=scene.environ)
    if engine is None:
        return None
    return Stack(name=scene.stack, checkout=scene.checkout, engine=engine.pulumi, environ=scene.environ)


def _settings(checkout: Checkout, name: str) -> tuple[Settings, str]:
    from infra.settings import Docker, Embedded, Settings, SettingsError

    try:
        return stacks.read_settings(checkout, name), ""
    except (SettingsError, OSError, ValueError) as error:
        fault = str(error).replace("\n", "; ")
    if name == "dev":
        return Settings(stack=name, target="docker", docker=Docker()), fault
    return Settings(stack=name, target="embedded", embedded=Embedded()), fault
