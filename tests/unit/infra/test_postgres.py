"""The embedded server's files: what is written for it, where it lies, and what is made of what is found there."""

from __future__ import annotations

import os
import re
import threading
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from infra.local import embedded, postgres
from infra.local.errors import BinariesMissing, DataDirectoryError, ServerFailed
from infra.settings import Database, Tuning


def unquoted(text: str) -> str:
    """What PostgreSQL reads from a quoted value: '' is a quote, a backslash escapes (guc-file.l, GUC_scanstr)."""
    assert re.fullmatch(r"'(?:[^'\\]|''|\\.)*'", text, re.DOTALL)
    return re.sub(r"''|\\(.)", lambda found: found[1] or "'", text[1:-1], flags=re.DOTALL)


@pytest.fixture
def server(tmp_path: Path) -> postgres.Server:
    return postgres.Server(home=tmp_path, binaries=tmp_path / "bin", user=None)


@examples(max_examples=50, deadline=None, database=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_quoted_value_is_read_as_it_was_meant(value: str) -> None:
    assert unquoted(postgres.quoted(value)) == value


def test_the_parameters_are_text_and_hold_all_of_the_tuning() -> None:
    tuning = Tuning(max_connections=50, random_page_cost=2.5)
    found = embedded.parameters(Database(port=5433, tuning=tuning))
    assert {name: str(value) for name, value in asdict(tuning).items()}.items() <= found.items()
    assert found["port"] == "5433"
    assert all(isinstance(value, str) for value in found.values())


def test_the_server_listens_on_loopback_alone_and_keeps_utc() -> None:
    found = embedded.parameters(Database())
    assert (found["listen_addresses"], found["unix_socket_directories"]) == ("127.0.0.1", "")
    assert (found["timezone"], found["log_timezone"]) == ("UTC", "UTC")


def test_macos_has_no_io_concurrency_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert embedded.parameters(Database())["effective_io_concurrency"] == "0"


@pytest.mark.parametrize("changed", [{"port": "5433"}, {"shared_buffers": "1GB"}, {"max_connections": "50"}])
def test_what_postgresql_reads_only_at_its_start_needs_a_restart(changed: dict[str, str]) -> None:
    old = embedded.parameters(Database())
    assert embedded._needs_restart(old, {**old, **changed})


def test_other_parameters_need_no_restart() -> None:
    old = embedded.parameters(Database())
    assert not embedded._needs_restart(old, {**old, "random_page_cost": "2", "effective_cache_size": "2GB"})


def test_the_configuration_file_has_one_line_for_each_parameter_and_is_private(server: postgres.Server) -> None:
    server.data.mkdir()
    postgres.configure(server, {"port": 5433, "log_line_prefix": "it's %m ", "a": "b\\c"})
    file = server.data / "gaia.conf"
    include = "include_if_exists = 'gaia-replication.conf'\n"
    assert file.read_text(encoding="utf-8") == f"a = 'b\\\\c'\nlog_line_prefix = 'it''s %m '\nport = '5433'\n{include}"
    assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in server.data.iterdir()) == ["gaia.conf", "pg_hba.conf"]


def test_a_normal_users_data_lies_in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert postgres.home_for(Path("/srv/gaia"), "local") == Path("/srv/gaia/.gaia/data/local")


@pytest.mark.parametrize(("reachable", "inside"), [(True, True), (False, False)])
def test_roots_data_lies_where_the_servers_user_can_reach_it(
    monkeypatch: pytest.MonkeyPatch, reachable: bool, inside: bool
) -> None:
    monkeypatch.setattr(postgres, "server_user", lambda: "nobody")
    monkeypatch.setattr(postgres, "_reachable", lambda path: reachable)
    home = postgres.home_for(Path("/srv/gaia"), "local")
    assert home.is_relative_to("/srv/gaia/.gaia") is inside
    assert home.name == "local"


def test_two_checkouts_of_one_name_never_share_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "server_user", lambda: "nobody")
    monkeypatch.setattr(postgres, "_reachable", lambda path: False)
    homes = [postgres.home_for(Path(path), stack) for path in ("/a/gaia", "/b/gaia") for stack in ("local", "other")]
    assert len(set(homes)) == 4
    assert homes[0] == postgres.home_for(Path("/a/gaia"), "local")


def test_root_runs_the_server_as_postgres_or_else_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"postgres", "nobody"}

    def entry(name: str) -> None:
        if name not in known:
            raise KeyError(name)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("pwd.getpwnam", entry)
    assert postgres.server_user() == "postgres"
    known.remove("postgres")
    assert postgres.server_user() == "nobody"
    known.clear()
    with pytest.raises(ServerFailed, match="refuses to run as root"):
        postgres.server_user()


def test_a_folder_that_others_may_not_enter_is_out_of_reach(tmp_path: Path) -> None:
    inner = tmp_path / "private" / "inner"
    inner.mkdir(parents=True)
    inner.parent.chmod(0o700)
    assert not postgres._reachable(inner)


def test_missing_binaries_name_the_command_that_fetches_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BinariesMissing, match=r"run \./gaia setup"):
        postgres.packaged_binaries()


def test_a_server_without_a_data_directory_is_absent_and_without_a_process_stopped(server: postgres.Server) -> None:
    assert postgres.status(server) == "absent"
    server.data.mkdir()
    assert postgres.status(server) == "absent"
    (server.data / "PG_VERSION").write_text("16\n")
    assert postgres.status(server) == "stopped"


@pytest.mark.parametrize("pid", ["ours", "0", "-1", "999999999", "none", ""])
def test_a_recorded_process_that_is_no_such_server_does_not_count(server: postgres.Server, pid: str) -> None:
    server.data.mkdir()
    (server.data / "PG_VERSION").write_text("16\n")
    (server.data / "postmaster.pid").write_text(f"{os.getpid() if pid == 'ours' else pid}\n{server.data}\n")
    assert postgres.status(server) == "stopped"


def test_the_data_of_another_version_is_left_alone_with_the_way_out(server: postgres.Server) -> None:
    server.data.mkdir()
    (server.data / "PG_VERSION").write_text("15\n")
    with pytest.raises(
        DataDirectoryError, match=r"made by PostgreSQL 15, this is PostgreSQL 16; nothing was changed: dump"
    ):
        postgres.start(server, port=1, timeout_s=1)


def test_a_damaged_version_file_says_so(server: postgres.Server) -> None:
    server.data.mkdir()
    (server.data / "PG_VERSION").write_bytes(b"\xff\xff")
    with pytest.raises(DataDirectoryError, match="damaged"):
        postgres.start(server, port=1, timeout_s=1)


def test_somebodys_files_are_never_taken_for_an_empty_data_directory(server: postgres.Server) -> None:
    server.data.mkdir()
    (server.data / "letters.txt").write_text("dear")
    with pytest.raises(DataDirectoryError, match="no PostgreSQL data directory; move it away"):
        postgres._make_data_directory(server, superuser="gaia", password="p" * 16)
    assert (server.data / "letters.txt").read_text() == "dear"


def test_the_pipe_to_initdb_carries_the_password_and_nothing_else(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=postgres._write_to_pipe, args=(pipe, "canary\n"))
    writer.start()
    assert pipe.read_text() == "canary\n"
    writer.join()


def test_a_log_that_has_grown_too_large_is_put_aside(server: postgres.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "LOG_BYTES_MAX", 10)
    server.log.write_text("0123456789")
    postgres._rotate_log(server)
    assert server.log.exists()
    server.log.write_text("01234567890")
    postgres._rotate_log(server)
    assert not server.log.exists()
    assert server.log.with_suffix(".log.1").exists()


def test_the_end_of_the_log_is_told_even_where_there_is_none(server: postgres.Server) -> None:
    assert postgres._log_tail(server) == "(no log)"
    server.log.write_bytes(b"one\ntwo\n\xffthree\n")
    assert postgres._log_tail(server, lines=2) == "two\n\ufffdthree"


def test_the_server_does_not_inherit_the_mark_of_the_run_that_starts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAIA_RUN", "run-1")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    assert postgres._environment(marked=False) == {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
    assert postgres._environment(marked=True)["GAIA_RUN"] == "run-1"


def test_the_current_user_starts_programs_without_a_detour(server: postgres.Server) -> None:
    assert postgres._command(server, "postgres", "--version") == [server.binaries / "postgres", "--version"]
    command = postgres._command(replace(server, user="nobody"), "postgres")
    assert command[-1] == server.binaries / "postgres"
    assert "as_user.py" in str(command[3])


@pytest.mark.parametrize(("name", "where", "status"), [("postgres", "data", "running"), ("postgres", ".", "stopped")])
def test_only_a_postgres_of_this_very_directory_counts_as_running(
    server: postgres.Server, monkeypatch: pytest.MonkeyPatch, name: str, where: str, status: str
) -> None:
    server.data.mkdir()
    (server.data / "PG_VERSION").write_text("16\n")
    (server.data / "postmaster.pid").write_text(f"{os.getpid()}\n")
    monkeypatch.setattr("psutil.Process.name", lambda self: name)
    monkeypatch.setattr("psutil.Process.cwd", lambda self: str((server.home / where).resolve()))
    assert postgres.status(server) == status
