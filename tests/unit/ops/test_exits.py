"""Every error of the project has an exit code, and nobody else's has one."""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest

import backup.errors
import engine.errors
import infra.local.errors
import infra.settings
import migrations.errors
from engine.errors import OperationFailed
from ops import exits
from ops.exits import BUSY, FAILED, MISSING, REFUSED, USAGE, code_of

MODULES = (backup.errors, engine.errors, infra.local.errors, infra.settings, migrations.errors, exits)


def errors_of(module: ModuleType) -> list[type[Exception]]:
    classes = [found for _, found in inspect.getmembers(module, inspect.isclass) if found.__module__ == module.__name__]
    return [found for found in classes if issubclass(found, Exception)]


ERRORS = {error.__name__: error for module in MODULES for error in errors_of(module)}

CODES = {
    "OpsError": FAILED,
    "UsageFault": USAGE,
    "Missing": MISSING,
    "Refused": REFUSED,
    "SettingsError": USAGE,
    "EngineError": FAILED,
    "EngineUnavailable": MISSING,
    "ReleaseUnavailable": FAILED,
    "BuildFailed": FAILED,
    "OperationFailed": FAILED,
    "PluginMissing": MISSING,
    "StackBusy": BUSY,
    "StackMissing": MISSING,
    "PassphraseWrong": USAGE,
    "StateDamaged": REFUSED,
    "StateWhole": USAGE,
    "NotOurs": REFUSED,
    "BackupError": FAILED,
    "BackupDamaged": FAILED,
    "BackupMissing": MISSING,
    "BackupBusy": BUSY,
    "BackupRefused": REFUSED,
    "DumpFailed": FAILED,
    "TableLocked": FAILED,
    "RestoreFailed": FAILED,
    "ValueUnreadable": USAGE,
    "LocalError": FAILED,
    "BinariesMissing": MISSING,
    "DataDirectoryError": REFUSED,
    "PortTaken": FAILED,
    "ServerFailed": FAILED,
    "DockerMissing": MISSING,
    "ContainerFailed": FAILED,
    "NotReachable": FAILED,
    "MigrationError": FAILED,
    "NoDatabaseUrl": USAGE,
    "ConnectionFailed": MISSING,
    "RevisionError": FAILED,
    "UnknownRevision": USAGE,
    "UnknownWay": USAGE,
    "BrokenHistory": FAILED,
    "RoleError": FAILED,
    "Busy": BUSY,
    "MigrationFailed": FAILED,
    "LockTimeout": FAILED,
    "MaintenanceBlocked": FAILED,
    "BadSetting": USAGE,
    "LockLost": FAILED,
    "ProofFailed": FAILED,
}


def made(cls: type[Exception]) -> Exception:
    """One of this class, whatever its constructor wants."""
    return cls.__new__(cls)


def test_every_error_of_the_project_is_listed_here() -> None:
    assert set(CODES) == set(ERRORS)


@pytest.mark.parametrize("name", CODES)
def test_every_error_has_its_exit_code(name: str) -> None:
    assert code_of(made(ERRORS[name])) == CODES[name]


def test_every_code_has_a_meaning_and_a_number_of_its_own() -> None:
    assert {exits.FINE, FAILED, USAGE, MISSING, BUSY, REFUSED} == set(range(6))
    assert set(exits.MEANINGS) == {*range(6), exits.INTERRUPTED}


def test_no_code_is_kept_for_an_error_that_is_gone() -> None:
    assert set(exits._CODES) <= set(ERRORS)
    assert set(exits._OURS) <= set(ERRORS)


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), OSError("x"), KeyboardInterrupt(), SystemExit(1)])
def test_an_error_that_nobody_expected_has_no_code(error: BaseException) -> None:
    assert code_of(error) is None


@pytest.mark.parametrize(
    ("kinds", "code"),
    [
        (set(), FAILED),
        ({"PortTaken"}, FAILED),
        ({"SomethingElse", "DockerMissing"}, MISSING),
        ({"DataDirectoryError", "PortTaken"}, REFUSED),
        ({"SettingsError"}, USAGE),
    ],
)
def test_what_a_provider_raised_decides_how_an_operation_ends(kinds: set[str], code: int) -> None:
    assert code_of(OperationFailed("it failed", frozenset(kinds))) == code


def test_a_subclass_ends_as_its_base_does() -> None:
    class Stricter(exits.Refused):
        pass

    assert code_of(Stricter("no")) == REFUSED
