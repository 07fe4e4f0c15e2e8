"""Whether the server answers, and lets its users in: what libpq says, in the operator's words."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from engine.errors import EngineError, PassphraseWrong
from migrations.connection import one_sentence
from ops import stacks
from ops.doctor.finding import UP, Finding
from ops.doctor.scene import BACKEND_TIMEOUT_S, ENGINE_TIMEOUT_S, LOOK_TIMEOUT_S, Scene, with_engine
from ops.exits import Missing

if TYPE_CHECKING:
    import psycopg

APPLICATION_NAME = "gaia doctor"
STATEMENT_TIMEOUT_MS = 1500
# Marks in what libpq and PostgreSQL say, in English: the servers of our stacks have no other messages.
_REFUSED = ("password authentication failed", "no password supplied", "is not permitted to log in", "pg_hba.conf")
_NO_ROLE = ("role", "does not exist")
_FULL = ("too many clients", "remaining connection slots", "too many connections")
_BUSY = ("starting up", "shutting down", "recovery mode", "not yet accepting")
ANSWERS, SUPERUSER, APP, CONNECTIONS = "server answers", "superuser can log in", "app can log in", "connections"


def logins(scene: Scene) -> stacks.Logins | Finding | None:
    """The stack's logins; why they can't be had, as a finding; None where the stack isn't up."""
    name, stack = "stack's secrets", with_engine(scene)
    if stack is None:
        return Finding(name=name, found="they can't be opened without an engine", way="run ./gaia setup", level="note")
    timeout_s = ENGINE_TIMEOUT_S if stack.has_own_backend else BACKEND_TIMEOUT_S
    try:
        return stacks.logins(stack, timeout_s=timeout_s)
    except Missing:
        return None
    except PassphraseWrong as error:
        found = str(error).partition(":")[0]
        way = "unset PULUMI_CONFIG_PASSPHRASE, or put .gaia/passphrase back"
        return Finding(name=name, found=found, way=way)
    except subprocess.TimeoutExpired:
        found = f"the engine gave no answer within {timeout_s:g} s"
        return Finding(name=name, found=found, way="look at the backend that PULUMI_BACKEND_URL names, then try again")
    except (EngineError, OSError, ValueError, KeyError) as error:
        # What is wrong with the state, if it is that, another check says.
        found = str(error).partition(";")[0].partition("\n")[0] or type(error).__name__
        return Finding(name=name, found=found, way="run ./gaia up", level="warning")


@contextmanager
def connected(url: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A session of the superuser's that waits for nothing and nobody."""
    import psycopg

    options = f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout=500"
    with psycopg.connect(
        url, connect_timeout=LOOK_TIMEOUT_S, application_name=APPLICATION_NAME, options=options, autocommit=True
    ) as connection:
        yield connection


def refused(said: str, where: str, *, as_app: bool = False) -> Finding:
    """Rule: what a login that failed means, and the way out."""
    reason = one_sentence(said)
    if any(mark in said for mark in _FULL):
        return Finding(
            name=CONNECTIONS,
            found=f"every connection is taken, the superuser's too ({reason})",
            way="run ./gaia doctor --fix again in a moment; else end the programs that hold them, or a session "
            "by its id: ps -C postgres -o pid,args, kill PID",
        )
    if any(mark in said for mark in _BUSY):
        return Finding(
            name=ANSWERS, found=f"{where}: {reason}", way="wait for it, and run ./gaia logs if it takes long"
        )
    if any(mark in said for mark in _REFUSED) or all(mark in said for mark in _NO_ROLE):
        return Finding(
            name=APP if as_app else SUPERUSER,
            found=f"wrong password, or no such login: {reason}",
            way="run ./gaia up, which gives it the stack's password",
            mend=UP,
        )
    if "does not exist" in said:
        return Finding(name="database", found=reason, way="run ./gaia up, which makes it, or ./gaia restore", mend=UP)
    if "timeout" in said or "timed out" in said:
        return Finding(
            name=ANSWERS,
            found=f"{where} takes connections, but gives no answer within {LOOK_TIMEOUT_S} s",
            way="run ./gaia logs; if it hangs, ./gaia destroy and ./gaia up start it anew and keep the data",
        )
    return Finding(name=ANSWERS, found=f"{where}: {reason}", way="run ./gaia up, then ./gaia logs", mend=UP)


def answers(scene: Scene) -> Finding:
    """Whether a server answers at the stack's address, asked without a login."""
    from psycopg import pq

    host, port = scene.address
    conninfo = f"host={host} port={port} connect_timeout={LOOK_TIMEOUT_S}"
    said = pq.PGconn.ping(conninfo.encode())
    if said == pq.Ping.OK:
        return Finding(name=ANSWERS)
    if said == pq.Ping.REJECT:
        return refused("the database system is starting up", f"{host}:{port}")
    return refused("Connection refused", f"{host}:{port}")


def app(login: stacks.Login) -> Finding:
    """Whether the backend's login gets in."""
    import psycopg

    try:
        psycopg.connect(login.url, connect_timeout=LOOK_TIMEOUT_S, application_name=APPLICATION_NAME).close()
    except psycopg.OperationalError as error:
        return refused(str(error), f"{login.host}:{login.port}", as_app=True)
    return Finding(name=APP)
