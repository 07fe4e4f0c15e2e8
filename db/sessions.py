"""Sessions: SQLAlchemy's, which also take SQL as a plain string and, bound to a user, sign who they act for."""

import functools
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from sqlalchemy import event, orm, text
from sqlalchemy.engine import Connection
from sqlalchemy.ext import asyncio as async_orm

from db import writes
from db.async_connection import AsyncConnection
from db.errors import DatabaseError, IdentityExpired, SettingsError
from db.identity import sign
from db.settings import Settings
from db.sync_connection import SyncConnection
from db.translate import statement_error

if TYPE_CHECKING:
    from typing import TypeVar, TypeVarTuple, overload

    from sqlalchemy.engine import Result, ScalarResult
    from sqlalchemy.sql.base import Executable
    from sqlalchemy.sql.elements import TextClause
    from sqlalchemy.sql.selectable import TypedReturnsRows

    One = TypeVar("One")
    Columns = TypeVarTuple("Columns")

Signer = Callable[[], tuple[str, int]]
"""Makes a token that is valid from now on, and says until when (seconds since 1970)."""


class Session(orm.Session):
    """A session of psycopg, and what an AsyncSession works with. SQL may be a string, `:name` its parameters."""

    def __init__(self, *args: Any, settings: Settings, read_only: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.settings = settings
        self.read_only = read_only

    if TYPE_CHECKING:

        @overload
        def execute(self, statement: TypedReturnsRows[*Columns], *args: Any, **kwargs: Any) -> Result[*Columns]: ...
        @overload
        def execute(self, statement: Executable | str, *args: Any, **kwargs: Any) -> Result[*tuple[Any, ...]]: ...
        def execute(self, statement: Any, *args: Any, **kwargs: Any) -> Any: ...
        @overload
        def scalar(self, statement: TypedReturnsRows[One], *args: Any, **kwargs: Any) -> One | None: ...
        @overload
        def scalar(self, statement: Executable | str, *args: Any, **kwargs: Any) -> Any: ...
        # Without SQLAlchemy's overload for statements that have no columns.
        def scalar(self, statement: Any, *args: Any, **kwargs: Any) -> Any: ...  # pyright: ignore[reportIncompatibleMethodOverride]
        @overload
        def scalars(self, statement: TypedReturnsRows[One], *args: Any, **kwargs: Any) -> ScalarResult[One]: ...
        @overload
        def scalars(self, statement: Executable | str, *args: Any, **kwargs: Any) -> ScalarResult[Any]: ...
        def scalars(self, statement: Any, *args: Any, **kwargs: Any) -> Any: ...

    else:

        def execute(self, statement, *args, **kwargs):
            return super().execute(self.executable(statement), *args, **kwargs)

        def scalar(self, statement, *args, **kwargs):
            return super().scalar(self.executable(statement), *args, **kwargs)

        def scalars(self, statement, *args, **kwargs):
            return super().scalars(self.executable(statement), *args, **kwargs)

    def executable(self, statement: Any) -> Any:
        """What SQLAlchemy takes for `statement`, which may be a string."""
        return _text(statement) if isinstance(statement, str) else statement


class BoundSession(Session):
    """A session for one user: each of its transactions begins with an identity, signed when it begins."""

    def __init__(self, *args: Any, signer: Signer, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.signer = signer
        self.expires_at = math.inf
        """When the transaction's identity ends; counts within it only."""

    def executable(self, statement: Any) -> Any:
        """The same; raises IdentityExpired."""
        self.require_identity()
        return super().executable(statement)

    def require_identity(self) -> None:
        """Raise IdentityExpired if row-level security takes this session for nobody's by now."""
        if time.time() >= self.expires_at and self.in_transaction():
            raise IdentityExpired(
                f"the transaction outlived GAIA_IDENTITY_LIFETIME_S ({self.settings.identity_lifetime_s} s); nothing of"
                " it is written"
            )


class AsyncSession(async_orm.AsyncSession):
    """A session of asyncpg. It does its work with a Session, so SQL may be a string here too."""

    sync_session_class = Session

    if TYPE_CHECKING:
        sync_session: Session  # pyright: ignore[reportIncompatibleVariableOverride]

        @overload
        async def execute(
            self, statement: TypedReturnsRows[*Columns], *args: Any, **kwargs: Any
        ) -> Result[*Columns]: ...
        @overload
        async def execute(self, statement: Executable | str, *args: Any, **kwargs: Any) -> Result[*tuple[Any, ...]]: ...
        async def execute(self, statement: Any, *args: Any, **kwargs: Any) -> Any: ...
        @overload
        async def scalar(self, statement: TypedReturnsRows[One], *args: Any, **kwargs: Any) -> One | None: ...
        @overload
        async def scalar(self, statement: Executable | str, *args: Any, **kwargs: Any) -> Any: ...
        # Without SQLAlchemy's overload for statements that have no columns.
        async def scalar(self, statement: Any, *args: Any, **kwargs: Any) -> Any: ...  # pyright: ignore[reportIncompatibleMethodOverride]
        @overload
        async def scalars(self, statement: TypedReturnsRows[One], *args: Any, **kwargs: Any) -> ScalarResult[One]: ...
        @overload
        async def scalars(self, statement: Executable | str, *args: Any, **kwargs: Any) -> ScalarResult[Any]: ...
        async def scalars(self, statement: Any, *args: Any, **kwargs: Any) -> Any: ...


def signer(settings: Settings, user_id: UUID | str) -> Signer:
    """What signs for `user_id`; raises SettingsError without a key, ValueError for what is no UUID."""
    if not settings.identity_keys:
        raise SettingsError(
            "GAIA_IDENTITY_KEY: not set, so no session can be bound to a user; ./gaia env prints a local stack's"
        )
    key, lifetime_s = settings.identity_keys[0], settings.identity_lifetime_s
    user = user_id if isinstance(user_id, UUID) else UUID(user_id)

    def make() -> tuple[str, int]:
        expires_at = int(time.time()) + lifetime_s
        return sign(key, user, expires_at), expires_at

    return make


@event.listens_for(BoundSession, "after_transaction_create", propagate=True)
def forget_expiry(session: BoundSession, transaction: orm.SessionTransaction) -> None:
    """A transaction has no identity, and so none that ends, before it begins on a connection."""
    if transaction.parent is None:
        session.expires_at = math.inf


@event.listens_for(BoundSession, "before_commit", propagate=True)
@event.listens_for(BoundSession, "after_flush", propagate=True)
def require_identity(session: BoundSession, *_: Any) -> None:
    """Write nothing that was done as nobody."""
    session.require_identity()


@event.listens_for(Session, "after_begin", propagate=True)
def begin(session: Session, transaction: orm.SessionTransaction, connection: Connection) -> None:
    """Begin a transaction, for a user with an identity signed now; a savepoint has its transaction's."""
    if transaction.nested:
        return
    used = connection.connection
    if cast(Any, used.dbapi_connection).autocommit:
        if not isinstance(session, BoundSession) and not session.read_only:
            return
        raise DatabaseError(
            "a session bound to a user, or read-only, can't run in AUTOCOMMIT: both last for a transaction"
        )
    driver = used.driver_connection
    token = None
    if isinstance(session, BoundSession):
        token, session.expires_at = session.signer()
    if isinstance(driver, AsyncConnection):
        # Both go with BEGIN, which SQLAlchemy sends with the first statement.
        driver.identity, driver.in_read_only_session = token, session.read_only
    else:
        _begin(cast(SyncConnection, driver), token, connection, session)


@event.listens_for(Session, "after_commit", propagate=True)
def note_write(session: Session) -> None:
    """A read-only session that this context opens later shows what was committed here."""
    if not session.read_only:
        writes.note()


def _begin(driver: SyncConnection, token: str | None, connection: Connection, session: Session) -> None:
    try:
        driver.begin(token, read_only=session.read_only)
    except Exception as error:  # below SQLAlchemy, so nobody translates it
        lost = bool(driver.closed)
        if lost:
            connection.invalidate(error)
        raise statement_error(error, session.settings, lost=lost) or error from error


@functools.lru_cache(maxsize=1024)
def _text(statement: str) -> "TextClause":
    return text(statement)
