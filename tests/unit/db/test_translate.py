"""Driver errors as ours: the class by SQLSTATE, the sentence without secrets."""

import ssl

import pytest

from db import errors
from db.begin import FORGET, opening
from db.retry import LONGEST_PAUSE_S, may_run_again, pause_s
from db.settings import Settings
from db.translate import connect_error, statement_error

SETTINGS = Settings(user="gaia_app", password="pa ss/word", host="db.example.com", database="gaia")


class Refusal(Exception):
    """As a driver's: it has a SQLSTATE."""

    def __init__(self, sqlstate: str | None, text: str = "what PostgreSQL said") -> None:
        super().__init__(text)
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("sqlstate", "kind"),
    [
        ("40001", errors.SerializationFailure),
        ("40P01", errors.Deadlock),
        ("42501", errors.NotAllowed),
        ("25P02", errors.TransactionAborted),
        ("57014", errors.StatementTimeout),
    ],
)
def test_a_statements_error_is_known_by_its_sqlstate(sqlstate: str, kind: type[errors.DatabaseError]) -> None:
    assert type(statement_error(Refusal(sqlstate), SETTINGS)) is kind


@pytest.mark.parametrize("sqlstate", ["23505", "42601", None])
def test_what_is_not_ours_stays_sqlalchemys(sqlstate: str | None) -> None:
    assert statement_error(Refusal(sqlstate), SETTINGS) is None
    assert statement_error(Refusal("57014", "canceling statement due to user request"), SETTINGS) is None


def test_a_prepared_statement_that_a_migration_overtook_may_run_again() -> None:
    told = statement_error(Refusal("0A000", "cached plan must not change result type"), SETTINGS)
    assert type(told) is errors.SchemaChanged
    assert statement_error(Refusal("0A000", "COPY FROM not supported with row-level security"), SETTINGS) is None


def test_a_write_that_nothing_may_write_says_whether_the_session_or_the_server_is_to_blame() -> None:
    refused = Refusal("25006", "cannot execute INSERT in a read-only transaction")
    mine = statement_error(refused, SETTINGS, read_only=True, standby=True)
    assert type(mine) is errors.ReadOnlySession and isinstance(mine, errors.NotAllowed)
    moved = statement_error(refused, SETTINGS, standby=True)
    assert type(moved) is errors.NotPrimary and isinstance(moved, errors.TryAgain)
    assert "gaia_app at db.example.com:5432/gaia is a standby now" in str(moved)
    assert statement_error(refused, SETTINGS) is None  # a database that is read-only on purpose
    undone = statement_error(Refusal("40001", "canceling statement due to conflict with recovery"), SETTINGS)
    assert type(undone) is errors.SerializationFailure and "this replica" in str(undone)


def test_a_connection_lost_in_a_commit_is_another_thing_than_one_lost_before() -> None:
    assert type(statement_error(Refusal(None), SETTINGS, lost=True)) is errors.LostConnection
    assert type(statement_error(Refusal(None), SETTINGS, lost=True, committing=True)) is errors.OutcomeUnknown


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Refusal("28P01"), errors.WrongPassword),
        (Refusal("3D000"), errors.NoSuchDatabase),
        (Refusal("53300"), errors.TooManyConnections),
        (Refusal("28000", "role is not permitted to log in"), errors.LoginRefused),
        (Refusal("28000", "no pg_hba.conf entry for host, no encryption"), errors.TlsFailed),
        (Refusal("57P03", "the database system is starting up"), errors.Unreachable),
        (ConnectionRefusedError(111, "Connection refused"), errors.Unreachable),
        (TimeoutError(), errors.Unreachable),
        (ssl.SSLCertVerificationError("certificate verify failed"), errors.TlsFailed),
        (Refusal(None, 'connection failed: FATAL:  database "x" does not exist'), errors.NoSuchDatabase),
        (Refusal(None, 'failed: FATAL:  password authentication failed for user "u"'), errors.WrongPassword),
    ],
)
def test_what_keeps_a_connection_from_being_made_has_a_name(error: Exception, kind: type[Exception]) -> None:
    told = connect_error(error, SETTINGS)
    assert type(told) is kind
    assert "gaia_app at db.example.com:5432/gaia" in str(told)


def test_no_message_holds_the_password_as_it_is_or_encoded() -> None:
    told = str(connect_error(Refusal("28000", "pa ss/word and pa%20ss%2Fword"), SETTINGS))
    assert "pa ss/word" not in told and "pa%20ss%2Fword" not in told


def test_only_what_was_undone_as_a_whole_runs_again() -> None:
    again = errors.Deadlock("…")
    assert may_run_again(again, attempt=1, attempts=3, committed=False)
    assert not may_run_again(again, attempt=3, attempts=3, committed=False)
    assert not may_run_again(again, attempt=1, attempts=3, committed=True)
    assert not may_run_again(errors.OutcomeUnknown("…"), attempt=1, attempts=3, committed=False)
    assert not may_run_again(errors.NotAllowed("…"), attempt=1, attempts=3, committed=False)


def test_pauses_have_an_end() -> None:
    assert all(0 <= pause_s(attempt) <= LONGEST_PAUSE_S for attempt in range(1, 40))


def test_the_token_stands_behind_what_others_see_of_a_statement() -> None:
    told = opening("BEGIN ISOLATION LEVEL SERIALIZABLE;", "token", 1024)
    assert told.startswith(f"{FORGET}BEGIN ISOLATION LEVEL SERIALIZABLE;") and told.index("token") > 1024
