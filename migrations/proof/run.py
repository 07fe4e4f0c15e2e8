"""Makes the proof on a server that is there for nothing else: each revision up, down and up again, with data."""

import dataclasses
import datetime as dt
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migrations import connection as connections
from migrations import grants, plan, roles, runner
from migrations.errors import MigrationFailed
from migrations.proof import content, queries, rows, watch
from migrations.proof.document import Move, Proof, Proved
from migrations.proof.readers import Readers, readers
from migrations.revisions import BASE, DIRECTORY, Revision, content_hash, history

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]

ROWS = 20_000
"""Messages, unless another number is asked for; other tables have their share of it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Site:
    """Where the proof is made. The database is empty and nobody else uses it."""

    superuser_url: str
    """Looks, fills and dumps."""
    bootstrap_url: str
    """Makes the roles: a CREATEROLE login that owns the database, as on Cloud SQL, or the superuser."""
    migrator_url: str
    """As gaia_migrator, who exists only once the roles are made."""
    passwords: Mapping[str, str]
    pg_dump: Path
    directory: Path = DIRECTORY
    messages: int = ROWS


def prove(
    site: Site, *, say: Callable[[str], None] = lambda _: None, on_revision: Callable[[Proved], None] = lambda _: None
) -> Proof:
    """The proof, whatever it finds; raises MigrationError only where it can't be made at all.

    ``say`` is told what is being done, ``on_revision`` what was found of each revision.
    """
    started, line = time.monotonic(), history(site.directory)
    hashed = content_hash(site.directory)  # of what is proved, even if somebody edits a file meanwhile
    say("making the roles")
    roles.apply(site.bootstrap_url, site.passwords)
    _default_privileges(site)
    with _bench(site, say) as bench:
        proved = []
        for revision in line:
            proved.append(_Revision(bench, revision).prove())
            on_revision(proved[-1])
            if runner.current(site.migrator_url) != revision.id:
                break  # without a way down one can still go on, without a way up one can't
        complete = len(proved) == len(line)
        return Proof(
            migrations=hashed,
            head=line[-1].id,
            server_version=_server_version(bench.connection),
            made_at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - started, 2),
            rows_asked=site.messages,
            rows=dict(bench.filled.rows),
            revisions=tuple(proved),
            faults=tuple(_never_worked(bench) if complete else _unproved(line[len(proved) :])),
        )


@dataclasses.dataclass(kw_only=True)
class _Bench:
    """What is open while the proof is made."""

    site: Site
    connection: "Connection"
    beside: "Connection"
    """For the sampling thread."""
    readers: Readers
    asked: tuple[queries.Query, ...]
    say: Callable[[str], None]
    schema: str | None = None
    """The dump of the revision that the database is at, once there was one."""
    filled: rows.Filled = dataclasses.field(default_factory=lambda: rows.Filled(rows={}, shapes={}, faults=()))

    def fill(self) -> None:
        self.filled = rows.fill(self.connection, self.site.messages, self.filled.shapes, self.say)

    def dump(self) -> str:
        return content.dump(self.site.pg_dump, self.site.superuser_url)


@contextmanager
def _bench(site: Site, say: Callable[[str], None]) -> Iterator[_Bench]:
    asked = (*queries.QUERIES, *queries.of_models())
    with (
        connections.connect(site.superuser_url) as connection,
        connections.connect(site.superuser_url) as beside,
        readers(site.superuser_url) as started,
    ):
        yield _Bench(site=site, connection=connection, beside=beside, readers=started, asked=asked, say=say)


class _Revision:
    """The proof of one revision; the database is at the one before it, with data."""

    def __init__(self, bench: _Bench, revision: Revision) -> None:
        self._bench, self._revision = bench, revision
        self._faults: list[str] = []
        self._moves: dict[str, Move] = {}
        self._dropped: dict[str, int] = {}
        self._working: list[queries.Query] = []

    def prove(self) -> Proved:
        """Go through it; a move that fails ends it."""
        try:
            self._go()
        except MigrationFailed as error:
            self._faults.append(str(error))
        return Proved(
            revision=self._revision.id,
            title=self._revision.title,
            up=self._moves.get("up"),
            down=self._moves.get("down"),
            up_again=self._moves.get("up again"),
            dropped=self._dropped,
            queries=len(self._working),
            faults=tuple(dict.fromkeys(self._faults)),
        )

    def _go(self) -> None:
        bench = self._bench
        line = history(bench.site.directory)
        self._working = queries.working(bench.connection, queries.asked_at(bench.asked, line, self._revision.id))
        schema_before, data_before = bench.schema or bench.dump(), self._contents()
        self._move("up")
        schema = bench.dump()
        self._ask()
        self._move("down")
        self._compare("down", schema_before, bench.dump())
        data_after = self._contents()
        self._faults += [f"up and down loses data: {loss}" for loss in content.changed(data_before, data_after)]
        self._faults += [f"up and down loses {lost}" for lost in content.only_in(data_before, data_after)]
        self._move("up again")
        self._compare("up again", schema, bench.dump())
        bench.schema = schema
        self._with_new_data(schema_before, schema)

    def _with_new_data(self, schema_before: str, schema: str) -> None:
        """Down and up once more where the revision made room for data that was not there before."""
        bench = self._bench
        there = bench.filled
        bench.fill()
        self._faults += [fault for fault in bench.filled.faults if fault not in there.faults]
        if (bench.filled.rows, bench.filled.shapes) == (there.rows, there.shapes):
            return
        data = self._contents()
        self._move("down")
        self._compare("down with new data", schema_before, bench.dump())
        left = self._contents()
        self._faults += [f"down loses data: {loss}" for loss in content.changed(data, left)]
        self._dropped = content.only_in(data, left)
        self._move("up again")
        self._compare("up after new data", schema, bench.dump())
        bench.fill()

    def _contents(self) -> dict[str, content.Content]:
        return content.contents(self._bench.connection)

    def _move(self, name: str) -> None:
        """Go up or down, watched; of two moves of a name the slower one is kept, with what both locked."""
        self._bench.say(f"{self._revision.id} {name}")
        if name == "down":
            move = _moved(self._bench, runner.downgrade, self._revision.down or BASE)
        else:
            move = _moved(self._bench, runner.upgrade, self._revision.id)
        if (earlier := self._moves.get(name)) is not None:
            move = _worse(earlier, move)
        self._moves[name] = move

    def _compare(self, name: str, expected: str, found: str) -> None:
        if different := content.differences(expected, found):
            self._faults.append(f"pg_dump -s differs after {name}: {'; '.join(different)}")

    def _ask(self) -> None:
        for query in self._working:
            if (why := queries.ask(self._bench.connection, query)) is not None:
                before = self._revision.down or BASE
                self._faults.append(f"the query {query.name!r} worked at {before} and fails now: {why}")


def _moved(bench: _Bench, go: Callable[..., runner.Result], target: str) -> Move:
    before = watch.tables(bench.connection)
    watched = watch.Watch(before, plan.read_catalog(bench.connection))
    seconds: list[float] = []

    def hear(event: runner.Event) -> None:
        if event.kind == "done" and event.seconds is not None:
            seconds.append(event.seconds)

    bench.readers.begin(before.readable)
    try:
        with watch.sampling(bench.beside, watched):
            go(bench.site.migrator_url, target, on_event=hear, directory=bench.site.directory, prepare=watched)
    finally:
        waits = bench.readers.end()
    slowest = max(waits, key=lambda table: waits[table], default=None)
    return Move(
        seconds=round(sum(seconds), 3),
        locks=watched.locks,
        longest_wait_ms=round(waits[slowest], 1) if slowest else 0.0,
        waited_for=slowest,
        rewritten=before.rewritten(watch.tables(bench.connection)),
    )


def _worse(one: Move, other: Move) -> Move:
    slower = max(one, other, key=lambda move: move.seconds)
    waited = max(one, other, key=lambda move: move.longest_wait_ms)
    return Move(
        seconds=slower.seconds,
        locks=plan.strongest([*one.locks.items(), *other.locks.items()]),
        longest_wait_ms=waited.longest_wait_ms,
        waited_for=waited.waited_for,
        rewritten=tuple(dict.fromkeys((*one.rewritten, *other.rewritten))),
    )


def _default_privileges(site: Site) -> None:
    """What an upgrade does before its first revision; so the empty schema can be compared too."""
    with connections.connect(site.migrator_url) as connection:
        connections.become_owner(connection)
        grants.apply(connection)


def _never_worked(bench: _Bench) -> list[str]:
    line = history(bench.site.directory)
    asked = queries.asked_at(bench.asked, line, line[-1].id)
    answers = {query.name: queries.ask(bench.connection, query) for query in asked}
    return [f"the query {name!r} fails at {line[-1].id}: {why}" for name, why in answers.items() if why]


def _unproved(left: tuple[Revision, ...]) -> list[str]:
    return [f"not proved: {', '.join(revision.id for revision in left)}"] if left else []


def _server_version(connection: "Connection") -> str:
    row = connection.execute("SHOW server_version").fetchone()
    return str(row[0]).split()[0] if row else ""
