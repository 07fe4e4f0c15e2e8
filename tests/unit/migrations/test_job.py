"""The job's environment, its log and its errors, without a database."""

from __future__ import annotations

import json
from typing import Any

import pytest

from migrations import job
from migrations.errors import BadSetting, Busy, ConnectionFailed, MigrationFailed, NoDatabaseUrl

URL = "postgresql://gaia_migrator:p%40ss-canary@/gaia?host=/cloudsql/demo-proj:us-west1:gaia-prod-db"
KEY, OTHER_KEY = "ab" * 32, "cd" * 32
WHOLE = {
    "GAIA_MIGRATIONS_URL": URL,
    "GAIA_INSTANCE": "demo-proj:us-west1:gaia-prod-db",
    "GAIA_IDENTITY_KEY": f"{KEY},{OTHER_KEY}",
    "GAIA_APP_PASSWORD": "app-canary",
    "GAIA_APP_PASSWORD_B": 'b-"canary"',
    "GAIA_BACKUP_TIMEOUT_S": "600",
    "GOOGLE_OAUTH_ACCESS_TOKEN": "ya29.canary",
    "CLOUD_RUN_EXECUTION": "gaia-db-migrate-x7k2p",
}


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    captured = capsys.readouterr()
    assert captured.err == ""
    return [json.loads(line) for line in captured.out.splitlines()]


def test_everything_comes_from_the_environment() -> None:
    settings = job.settings_of(WHOLE)
    assert settings.url == URL
    assert settings.passwords == {"gaia_app": "app-canary", "gaia_app_b": 'b-"canary"'}
    assert settings.identity_keys == (KEY, OTHER_KEY)
    assert str(settings.instance) == "demo-proj:us-west1:gaia-prod-db"
    assert (settings.backup_timeout_s, settings.token) == (600.0, "ya29.canary")
    assert settings.execution == "gaia-db-migrate-x7k2p"


def test_all_but_the_url_may_be_missing_or_empty() -> None:
    settings = job.settings_of({"GAIA_MIGRATIONS_URL": URL, **dict.fromkeys(set(WHOLE) - {"GAIA_MIGRATIONS_URL"}, "")})
    assert (settings.instance, settings.passwords, settings.identity_keys) == (None, {}, ())
    with pytest.raises(NoDatabaseUrl):
        job.settings_of({})


def test_all_faults_come_at_once() -> None:
    bad = {
        "GAIA_INSTANCE": "gaia-prod-db",
        "GAIA_IDENTITY_KEY": "canary",
        "GAIA_BACKUP_TIMEOUT_S": "-1",
        "GAIA_SQLADMIN_URL": "http://example.com",
    }
    with pytest.raises(BadSetting) as caught:
        job.settings_of({**WHOLE, **bad})
    assert all(name in str(caught.value) for name in bad)
    assert "canary" not in str(caught.value)


def test_settings_hide_their_secrets() -> None:
    assert "canary" not in repr(job.settings_of(WHOLE)) and KEY not in repr(job.settings_of(WHOLE))


def test_every_variable_is_named_and_every_named_one_is_read() -> None:
    source = (job.DIRECTORY / "job.py").read_text(encoding="utf-8")
    for name in job.VARIABLES:
        assert source.count(f'"{name}"') >= (1 if name == "GAIA_MIGRATIONS_URL" else 2), name


def test_no_line_holds_a_secret_however_it_got_there(capsys: pytest.CaptureFixture[str]) -> None:
    log = job.Log(job.secrets_of(WHOLE))
    log.line(f"it said {URL}", more=["p@ss-canary", WHOLE["GAIA_APP_PASSWORD_B"], KEY.upper() and KEY])
    (line,) = lines(capsys)
    assert "canary" not in json.dumps(line) and KEY not in json.dumps(line)
    assert line["severity"] == "INFO" and line["time"].endswith("+00:00")


def test_a_fault_of_ours_is_one_line_with_its_place_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_args: object, **_named: object) -> None:
        raise RuntimeError("no idea: app-canary")

    monkeypatch.setattr(job, "waiting", broken)
    assert job.main(WHOLE) == 1
    (line,) = lines(capsys)
    assert (line["ok"], line["severity"], line["message"]) == (False, "ERROR", "RuntimeError: no idea: ***")
    assert line["at"][-1].startswith("test_job.py:")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NoDatabaseUrl("x"), 2),
        (BadSetting("x"), 2),
        (ConnectionFailed("x"), 3),
        (Busy("x"), 4),
        (MigrationFailed("0002", None, "x", None), 1),
        (job.backup_first.BackupFailed("x"), 1),
        (job.sqladmin.ApiError("x"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_exit_codes_are_those_of_the_command_line(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_args: object, **_named: object) -> None:
        raise error

    monkeypatch.setattr(job, "waiting", refuse)
    assert job.main(WHOLE) == code
    assert lines(capsys)[-1]["ok"] is False


def test_an_interruption_is_one_line_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_args: object, **_named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "waiting", interrupted)
    assert job.main(WHOLE) == 130
    assert lines(capsys)[-1]["error"] == "KeyboardInterrupt"


def test_without_a_url_it_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert job.main({}) == 2
    assert "GAIA_MIGRATIONS_URL" in lines(capsys)[-1]["message"]
