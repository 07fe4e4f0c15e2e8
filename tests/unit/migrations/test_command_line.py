"""What the package does before it meets a database."""

import json
import subprocess
import sys

import pytest

from migrations import errors
from migrations.__main__ import main
from migrations.connection import one_sentence, plain_url, url_from_environment
from migrations.errors import MigrationFailed, NoDatabaseUrl


def test_importing_the_runner_loads_neither_driver_nor_alembic() -> None:
    code = "import sys, migrations.runner; print(*({'alembic', 'sqlalchemy', 'psycopg', 'db'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def test_the_url_comes_from_the_environment_first_match_first() -> None:
    assert url_from_environment({"GAIA_MIGRATIONS_URL": "a", "DATABASE_URL": "b"}) == "a"
    assert url_from_environment({"GAIA_MIGRATIONS_URL": "", "DATABASE_URL": "b"}) == "b"
    with pytest.raises(NoDatabaseUrl, match="set GAIA_MIGRATIONS_URL or DATABASE_URL"):
        url_from_environment({})


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+asyncpg"])
def test_a_url_may_name_any_driver(scheme: str) -> None:
    assert plain_url(f"{scheme}://gaia:x@host/gaia") == "postgresql://gaia:x@host/gaia"


def test_another_kind_of_url_is_refused_without_repeating_it() -> None:
    with pytest.raises(NoDatabaseUrl) as caught:
        plain_url("mysql://gaia:canary@host/gaia")
    assert "canary" not in str(caught.value)


def test_without_a_url_the_exit_code_is_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("GAIA_MIGRATIONS_URL", raising=False)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert main(["upgrade"]) == 2
    assert "GAIA_MIGRATIONS_URL" in capsys.readouterr().err
    assert main(["upgrade", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_the_url_is_no_argument(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["upgrade", "--url", "postgresql://gaia:canary@host/gaia"])
    assert caught.value.code == 2
    capsys.readouterr()


def test_history_needs_no_database(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["revisions"][0]["id"] == "0001"


def test_a_failure_is_one_line_that_says_where_the_database_stays() -> None:
    error = MigrationFailed("0004", "SELECT\n  1", "it broke", "0003")
    assert str(error) == "revision 0004 failed: it broke at: SELECT 1 (the database stays at 0003)"
    assert "the empty schema (base)" in str(MigrationFailed("0001", None, "it broke", None))


def test_libpqs_words_become_one_sentence() -> None:
    said = 'connection to server at "::1", port 5432 failed: FATAL:  password authentication failed for user "gaia"\n'
    assert one_sentence(said) == 'password authentication failed for user "gaia"'
    assert one_sentence("") == "no reason given"


def test_the_tree_of_errors_in_the_docstring_is_the_real_one() -> None:
    for name, thing in vars(errors).items():
        if isinstance(thing, type):
            assert issubclass(thing, errors.MigrationError) and thing.__doc__
            assert f" {name} " in f" {errors.__doc__} ".replace("\n", " ")
