"""What happens to a machine is named by ``./gaia doctor``, and what its hint says mends it: the tests run the hints.

The server has no clock of its own, so that it differs is brought about by functions that its superuser finds before
PostgreSQL's; a row of the future is a real one. The rest is as it happens: a full volume, a killed backend, a network
that carries nothing any more.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shlex
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.clone import Clone

pytestmark = pytest.mark.engine
Counts = Callable[[int, int], int]
Record = Callable[[str, str], None]


@pytest.fixture
def up(clone: Clone, port: int) -> Clone:
    """A clone with its local stack up."""
    clone.gaia("up", "--stack", "local", "--set", f"database.port={port}")
    return clone


def wrong(clone: Clone) -> dict[str, str]:
    """The hints of the checks that don't hold, by name; asserts that the exit code tells of faults."""
    done = clone.gaia("doctor", "--json", code=None)
    assert "Traceback" not in done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if document["ok"] else 1)
    return {check["name"]: check["hint"] for check in document["checks"] if not check["ok"]}


def hinted(hint: str) -> list[list[str]]:
    """The ``./gaia`` commands that a hint names, in order."""
    found = re.findall(r"""\./gaia ((?:[\w=.:/-]+|"[^"]*"|'[^']*')(?: (?:--?[\w-]+|[\w]+\.[\w.=]+|"[^"]*"))*)""", hint)
    return [shlex.split(words) for words in found]


def follow(clone: Clone, hint: str) -> None:
    """Run what a hint says."""
    commands = hinted(hint)
    assert commands, hint
    for words in commands:
        clone.gaia(*words)


def connect(clone: Clone, as_user: str = "app") -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(clone.gaia("url", "--as", as_user).stdout.strip(), autocommit=True)


SHIFTED = """
CREATE SCHEMA shifted;
CREATE FUNCTION shifted.clock_timestamp() RETURNS timestamptz LANGUAGE sql
    AS $$ SELECT pg_catalog.clock_timestamp() + INTERVAL '{clock}' $$;
CREATE FUNCTION shifted.pg_postmaster_start_time() RETURNS timestamptz LANGUAGE sql
    AS $$ SELECT pg_catalog.pg_postmaster_start_time() + INTERVAL '{started}' $$;
ALTER ROLE gaia SET search_path = shifted, pg_catalog
"""


CLOCKS = (
    ("1 day", "1 day", "clocks agree", "1.0 days ahead of"),
    ("-1 day", "-1 day", "clocks agree", "1.0 days behind"),
    ("0", "-1 day", "clock is steady", "forward by 1.0 days"),
    ("0", "1 day", "clock is steady", "back by 1.0 days"),
)
"""The server's clock, the moment it was started, the check, its words."""


def test_a_clock_that_is_a_day_off_is_named(up: Clone, counts: Counts, record: Record) -> None:
    mended = counts(1, len(CLOCKS))
    for number, (clock, started, name, words) in enumerate(CLOCKS):
        up.gaia("psql", "-q", "-c", SHIFTED.format(clock=clock, started=started))
        hint = wrong(up)[name]
        assert words in hint and "timedatectl set-ntp true" in hint
        # "Set it": with the clock right again, the rest of the hint starts the server anew.
        up.gaia("psql", "-q", "-c", "ALTER ROLE gaia RESET search_path; DROP SCHEMA shifted CASCADE")
        if number < mended:
            follow(up, hint)
            assert wrong(up) == {}
    up.gaia(
        "psql", "-q", "-c", "INSERT INTO audit.security_events (event_type, created_at) VALUES ('x', now() + '1 day')"
    )
    hint = wrong(up)["no row from the future"]
    assert "audit.security_events" in hint and "correct created_at by hand" in hint
    record("a day's clock jump", f"{len(CLOCKS)} of {len(CLOCKS)} named, {mended} mended by the hint; its rows named")


def _fill(file: Path) -> None:
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as out:
        while True:
            out.write(bytes(2**20))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small volume")
def test_a_full_volume_is_named_and_mended_by_making_room(clone: Clone, port: int, record: Record) -> None:
    volume = clone.checkout.own / "data"
    volume.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=420m,mode=0755", "tmpfs", volume], check=False)
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a volume")
    try:
        clone.gaia("up", "--stack", "local", "--set", f"database.port={port}")
        assert wrong(clone) == {}
        filler = volume / "filler"
        _fill(filler)
        with contextlib.suppress(psycopg.Error), connect(clone, "superuser") as connection:
            connection.execute("CREATE TABLE public.big AS SELECT repeat('x', 1000) FROM generate_series(1, 100000)")
        assert "No space left on device" in (clone.home() / "server.log").read_text()
        hint = wrong(clone)["room for the data directory"]
        assert str(volume) in hint and "free space there" in hint
        filler.unlink()
        follow(clone, hint)
        assert wrong(clone) == {}
        clone.gaia("verify")
    finally:
        clone.gaia("destroy", "--stack", "local", "--purge", "--yes", code=None)
        subprocess.run(["umount", volume], check=True)
    record("full volume", "named, mended by making room and ./gaia up")


def test_a_killed_backend_is_named_and_mended_with_less_memory(up: Clone, counts: Counts, record: Record) -> None:
    many = counts(1, 3)
    for _ in range(many):
        with contextlib.suppress(psycopg.OperationalError), connect(up) as connection:
            # As the kernel does where memory runs out.
            os.kill(connection.info.backend_pid, signal.SIGKILL)
            connection.execute("SELECT 1")
        hint = _named(up, "no process was killed")
        assert "out of memory" in hint and "signal 9" in hint
        follow(up, hint)
        assert wrong(up) == {}
    record("OOM kill of a backend", f"{many} of {many} named, mended by the hint's ./gaia up --set")


def _named(clone: Clone, name: str) -> str:
    """The hint of a check that fails, once the server has recovered and says so."""
    found: dict[str, str] = {}
    for _ in range(20):
        if (found := wrong(clone)).get(name) and "server answers" not in found:
            return found[name]
    raise AssertionError(found)


class Proxy:
    """A network that can be cut: it then carries nothing any more, and tells neither side."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._cut = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        self._cut.set()

    def end(self) -> None:
        self._ended.set()
        self._thread.join(10)

    def _carry(self) -> None:
        client, _ = self._listener.accept()
        with self._listener, client, socket.create_connection(("127.0.0.1", self._target)) as server:
            other = {client: server, server: client}
            while not self._ended.wait(0.01):
                if self._cut.is_set():
                    continue
                for side in select.select([client, server], [], [], 0.05)[0]:
                    if data := side.recv(65536):
                        other[side].sendall(data)


@contextlib.contextmanager
def proxied(port: int) -> Iterator[Proxy]:
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.end()


def test_a_network_cut_in_mid_transaction_is_named_and_mended_by_its_hint(
    up: Clone, port: int, counts: Counts, record: Record
) -> None:
    many = counts(1, 5)
    up.gaia("psql", "-q", "-c", "CREATE TABLE public.seats (n int); INSERT INTO public.seats VALUES (1)")
    url = up.gaia("url").stdout.strip()
    for _ in range(many):
        with proxied(port) as proxy:
            lost = psycopg.connect(re.sub(r":\d+/", f":{proxy.port}/", url), application_name="cut off")
            lost.execute("UPDATE public.seats SET n = n + 1")
            proxy.cut()
            with psycopg.connect(url, autocommit=True) as next_one:
                waits = threading.Thread(target=next_one.execute, args=(b"UPDATE public.seats SET n = n + 10",))
                waits.start()
                hint = _until_waited(up)
                assert "cut off" in hint and "idle in transaction" in hint
                follow(up, hint)
                waits.join(10)
                assert not waits.is_alive()
            assert "no lock waits long" not in wrong(up)
        lost.close()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT n FROM public.seats").fetchone() == (1 + 10 * many,)
    record("network cut in mid-transaction", f"{many} of {many} named, mended by ending the session it names")


def _until_waited(clone: Clone) -> str:
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        if hint := wrong(clone).get("no lock waits long"):
            return hint
    raise AssertionError("nobody waits")
