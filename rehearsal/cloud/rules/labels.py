"""Labels: the same letters for every service."""

from __future__ import annotations

import re

from rehearsal.cloud.call import Call
from rehearsal.cloud.rules import Details, Rule, add

_KEY, _VALUE = re.compile(r"[^\W\d_A-Z][\w-]{0,62}"), re.compile(r"[\w-]{0,63}")
LABELLED = (
    "secretmanager.projects.secrets.create",
    "secretmanager.projects.secrets.patch",
    "compute.globalAddresses.setLabels",
    "artifactregistry.projects.locations.repositories.create",
    "artifactregistry.projects.locations.repositories.patch",
    "run.projects.locations.jobs.create",
    "run.projects.locations.jobs.patch",
    "cloudkms.projects.locations.keyRings.cryptoKeys.create",
    "cloudkms.projects.locations.keyRings.cryptoKeys.patch",
    "storage.buckets.insert",
    "storage.buckets.patch",
)


def fault(key: str, value: str) -> str | None:
    """What is wrong with one label."""
    if not _KEY.fullmatch(key) or key != key.lower():
        return f"label key '{key}'"
    if not _VALUE.fullmatch(value) or value != value.lower():
        return f"label value '{value}' of key '{key}'"
    return None


def _wrong(call: Call) -> Details | None:
    labels = call.body.get("labels") or {}
    if len(labels) > 64:
        return {"what": f"{len(labels)} labels; at most 64"}
    faults = (fault(key, value or "") for key, value in labels.items())
    return next(({"what": what} for what in faults if what), None)


add(
    Rule(
        key="labels",
        methods=LABELLED,
        message="Invalid {what}: only lowercase letters, numeric characters, underscores and dashes are allowed, at "
        "most 63 of them, and a key begins with a letter.",
        source="https://cloud.google.com/resource-manager/docs/labels-overview#requirements",
        check=_wrong,
    )
)
