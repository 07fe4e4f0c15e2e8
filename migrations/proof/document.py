"""The proof as data: what it says of each revision, how it is written and read, and what it counts for."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from migrations.errors import ProofFailed
from migrations.revisions import DIRECTORY, content_hash, head

FORMAT = 1
"""Counted up when a reader of an older proof would misread a newer one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Move:
    """One way through a revision, up or down, as it was measured."""

    seconds: float
    locks: Mapping[str, str]
    """Table → the strongest lock on it; of tables that were there before."""
    longest_wait_ms: float
    """The longest that one of the concurrent readers waited for its answer."""
    waited_for: str | None
    """The table that it read; None where there was none to read."""
    rewritten: tuple[str, ...]
    """Tables whose rows were written again."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Proved:
    """What was found of one revision."""

    revision: str
    title: str
    up: Move | None = None
    down: Move | None = None
    up_again: Move | None = None
    dropped: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """What only the new schema has, and the downgrade so drops: table or table.column → rows with a value."""
    queries: int = 0
    """How many queries of the previous release were asked again on the new schema."""
    faults: tuple[str, ...] = ()
    """What must not be, a sentence each; empty when the revision is proved."""

    @property
    def ok(self) -> bool:
        """Whether nothing was wrong."""
        return not self.faults


@dataclasses.dataclass(frozen=True, kw_only=True)
class Proof:
    """The whole proof."""

    migrations: str
    """``content_hash()`` of the migrations that were proved."""
    head: str
    server_version: str
    """Such as ``16.14``."""
    made_at: str
    """ISO 8601, UTC."""
    seconds: float
    rows_asked: int
    rows: Mapping[str, int]
    """Table → rows at head."""
    revisions: tuple[Proved, ...]
    faults: tuple[str, ...] = ()
    """What belongs to no single revision."""
    format: int = FORMAT

    @property
    def ok(self) -> bool:
        """Whether all is proved."""
        return not self.faults and all(revision.ok for revision in self.revisions)

    def sentences(self) -> list[str]:
        """Each fault, with its revision."""
        return [*(f"{r.revision}: {fault}" for r in self.revisions for fault in r.faults), *self.faults]


def written(proof: Proof) -> dict[str, Any]:
    """``proof`` as JSON has it, with ``ok`` for it and for each revision."""
    data = dataclasses.asdict(proof)
    for revision, plain in zip(proof.revisions, data["revisions"], strict=True):
        plain["ok"] = revision.ok
    return {"format": data.pop("format"), "ok": proof.ok, **data}


def write(proof: Proof, file: Path) -> None:
    """Write it, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.new")
    aside.write_text(json.dumps(written(proof), indent=2) + "\n", encoding="utf-8")
    aside.replace(file)


def load(file: Path) -> Proof:
    """The proof in ``file``; raises ProofFailed where there is none that can be read."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise ProofFailed(f"{file}: a proof of format {data['format']}, this reads {FORMAT}: {_AGAIN}")
        return _read(data)
    except FileNotFoundError:
        raise ProofFailed(f"there is no proof {file}: {_AGAIN}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProofFailed(f"{file} is no proof that can be read ({error}): {_AGAIN}") from None


def valid_for(proof: Proof, directory: Path = DIRECTORY, *, server_major: str = "16") -> list[str]:
    """Why ``proof`` doesn't count for the migrations in ``directory``, a sentence each; empty when it does."""
    reasons = []
    if proof.migrations != content_hash(directory):
        reasons.append(f"the migrations have changed since the proof of {proof.made_at}: {_AGAIN}")
    elif proof.head != head(directory):
        reasons.append(f"the proof goes to {proof.head}, the migrations to {head(directory)}: {_AGAIN}")
    if proof.server_version.partition(".")[0] != server_major:
        reasons.append(f"it was proved on PostgreSQL {proof.server_version}, not on {server_major}: {_AGAIN}")
    return reasons + proof.sentences()


_AGAIN = "run ./gaia migrate prove"


def _read(data: Mapping[str, Any]) -> Proof:
    plain = {field.name: data[field.name] for field in dataclasses.fields(Proof)}
    plain["faults"] = tuple(plain["faults"])
    plain["revisions"] = tuple(_read_revision(item) for item in plain["revisions"])
    return Proof(**plain)


def _read_revision(data: Mapping[str, Any]) -> Proved:
    plain = {field.name: data[field.name] for field in dataclasses.fields(Proved)}
    for way in ("up", "down", "up_again"):
        if plain[way] is not None:
            plain[way] = Move(**{**plain[way], "rewritten": tuple(plain[way]["rewritten"])})
    plain["faults"] = tuple(plain["faults"])
    return Proved(**plain)
