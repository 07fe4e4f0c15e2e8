"""From what the engine says to an error with one sentence for each thing that went wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence

from engine.errors import (
    EngineError,
    OperationFailed,
    PassphraseWrong,
    PluginMissing,
    StackBusy,
    StackMissing,
    StateDamaged,
)

_MARKUP = re.compile(r"<\{%[^%]*%\}>|\x1b\[[0-9;]*m")
_TRACEBACK = "Traceback (most recent call last)"
# What Python prints last of a traceback, the first line that isn't indented: the exception's full name, its message.
_EXCEPTION = re.compile(r"^(?:[A-Za-z_]\w*\.)*(?P<kind>[A-Z]\w*)(?:: |$)", re.MULTILINE)
# What the engine says of a state it can't read: github.com/pulumi/pulumi, pkg/backend/diy/state.go, pkg/resource/stack.
_DAMAGED = re.compile(
    r"stack '[^']*' could not be loaded|failed to load checkpoint"
    r"|could not (?:deserialize|unmarshal) (?:deployment|checkpoint)|unmarshal(?:l?ing)? (?:deployment|checkpoint)"
)
_NO_PLUGIN = re.compile(
    r"no resource plugin|plugin not found|Could not automatically download and install resource plugin"
)
_LOCK = re.compile(r"created by (\S+) \(pid (\d+)\) at (\S+)")
_NOISE = (
    "update failed",
    "preview failed",
    "destroy failed",
    "refresh failed",
    "resource plugin",
    "an unhandled error",
)


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
            "(.gaia/passphrase, unless PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE is set); "
            "nothing was changed"
        )
    if "no stack named" in text or "no stack selected" in text:
        return StackMissing(f"stack {stack} was never made: run ./gaia up --stack {stack}")
    if _DAMAGED.search(stderr):
        return StateDamaged(
            f"the state of stack {stack} is damaged; nothing was changed. "
            "The state before the last change lies beside it: ./gaia up --restore-state"
        )
    if "snapshot integrity failure" in stderr:
        return StateDamaged(
            f"the state of stack {stack} does not hold together: a resource in it needs one that is not there; "
            f"nothing was changed. ./gaia pulumi state repair --stack {stack} mends it, then run ./gaia up"
        )
    if missing := next((line for line in text.splitlines() if _NO_PLUGIN.search(line)), None):
        return PluginMissing(f"a plugin of the engine is missing: {sentence(missing)}")
    sentences = [sentence(failure) for failure in failures] or [sentence(stderr)]
    told = [line for line in dict.fromkeys(sentences) if line and not line.lower().startswith(_NOISE)]
    kinds = frozenset(found["kind"] for failure in failures if (found := _raised(_MARKUP.sub("", failure))))
    return OperationFailed("\n".join(told) or f"pulumi {operation} failed: {_first(text)}", kinds)


def sentence(message: str) -> str:
    """A diagnostic without its markup, its resource's URN and its Python traceback."""
    text = _MARKUP.sub("", message).strip()
    if raised := _raised(text):
        text = text[raised.end() :] if text[raised.end() :].strip() else raised["kind"]
    text = re.sub(r"^error: ", "", text.strip())
    return text.strip()


def _raised(text: str) -> re.Match[str] | None:
    start = text.rfind(_TRACEBACK)
    return None if start < 0 else _EXCEPTION.search(text, start + len(_TRACEBACK))


def _first(text: str) -> str:
    return next((sentence(line) for line in text.splitlines() if line.strip()), "no reason given")
