"""Performs single steps with Alembic, one transaction each, and says in one sentence what failed."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migrations import connection as connections
from migrations.errors import LockTimeout, MigrationFailed
from migrations.paths import Step
from migrations.revisions import DIRECTORY

if TYPE_CHECKING:
    import psycopg
    import sqlalchemy
    from alembic.config import Config

    Prepare = Callable[[sqlalchemy.Connection], None]
    """Is given the session that migrates, before the first step: the proof listens to it."""

ALEMBIC = threading.RLock()
"""Alembic's environment is a global of the process: one thread at a time."""


def config(directory: Path) -> "Config":
    """Alembic's configuration for the migrations in ``directory``."""
    from alembic.config import Config

    found = Config(toml_file=DIRECTORY.parent / "pyproject.toml")  # not there in the job's image, nor needed
    found.set_main_option("script_location", str(directory).replace("%", "%%"))
    return found


@contextmanager
def performing(
    connection: "psycopg.Connection[Any]", directory: Path, prepare: "Prepare | None" = None
) -> Iterator[Callable[[Step], None]]:
    """A function that performs one step with Alembic, its files read once; it raises MigrationFailed."""
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    with connections.sqlalchemy_connection(connection) as wrapped:
        if prepare is not None:
            prepare(wrapped)
        settings = config(directory)
        settings.attributes.update(connection=wrapped, without_models=True)
        script = ScriptDirectory.from_config(settings)

        def perform(step: Step) -> None:
            plan: Any = script._upgrade_revs if step.up else script._downgrade_revs

            def steps(revision: Any, _context: Any) -> Any:
                return plan(step.to, revision)

            try:
                with ALEMBIC, EnvironmentContext(settings, script, fn=steps, destination_rev=step.to):
                    script.run_env()
            except Exception as error:
                if wrapped.in_transaction():
                    wrapped.rollback()
                raise failure(step, error) from error

        yield perform


def failure(step: Step, error: Exception) -> MigrationFailed:
    """``error`` as one of ours: LockTimeout where trying again may help, else MigrationFailed."""
    import psycopg
    from sqlalchemy.exc import DBAPIError

    statement = error.statement if isinstance(error, DBAPIError) else None
    cause = error.orig if isinstance(error, DBAPIError) else error
    reason = _reason(cause)
    if isinstance(cause, psycopg.errors.LockNotAvailable):
        advice = "; another session holds a lock on it: end that transaction, or try at a quieter time"
        return LockTimeout(step.revision, statement, reason, step.start, advice)
    if isinstance(cause, psycopg.errors.DeadlockDetected):
        advice = "; another session and the revision waited for each other: try at a quieter time"
        return LockTimeout(step.revision, statement, reason, step.start, advice)
    return MigrationFailed(step.revision, statement, reason, step.start)


def _reason(cause: BaseException | None) -> str:
    import psycopg

    if not isinstance(cause, psycopg.Error):
        return f"{type(cause).__name__}: {cause}"
    reason = cause.diag.message_primary or connections.one_sentence(str(cause))
    detail = cause.diag.message_detail
    return f"{reason} ({detail.rstrip('.')})" if detail else reason
