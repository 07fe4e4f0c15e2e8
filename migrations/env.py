"""Alembic's environment, for the runner (which brings a connection) and for ``alembic`` by hand (which doesn't)."""

import logging
from typing import Any

from alembic import context
from alembic.operations import MigrationScript

from migrations import connection as connections
from migrations import grants, lock, revisions
from migrations.partitions import PARTITION

VERSION_TABLE_SCHEMA = "public"
"""``alembic_version`` lies where every tool looks for it, and outlives a downgrade to base."""


def _number(_context: Any, _revision: Any, directives: list[MigrationScript]) -> None:
    """Give a new revision the next number; write no file when autogenerate finds nothing to do."""
    if not directives:
        return
    script = directives[0]
    compares = getattr(context.config.cmd_opts, "autogenerate", context.config.attributes.get("autogenerate"))
    if compares and script.upgrade_ops and script.upgrade_ops.is_empty():
        directives[:] = []
        context.config.print_stdout("models and database agree: no revision written")
        return
    script.rev_id = revisions.next_id()


def _ours(name: str | None, kind: str, parents: Any) -> bool:
    """Compare the tables of the three schemas, not ``public``, where extensions and ``alembic_version`` live."""
    from db.models import SCHEMAS

    if kind == "schema":
        return name in SCHEMAS
    if kind == "table" and PARTITION.fullmatch(name or ""):
        return False  # attached or detached, a partition is its parent's affair
    return parents.get("schema_name") in SCHEMAS


def _options() -> dict[str, Any]:
    options: dict[str, Any] = {
        "version_table_schema": VERSION_TABLE_SCHEMA,
        "transaction_per_migration": True,
        "include_schemas": True,
        "include_name": _ours,
        "compare_server_default": True,
        "process_revision_directives": _number,
    }
    if not context.config.attributes.get("without_models"):  # the runner saves the import
        from db.models import Base

        options["target_metadata"] = Base.metadata
    return options


def _run(connection: Any) -> None:
    context.configure(connection=connection, **_options())
    with context.begin_transaction():
        context.run_migrations()


def _offline() -> None:
    # Another paramstyle would double each percent sign, as in format('%I').
    context.configure(dialect_name="postgresql", dialect_opts={"paramstyle": "named"}, literal_binds=True, **_options())
    with context.begin_transaction():
        context.execute(f"SET ROLE {connections.OWNER}")
        context.run_migrations()


def _by_hand() -> None:
    logging.basicConfig(format="%(message)s")
    logging.getLogger("alembic.runtime.migration").setLevel(logging.INFO)
    url = connections.url_from_environment()
    with lock.exclusive(url), connections.connect(url) as connection:
        owned = connections.become_owner(connection)
        connections.set_timeouts(connection)
        if owned:
            grants.apply(connection)  # default privileges before tables, as the runner does
        with connections.sqlalchemy_connection(connection) as wrapped:
            _run(wrapped)
        if owned:
            grants.apply(connection)


if context.is_offline_mode():
    _offline()
elif (given := context.config.attributes.get("connection")) is not None:
    _run(given)
else:
    _by_hand()
