"""What defends the data: functions, triggers, policies. Their fingerprints at head, and what differs on a server.

``python -m migrations.guards`` writes ``guards.json`` anew from the database of GAIA_MIGRATIONS_URL, made fresh.
"""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migrations import connection as connections
from migrations.grants import SCHEMAS

if TYPE_CHECKING:
    import psycopg

FILE = Path(__file__).with_name("guards.json")


def missing(connection: "psycopg.Connection[Any]") -> list[str]:
    """Each guard that is not there, or not as the revisions make it at head, as a sentence; what is added, too."""
    wanted = json.loads(FILE.read_text(encoding="utf-8"))
    live = fingerprints(connection)
    return [
        f"{name} {'is missing' if name not in live else 'was added' if name not in wanted else 'was changed'}"
        for name in sorted({*wanted, *live})
        if wanted.get(name) != live.get(name)
    ]


def fingerprints(connection: "psycopg.Connection[Any]") -> dict[str, str]:
    """Name → the beginning of a SHA-256, for each guard of the database. Partitions follow their parents."""
    with connection.transaction():
        # Names in definitions are written out in full whatever the login's search_path.
        connection.execute("SELECT set_config('search_path', '', true)")
        rows = connection.execute(_GUARDS, {"schemas": list(SCHEMAS)}).fetchall()
    return {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in rows}


def main() -> None:
    """Write the file."""
    with connections.connect(connections.url_from_environment()) as connection:
        found = fingerprints(connection)
    FILE.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", encoding="utf-8")


_GUARDS = """
WITH schemas AS (SELECT oid, nspname FROM pg_namespace WHERE nspname = ANY(%(schemas)s)),
tables AS (
    SELECT c.oid, format('%%I.%%I', nspname, relname) AS name, relrowsecurity, relforcerowsecurity
    FROM pg_class c JOIN schemas n ON n.oid = relnamespace
    WHERE relkind IN ('r', 'p') AND NOT relispartition AND relname !~ '_[0-9]{4}_[0-9]{2}$'
)
SELECT 'function ' || p.oid::regprocedure, pg_get_functiondef(p.oid)
FROM pg_proc p JOIN schemas n ON n.oid = pronamespace
UNION ALL
SELECT format('trigger %%s on %%s', tgname, name), pg_get_triggerdef(t.oid) || tgenabled::text
FROM pg_trigger t JOIN tables ON tables.oid = tgrelid WHERE NOT tgisinternal
UNION ALL
SELECT format('policy %%s on %%s', polname, name),
       concat_ws('|', polcmd::text, polpermissive,
                 array(SELECT rolname FROM pg_roles WHERE oid = ANY(polroles) ORDER BY 1),
                 pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
FROM pg_policy JOIN tables ON tables.oid = polrelid
UNION ALL
SELECT 'row-level security of ' || name, concat_ws('|', relrowsecurity, relforcerowsecurity) FROM tables
"""


if __name__ == "__main__":
    main()
