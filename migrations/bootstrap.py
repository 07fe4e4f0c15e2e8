"""From an empty database to one that the backend can use, and again: what ``up``, the job and the tests call."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migrations import connection as connections
from migrations import ddl_audit, grants, identity, partitions, roles, runner
from migrations.revisions import DIRECTORY

if TYPE_CHECKING:
    import psycopg


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retention:
    """For how many whole months rows are kept before their partition is detached; None keeps them."""

    chat_months: int | None = None
    audit_months: int | None = None

    @property
    def kept(self) -> dict[str, int | None]:
        """The same by table."""
        return {partitions.CHAT: self.chat_months, partitions.AUDIT: self.audit_months}


def apply(
    url: str,
    *,
    passwords: Mapping[str, str],
    identity_keys: Sequence[str] = (),
    retention: Retention = Retention(),
    on_event: runner.OnEvent | None = None,
    directory: Path = DIRECTORY,
) -> runner.Applied:
    """Roles, revisions, grants, then keys, event triggers and partitions. ``url`` as for :func:`runner.apply`.

    Without ``identity_keys`` the keys stay as they are. Raises what ``runner.apply`` and ``partitions.maintain`` raise.
    """
    applied = runner.apply(url, passwords=passwords, on_event=on_event, directory=directory)
    with connections.connect(url) as connection:
        connections.become_owner(connection)
        _complete(connection, url, identity_keys, retention)
    return applied


def complete(url: str, *, identity_keys: Sequence[str]) -> None:
    """What :func:`apply` does but for the revisions and the retention: for rows that came with a schema of their own.

    Raises what ``roles.apply`` and ``partitions.maintain`` raise.
    """
    with connections.connect(url) as connection:
        roles.apply(connection, {})
        connections.become_owner(connection)
        grants.apply(connection)
        _complete(connection, url, identity_keys, Retention())


def _complete(
    connection: "psycopg.Connection[Any]", url: str, identity_keys: Sequence[str], retention: Retention
) -> None:
    if identity_keys:
        identity.install(connection, identity_keys)
    ddl_audit.apply(connection)
    if partitions.missing(connection, kept=retention.kept):
        partitions.maintain(
            url, chat_retention_months=retention.chat_months, audit_retention_months=retention.audit_months
        )


def missing(
    connection: "psycopg.Connection[Any]",
    *,
    passwords: Mapping[str, str],
    identity_keys: Sequence[str] = (),
    retention: Retention = Retention(),
) -> list[str]:
    """What :func:`apply` would mend besides the revision, as sentences; needs a superuser."""
    return [
        *roles.missing(connection, passwords),
        *(identity.missing(connection, identity_keys) if identity_keys else []),
        *ddl_audit.missing(connection),
        *partitions.missing(connection, kept=retention.kept),
    ]
