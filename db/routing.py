"""Where a session is opened: on the primary or, if it only reads, on a replica that answers."""

import asyncio
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar
from uuid import UUID

from db import wal
from db.errors import LoginRefused, LostConnection, Unreachable

if TYPE_CHECKING:
    from db import engines
    from db.replicas import Replica, Replicas
    from db.sessions import AsyncSession, Session
    from db.settings import Settings

Isolation = Literal["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]
NO_ANSWER = (Unreachable, LoginRefused, LostConnection)
Found = TypeVar("Found")


class Wish(NamedTuple):
    """What session somebody wants."""

    user_id: UUID | str | None
    isolation: Isolation | None
    read_only: bool
    after: str | None

    @property
    def anywhere(self) -> bool:
        """Whether a replica will do; a standby has no SERIALIZABLE."""
        return self.read_only and self.isolation != "SERIALIZABLE"


def open_async(made: "engines.Async", settings: "Settings", wish: Wish) -> "AsyncSession":
    """A session of that engine; nothing is sent yet."""
    from db.sessions import AsyncSession, BoundSession, signer

    engine = made.engine if wish.isolation is None else made.engine.execution_options(isolation_level=wish.isolation)
    more: dict[str, Any] = {"expire_on_commit": False, "settings": settings, "read_only": wish.read_only}
    if wish.user_id is not None:
        more |= {"sync_session_class": BoundSession, "signer": signer(settings, wish.user_id)}
    return AsyncSession(engine, **more)


def open_sync(made: "engines.Sync", settings: "Settings", wish: Wish) -> "Session":
    """The same with psycopg."""
    from db.sessions import BoundSession, Session, signer

    engine = made.engine if wish.isolation is None else made.engine.execution_options(isolation_level=wish.isolation)
    more: dict[str, Any] = {"expire_on_commit": False, "settings": settings, "read_only": wish.read_only}
    if wish.user_id is None:
        return Session(engine, **more)
    return BoundSession(engine, signer=signer(settings, wish.user_id), **more)


async def on_replica_async(replicas: "Replicas", wish: Wish) -> "AsyncSession | None":
    """A session that has its connection to a replica; None if the primary has to serve."""
    tried: list[Replica] = []
    while (chosen := await pausing(replicas.choosing(_place(wish), tried))) is not None:
        session = open_async(await chosen.engines.of_this_loop(chosen.settings), chosen.settings, wish)
        try:
            await session.connection()
            return session
        except BaseException as error:
            await session.close()
            if not isinstance(error, NO_ANSWER):
                raise
            chosen.watch.fail(str(error))
            tried.append(chosen)
    return None


def on_replica_sync(replicas: "Replicas", wish: Wish) -> "Session | None":
    """The same with psycopg."""
    tried: list[Replica] = []
    while (chosen := sleeping(replicas.choosing(_place(wish), tried))) is not None:
        session = open_sync(chosen.engines.sync(chosen.settings), chosen.settings, wish)
        try:
            session.connection()
            return session
        except BaseException as error:
            session.close()
            if not isinstance(error, NO_ANSWER):
                raise
            chosen.watch.fail(str(error))
            tried.append(chosen)
    return None


async def pausing(steps: Generator[float, None, Found]) -> Found:
    """What `steps` returns, having paused as often as it yields."""
    try:
        while True:
            await asyncio.sleep(next(steps))
    except StopIteration as done:
        return done.value


def sleeping(steps: Generator[float, None, Found], sleep: Callable[[float], None] = time.sleep) -> Found:
    """The same for threads."""
    try:
        while True:
            sleep(next(steps))
    except StopIteration as done:
        return done.value


def _place(wish: Wish) -> int:
    return 0 if wish.after is None else wal.parse(wish.after)
