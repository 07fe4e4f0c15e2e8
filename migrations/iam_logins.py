"""Logins without a password, which Cloud SQL's API makes for people and service accounts: what each may do."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from migrations import roles
from migrations.errors import BadSetting, RoleError
from migrations.grants import quoted

if TYPE_CHECKING:
    import psycopg

GROUPS = ("gaia_backend", "gaia_readonly")
"""What such a login may be given."""


def parse(text: str) -> dict[str, str]:
    """``{"login": "gaia_readonly", …}`` from JSON; raises BadSetting."""
    try:
        given = json.loads(text)
    except ValueError:
        given = None
    if not isinstance(given, dict) or not all(group in GROUPS for group in given.values()):
        raise BadSetting(f"GAIA_IAM_LOGINS must be a JSON object of logins, each {' or '.join(GROUPS)}")
    return given


def apply(connection: "psycopg.Connection[Any]", logins: Mapping[str, str]) -> tuple[str, ...]:
    """Give each login its group's rights, and take them from every other login but the table's own; says what changed.

    Who is taken from the settings stays a user of the instance (Cloud SQL can't delete one that was granted something),
    so its rights have to go here. Needs ADMIN of the groups. Raises RoleError for a login that isn't there.
    """
    rows = connection.execute(
        "SELECT m.rolname, g.rolname FROM pg_auth_members JOIN pg_roles g ON g.oid = roleid"
        " JOIN pg_roles m ON m.oid = member WHERE g.rolname = ANY(%s) AND m.rolname <> ALL(%s) AND m.rolcanlogin"
        " AND NOT admin_option",
        (list(GROUPS), [role.name for role in roles.ROLES]),
    ).fetchall()
    live, wanted = set(rows), set(logins.items())
    _require(connection, logins)
    with connection.transaction():
        for login, group in sorted(live - wanted):
            connection.execute(f"REVOKE {group} FROM {quoted(login)}".encode())
        for login, group in sorted(wanted - live):
            connection.execute(f"GRANT {group} TO {quoted(login)} WITH INHERIT TRUE, SET FALSE".encode())
    return (
        *(f"took {group} from {login}" for login, group in sorted(live - wanted)),
        *(f"granted {group} to {login}" for login, group in sorted(wanted - live)),
    )


def _require(connection: "psycopg.Connection[Any]", logins: Mapping[str, str]) -> None:
    rows = connection.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", (list(logins),)).fetchall()
    if lacking := sorted(set(logins) - {str(name) for (name,) in rows}):
        raise RoleError(f"there is no login {', '.join(lacking)}: Cloud SQL's API makes it, as an IAM user")
