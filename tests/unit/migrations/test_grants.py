"""The table of grants, and the SQL that it becomes."""

from db.models import Base
from migrations import grants, roles
from migrations.grants import Privilege


def everything() -> set[Privilege]:
    tables = {table.fullname for table in Base.metadata.tables.values()} | {"public.alembic_version"}
    return grants.expected("gaia", tables, {"game.chat_history_message_id_seq"})


def test_every_table_of_the_models_has_a_line_and_no_other_has() -> None:
    owners_alone = {"auth.identity_keys"}
    assert set(grants.TABLE) - {"public.alembic_version"} == set(Base.metadata.tables) - owners_alone


def test_public_has_nothing() -> None:
    assert not [privilege for privilege in everything() if privilege.role == grants.PUBLIC]


def test_all_roles_of_the_grants_are_made_and_all_logins_may_connect() -> None:
    assert tuple(role.name for role in roles.ROLES) == grants.ROLES
    assert {privilege.role for privilege in everything()} <= set(grants.ROLES)
    for role in roles.ROLES:
        through = role.member_of if role.inherits else role.name
        assert not role.login or "CONNECT" in grants.DATABASE[through or role.name]


def test_the_backend_only_adds_to_the_audit_log() -> None:
    audit = [p for p in everything() if p.kind == "table" and p.name == "audit.security_events"]
    assert {(p.role, p.privilege) for p in audit} == {
        ("gaia_backend", "INSERT"),
        ("gaia_auditor", "SELECT"),
        ("gaia_backup", "SELECT"),
    }
    table = Base.metadata.tables["audit.security_events"]
    assert table.implicit_returning is False  # RETURNING would need SELECT


def test_readonly_gets_every_column_of_the_models_but_the_secret_ones() -> None:
    hidden = set()
    for name, by_role in grants.COLUMN.items():
        if "gaia_readonly" not in by_role:
            continue
        columns = {column.name for column in Base.metadata.tables[name].columns}
        shown = set(by_role["gaia_readonly"]["SELECT"])
        assert shown <= columns
        hidden |= {f"{name}.{column}" for column in columns - shown}
    assert hidden == {
        "auth.users.password_hash",
        "auth.oauth_accounts.access_token_encrypted",
        "auth.oauth_accounts.refresh_token_encrypted",
        "auth.sessions.token_hash",
    }


def test_privileges_on_one_thing_are_one_statement() -> None:
    lacking = [
        Privilege(kind="table", name="auth.users", role="gaia_backend", privilege=privilege)
        for privilege in ("SELECT", "INSERT")
    ]
    assert grants.statements(lacking, []) == ["GRANT INSERT, SELECT ON TABLE auth.users TO gaia_backend"]


def test_each_kind_of_grant_has_its_sql() -> None:
    column = Privilege(kind="table", name="auth.users", role="gaia_readonly", privilege="SELECT", column="email")
    option = Privilege(kind="schema", name="auth", role="gaia_app", privilege="GRANT OPTION FOR USAGE")
    function = Privilege(kind="function", name="auth.f(integer)", role="PUBLIC", privilege="EXECUTE")
    default = Privilege(kind="default", name="FUNCTIONS", role="PUBLIC", privilege="EXECUTE")
    database = Privilege(kind="database", name='od"d', role="gaia_app", privilege="CONNECT")
    assert grants.statements([column], [option, function, default, database]) == [
        'REVOKE CONNECT ON DATABASE "od""d" FROM gaia_app',
        "ALTER DEFAULT PRIVILEGES FOR ROLE gaia_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
        "REVOKE EXECUTE ON ROUTINE auth.f(integer) FROM PUBLIC",
        "REVOKE GRANT OPTION FOR USAGE ON SCHEMA auth FROM gaia_app",
        "GRANT SELECT (email) ON TABLE auth.users TO gaia_readonly",
    ]


def test_tables_that_are_not_there_yet_are_left_out() -> None:
    assert {p.name for p in grants.expected("gaia", [], []) if p.kind == "table"} == set()
