"""What a command ends with: its exit code, and the errors that lead to it.

OpsError                 a command can't do what it was asked to (exit 1)
├── UsageFault           the command line asks for what can't be (2)
├── Missing              something needed isn't there: Docker, the engine, a running stack (3)
└── Refused              it would lose data (5)
"""

from __future__ import annotations

FINE = 0
FAILED = 1
USAGE = 2
MISSING = 3
BUSY = 4
REFUSED = 5
INTERRUPTED = 130
"""Ctrl-C, as shells count it."""

MEANINGS = {
    FINE: "fine",
    FAILED: "a check or an operation failed",
    USAGE: "usage or settings",
    MISSING: "something needed is missing (Docker, engine, network, a stack that isn't up)",
    BUSY: "the stack is busy",
    REFUSED: "refused, to protect data",
    INTERRUPTED: "interrupted",
}


class OpsError(Exception):
    """A command failed. The message is one sentence with the way out."""


class UsageFault(OpsError):
    """The command line asks for what can't be."""


class Missing(OpsError):
    """Something needed isn't there."""


class Refused(OpsError):
    """It would lose data: say so explicitly, with ``--yes`` where the message names it."""


# By name, so that starting the command line imports none of the packages that define them.
_CODES = {
    "UsageFault": USAGE,
    "Missing": MISSING,
    "Refused": REFUSED,
    "SettingsError": USAGE,
    "PassphraseWrong": USAGE,
    "EngineUnavailable": MISSING,
    "PluginMissing": MISSING,
    "StackMissing": MISSING,
    "BinariesMissing": MISSING,
    "DockerMissing": MISSING,
    "NoDatabaseUrl": USAGE,
    "BadSetting": USAGE,
    "UnknownRevision": USAGE,
    "UnknownWay": USAGE,
    "ValueUnreadable": USAGE,
    "StateWhole": USAGE,
    "ConnectionFailed": MISSING,
    "StackBusy": BUSY,
    "Busy": BUSY,
    "StateDamaged": REFUSED,
    "DataDirectoryError": REFUSED,
    "NotOurs": REFUSED,
    "BackupMissing": MISSING,
    "BackupBusy": BUSY,
    "BackupRefused": REFUSED,
}
_OURS = ("OpsError", "EngineError", "LocalError", "SettingsError", "MigrationError", "BackupError")


def code_of(error: BaseException) -> int | None:
    """The exit code for an error of ours; None for one that nobody expected."""
    names = [cls.__name__ for cls in type(error).__mro__]
    for name in (*names, *sorted(getattr(error, "kinds", ()))):
        if name in _CODES:
            return _CODES[name]
    return FAILED if any(name in _OURS for name in names) else None
