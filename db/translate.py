"""What the drivers and SQLAlchemy say, as errors of ours: rules on SQLSTATE and text, no driver is imported."""

import ssl
from collections.abc import Mapping
from urllib.parse import quote

from db import errors
from db.settings import Settings

BY_STATE: Mapping[str, tuple[type[errors.DatabaseError], str]] = {
    "40001": (errors.SerializationFailure, "another transaction changed what this one read: run it again"),
    "40P01": (errors.Deadlock, "two transactions waited for each other and this one was undone: run it again"),
    "42501": (
        errors.NotAllowed,
        "PostgreSQL refuses it: {said}; it needs a session bound to a user who may, or another login",
    ),
    "25P02": (
        errors.TransactionAborted,
        "an earlier statement failed, so nothing of this transaction is written; let its error end the block, or put"
        " what may fail into session.begin_nested()",
    ),
}
"""By SQLSTATE, for statements and commits: the class and the sentence."""

READ_ONLY = "25006"
_NOT_READY = ("57P03", "57P01", "57P02")


def statement_error(
    error: BaseException,
    settings: Settings,
    *,
    lost: bool = False,
    committing: bool = False,
    read_only: bool = False,
    standby: bool = False,
) -> errors.DatabaseError | None:
    """The error of ours for what a statement or a commit met; None for what stays SQLAlchemy's.

    `lost` says that the connection is gone, `committing` that COMMIT had been sent, `read_only` that the session was
    opened so, `standby` that the server is one.
    """
    state, said = sqlstate(error), reason(error, settings)
    if lost and committing:
        return errors.OutcomeUnknown(
            f"the connection of {settings.where} was lost during COMMIT: whether it was written isn't known; look"
            " before doing it again"
        )
    if lost:
        return errors.LostConnection(f"the connection of {settings.where} was lost ({said}): run the transaction again")
    if state == "57014" and "user request" not in said:
        return errors.StatementTimeout(
            f"a statement ran for longer than it may ({settings.statement_timeout_s:g} s unless the session says"
            " otherwise); make it faster, or raise DATABASE_STATEMENT_TIMEOUT_S"
        )
    if state == "0A000" and "cached" in said and "plan" in said:
        return errors.SchemaChanged("the schema changed under a prepared statement: run the transaction again")
    if state == READ_ONLY and read_only:
        return errors.ReadOnlySession(f"a session with read_only=True writes nothing ({said}): open it without")
    if state == READ_ONLY and standby:
        return errors.NotPrimary(
            f"{settings.where} is a standby now, as after a failover, and nothing was written: run the transaction"
            " again; name all servers in DATABASE_URL (@a:5432,b:5432/database), or the new primary"
        )
    if state == "40001" and "conflict with recovery" in said:
        return errors.SerializationFailure(
            "a change on the primary took away what this replica was reading: run it again"
        )
    kind, sentence = BY_STATE.get(state or "", (None, ""))
    return kind(sentence.format(said=said)) if kind else None


def connect_error(error: BaseException, settings: Settings) -> errors.DatabaseError:
    """The error of ours for what kept a connection from being made."""
    state, said, where = sqlstate(error), reason(error, settings), settings.where
    if state == "28P01" or "password authentication failed" in said or "no password supplied" in said:
        return errors.WrongPassword(f"the password of {where} is wrong: correct it in DATABASE_URL")
    if state == "3D000" or ('database "' in said and "does not exist" in said):
        return errors.NoSuchDatabase(f"there is no such database: {where}; correct DATABASE_URL, or create it")
    if state == "53300" or "too many" in said or "remaining connection slots" in said:
        return errors.TooManyConnections(
            f"the server has no connection left for {where}: make the pools smaller, or max_connections larger"
        )
    if _is_tls(error, said):
        return errors.TlsFailed(
            f"no TLS connection as {where} with sslmode={settings.sslmode}: {said}; give the server's CA as"
            " sslrootcert, or sslmode=disable where the network is private"
        )
    if state is not None and state not in _NOT_READY and not state.startswith("08"):
        return errors.LoginRefused(f"the server refuses {where}: {said}")
    return errors.Unreachable(f"no connection as {where}: {said}; is the server up, and are host and port right?")


def reason(error: BaseException, settings: Settings) -> str:
    """What the driver gave as the reason: one line, without what libpq puts before it and without the password."""
    original = getattr(error, "orig", None) or error
    lines = [line.strip() for line in str(original).splitlines() if line.strip()]
    refused = next((line for line in lines if " failed: " in line), None)
    line = refused.rpartition(" failed: ")[2] if refused else next(iter(lines), type(original).__name__)
    line = line.removeprefix("<class '").rpartition("'>: ")[2]  # SQLAlchemy's asyncpg errors begin with their class
    for prefix in ("FATAL:", "ERROR:"):
        line = line.rpartition(prefix)[2].strip()
    for secret in filter(None, (settings.password, quote(settings.password, safe=""))):
        line = line.replace(secret, "***")
    return line.rstrip(".")


def sqlstate(error: BaseException) -> str | None:
    """SQLSTATE, from whichever of the wrapped errors has one."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(state := getattr(seen, "sqlstate", None) or getattr(seen, "pgcode", None), str):
            return state
        seen = getattr(seen, "orig", None) or seen.__cause__
    return None


def _is_tls(error: BaseException, said: str) -> bool:
    if isinstance(error, ssl.SSLError):
        return True
    words = said.lower()
    return any(word in words for word in ("ssl", "certificate", "no encryption"))
