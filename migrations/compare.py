"""What the checkout and a database differ in: to be looked at, written as a revision, or lost by going down."""

import io
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from migrations import connection as connections
from migrations import paths
from migrations.errors import UnknownRevision
from migrations.perform import ALEMBIC, config
from migrations.revisions import BASE, DIRECTORY, head, history

_DROPPED = re.compile(
    r"^\s*(?:DROP TABLE (?:IF EXISTS )?|ALTER TABLE (?:IF EXISTS )?(?=\S+ DROP COLUMN ))([\w\".]+)", re.MULTILINE
)


def losses(url: str, revision: str, *, directory: Path = DIRECTORY) -> tuple[str, ...]:
    """The tables that hold rows and that a downgrade would drop, or drop columns of; empty when nothing is lost."""
    from alembic import command
    from psycopg import sql

    with connections.connect(url) as connection:
        connections.become_owner(connection)
        line = history(directory)
        before = paths.known(line, connections.revision_of(connection))
        if not paths.down_path(line, before, revision):
            return ()
        settings = config(directory)
        settings.output_buffer = written = io.StringIO()
        with ALEMBIC, redirect_stdout(io.StringIO()):
            command.downgrade(settings, f"{before or BASE}:{paths.target(line, before, revision)}", sql=True)
        lost = []
        for name in dict.fromkeys(_DROPPED.findall(written.getvalue())):
            table = sql.SQL(".").join(sql.Identifier(part.strip('"')) for part in name.split("."))
            if not connections.exists(connection, name):
                continue  # renamed by the downgrade itself, which copied its rows
            if connection.execute(sql.SQL("SELECT 1 FROM {} LIMIT 1").format(table)).fetchone():
                lost.append(name)
        return tuple(lost)


def check(url: str, *, directory: Path = DIRECTORY) -> tuple[str, ...]:
    """Each difference between the database and ``db.models``, as Alembic's autogenerate sees it."""
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    found: list[str] = []

    def compare(_revision: Any, context: Any) -> list[Any]:
        from db.models import Base

        for entry in compare_metadata(context, Base.metadata):
            found.extend(map(_said, entry if isinstance(entry, list) else [entry]))
        return []

    with connections.connect(url) as connection:
        connections.become_owner(connection)
        with connections.sqlalchemy_connection(connection) as wrapped:
            settings = config(directory)
            settings.attributes["connection"] = wrapped
            script = ScriptDirectory.from_config(settings)
            with ALEMBIC, EnvironmentContext(settings, script, fn=compare):
                script.run_env()
    return tuple(found)


def new(url: str, title: str, *, directory: Path = DIRECTORY) -> Path | None:
    """Write the next revision: what ``db.models`` has and the database, which must be at head, has not.

    None when they agree. Uses ``[tool.alembic]`` of pyproject.toml for the file's name and its formatting.
    """
    from alembic import command

    before = {r.path for r in history(directory)}
    with connections.connect(url) as connection:
        connections.become_owner(connection)
        if (live := paths.known(history(directory), connections.revision_of(connection))) != head(directory):
            raise UnknownRevision(f"the database is at {live or BASE}: upgrade it to {head(directory)} first")
        with connections.sqlalchemy_connection(connection) as wrapped:
            settings = config(directory)
            settings.stdout = io.StringIO()
            settings.attributes.update(connection=wrapped, autogenerate=True)
            with ALEMBIC, redirect_stdout(io.StringIO()):
                command.revision(settings, message=title, autogenerate=True)
    written = {r.path for r in history(directory)} - before
    return written.pop() if written else None


def _said(difference: tuple[Any, ...]) -> str:
    """One difference of Alembic's as text: what is to be done to the database, and where."""
    kind, *rest = difference
    if kind.startswith("modify_"):
        schema, table, column, _, old, new = rest
        return f"{kind} {schema}.{table}.{column}: {_plain(old)} in the database, {_plain(new)} in the models"
    thing = rest[-1]
    table = getattr(thing, "table", None)
    name = getattr(thing, "name", None)
    name = getattr(thing, "fullname", name)
    return f"{kind} {name}" if table is None or table is thing else f"{kind} {name} on {table.fullname}"


def _plain(value: Any) -> str:
    return str(getattr(value, "arg", value))
