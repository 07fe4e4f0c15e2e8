"""The safe mends of ``--fix``: each says what it did. Nothing here deletes a row, or ends what may be at work."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from engine import locks
from ops.doctor import access
from ops.doctor.finding import Mend
from ops.doctor.scene import Scene, with_engine
from ops.doctor.sessions import IDLE_LONG, IDLE_MIN
from ops.exits import Missing, OpsError

DROP_WAIT_MS = 10_000
"""How long a DROP INDEX CONCURRENTLY waits for transactions that use the table; it keeps nobody waiting."""
Say = Callable[[str], None]


def do(mend: Mend, scene: Scene, say: Say) -> str:
    """Carry one out; returns what was done. Raises errors of ours, and those of psycopg."""
    return KINDS[mend.kind](scene, mend.subject, say)


def _up(scene: Scene, _subject: str, _say: Say) -> str:
    command = [str(scene.checkout.root / "gaia"), "up", "--stack", scene.stack]
    # What it prints is progress here: stdout has our own answer.
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise OpsError(f"./gaia up ended with {done.returncode}")
    return "ran ./gaia up"


def _sessions(scene: Scene, _subject: str, _say: Say) -> str:
    with access.connected(_url(scene)) as connection:
        rows = connection.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {IDLE_LONG}".encode()
        ).fetchall()
    return f"ended {len(rows)} sessions that were idle for more than {IDLE_MIN} minutes"


def _session(scene: Scene, subject: str, _say: Say) -> str:
    with access.connected(_url(scene)) as connection:
        # Looked at again: by now it may be at work, or be another's.
        rows = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid = %s AND state LIKE 'idle in transaction%%'",
            (int(subject),),
        ).fetchall()
    return f"ended the session {subject}" if rows else f"the session {subject} is no longer idle in a transaction"


def _lock(scene: Scene, _subject: str, _say: Say) -> str:
    said: list[str] = []
    locks.release_dead_locks(scene.checkout, scene.stack, said.append)
    return "; ".join(said) or "the lock is gone already"


def _index(scene: Scene, subject: str, say: Say) -> str:
    with (
        locks.held(scene.checkout, scene.stack, "./gaia doctor --fix", say),
        access.connected(_url(scene)) as connection,
    ):
        connection.execute(f"SET statement_timeout = 0; SET lock_timeout = {DROP_WAIT_MS}".encode())
        connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {subject}".encode())
    return f"dropped the invalid index {subject}; ./gaia migrate check tells whether the models miss it"


def _partitions(scene: Scene, _subject: str, say: Say) -> str:
    from migrations import partitions

    with locks.held(scene.checkout, scene.stack, "./gaia doctor --fix", say):
        made = partitions.maintain(_url(scene)).made
    return f"made {len(made)} partitions" + (f", {made[0]} to {made[-1]}" if made else "")


def _url(scene: Scene) -> str:
    from ops import stacks

    stack = with_engine(scene)
    if stack is None:
        raise Missing("there is no engine to open the stack's secrets with: run ./gaia setup")
    return stacks.logins(stack).superuser.url


KINDS: dict[str, Callable[[Scene, str, Say], str]] = {
    "up": _up,
    "sessions": _sessions,
    "session": _session,
    "lock": _lock,
    "index": _index,
    "partitions": _partitions,
}
