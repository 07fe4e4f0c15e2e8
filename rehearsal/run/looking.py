"""What the checks of a fault look at: what ``up`` said, what was sent, what the instance and its data are."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import psycopg

from db.errors import DatabaseError
from db.manager import DatabaseManager
from db.settings import from_environment
from engine.errors import OperationFailed
from migrations import runner
from ops.checks import Check
from rehearsal.cloud.rules.sqladmin import INSTANCES
from rehearsal.jobs.tasks import Kill
from rehearsal.run import inventory
from rehearsal.run.operator import inside, until
from rehearsal.run.stage import Stage
from rehearsal.sql.errors import SqlError

_SHOWN = 300
_DATA = ("gcp:sql/databaseInstance:DatabaseInstance", "gcp:sql/database:Database", "gcp:storage/bucket:Bucket")
_SLEEPING = (
    "SELECT pid FROM pg_stat_activity"
    " WHERE query LIKE '%pg_sleep(CAST(%' AND backend_xid IS NOT NULL AND pid <> pg_backend_pid()"
)


def up(stage: Stage, *flags: str) -> str:
    """What ``up`` said as it failed; empty where it went through."""
    stage.events.clear()
    try:
        stage.run("up", *flags)
    except OperationFailed as error:
        return str(error)
    return ""


def short(said: str) -> str:
    """Its end, in one line."""
    return " ".join(said.split())[-_SHOWN:]


def nothing_more(stage: Stage, before: set[str], name: str = "nothing is made twice") -> Check:
    """Whether all that is new in the cloud is in the state."""
    return only(stage, before, set(), name)


def only(stage: Stage, before: set[str], wanted: Collection[str], name: str) -> Check:
    """Whether this and nothing else is new in the cloud without being in the state."""
    found = inventory.unknown(stage) - before
    return Check(name, found == set(wanted), ", ".join(sorted(found)))


def sent(stage: Stage, since: int, *methods: str) -> dict[str, list[int]]:
    """What each request of these methods was answered, since the journal had so many entries."""
    entries = stage.cloud.journal[since:]
    return {method: [entry.code for entry in entries if entry.method == method] for method in methods}


def told(answers: Mapping[str, list[int]]) -> str:
    return "; ".join(f"{method}: {', '.join(map(str, codes))}" for method, codes in answers.items())


def replaced(stage: Stage) -> list[str]:
    """What holds data and was replaced or deleted, of all that the engine told since the last ``up`` of this module."""
    steps = (event.get("resourcePreEvent", {}).get("metadata", {}) for event in stage.events)
    return [step["urn"] for step in steps if step.get("type") in _DATA and _loses(step.get("op", ""))]


def _loses(operation: str) -> bool:
    return "replace" in operation or operation == "delete"


def settings(stage: Stage) -> dict[str, Any]:
    """The instance's, as the cloud has them now."""
    return stage.cloud.collection(INSTANCES)[stage.gcp["instance"]["name"]]["settings"]


def kept_backups(stage: Stage) -> int:
    return int(settings(stage)["backupConfiguration"]["backupRetentionSettings"]["retainedBackups"])


def members(stage: Stage, role: str) -> list[str]:
    """Who has this role on the project."""
    policy = stage.cloud.collection("policies")[f"cloudresourcemanager:projects/{stage.cloud.project}"]
    return [member for each in policy["bindings"] if each["role"] == role for member in each["members"]]


def logins(stage: Stage) -> set[str]:
    with inside(stage) as connection:
        return {row[0] for row in connection.execute("SELECT rolname FROM pg_roles WHERE rolcanlogin")}


def content(stage: Stage) -> tuple[Any, ...]:
    """Revision and rows of the database."""
    with inside(stage) as connection:
        rows = connection.execute("SELECT name, description FROM game.campaigns ORDER BY campaign_id").fetchall()
        return (runner.current_of(connection), *rows)


def table(stage: Stage, name: str) -> bool:
    with inside(stage) as connection:
        return connection.execute("SELECT to_regclass(%s) IS NOT NULL", [name]).fetchone() == (True,)


def works(environment: Mapping[str, str]) -> bool:
    """Whether a backend with this environment gets an answer."""
    manager = DatabaseManager(from_environment(environment))
    try:
        with manager.get_sync_session() as session:
            return session.scalar("SELECT 1") == 1
    except DatabaseError:
        return False
    finally:
        with contextlib.suppress(DatabaseError):
            manager.close()


def streamed(stage: Stage, primary: str, replica: str) -> None:
    """Wait until the replica has all that the primary has."""
    with stage.servers[primary].session() as connection:
        row = connection.execute("SELECT pg_current_wal_lsn()::text").fetchone()
    assert row is not None

    def there() -> bool:
        with stage.servers[replica].session() as connection:
            return connection.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", row).fetchone() == (True,)

    until(there, f"{replica} doesn't follow")


def sleeps(stage: Stage) -> bool:
    """Whether a migration has changed something and sleeps now."""
    with inside(stage) as connection:
        return connection.execute(_SLEEPING).fetchone() is not None


@contextlib.contextmanager
def killed_in_the_middle(stage: Stage, job: str) -> Iterator[threading.Event]:
    """Kill the job's container as soon as its migration sleeps; the event says whether it came to that."""
    killed, over, kill = threading.Event(), threading.Event(), Kill(job=job, when="")

    def watch() -> None:
        while not killed.is_set() and not over.wait(0.05):
            # A look may fail where the server is busy; the next one tells.
            with contextlib.suppress(SqlError, psycopg.Error):
                if sleeps(stage):
                    stage.jobs.faults.append(kill)
                    killed.set()

    watcher = threading.Thread(target=watch, name="watches the migration", daemon=True)
    watcher.start()
    try:
        yield killed
    finally:
        over.set()
        watcher.join()
        with contextlib.suppress(ValueError):  # it ended before: the next one shall live
            stage.jobs.faults.remove(kill)


def next_number(stage: Stage) -> int:
    """One that no run of the job had."""
    return int(stage.gcp["migration_job"]["run"]) + int(time.time())
