"""What the cloud models, checks only, and doesn't model: from the register of methods and Google's own documents.

``python -m rehearsal.cloud.table`` writes it into docs/rehearsal.md; a test fails where it isn't current.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rehearsal.cloud import discovery, services
from rehearsal.cloud.call import Registered
from rehearsal.cloud.discovery import HOSTS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "rehearsal.md"
BEGIN, END = "<!-- methods: python -m rehearsal.cloud.table writes this -->", "<!-- methods end -->"
VERSIONS: dict[str, tuple[str, ...]] = {
    "cloudresourcemanager": ("v1", "v3"),
    "compute": ("v1", "beta"),
    "logging": ("v2",),
    "monitoring": ("v1", "v3"),
    "run": ("v2",),
    "serviceusage": ("v1", "v1beta1"),
    "sqladmin": ("v1", "v1beta4"),
    "vpcaccess": ("v1", "v1beta1"),
}
"""The versions that the stack, the official provider and Google's clients use; else ``v1``."""


@dataclass(kw_only=True)
class Row:
    """One kind of resource of a service: its methods by how they are answered."""

    service: str
    group: str
    modelled: list[str] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def rows() -> list[Row]:
    """Every kind of resource of which some method is answered, by service and name."""
    found: dict[tuple[str, str], Row] = {}
    for service, identity in _methods():
        group, verb = _parts(identity)
        row = found.setdefault((service, group), Row(service=service, group=group))
        _file_away(row, verb, services.registered().get(identity))
    return [row for _, row in sorted(found.items()) if row.modelled or row.checked]


def others() -> dict[str, int]:
    """By service, how many methods belong to resources of which none is answered."""
    answered = {(row.service, row.group) for row in rows()}
    counts = dict.fromkeys(sorted(HOSTS), 0)
    for service, identity in _methods():
        counts[service] += (service, _parts(identity)[0]) not in answered
    return counts


def markdown() -> str:
    """The table of the docs."""
    lines = [
        "| service | resource | modelled | checked only | not modelled | what isn't so |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows():
        cells = (
            row.service,
            row.group,
            *map(", ".join, (row.modelled, row.checked, row.missing)),
            "; ".join(row.notes),
        )
        lines.append(f"| {' | '.join(cells)} |")
    left = [f"{service} {count}" for service, count in others().items() if count]
    return "\n".join([*lines, "", f"Methods of other resources, which all answer 501: {', '.join(left)}.", ""])


def current(page: str) -> str:
    """The page with the table as it is now."""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{markdown()}{END}{after}"


def _methods() -> Iterator[tuple[str, str]]:
    """Service and discovery id of every method, each once."""
    for service in sorted(HOSTS):
        documents = (discovery.document(service, version) for version in VERSIONS.get(service, ("v1",)))
        identities = {method.id for document in documents if document for method in document.methods}
        yield from ((service, identity) for identity in sorted(identities))


def _parts(identity: str) -> tuple[str, str]:
    """``secretmanager.projects.secrets.versions.get``: ``projects.secrets.versions`` and ``get``."""
    group, _, verb = identity.partition(".")[2].rpartition(".")
    return group, verb


def _file_away(row: Row, verb: str, registered: Registered | None) -> None:
    if registered is None:
        kept = row.missing
    else:
        kept = row.modelled if registered.depth == "modelled" else row.checked
        if registered.note:
            note = f"{verb}: {registered.note}"
            row.notes += [note] if note not in row.notes else []
    if verb not in kept:
        kept.append(verb)


if __name__ == "__main__":
    PAGE.write_text(current(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.exit(0)
