"""From what the engine says to an error with one sentence for each thing that went wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence

from engine.errors import EngineError, OperationFailed, PassphraseWrong, PluginMissing, StackBusy, StackMissing, StateDamaged

_MARKUP = re.compile(r"<\{%[^%]*%\}>|\x1b\[[0-9;]*m")
# What Python prints last of a traceback: the exception's full name and its message.
_EXCEPTION = re.compile(r"^(?:[a-z_][a-z0-9_]*\.)*(?P<kind>[A-Z]\w*): ", re.MULTILINE)
_LOCK = re.compile(r"created by (\S+) \(pid (\d+)\) at (\S+)")
_NOISE = ("update failed", "preview failed", "destroy failed", "refresh failed", "resource plugin", "an unhandled error")


def explained(stack: str, operation: str, stderr: str, failures: Sequence[str]) -> EngineError:
    """The error to raise for an operation of the engine that failed."""
    text = _MARKUP.sub("", "\n".join([*failures, stderr]))
    if "the stack is currently locked by" in text:
        found = _LOCK.search(text)
        holder = f"{found[1]} (pid {found[2]}) since {found[3]}" if found else "another run"
        return StackBusy(f"stack {stack} is held by {holder}; wait for it to end")
    if "incorrect passphrase" in text or "passphrase must be set" in text:
        return PassphraseWrong(
            f"the passphrase does not open the secrets of stack {stack}: it is not the one the stack was made with "
            "(.gaia/passphrase, unless PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE is set); nothing was changed"
        )
    if "no stack named" in text:
        return StackMissing(f"stack {stack} was never made: run ./gaia up --stack {stack}")
    if "could not be loaded" in text or "unmarshal" in text or "failed to load checkpoint" in text:
        return StateDamaged(
            f"the state of stack {stack} is damaged; nothing was changed. "
            "The state before the last change lies beside it: ./gaia up --restore-state"
        )
    if "no resource plugin" in text or "plugin not found" in text:
        return PluginMissing(f"a plugin of the engine is missing: {_first(text)}")
    sentences = [sentence(failure) for failure in failures] or [sentence(stderr)]
    told = [line for line in dict.fromkeys(sentences) if line and not line.lower().startswith(_NOISE)]
    kinds = frozenset(found["kind"] for failure in failures if (found := _raised(_MARKUP.sub("", failure))))
    return OperationFailed("\n".join(told) or f"pulumi {operation} failed: {_first(text)}", kinds)


def sentence(message: str) -> str:
    """A diagnostic without its markup, its resource's URN and its Python traceback."""
    text = _MARKUP.sub("", message).strip()
    if raised := _raised(text):
        text = text[raised.end() :]
    text = re.sub(r"^error: ", "", text.strip())
    return text.strip()


def _raised(text: str) -> re.Match[str] | None:
    if "Traceback (most recent call last)" not in text:
        return None
    return next(reversed(list(_EXCEPTION.finditer(text))), None)


def _first(text: str) -> str:
    return next((sentence(line) for line in text.splitlines() if line.strip()), "no reason given")
