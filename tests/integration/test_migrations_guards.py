"""The fingerprints of functions, triggers and policies: those of head, and a server on which one was changed."""

import json

import pytest

from migrations import guards
from tests.postgres import Database

pytestmark = pytest.mark.postgres

WRITE_ANEW = "the revisions make other guards than migrations/guards.json says: on a fresh database at head run"
"""…what the message below says."""


def test_the_file_is_of_head(shared_database: Database) -> None:
    with shared_database.connect() as connection:
        live = guards.fingerprints(connection)
    assert live == json.loads(guards.FILE.read_text()), f"{WRITE_ANEW} python -m migrations.guards"


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (
            "DROP TRIGGER append_only ON audit.security_events",
            "trigger append_only on audit.security_events is missing",
        ),
        ("ALTER TABLE auth.users DISABLE TRIGGER record_admin", "trigger record_admin on auth.users was changed"),
        (
            "CREATE OR REPLACE FUNCTION auth.is_admin() RETURNS boolean LANGUAGE sql AS 'SELECT true'",
            "function auth.is_admin() was changed",
        ),
        (
            "ALTER POLICY backend_select ON game.chat_history USING (true)",
            "policy backend_select on game.chat_history was changed",
        ),
        ("ALTER POLICY readers ON auth.users TO gaia_backend", "policy readers on auth.users was changed"),
        ("CREATE POLICY mine ON auth.users USING (true)", "policy mine on auth.users was added"),
        ("ALTER TABLE auth.sessions DISABLE ROW LEVEL SECURITY", "row-level security of auth.sessions was changed"),
    ],
)
def test_a_changed_guard_is_named(database: Database, damage: str, sentence: str) -> None:
    with database.connect() as connection:
        assert guards.missing(connection) == []
        connection.execute(damage.encode())
        assert guards.missing(connection) == [sentence]
