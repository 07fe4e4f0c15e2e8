"""A backup on demand of the Cloud SQL instance: taken before pending revisions, waited for, named by its id.

MigrationError
 ├─ BackupFailed        there is no good backup, so nothing was migrated
 └─ sqladmin.ApiError   the API refused
     └─ sqladmin.NoAnswer  it didn't answer, however often it was asked
"""

import dataclasses
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from migrations.errors import MigrationError
from migrations.sqladmin import Client, Instance, NoAnswer

TIMEOUT_S = 30 * 60.0
FIRST_POLL_S = 2.0
LONGEST_POLL_S = 15.0
MOST_INSERTS = 3
_UNDER_WAY = frozenset({"ENQUEUED", "RUNNING", "OVERDUE", "SQL_BACKUP_RUN_STATUS_UNSPECIFIED", ""})
_PAGE = "50"

Tell = Callable[[str], None]


class BackupFailed(MigrationError):
    """See what the message says of the backup, then run it again; the database is as it was."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backup:
    """A finished backup."""

    id: str
    """As ``gcloud sql backups restore ID`` takes it."""
    instance: str
    """``project:region:instance``."""
    description: str
    location: str | None
    """Where it lies: a region, or a multi-region such as ``us``."""
    seconds: float


def take(client: Client, instance: Instance, description: str, *, tell: Tell = lambda _message: None) -> Backup:
    """Take a backup and wait until it is done, at the latest until the client's deadline.

    ``description`` tells this backup from all others: by it a request without an answer is found again, not repeated.
    Raises BackupFailed or ApiError.
    """
    started = client.clock()
    run_id = _begin(client, instance, description, tell)
    run = _await(client, lambda: _run(client, instance, run_id), lambda r: str(r.get("status", "")) not in _UNDER_WAY)
    if run is None:
        raise BackupFailed(_late(client, started, f"backup {run_id} of {instance}"))
    if run["status"] != "SUCCESSFUL":
        why = _reason(run.get("error"))
        raise BackupFailed(f"backup {run_id} of {instance} ended as {run['status']}{why}: nothing was migrated")
    return Backup(
        id=run_id,
        instance=str(instance),
        description=description,
        location=run.get("location"),
        seconds=round(client.clock() - started, 3),
    )


def _begin(client: Client, instance: Instance, description: str, tell: Tell) -> str:
    """Ask for the backup and wait for the operation; returns the backup's id."""
    started = client.clock()
    operation = _insert(client, instance, description, tell)
    if "backupRuns" in operation:
        return str(operation["backupRuns"])
    name = str(operation.get("name", ""))
    tell(f"backup of {instance} has begun (operation {name})")
    path = f"{instance.project_path}/operations/{quote(name, safe='')}"
    done = _await(client, lambda: client.get(path), lambda o: o.get("status") == "DONE", first=operation)
    if done is None:
        raise BackupFailed(_late(client, started, f"operation {name} on {instance}"))
    if failed := (done.get("error") or {}).get("errors"):
        raise BackupFailed(f"the backup of {instance} failed{_reason(failed[0])}: nothing was migrated")
    found = (done.get("backupContext") or {}).get("backupId") or _find(client, instance, description)
    if not found:
        raise BackupFailed(f"operation {name} is done, but {instance} lists no backup {description!r}")
    return str(found)


def _insert(client: Client, instance: Instance, description: str, tell: Tell) -> dict[str, Any]:
    """The operation; or ``{"backupRuns": id}`` where an earlier request, whose answer was lost, has begun it."""
    for attempt in range(1, MOST_INSERTS + 1):
        try:
            return client.post(f"{instance.path}/backupRuns", {"description": description})
        except NoAnswer as error:
            if attempt == MOST_INSERTS or client.time_left() < FIRST_POLL_S:
                raise
            tell(f"{error}; looks whether the backup has begun")
            client.sleep(FIRST_POLL_S * attempt)
            if found := _find(client, instance, description):
                return {"backupRuns": found}
    raise AssertionError("unreachable")


def _find(client: Client, instance: Instance, description: str) -> str | None:
    runs = client.pages(f"{instance.path}/backupRuns", {"maxResults": _PAGE})
    return next((str(run["id"]) for run in runs if run.get("description") == description), None)


def _run(client: Client, instance: Instance, run_id: str) -> dict[str, Any]:
    return client.get(f"{instance.path}/backupRuns/{quote(run_id, safe='')}")


def _await(
    client: Client,
    look: Callable[[], dict[str, Any]],
    over: Callable[[dict[str, Any]], bool],
    first: dict[str, Any] | None = None,
) -> dict[str, Any] | None:
    """What ``look`` gives once it is ``over``, asked less and less often; None at the deadline."""
    pause = FIRST_POLL_S
    found = look() if first is None else first
    while not over(found):
        if client.time_left() < pause:
            return None
        client.sleep(pause)
        pause = min(pause * 1.5, LONGEST_POLL_S)
        found = look()
    return found


def _late(client: Client, started: float, what: str) -> str:
    waited = client.clock() - started
    return (
        f"{what} was not done after {waited:.0f} s: nothing was migrated; "
        "raise GAIA_BACKUP_TIMEOUT_S (and the job's time-out), or run it again when the backup is done"
    )


def _reason(error: Any) -> str:
    if not isinstance(error, dict):
        return ""
    words = " ".join(f"{error.get('code', '')} {error.get('message', '')}".split())
    return f" ({words})" if words else ""
