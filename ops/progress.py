"""The engine's events in words: what is being done, what was done, what had drifted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.stack import Event
    from ops.report import Working

_VERBS = {
    "create": ("creating", "created"),
    "update": ("updating", "updated"),
    "delete": ("deleting", "deleted"),
    "replace": ("replacing", "replaced"),
    "create-replacement": ("creating", ""),
    "delete-replaced": ("deleting", "deleted the old"),
    "refresh": ("looking at", ""),
    "read": ("reading", ""),
    "import": ("taking over", "took over"),
}
_PARTS = frozenset({"refresh", "same", "read", "create-replacement", "delete-replaced"})
"""Operations that change nothing, or are parts of one that is named."""


class Progress:
    """Turns the engine's events into words."""

    def __init__(self, working: Working, *, preview: bool = False) -> None:
        self._working = working
        self._preview = preview
        self._refreshing = True
        self.steps: list[str] = []
        self.drift: list[str] = []

    def __call__(self, event: Event) -> None:
        if metadata := (event.get("resourcePreEvent") or {}).get("metadata"):
            self._begun(metadata)
        elif metadata := (event.get("resOutputsEvent") or {}).get("metadata"):
            self._ended(metadata)

    def _begun(self, metadata: dict[str, Any]) -> None:
        verb = _VERBS.get(metadata["op"])
        if verb and not _silent(metadata):
            self._working.now(f"{verb[0]} {_spoken(metadata)}")
            if self._preview and metadata["op"] not in _PARTS:
                self.steps.append(f"{metadata['op']} {_spoken(metadata)}{_because(metadata)}")

    def _ended(self, metadata: dict[str, Any]) -> None:
        operation = metadata["op"]
        if _silent(metadata):
            return
        if operation == "refresh":
            if drift := _drift(metadata):
                self.drift.append(f"{_spoken(metadata)} {drift}")
                if not self._preview:
                    self._working.done(f"  {_spoken(metadata)} {drift}")
        elif (verb := _VERBS.get(operation)) and verb[1] and not self._preview:
            # What is retained leaves the stack, not the machine.
            kept = operation == "delete" and (metadata.get("old") or {}).get("retainOnDelete")
            self._working.done(f"  {'kept' if kept else verb[1]} {_spoken(metadata)}")


def _spoken(metadata: dict[str, Any]) -> str:
    kind = metadata["type"].rsplit(":", 1)[-1]
    return f"{kind} {metadata['urn'].rsplit('::', 1)[-1]}"


def _silent(metadata: dict[str, Any]) -> bool:
    return metadata["type"].startswith(("pulumi:pulumi:", "pulumi:providers:"))


def _drift(metadata: dict[str, Any]) -> str:
    """What the refresh found changed since the last run, in words; empty where nothing."""
    before, new = metadata.get("old") or {}, metadata.get("new") or {}
    if before.get("id") and not new.get("id"):
        return "is gone"
    old = before.get("outputs") or {}
    now = new.get("outputs") or {}
    if now.get("faults"):
        return f"was changed by hand: {_some(now['faults'])}"
    if "revision" in old and old.get("revision") != now.get("revision"):
        if now.get("revision") is None:
            return "can't be asked"
        return f"is at revision {now['revision']}, not {old.get('revision')}; going to head again"
    if old.get("status") != now.get("status"):
        return f"is {now.get('status')}"
    changed = sorted(key for key in {*old, *now} if key in _TELLING and old.get(key) != now.get(key))
    return f"changed: {', '.join(changed)}" if changed else ""


def _some(faults: list[str]) -> str:
    more = len(faults) - _FAULTS_SHOWN
    return "; ".join(faults[:_FAULTS_SHOWN]) + (f"; and {more} more: ./gaia verify" if more > 0 else "")


_FAULTS_SHOWN = 3
_TELLING = frozenset({"mustRun", "ports", "image", "envs", "networksAdvanced", "volumes", "labels", "name"})
"""Properties whose change outside the program matters; others, such as an address, come and go with each start."""


def _because(metadata: dict[str, Any]) -> str:
    keys = metadata.get("keys") or sorted((metadata.get("detailedDiff") or {}).keys())
    return f" ({', '.join(keys)})" if keys else ""
