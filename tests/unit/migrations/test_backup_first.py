"""The backup before a migration, against a stand-in for the Cloud SQL Admin API; time is made up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from migrations import backup_first, sqladmin
from migrations.backup_first import BackupFailed
from migrations.errors import BadSetting
from migrations.sqladmin import ApiError, Client, Instance, NoAnswer, Token
from tests.standins.sqladmin import CONNECTION_NAME, INSTANCE, PROJECT, Fault, SqlAdmin, serving

DESCRIPTION = "gaia: before 0007..0009 (gaia-db-migrate-x7k2p)"
HERE = Instance.parse(CONNECTION_NAME)
RUNS = f"/v1/projects/{PROJECT}/instances/{INSTANCE}/backupRuns"


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def clock(self) -> float:
        return self.now


@pytest.fixture
def admin() -> Iterator[SqlAdmin]:
    with serving() as state:
        yield state


@pytest.fixture
def time() -> Time:
    return Time()


def client(admin: SqlAdmin, time: Time, *, token: str | None = None, deadline: float = 1800.0) -> Client:
    return Client(
        Token(token, host=admin.host, clock=time.clock),
        base_url=admin.url,
        deadline=deadline,
        clock=time.clock,
        sleep=time.sleep,
    )


def take(admin: SqlAdmin, time: Time, deadline: float = 1800.0) -> backup_first.Backup:
    return backup_first.take(client(admin, time, deadline=deadline), HERE, DESCRIPTION)


def test_it_asks_once_waits_for_the_operation_and_names_the_backup(admin: SqlAdmin, time: Time) -> None:
    admin.polls = 3
    backup = take(admin, time)
    assert (backup.id, backup.instance, backup.location) == (admin.runs[0]["id"], CONNECTION_NAME, "us")
    assert admin.runs[0]["description"] == DESCRIPTION
    assert [method for method, _ in admin.requests].count("POST") == 1
    assert backup.seconds == sum(time.slept) > 0
    assert admin.token_requests == 1


def test_without_the_id_in_the_operation_it_is_found_in_the_list_page_after_page(admin: SqlAdmin, time: Time) -> None:
    admin.with_context = False
    for number in range(5):
        admin.insert(f"another {number}")
    admin.runs.reverse()
    inserted = client(admin, time).post(RUNS.removeprefix("/v1/"), {"description": DESCRIPTION})
    admin.runs.append(admin.runs.pop(0))  # on the last page
    admin.operations[inserted["name"]]["left"] = 0
    assert backup_first._find(client(admin, time), HERE, DESCRIPTION) == admin.runs[-1]["id"]
    assert admin.requests.count(("GET", RUNS)) == 3


def test_an_operation_that_is_done_too_early_is_not_believed(admin: SqlAdmin, time: Time) -> None:
    admin.run_polls = 3
    assert take(admin, time).id == admin.runs[0]["id"]
    assert admin.runs[0]["status"] == "SUCCESSFUL"


@pytest.mark.parametrize("status", ["FAILED", "SKIPPED", "DELETED"])
def test_a_backup_that_ends_otherwise_is_none(admin: SqlAdmin, time: Time, status: str) -> None:
    admin.ends_as = status
    with pytest.raises(BackupFailed, match=f"ended as {status}.*nothing was migrated"):
        take(admin, time)


def test_an_operation_that_fails_is_told_with_googles_words(admin: SqlAdmin, time: Time) -> None:
    admin.operation_error = {"code": "INTERNAL_ERROR", "message": "Failed to create backup"}
    with pytest.raises(BackupFailed, match=r"failed \(INTERNAL_ERROR Failed to create backup\): nothing was migrated"):
        take(admin, time)


def test_it_waits_no_longer_than_its_time_out(admin: SqlAdmin, time: Time) -> None:
    admin.polls = 10_000
    with pytest.raises(BackupFailed, match="GAIA_BACKUP_TIMEOUT_S"):
        take(admin, time, deadline=120.0)
    assert 90 < time.now <= 120


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=429, reason="rateLimitExceeded"),
        Fault(status=403, reason="rateLimitExceeded"),
        Fault(status=409, reason="operationInProgress"),
        Fault(status=403, reason="notAuthorized"),
    ],
    ids=lambda fault: f"{fault.status} {fault.reason}",
)
def test_a_refusal_that_may_pass_is_tried_again_without_a_second_backup(
    admin: SqlAdmin, time: Time, fault: Fault
) -> None:
    admin.faults = [fault, fault]
    take(admin, time)
    assert len(admin.runs) == 1
    assert [method for method, _ in admin.requests].count("POST") == 3


@pytest.mark.parametrize("fault", [Fault(status=500), Fault(status=503), Fault(drop=True)], ids=["500", "503", "cut"])
def test_a_request_without_an_answer_is_repeated_only_where_nothing_was_begun(
    admin: SqlAdmin, time: Time, fault: Fault
) -> None:
    admin.faults = [fault]
    take(admin, time)
    assert len(admin.runs) == 1
    assert [method for method, _ in admin.requests].count("POST") == 2


@pytest.mark.parametrize("fault", [Fault(after=True), Fault(after=True, drop=True)], ids=["503", "cut"])
def test_a_backup_whose_answer_was_lost_is_found_again(admin: SqlAdmin, time: Time, fault: Fault) -> None:
    admin.faults, admin.run_polls = [fault], 2
    assert take(admin, time).id == admin.runs[0]["id"]
    assert len(admin.runs) == 1
    assert [method for method, _ in admin.requests].count("POST") == 1


def test_polling_outlives_a_few_failures_and_not_many(admin: SqlAdmin, time: Time) -> None:
    admin.faults = [Fault(method="GET"), Fault(method="GET", drop=True), Fault(method="GET", status=429)]
    take(admin, time)
    admin.faults = [Fault(method="GET")] * sqladmin.ATTEMPTS
    with pytest.raises(NoAnswer, match="503 Try again later"):
        take(admin, time)


def test_the_pause_is_as_long_as_the_api_asks_within_reason(admin: SqlAdmin, time: Time) -> None:
    admin.faults = [Fault(status=429, retry_after="33"), Fault(status=429, retry_after="99999")]
    take(admin, time)
    assert time.slept[:2] == [33.0, sqladmin.LONGEST_RETRY_AFTER_S]


def test_a_running_operation_is_waited_for_until_the_time_out(admin: SqlAdmin, time: Time) -> None:
    admin.faults = [Fault(status=409, reason="operationInProgress", message="in progress")] * 100
    with pytest.raises(ApiError, match="409 in progress"):
        take(admin, time, deadline=60.0)
    assert 40 < time.now <= 60
    assert admin.runs == []


def test_another_conflict_is_final(admin: SqlAdmin, time: Time) -> None:
    admin.faults = [Fault(status=409, reason="invalidState")]
    with pytest.raises(ApiError, match="409"):
        take(admin, time)
    assert time.slept == []


def test_a_missing_right_is_given_two_minutes_to_arrive_then_named(admin: SqlAdmin, time: Time) -> None:
    admin.faults = [Fault(status=403, reason="notAuthorized", message="Not authorized")] * 100
    with pytest.raises(ApiError, match=r"403 Not authorized; the identity needs cloudsql\.backupRuns\.create"):
        take(admin, time)
    assert time.now == sqladmin.PROPAGATION_S


def test_an_api_that_is_off_is_told_at_once(admin: SqlAdmin, time: Time) -> None:
    admin.faults = [Fault(status=403, reason="accessNotConfigured", message="API has not been used")]
    with pytest.raises(ApiError, match="API has not been used"):
        take(admin, time)
    assert time.slept == []


def test_a_token_that_was_refused_is_renewed_once(admin: SqlAdmin, time: Time) -> None:
    admin.faults = [Fault(status=401, reason="authError")]
    take(admin, time)
    assert admin.token_requests == 2
    admin.faults = [Fault(status=401, reason="authError")] * 2
    with pytest.raises(ApiError, match=r"401.*expired"):
        take(admin, time)


def test_a_token_is_renewed_before_it_expires(admin: SqlAdmin, time: Time) -> None:
    token = Token(host=admin.host, clock=time.clock)
    token.value()
    time.now = 3000.0
    token.value()
    assert admin.token_requests == 1
    time.now = 3600.0
    token.value()
    assert admin.token_requests == 2


def test_a_given_token_needs_no_metadata_server_and_is_not_renewed(admin: SqlAdmin, time: Time) -> None:
    given = client(admin, time, token=admin.tokens[0])
    backup_first.take(given, HERE, DESCRIPTION)
    admin.tokens = ["another"]
    with pytest.raises(ApiError, match="401"):
        backup_first.take(given, HERE, DESCRIPTION)
    assert admin.token_requests == 0


def test_no_metadata_server_is_told_with_the_way_out() -> None:
    with pytest.raises(ApiError, match="GOOGLE_OAUTH_ACCESS_TOKEN"):
        Token(host="127.0.0.1:9").value()


def test_a_redirect_is_not_followed_so_the_token_stays(admin: SqlAdmin, time: Time) -> None:
    admin.faults = [Fault(status=302, reason="moved")]
    with pytest.raises(ApiError, match="302"):
        take(admin, time)


@pytest.mark.parametrize("url", ["http://sqladmin.example.com/v1", "ftp://x/v1", "https://u:p@x/v1", "sqladmin", ""])
def test_a_token_goes_nowhere_but_over_tls_or_to_this_machine(url: str) -> None:
    with pytest.raises(BadSetting, match="GAIA_SQLADMIN_URL"):
        sqladmin.checked_url(url)


def test_a_connection_name_is_taken_apart() -> None:
    assert Instance.parse("example.com:proj:us-west1:db").project == "example.com:proj"
    for bad in ("", "db", "a:b", "a::b", "a:b:c d", "a:b:c/d"):
        with pytest.raises(BadSetting, match="GAIA_INSTANCE"):
            Instance.parse(bad)


def test_no_token_is_shown_by_accident() -> None:
    assert "canary" not in repr(Token("canary"))
