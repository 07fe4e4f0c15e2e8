"""The examination: checkout, server and database are looked at side by side, and none of them waits for ever."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import asdict, replace
from typing import Any, TypeVar

from ops import stacks
from ops.doctor import access, checkout, clock, embedded, sessions, upkeep
from ops.doctor.finding import Finding
from ops.doctor.scene import Scene

DEADLINE_S = 3.5
"""What hasn't answered so long after the engine is told of as such: everything down takes five seconds at most."""
Look = Callable[[], Iterator[Finding]]
Say = Callable[[str], None]
Result = TypeVar("Result")


def examine(scene: Scene, say: Say = lambda line: None, deadline_s: float = DEADLINE_S) -> list[Finding]:
    """Look at everything; never raises. ``say`` gets what is waited for, each second."""
    state = checkout.state(scene)
    # The engine is what takes longest: it starts first, and all else is imported and asked meanwhile.
    logins = _aside(lambda: access.logins(scene) if state.made and not state.damaged else None)
    looks: dict[str, Look] = {
        "checkout": lambda: checkout.look(scene, state),
        "server": lambda: _server(scene, expected=state.made and not state.damaged),
        "database": lambda: _database(scene, logins) if state.made else iter(()),
    }
    if scene.settings.target == "gcp":
        return side_by_side({"checkout": lambda: checkout.look(scene, checkout.ELSEWHERE), "cloud": _cloud}, deadline_s)
    return untangled(side_by_side(looks, deadline_s, say, after=logins))


def untangled(findings: Sequence[Finding]) -> list[Finding]:
    """Whoever sits on the port may answer, or not: what they say is no fault of a second kind."""
    taken = any(finding.name == "port" and finding.found for finding in findings)
    way = "free the port first: see above"
    return [
        replace(finding, way=way, mend=None) if taken and finding.name in _ASKED_AT_PORT and finding.found else finding
        for finding in findings
    ]


_ASKED_AT_PORT = (access.ANSWERS, access.SUPERUSER, access.APP)


def side_by_side(
    looks: dict[str, Look], deadline_s: float, say: Say = lambda line: None, *, after: Future[Any] | None = None
) -> list[Finding]:
    """What each look finds, in order; one that fails or takes too long is a finding itself.

    ``after`` bounds itself: the deadline counts from when it is done.
    """
    found: dict[str, list[Finding]] = {name: [] for name in looks}
    threads = {
        # As daemons: one that hangs in a system call must not keep the command from ending.
        name: threading.Thread(target=_collect, args=(name, look, found[name]), daemon=True)
        for name, look in looks.items()
    }
    for thread in threads.values():
        thread.start()
    while after is not None and not after.done():
        wait([after], timeout=1.0)
        if not after.done():
            say("waiting for the stack's secrets")
    ends = time.monotonic() + deadline_s
    for name, thread in threads.items():
        while thread.is_alive() and (left := ends - time.monotonic()) > 0:
            thread.join(min(1.0, left))
            if thread.is_alive():
                say(f"waiting for {name} ({left:.0f} s left)")
        if thread.is_alive():
            slow = f"it gave no answer within {deadline_s:g} s"
            found[name] = [*found[name], Finding(name=f"{name} answers in time", found=slow, way="run ./gaia logs")]
    return [finding for findings in found.values() for finding in findings]


def _aside(call: Callable[[], Result]) -> Future[Result]:
    """Begin a call in a thread that keeps nobody from ending."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def _collect(name: str, look: Look, into: list[Finding]) -> None:
    try:
        for finding in look():
            into.append(finding)
    except Exception as error:  # whatever is broken: the others are told of, and so is this
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        into.append(
            Finding(name=f"{name} can be looked at", found=f"{type(error).__name__}: {said}", way="run ./gaia up")
        )


def _server(scene: Scene, *, expected: bool) -> Iterator[Finding]:
    if scene.settings.docker is not None:
        from ops.doctor import container

        return container.look(scene, expected=expected)
    return embedded.look(scene, expected=expected)


def _database(scene: Scene, opened: Future[stacks.Logins | Finding | None]) -> Iterator[Finding]:
    import psycopg

    upkeep.import_ahead()
    logins = opened.result()
    if logins is None or isinstance(logins, Finding):
        yield from [logins] if logins else []
        yield access.answers(scene)
        return
    where = f"{logins.superuser.host}:{logins.superuser.port}"
    try:
        with access.connected(logins.superuser.url) as connection:
            yield from (Finding(name=access.ANSWERS), Finding(name=access.SUPERUSER), access.app(logins.app))
            yield from _asked(connection, scene)
    except psycopg.OperationalError as error:
        yield access.refused(str(error), where)


def _asked(connection: Any, scene: Scene) -> Iterator[Finding]:
    import psycopg

    parts: Sequence[tuple[str, Look]] = (
        ("clocks", lambda: clock.look(connection, _postmaster(scene))),
        ("sessions", lambda: sessions.look(connection)),
        ("upkeep", lambda: upkeep.look(connection, _kept(scene))),
    )
    for name, part in parts:
        try:
            yield from part()
        except psycopg.Error as error:
            said = access.one_sentence(str(error))
            yield Finding(name=f"{name} can be asked", found=said, way="run ./gaia doctor again", level="warning")


def _kept(scene: Scene) -> dict[str, int | None]:
    from migrations.bootstrap import Retention

    return Retention(**asdict(scene.settings.database.retention)).kept


def _postmaster(scene: Scene) -> float | None:
    """When the server's process was started, where it runs on this machine."""
    if scene.settings.docker is not None:
        return None
    import psutil

    from infra.local import postgres
    from infra.local.errors import LocalError

    with contextlib.suppress(LocalError, psutil.Error):
        return postgres.started(postgres.home_for(scene.checkout.root, scene.stack))
    return None


def _cloud() -> Iterator[Finding]:
    yield Finding(
        name="production",
        found="it is in Google Cloud, which this command doesn't look into",
        way="its alerts name what is wrong, docs/runbooks the way out of each",
        level="note",
    )
