"""The standby of a local server: made by a base backup, kept by a slot, mended by rewinding it or by a new copy.

A mark beside its data says that it follows its primary, and whether commits wait for it. Without the mark its data may
be anything: what a failover left, half a rewind. It is then never promoted, only mended.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.local import contained, postgres
from infra.local.contained import ContainedServer
from infra.local.errors import DataDirectoryError, NotReachable, ServerFailed
from migrations import scram
from migrations.connection import one_sentence

if TYPE_CHECKING:
    import psycopg

    from infra.settings import Database

    Connection = psycopg.Connection[tuple[Any, ...]]

Node = postgres.Server | ContainedServer
"""One of the two: from the environment's binaries, or in a container."""
USER = "gaia_replication"
"""The login that the standby copies with. It exists where there is a standby, and may do nothing else."""
NAME = "gaia_standby"
"""The standby's name for its primary, and its slot's."""
SIGNAL = postgres.STANDBY_SIGNAL
MARK = "follows.json"
"""The mark's file, beside the standby's data."""
SETTING = "database.replica_port"
CONNECT_TIMEOUT_S = 5
STILL_S = 30
"""A standby that comes no further for so long can't follow any more."""
RECONNECT_S = 3
LOOK_EVERY_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A primary and its standby."""

    primary: Node
    superuser: str
    password: str = field(repr=False)
    replication_password: str = field(repr=False)
    primary_parameters: Mapping[str, str]
    parameters: Mapping[str, str]
    """The standby's: the primary's, but for the port."""
    synchronous: bool
    """Whether a commit waits until the standby has it on its disk."""
    timeout_s: int
    """How long either may take to start."""
    address: str = postgres.ADDRESS
    """Where both are reached from this machine."""

    @property
    def standby(self) -> Node:
        return self.primary.beside()

    @property
    def source(self) -> dict[str, Any]:
        """Where the standby reaches its primary."""
        if isinstance(self.primary, ContainedServer):
            return {"host": self.primary.container, "port": contained.INTERNAL_PORT}
        return {"host": self.address, "port": self.primary_port}

    @property
    def primary_port(self) -> int:
        return int(self.primary_parameters["port"])

    @property
    def port(self) -> int:
        """The standby's."""
        return int(self.parameters["port"])


def pair_of(standby: Mapping[str, Any]) -> Pair:
    """The servers that the properties of a ``Standby`` speak of."""
    home, container = Path(standby["home"]), standby.get("container")
    return Pair(
        primary=ContainedServer.noted(home, container) if container else postgres.locate(home),
        superuser=standby["superuser"],
        password=standby["password"],
        replication_password=standby["replication_password"],
        primary_parameters=standby["primary_parameters"],
        parameters=standby["parameters"],
        synchronous=standby["synchronous"],
        timeout_s=int(standby["start_timeout_s"]),
        address=standby.get("address") or postgres.ADDRESS,
    )


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a look at a standby told."""

    status: str
    """``streaming`` where all is well; else what is wrong, in words."""
    lag_bytes: int | None = None
    """What the primary has written and the standby doesn't show yet."""
    lag_s: float | None = None
    """For how long; None where nothing was written lately."""


def replicated(database: Database) -> dict[str, str]:
    """What a former primary needs to be rewound, and the bound on what a lost standby may keep on the disk."""
    return {"wal_log_hints": "on", "max_slot_wal_keep_size": "2GB"} if database.replicas else {}


def follow(pair: Pair) -> None:
    """Have the standby stream from its primary, whatever is there now. The primary must run.

    Raises ``PortTaken``, ``DataDirectoryError``, ``ServerFailed``, ``NotReachable``.
    """
    with session(pair, pair.primary_port) as primary:
        _allow(primary, pair)
        lost = _keep_log(primary)
        if lost or not _resumed(primary, pair):
            _make(primary, pair, lost=lost)
        _streams(primary, replayed=True)  # this superuser's password too
        _drop_old_slot(pair)
        _wait_or_not(primary, pair)


def leave(pair: Pair) -> None:
    """Undo ``follow``. The standby's data goes where the primary has all of it, else it is kept."""
    import psycopg

    copied = follows(pair.standby) is not None
    try:
        primary = session(pair, pair.primary_port)
    except NotReachable:
        # `up` mends the primary before it takes a standby away; only a `destroy` finds one that doesn't answer.
        pair.primary.stop()
        _leave_stopped(pair)
        return
    with primary:
        _asynchronous(primary, pair)
        copied = copied and _same_database(pair)
        pair.standby.stop()
        primary.execute(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s", [NAME]
        )
        _until(lambda: _drop_slot(primary), "the slot of the standby can't be dropped: run the command again")
        with contextlib.suppress(psycopg.errors.DependentObjectsStillExist):  # somebody granted it something
            primary.execute(f"DROP ROLE IF EXISTS {USER}".encode())
    if copied:
        pair.standby.remove()


def look(pair: Pair) -> Seen:
    """Look at the standby from both sides. A connection that was just cut gets a moment to come back."""
    if (status := pair.standby.status()) != "running":
        return Seen(status=status)
    deadline = time.monotonic() + RECONNECT_S
    try:
        with session(pair, pair.primary_port) as primary:
            while (seen := _seen(primary, pair)).status == "not streaming" and time.monotonic() < deadline:
                time.sleep(LOOK_EVERY_S)
            return seen
    except NotReachable:
        return Seen(status="waiting for its primary")


def follows(standby: Node) -> dict[str, bool] | None:
    """What the mark says; None where the standby isn't known to follow its primary."""
    try:
        mark = json.loads(_mark(standby).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return mark if isinstance(mark, dict) else None


def forget(standby: Node) -> None:
    """Take the mark away: the data may no longer be what it says."""
    _mark(standby).unlink(missing_ok=True)


def session(pair: Pair, port: int) -> Connection:
    """A superuser's session with either server; its commits wait for no standby. Raises ``NotReachable``."""
    import psycopg

    try:
        return psycopg.connect(
            host=pair.address,
            port=port,
            user=pair.superuser,
            password=pair.password,
            dbname="postgres",
            connect_timeout=CONNECT_TIMEOUT_S,
            options="-c synchronous_commit=local",
            application_name="gaia replication",
            autocommit=True,
        )
    except psycopg.OperationalError as error:
        said = one_sentence(str(error))
        raise NotReachable(
            f"PostgreSQL at {pair.address}:{port} gave no answer ({said}): look at ./gaia logs"
        ) from None


def _seen(primary: Connection, pair: Pair) -> Seen:
    row = primary.execute(
        "SELECT state, sync_state, pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::bigint,"
        " extract(epoch FROM replay_lag)::float8 FROM pg_stat_replication WHERE application_name = %s",
        [NAME],
    ).fetchone()
    if row is None or row[0] != "streaming":
        return Seen(status="not streaming")
    if (row[1] == "sync") != pair.synchronous:
        return Seen(status="streaming, and commits wait for it" if row[1] == "sync" else "streaming, too far behind")
    return Seen(status="streaming", lag_bytes=row[2], lag_s=row[3])


def _allow(primary: Connection, pair: Pair) -> None:
    """A login for the standby, and a primary that lets it in."""
    from migrations import roles

    row = primary.execute(
        "SELECT rolpassword, rolreplication AND rolcanlogin FROM pg_authid WHERE rolname = %s", [USER]
    ).fetchone()
    if row is None or not row[1] or not scram.fits(pair.replication_password, row[0]):
        with primary.transaction():
            roles.keep_out_of_the_log(primary)
            verb = "CREATE" if row is None else "ALTER"
            verifier = scram.verifier(pair.replication_password)
            primary.execute(f"{verb} ROLE {USER} LOGIN REPLICATION PASSWORD '{verifier}'".encode())
    # A server that was configured before there were standbys doesn't read the file about them.
    pair.primary.configure(pair.primary_parameters)
    primary.execute("SELECT pg_reload_conf()")


def _keep_log(primary: Connection) -> bool:
    """Have the primary keep what the standby hasn't got yet; True where some of it is gone for good."""
    row = primary.execute("SELECT wal_status FROM pg_replication_slots WHERE slot_name = %s", [NAME]).fetchone()
    lost = row is not None and row[0] == "lost"
    if lost:
        _until(lambda: _drop_slot(primary), "the slot of the standby can't be dropped: run ./gaia up again")
    if lost or row is None:
        primary.execute("SELECT pg_create_physical_replication_slot(%s, true)", [NAME])
    return lost


def _drop_slot(connection: Connection) -> bool:
    """Drop the slot unless somebody uses it; whether it is gone."""
    connection.execute(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s AND NOT active",
        [NAME],
    )
    return connection.execute("SELECT FROM pg_replication_slots WHERE slot_name = %s", [NAME]).fetchone() is None


def _resumed(primary: Connection, pair: Pair) -> bool:
    """Whether a standby that followed before does so again, with today's parameters."""
    standby = pair.standby
    if follows(standby) is None or standby.read(SIGNAL) is None:
        return False
    before = _configuration(standby)
    _configure(pair)
    if _configuration(standby) != before and standby.status() == "running":
        # A standby starts with fewer connections only once it has seen that its primary has fewer.
        _streams(primary, replayed=True)
        standby.stop()
    try:
        standby.start(port=pair.port, timeout_s=pair.timeout_s, setting=SETTING)
    except ServerFailed:
        return False
    return _streams(primary)


def _make(primary: Connection, pair: Pair, *, lost: bool) -> None:
    """Make the standby's data, or make it its primary's again."""
    standby = pair.standby
    there = standby.status() != "absent"
    if there and not _same_database(pair):
        raise DataDirectoryError(
            f"{standby.place} holds another database, perhaps the last good copy of one that was lost: "
            "move it away, then run ./gaia up again"
        )
    forget(standby)
    _asynchronous(primary, pair)
    standby.quiet()
    if there and not lost and _rewound(pair) and _why_not_started(primary, pair) is None:
        return
    standby.stop()
    _copied(pair)
    if (why := _why_not_started(primary, pair)) is not None:
        raise ServerFailed(
            f"the standby doesn't follow its primary: {why}; look at {standby.log}, then run ./gaia up again"
        )


def _why_not_started(primary: Connection, pair: Pair) -> str | None:
    """Start the standby; why it doesn't stream, None where it does."""
    _configure(pair)
    try:
        pair.standby.start(port=pair.port, timeout_s=pair.timeout_s, setting=SETTING)
    except ServerFailed as error:
        return str(error).partition("\n")[0]
    return None if _streams(primary) else f"it came no further for {STILL_S} s"


def _rewound(pair: Pair) -> bool:
    """Take back what the data has beyond its primary's; False where the log for that is gone."""
    # A former primary that was killed is recovered first, which no standby can be.
    from psycopg.conninfo import make_conninfo

    pair.standby.delete(SIGNAL)
    source = make_conninfo(**pair.source, user=pair.superuser, dbname="postgres")
    arguments = ("--target-pgdata", pair.standby.data, "--source-server", source)
    done = pair.standby.run("pg_rewind", *arguments, environment={"PGPASSWORD": pair.password}, check=False)
    return done.returncode == 0


def _copied(pair: Pair) -> None:
    """A new copy of the primary."""
    flags = ("--dbname", _address(pair), "--slot", NAME, "--checkpoint", "fast", "--no-manifest", "--no-password")
    pair.standby.copy(*flags, environment={"PGPASSWORD": pair.replication_password})


def _configure(pair: Pair) -> None:
    """The standby's parameters, and its password in a file that only the server's user may read."""
    standby = pair.standby
    standby.configure(pair.parameters)
    password = pair.replication_password.replace("\\", "\\\\").replace(":", "\\:")
    standby.write_passfile(f"*:*:*:{USER}:{password}\n")
    wanted = {
        "primary_conninfo": _address(pair),
        "primary_slot_name": NAME,
        # A standby tries again after five seconds, else.
        "wal_retrieve_retry_interval": "500ms",
        "wal_receiver_status_interval": "1s",
    }
    lines = [f"{name} = {postgres.quoted(value)}\n" for name, value in wanted.items()]
    standby.write(postgres.REPLICATION_CONF, "".join(lines))
    standby.write(SIGNAL, "")


def _configuration(standby: Node) -> list[str | None]:
    return [standby.read(name) for name in ("gaia.conf", postgres.REPLICATION_CONF)]


def _address(pair: Pair) -> str:
    from psycopg.conninfo import make_conninfo

    return make_conninfo(
        **pair.source,
        user=USER,
        passfile=pair.standby.passfile,
        application_name=NAME,
    )


def _streams(primary: Connection, *, replayed: bool = False) -> bool:
    """Wait until the standby streams, and with ``replayed`` shows all; False where it comes no further."""
    deadline, last = time.monotonic() + STILL_S, None
    target = primary.execute("SELECT pg_current_wal_lsn()").fetchone()
    assert target is not None
    while time.monotonic() < deadline:
        row = primary.execute(
            "SELECT state, flush_lsn, replay_lsn, coalesce(replay_lsn >= %s::pg_lsn, false) FROM pg_stat_replication"
            " WHERE application_name = %s",
            [target[0], NAME],
        ).fetchone()
        if row and row[0] == "streaming" and (row[3] or not replayed):
            return True
        if row and row[:3] != last:
            deadline, last = time.monotonic() + STILL_S, row[:3]
        time.sleep(LOOK_EVERY_S)
    return False


def _drop_old_slot(pair: Pair) -> None:
    """A former primary still has its standby's slot, which would keep its log for ever."""
    with session(pair, pair.port) as standby:
        _until(lambda: _drop_slot(standby), "an old slot of the standby can't be dropped: run ./gaia up again")


def _wait_or_not(primary: Connection, pair: Pair) -> None:
    """Have commits wait for the standby, or not; then the mark that says so."""
    mark = {"synchronous": pair.synchronous}
    if not pair.synchronous:
        _asynchronous(primary, pair)
    elif follows(pair.standby) != mark or not _in_step(primary):
        _write_synchronous(primary, pair, f"FIRST 1 ({NAME})")
        _until(lambda: _in_step(primary), _NOT_IN_STEP)
        # The process that makes checkpoints is the one that makes commits wait: now it has surely read that.
        primary.execute("CHECKPOINT")
        row = primary.execute("SELECT pg_current_wal_flush_lsn()").fetchone()
        assert row is not None
        flushed = "SELECT FROM pg_stat_replication WHERE application_name = %s AND flush_lsn >= %s::pg_lsn"
        _until(lambda: primary.execute(flushed, [NAME, row[0]]).fetchone() is not None, _NOT_IN_STEP)
    pair.standby.note(MARK, json.dumps(mark))


def _in_step(primary: Connection) -> bool:
    state = "SELECT FROM pg_stat_replication WHERE application_name = %s AND sync_state = 'sync'"
    return primary.execute(state, [NAME]).fetchone() is not None


_NOT_IN_STEP = "the standby doesn't keep up, so no commit waits for it yet: run ./gaia up again"


def _asynchronous(primary: Connection, pair: Pair) -> None:
    """Let commits wait for nobody; first of all the mark says so."""
    if (follows(pair.standby) or {}).get("synchronous"):
        pair.standby.note(MARK, json.dumps({"synchronous": False}))
    _write_synchronous(primary, pair, "")


def _write_synchronous(primary: Connection, pair: Pair, names: str) -> None:
    pair.primary.write(postgres.REPLICATION_CONF, synchronous_line(names))
    primary.execute("SELECT pg_reload_conf()")


def synchronous_line(names: str) -> str:
    """The line by which a primary waits for the standbys of these names; for nobody with none."""
    return f"synchronous_standby_names = {postgres.quoted(names)}\n"


def _leave_stopped(pair: Pair) -> None:
    """The same where the primary is stopped: its files are all there is."""
    forget(pair.standby)
    pair.standby.stop()
    if pair.primary.status() == "stopped":
        pair.primary.write(postgres.REPLICATION_CONF, synchronous_line(""))
        pair.primary.delete(f"pg_replslot/{NAME}")


def _same_database(pair: Pair) -> bool:
    try:
        return pair.standby.identity() == pair.primary.identity()
    except ServerFailed:
        return True  # damaged beyond being read: there is nothing to keep


def _until(holds: Callable[[], bool], otherwise: str, *, within_s: float = STILL_S) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            raise ServerFailed(otherwise)
        time.sleep(LOOK_EVERY_S)


def _mark(standby: Node) -> Path:
    return standby.home / MARK
