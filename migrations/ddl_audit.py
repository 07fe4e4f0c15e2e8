"""The event triggers that write DDL into the audit log: only a superuser may make them (elsewhere: pgaudit)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

_TRIGGERS = {"gaia_ddl": "ddl_command_end", "gaia_drop": "sql_drop"}


def apply(connection: "psycopg.Connection[Any]") -> tuple[str, ...]:
    """Make the event triggers that are missing; returns what changed. Without a superuser's login nothing is done."""
    lacking = _lacking(connection)
    if not lacking:
        return ()
    with connection.transaction():
        connection.execute("SET LOCAL ROLE NONE")
        for name in lacking:
            connection.execute(f"DROP EVENT TRIGGER IF EXISTS {name}".encode())
            statement = f"CREATE EVENT TRIGGER {name} ON {_TRIGGERS[name]} EXECUTE FUNCTION audit.record_ddl()"
            connection.execute(statement.encode())
    return tuple(f"made the event trigger {name}" for name in lacking)


def missing(connection: "psycopg.Connection[Any]") -> list[str]:
    """Each event trigger that is missing or disabled, as a sentence; none where this login could not make one."""
    return [f"the event trigger {name} is missing: DDL is not in the audit log" for name in _lacking(connection)]


def _lacking(connection: "psycopg.Connection[Any]") -> list[str]:
    row = connection.execute(
        "SELECT rolsuper AND to_regprocedure('audit.record_ddl()') IS NOT NULL,"
        " array(SELECT evtname::text FROM pg_event_trigger WHERE evtenabled <> 'D')"
        " FROM pg_roles WHERE rolname = session_user"
    ).fetchone()
    possible, present = row if row else (False, [])
    return [name for name in _TRIGGERS if name not in present] if possible else []
