"""The job as the login that Cloud SQL's API makes: no superuser, CREATEROLE, member of cloudsqlsuperuser.

PostgreSQL's own rules, with the roles that Cloud SQL documents (https://cloud.google.com/sql/docs/postgres/users); what
Cloud SQL changes in PostgreSQL itself can't be seen from here.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator

import psycopg
import pytest

from migrations import job, roles, runner
from tests.postgres import IDENTITY_KEY, Database, running

pytestmark = pytest.mark.postgres

MIGRATOR, APP, APP_B = (f"{name}-{secrets.token_hex(12)}" for name in ("migrator", "app", "app_b"))


@contextlib.contextmanager
def made_by_the_api(**users: str) -> Iterator[Database]:
    """A server as ``sql.DatabaseInstance``, ``sql.Database`` and one ``sql.User`` each leave it."""
    with running() as server, psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("CREATE ROLE cloudsqlsuperuser CREATEROLE CREATEDB")
        connection.execute("GRANT pg_monitor, pg_signal_backend TO cloudsqlsuperuser WITH ADMIN OPTION")
        for user, password in users.items():
            attributes = f"LOGIN CREATEROLE CREATEDB IN ROLE cloudsqlsuperuser PASSWORD '{password}'"
            connection.execute(f"CREATE ROLE {user} {attributes}".encode())
        yield server.create("gaia", owner="cloudsqlsuperuser")


@pytest.fixture(scope="module")
def cloud_sql() -> Iterator[Database]:
    with made_by_the_api(gaia_migrator=MIGRATOR) as database:
        yield database


def run(cloud_sql: Database, capsys: pytest.CaptureFixture[str], **more: str) -> dict[str, object]:
    given = {
        "GAIA_MIGRATIONS_URL": cloud_sql.url_as("gaia_migrator", MIGRATOR),
        "GAIA_IDENTITY_KEY": IDENTITY_KEY,
        "GAIA_APP_PASSWORD": APP,
        "GAIA_APP_PASSWORD_B": APP_B,
        **more,
    }
    code = job.main(given)
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert code == 0, result
    return result


def test_it_makes_the_whole_database_and_again_finds_nothing_to_do(
    cloud_sql: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(cloud_sql, capsys)["after"] == runner.head()
    again = run(cloud_sql, capsys)
    # Who can't read pg_authid can't tell whether the passwords are these, and sets them.
    assert (again["applied"], again["grants"]) == ([], [])
    assert again["roles"] == ["password of gaia_app", "password of gaia_app_b"]


def test_the_login_that_migrates_keeps_what_it_needs_to_do_so_again_and_the_others_get_none_of_it(
    cloud_sql: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    run(cloud_sql, capsys)
    with cloud_sql.connect() as connection:
        mighty = connection.execute(
            "SELECT rolname::text FROM pg_roles"
            " WHERE rolname LIKE 'gaia\\_%' AND (rolcreaterole OR rolcreatedb OR rolsuper)"
        ).fetchall()
        members = connection.execute(
            "SELECT member::regrole::text FROM pg_auth_members WHERE roleid = 'cloudsqlsuperuser'::regrole"
        ).fetchall()
    assert mighty == [("gaia_migrator",)] and members == [("gaia_migrator",)]


def test_the_backends_logins_come_in_with_their_passwords_and_a_rotation_changes_one(
    cloud_sql: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    run(cloud_sql, capsys)
    other = secrets.token_urlsafe(24)
    run(cloud_sql, capsys, GAIA_APP_PASSWORD_B=other)
    for login, password in (("gaia_app", APP), ("gaia_app_b", other)):
        with psycopg.connect(cloud_sql.url_as(login, password)) as connection:
            connection.execute("SELECT count(*) FROM game.campaigns")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(cloud_sql.url_as("gaia_app_b", APP_B))


ADA, BACKEND = "ada@example.com", "gaia-backend-sa@demo-project.iam"


def test_logins_without_a_password_get_the_rights_of_their_role_and_lose_them_with_their_line(
    cloud_sql: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    run(cloud_sql, capsys)
    with cloud_sql.connect() as connection:  # as the API makes an IAM user: no password, no rights
        connection.execute(f'CREATE ROLE "{ADA}" LOGIN; CREATE ROLE "{BACKEND}" LOGIN'.encode())
    given = json.dumps({ADA: "gaia_readonly", BACKEND: "gaia_backend"})
    assert run(cloud_sql, capsys, GAIA_IAM_LOGINS=given)["iam_logins"] == [
        f"granted gaia_readonly to {ADA}",
        f"granted gaia_backend to {BACKEND}",
    ]
    with cloud_sql.connect() as connection:
        for login, statement in ((ADA, "SELECT * FROM game.campaigns"), (BACKEND, "SELECT auth.knows_key('k1')")):
            connection.execute(f'SET SESSION AUTHORIZATION "{login}"'.encode())
            connection.execute(statement.encode())
            connection.execute("RESET SESSION AUTHORIZATION")
        connection.execute(f'SET SESSION AUTHORIZATION "{ADA}"'.encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM game.campaigns")
    assert run(cloud_sql, capsys, GAIA_IAM_LOGINS=given)["iam_logins"] == []
    assert run(cloud_sql, capsys)["iam_logins"] == []  # not given: they stay as they are
    assert run(cloud_sql, capsys, GAIA_IAM_LOGINS=json.dumps({ADA: "gaia_readonly"}))["iam_logins"] == [
        f"took gaia_backend from {BACKEND}"
    ]
    run(cloud_sql, capsys, GAIA_IAM_LOGINS="{}")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ('{"nobody@example.com": "gaia_readonly"}', "there is no login nobody@example.com: Cloud SQL's API makes it"),
        ('{"ada@example.com": "gaia_owner"}', "must be a JSON object of logins, each gaia_backend or gaia_readonly"),
        ("[]", "must be a JSON object"),
        ("{", "must be a JSON object"),
    ],
)
def test_a_login_that_is_not_there_and_a_role_that_is_not_for_people_are_refused(
    cloud_sql: Database, capsys: pytest.CaptureFixture[str], given: str, message: str
) -> None:
    run(cloud_sql, capsys)
    assert job.main({"GAIA_MIGRATIONS_URL": cloud_sql.url_as("gaia_migrator", MIGRATOR), "GAIA_IAM_LOGINS": given}) != 0
    assert message in json.loads(capsys.readouterr().out.splitlines()[-1])["message"]


def test_all_objects_belong_to_the_owner_and_the_roles_are_the_tables(
    cloud_sql: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    run(cloud_sql, capsys)
    with psycopg.connect(cloud_sql.url_as("gaia_migrator", MIGRATOR), autocommit=True) as connection:
        assert roles.missing(connection) == []


def test_a_login_of_the_backend_that_the_api_made_can_not_be_tamed_and_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with made_by_the_api(gaia_migrator=MIGRATOR, gaia_app=APP) as database:
        assert job.main({"GAIA_MIGRATIONS_URL": database.url_as("gaia_migrator", MIGRATOR)}) == 1
        message = json.loads(capsys.readouterr().out.splitlines()[-1])["message"]
        assert 'ADMIN option on role "gaia_app"' in message
