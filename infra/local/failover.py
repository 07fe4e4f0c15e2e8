"""A failover on one machine: the primary is fenced, its standby promoted, and the two swap their places.

Embedded servers swap their folders; containers their volumes, by a setting, as a volume can't be renamed. What is under
way stands in a file in the primary's folder until all is done, so whoever comes next, another failover or ``up``, goes
on where a killed one stopped. The fence is a file in the old primary's data: whoever starts that
server, it starts as a standby and takes no writes. A machine that can't be reached is not modelled: both are here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local import postgres, replication
from infra.local.contained import ContainedServer
from infra.local.errors import NotReachable, ServerFailed
from infra.local.replication import SIGNAL, Node, Pair

JOURNAL = "failover.json"
UNDER_WAY = "in the middle of a failover"
"""A server's status, then."""
STOP_TIMEOUT_S = 60
HUNG_TIMEOUT_S = 5
"""For a primary that doesn't answer: it won't end by itself either."""
SEGMENT_BYTES = 16 * 1024 * 1024
Say = Callable[[str], None]
Repoint = Callable[[str], None]
"""Has the containers' settings name this volume as the primary's."""


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a failover would mean now."""

    primary: str
    """``running``, ``not answering``, ``stopped`` or ``absent``."""
    ready: bool
    """Whether the standby is known to follow this primary: only then it may be promoted."""
    synchronous: bool
    """Whether each commit that was acknowledged is on the standby's disk."""
    ahead_bytes: int | None
    """What the primary would have beyond its standby; None where that can't be known."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a failover came to."""

    lost_bytes: int | None
    """What the old primary had written beyond the new one; None where its data is gone."""
    synchronous: bool
    """Whether all of that was never acknowledged."""


def outlook(pair: Pair) -> Outlook:
    """Look, without changing anything but starting a standby that is stopped."""
    status, mark = pair.primary.status(), replication.follows(pair.standby)
    if status == "running" and not _answers(pair):
        status = "not answering"
    ready = mark is not None and pair.standby.status() != "absent"
    ahead = 0 if status == "running" else None
    if status == "stopped" and ready:
        pair.standby.start(port=pair.port, timeout_s=pair.timeout_s, setting=replication.SETTING)
        ahead = _beyond(pair.primary, _received(pair), _timeline(pair.primary))
    return Outlook(primary=status, ready=ready, synchronous=bool((mark or {}).get("synchronous")), ahead_bytes=ahead)


def under_way(home: Path) -> bool:
    """Whether a failover of the primary in ``home`` was begun and not finished."""
    return _journal(home).exists()


def begin(pair: Pair, seen: Outlook) -> None:
    """Note what is about to be done. From here on ``finish`` is all there is."""
    notes: dict[str, Any] = {
        "step": "fence",
        "synchronous": seen.synchronous,
        "primary": dict(pair.primary_parameters),
        "standby": dict(pair.parameters),
        "timeout_s": pair.timeout_s,
        "stop_timeout_s": HUNG_TIMEOUT_S if seen.primary == "not answering" else STOP_TIMEOUT_S,
    }
    if isinstance(pair.primary, ContainedServer):
        notes["container"] = pair.primary.to_note()
    _note(pair.primary, notes)


def finish(home: Path, say: Say = lambda _line: None, repoint: Repoint | None = None) -> Outcome | None:
    """Carry a failover that was begun to its end, from wherever it stands; None where none was.

    Containers are left for ``up`` to make anew, by the settings that ``repoint`` changed. Raises ``PortTaken``,
    ``ServerFailed``, ``ContainerFailed``; it can be called again then.
    """
    try:
        notes = json.loads(_journal(home).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    old = _primary(home, notes)
    with old.aside(), old.beside().aside():
        if notes["step"] == "fence":
            say("fencing the old primary")
            old.fence(timeout_s=notes["stop_timeout_s"])  # a clean end waits until the standby has all
            _note(old, notes, step="promote")
        lost = _contained(old, notes, say, repoint) if isinstance(old, ContainedServer) else _embedded(old, notes, say)
    _journal(home).unlink()
    return Outcome(lost_bytes=lost, synchronous=notes["synchronous"])


def _embedded(old: postgres.Server, notes: dict[str, Any], say: Say) -> int | None:
    new = old.beside()
    if not _swapped(old):
        _promote(new, notes, say)
        _swap(old, new)
    say(f"starting it at port {notes['primary']['port']}")
    _serve(old, notes)
    return _lost(primary=old, former=new)


def _contained(old: ContainedServer, notes: dict[str, Any], say: Say, repoint: Repoint | None) -> int | None:
    new = old.beside()
    if repoint is None:
        raise ServerFailed("a failover was interrupted: run ./gaia failover to finish it")
    if notes["step"] == "promote":
        _promote(new, notes, say)
        new.write(postgres.REPLICATION_CONF, replication.synchronous_line(""))
        notes["lost_bytes"] = _lost(primary=new, former=old)
        _note(old, notes, step="swap")
    for server in (old, new):
        server.discard()
    repoint(new.volume)
    return notes["lost_bytes"]


def _promote(standby: Node, notes: dict[str, Any], say: Say) -> None:
    say("promoting the standby")
    standby.promote(port=int(notes["standby"]["port"]), timeout_s=notes["timeout_s"], setting=replication.SETTING)
    standby.stop(timeout_s=STOP_TIMEOUT_S)
    replication.forget(standby)


def _swapped(primary: postgres.Server) -> bool:
    """Whether the promoted data is in the primary's place: the fenced data, or none, is there before."""
    return primary.data.exists() and not (primary.data / SIGNAL).exists()


def _swap(old: postgres.Server, new: postgres.Server) -> None:
    """Both are stopped. Each step can be told from what is there, so each may be the last of a killed run."""
    fenced = old.home / "data.fenced"
    if old.data.exists():
        old.data.rename(fenced)
    new.data.rename(old.data)


def _serve(primary: postgres.Server, notes: dict[str, Any]) -> None:
    """Start the promoted server in the primary's place; no commit waits for a standby that isn't there yet."""
    fenced, standby = primary.home / "data.fenced", postgres.beside(primary)
    if fenced.exists():
        fenced.rename(standby.data)
    if standby.data.exists():
        postgres.configure(standby, notes["standby"])
    postgres.write_as(primary, primary.data / postgres.REPLICATION_CONF, replication.synchronous_line(""))
    postgres.configure(primary, notes["primary"])
    postgres.start(primary, port=int(notes["primary"]["port"]), timeout_s=notes["timeout_s"])


def _lost(*, primary: Node, former: Node) -> int | None:
    """How much the former primary had written after the point where the new one went its own way."""
    if former.status() == "absent":
        return None
    history = primary.read(f"pg_wal/{_timeline(primary):08X}.history")
    try:
        before, fork, *_ = (history or "").splitlines()[-1].split("\t")
    except (ValueError, IndexError):
        return None
    return _beyond(former, fork, int(before))


def _beyond(server: Node, lsn: str, timeline: int) -> int | None:
    """How many bytes of log a stopped server has from ``lsn`` on; None where its log can't be read there."""
    if server.status() == "absent":
        return None
    log = server.data / "pg_wal"
    said = server.run("pg_waldump", "-q", "-p", log, "-t", str(timeline), "-s", lsn, check=False).stderr
    return log_end(said, lsn)


def log_end(said: str, lsn: str) -> int | None:
    """How far ``pg_waldump`` came from ``lsn`` on: it always ends with an error, where there is no record any more."""
    if "could not find a valid record" in said:
        return 0
    if places := re.findall(r"(?:at|LSN) ([0-9A-F]+/[0-9A-F]+)", said):
        return _number(places[-1]) - _number(lsn)
    if segment := re.search(r"[0-9A-F]{8}([0-9A-F]{8})([0-9A-F]{8})", said):
        return (int(segment[1], 16) << 32) + int(segment[2], 16) * SEGMENT_BYTES - _number(lsn)
    return None


def _answers(pair: Pair) -> bool:
    try:
        replication.session(pair, pair.primary_port).close()
    except NotReachable:
        return False
    return True


def _received(pair: Pair) -> str:
    with replication.session(pair, pair.port) as standby:
        row = standby.execute(
            "SELECT greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn(), '0/0'::pg_lsn)::text"
        ).fetchone()
    assert row is not None
    return str(row[0])


def _timeline(server: Node) -> int:
    said = server.run("pg_controldata", "-D", server.data).stdout
    found = re.search(r"Latest checkpoint's TimeLineID: +(\d+)", said)
    if found is None:
        raise ServerFailed(f"pg_controldata says nothing of {server.place}'s timeline: the data is damaged")
    return int(found[1])


def _number(lsn: str) -> int:
    high, low = lsn.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def _primary(home: Path, notes: dict[str, Any]) -> Node:
    """The primary as its data's owner runs it, wherever the data is just now."""
    if container := notes.get("container"):
        return ContainedServer.noted(home, container)
    beside = postgres.standby_home(home)
    there = next((each for each in (home, beside) if (each / "data").exists()), home)
    return postgres.Server(**{**vars(postgres.locate(there)), "home": home})


def _note(primary: Node, notes: dict[str, Any], **changes: str) -> None:
    notes |= changes
    primary.note(JOURNAL, json.dumps(notes))


def _journal(home: Path) -> Path:
    return home / JOURNAL
