"""What can go wrong with the engine.

::

    EngineError              base; its message is a sentence for the user
    ├── EngineUnavailable    no way to have an engine worked
    ├── UnknownWay           GAIA_ENGINE names none of the ways
    ├── ReleaseUnavailable   the official release can't be had
    ├── BuildFailed          the engine can't be built from Go modules
    ├── PluginMissing        a resource plugin can't be had
    ├── OperationFailed      a preview, update, refresh or destroy failed
    ├── StackBusy            another run holds the stack
    ├── StackMissing         the stack was never made
    ├── PassphraseWrong      the stack's secrets can't be opened
    ├── NotOurs              the checkout's own files belong to another user
    ├── StateDamaged         the stack's state can't be read
    ├── StateWhole           the state to be restored isn't damaged
    └── ValueUnreadable      a value for a stack file isn't YAML
"""

from __future__ import annotations

from collections.abc import Sequence


class EngineError(Exception):
    """The Pulumi engine can't be had. The message says why, and what to do."""


class EngineUnavailable(EngineError):
    """Every way was tried: the message has a line for each. Put Pulumi on PATH, or reach one of the registries."""

    def __init__(self, version: str, tried: Sequence[tuple[str, str]]) -> None:
        lines = "".join(f"\n  {way}: {reason}" for way, reason in tried)
        super().__init__(f"No Pulumi engine {version} or newer can be had:{lines}")
        self.tried = tuple(tried)


class UnknownWay(EngineError):
    """GAIA_ENGINE names none of the ways to an engine."""


class ReleaseUnavailable(EngineError):
    """The release can't be downloaded, or isn't what its checksums say. Another way may work."""


class BuildFailed(EngineError):
    """Go is missing, the disk is full, or the build failed. The message has the end of its output."""


class OperationFailed(EngineError):
    """A preview, update, refresh or destroy failed. The message has a sentence for each resource that did."""

    def __init__(self, message: str, kinds: frozenset[str] = frozenset()) -> None:
        super().__init__(message)
        self.kinds = kinds
        """Class names of the errors that the program and its providers raised."""


class PluginMissing(EngineError):
    """A resource plugin isn't installed and can't be had."""


class StackBusy(EngineError):
    """Another run holds the stack. The message names it."""


class StackMissing(EngineError):
    """The stack was never made."""


class PassphraseWrong(EngineError):
    """The passphrase isn't the one that the stack's secrets were encrypted with."""


class NotOurs(EngineError):
    """The checkout's own files belong to another user, whom ours would lock out."""


class StateDamaged(EngineError):
    """The stack's state can't be read; it is restored only on request."""


class StateWhole(EngineError):
    """Somebody asked to go back to an earlier state, but the latest one is fine."""


class ValueUnreadable(EngineError):
    """A value for a stack file isn't YAML."""
