"""The rules of the doctor on plain facts: each fault is named with its way out, and what is well is let alone."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from engine import locks
from engine.acquire import Engine
from ops.doctor import access, checkout, clock, disk, embedded, serverlog, sessions, upkeep
from ops.doctor.container import Container
from ops.doctor.container import findings as of_container
from ops.doctor.finding import Finding

NOW = dt.datetime(2026, 11, 23, 12, 0, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


def wrong(findings: Iterable[Finding]) -> dict[str, str]:
    """The hints of the checks that say something, by name."""
    return {finding.name: finding.check.hint for finding in findings if finding.found}


def test_a_missing_engine_is_named_with_why_the_one_on_path_will_not_do() -> None:
    assert checkout.engine(Engine(Path("pulumi"), "on PATH", "3.259.0"), []).check.ok
    hint = checkout.engine(None, ["/usr/bin/pulumi is 3.1.0: passed over"]).check.hint
    assert "3.1.0" in hint and "./gaia setup" in hint


def test_a_migration_that_cannot_be_read_is_named_with_its_chmod(tmp_path: Path) -> None:
    closed = tmp_path / "0001_schema.py"
    closed.touch(mode=0o000)
    tmp_path.chmod(0o755)
    with _as_an_ordinary_user():
        found = checkout.unreadable([closed, Path(os.devnull)])
    assert found == [closed]
    hint = checkout.readable(found).check.hint
    assert "permission denied" in hint and f"chmod u+r,a+r {closed}" in hint
    assert checkout.readable([]).check.ok


def test_a_checkout_of_another_user_is_named() -> None:
    assert "belongs to root" in checkout.owned(0, 12345).check.hint
    assert checkout.owned(12345, 12345).check.ok
    assert checkout.owned(None, 12345).check.ok


def test_damaged_state_pending_operations_and_no_stack_are_three_things() -> None:
    assert wrong(checkout.whole(checkout.State(made=True), "local")) == {}
    damaged = wrong(checkout.whole(checkout.State(made=True, damaged="the state is damaged"), "local"))
    assert "./gaia up --restore-state" in damaged["state"]
    pending = wrong(checkout.whole(checkout.State(made=True, pending=("creating server",)), "local"))
    assert "creating server" in pending["no pending operations"]
    assert "./gaia up --stack local" in wrong(checkout.whole(checkout.State(made=False), "local"))["stack is up"]


def lock(state: str) -> locks.BackendLock:
    return locks.BackendLock(file=Path("lock.json"), state=state, holder="ada@laptop (pid 7)")  # pyright: ignore[reportArgumentType]


def test_only_the_lock_of_a_dead_run_is_offered_for_release() -> None:
    found = list(checkout.held([lock("dead")], None))
    assert "ada@laptop (pid 7)" in found[0].found and found[0].mend is not None
    assert "pulumi cancel" in wrong(checkout.held([lock("elsewhere")], None))["lock of another host"]
    assert "pulumi cancel" in wrong(checkout.held([lock("unreadable")], None))["lock can be read"]
    assert wrong(checkout.held([lock("alive")], None)) == {}
    assert all(finding.mend is None for finding in checkout.held([lock("elsewhere"), lock("alive")], None))


def test_a_run_that_was_killed_is_named_and_one_that_works_is_a_note() -> None:
    dead = locks.Run(run_id="a", pid=2**22 + 1, started=0.0, command="./gaia up", user="ada")
    assert "did not come to its end" in wrong(checkout.held([], dead))["last run ended"]
    import psutil

    parent = psutil.Process(os.getppid())
    alive = locks.Run(run_id="a", pid=parent.pid, started=parent.create_time(), command="./gaia up", user="ada")
    noted = next(finding for finding in checkout.held([], alive) if finding.found)
    assert noted.level == "note" and noted.check.ok


def test_files_from_the_future_are_named_and_those_of_a_minute_ahead_are_not() -> None:
    assert wrong(checkout.stamped([("local.json", 1000.0 + 60)], 1000.0)) == {}
    hint = wrong(checkout.stamped([("gaia_backup_1", 1000.0 + 86400)], 1000.0))["no file from the future"]
    assert "gaia_backup_1 by 1.0 days" in hint and "timedatectl" in hint


@pytest.mark.parametrize(
    ("free", "total", "inodes", "level"),
    [
        (100 * 2**20, 2**40, 5, "fault"),
        (2**40, 2**41, 0, "fault"),
        (2**30, 2**36, 5, "warning"),
        (2**30, 2**30 + 2**20, 5, None),
        (2**40, 2**41, 5, None),
    ],
)
def test_a_full_volume_is_a_fault_and_one_that_fills_a_warning(
    free: int, total: int, inodes: int, level: str | None
) -> None:
    volume = disk.Volume(what="backups", folder="/b", free_bytes=free, total_bytes=total, free_files=inodes)
    (finding,) = disk.findings([volume])
    assert (finding.level if finding.found else None) == level


def server(**facts: object) -> embedded.Embedded:
    well: dict[str, object] = {
        "status": "running", "expected": True, "version": "16", "owners": ("ada",), "user": "ada", "data": Path("/d"),
    }  # fmt: skip
    return embedded.Embedded(**{**well, **facts})  # pyright: ignore[reportArgumentType]


def test_a_server_that_runs_on_its_own_data_is_well() -> None:
    assert wrong(embedded.findings(server())) == {}


def test_a_stopped_server_is_named_with_its_last_words_and_a_killed_one_as_killed() -> None:
    stopped = wrong(embedded.findings(server(status="stopped", last_words="FATAL:  no room")))
    assert "FATAL:  no room" in stopped["server process"] and "./gaia up" in stopped["server process"]
    killed = wrong(embedded.findings(server(status="stopped", killed=True)))
    assert "killed" in killed["server process"]


def test_a_taken_port_names_its_holder_and_starting_is_not_offered_before_it_is_free() -> None:
    taken = "port 5432 on 127.0.0.1 is taken by nginx (pid 7); end that, or choose another port: ./gaia up --set x=1"
    found = list(embedded.findings(server(status="stopped", port_taken=taken)))
    assert "nginx (pid 7): end that" in wrong(found)["port"]
    assert [finding.mend for finding in found if finding.found] == [None, None]


def test_data_of_another_version_or_another_user_is_named() -> None:
    assert "PostgreSQL 15" in wrong(embedded.findings(server(version="15")))["data directory's version"]
    assert "binaries are 17" in wrong(embedded.findings(server(binaries="17")))["data directory's version"]
    hint = wrong(embedded.findings(server(owners=("ada", "root"))))["data directory's owner"]
    assert "ada and root" in hint and "chown -R ada /d" in hint


def test_data_that_is_gone_is_named_only_where_it_should_be_there() -> None:
    assert wrong(embedded.findings(server(status="absent", expected=False))) == {}
    assert "gone" in wrong(embedded.findings(server(status="absent")))["server process"]


def box(**facts: object) -> Container:
    well: dict[str, object] = {
        "name": "pg", "expected": True, "status": "running", "health": "healthy", "network": "gaia_default",
    }  # fmt: skip
    return Container(**{**well, **facts})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"status": "exited", "exit_code": 3, "last_words": "FATAL:  oh"}, ["exit code 3", "FATAL:  oh", "./gaia up"]),
        ({"status": "exited", "oom_killed": True}, ["want of memory", "shared_buffers"]),
        ({"status": "restarting", "restarts": 9}, ["over and over", "docker logs pg"]),
        ({"status": "paused"}, ["docker unpause pg"]),
        ({"status": "gone"}, ["gone", "./gaia up"]),
        ({"health": "unhealthy"}, ["unhealthy"]),
    ],
)
def test_a_container_is_named_by_its_state(facts: dict[str, object], words: list[str]) -> None:
    hint = wrong(of_container(box(**facts)))["container pg"]
    assert [word for word in words if word not in hint] == []


def test_a_container_that_starts_or_is_healthy_is_well() -> None:
    assert wrong(of_container(box())) == {} == wrong(of_container(box(health="starting")))
    assert wrong(of_container(box(status="gone", expected=False, network_there=False))) == {}


def test_a_network_that_is_gone_is_named_and_one_without_the_container_too() -> None:
    assert "is gone" in wrong(of_container(box(network_there=False)))["network gaia_default"]
    assert "not in the network" in wrong(of_container(box(attached=False)))["network gaia_default"]


LOG = """\
2026-11-21 08:00:00.000 UTC [1] LOG:  starting PostgreSQL 16.14 on x86_64
2026-11-21 08:00:01.000 UTC [1] LOG:  server process (PID 6) was terminated by signal 9: Killed
2026-11-23 08:00:00.000 UTC [1] LOG:  starting PostgreSQL 16.14 on x86_64
2026-11-23 09:00:00.000 UTC [1] LOG:  server process (PID 77) was terminated by signal 9: Killed
2026-11-23 09:00:00.100 UTC [1] LOG:  all server processes terminated; reinitializing
2026-11-23 09:30:00.000 UTC [8] gaia_app@gaia ERROR:  could not extend file "base/1/2": No space left on device
2026-11-23 09:40:00.000 UTC [8] gaia_app@gaia FATAL:  password authentication failed for user "gaia_app"
""".splitlines()


def test_a_log_tells_of_kills_and_full_disks_since_the_last_start() -> None:
    log = serverlog.parse(LOG, NOW)
    assert log.killed == ("2026-11-23 09:00:00 server process (PID 77)",)
    assert log.no_space == ("2026-11-23 09:30:00",)
    hint = wrong(serverlog.findings(log, "256MB"))["no process was killed"]
    assert "signal 9" in hint and "./gaia up --set database.tuning.shared_buffers=128MB" in hint
    assert wrong(serverlog.findings(serverlog.parse(LOG, NOW + 2 * DAY), "256MB")) == {}


def test_a_refused_login_is_not_a_servers_last_word() -> None:
    assert "password" not in serverlog.parse([*LOG[:5], LOG[-1], "…UTC [1] LOG:  done"], NOW).last_words
    fatal = '2026-11-23 10:00:00.000 UTC [1] FATAL:  could not create lock file "x": No space left on device'
    assert serverlog.parse([*LOG, fatal, "2026-11-23 10:00:00.001 UTC [1] LOG:  shut down"], NOW).last_words == fatal


def clocks(**facts: object) -> clock.Clocks:
    well: dict[str, object] = {"server": NOW, "ours": NOW, "started": NOW - DAY, "process_started": NOW - DAY}
    return clock.Clocks(**{**well, **facts})  # pyright: ignore[reportArgumentType]


def test_clocks_that_agree_are_well_and_a_day_apart_is_named_either_way() -> None:
    assert wrong(clock.findings(clocks())) == {}
    assert "1.0 days ahead" in wrong(clock.findings(clocks(server=NOW + DAY)))["clocks agree"]
    assert "1.0 days behind" in wrong(clock.findings(clocks(server=NOW - DAY / 2 * 2)))["clocks agree"]


def test_a_jump_of_the_machines_own_clock_shows_by_how_long_the_server_has_run() -> None:
    forward = wrong(clock.findings(clocks(process_started=NOW)))["clock is steady"]
    back = wrong(clock.findings(clocks(process_started=NOW - 2 * DAY)))["clock is steady"]
    assert "forward by 1.0 days" in forward and "back by 1.0 days" in back
    unseen = wrong(clock.findings(clocks(process_started=None, started=NOW + DAY)))["clock is steady"]
    assert "went back" in unseen


def test_rows_from_the_future_are_named_by_their_table() -> None:
    hint = wrong(clock.findings(clocks(newest=[("game.chat_history", NOW + DAY)])))["no row from the future"]
    assert "game.chat_history has rows up to 2026-11-24 12:00 UTC" in hint


def test_connections_name_who_holds_them_worst_first() -> None:
    few, many = (
        [
            sessions.Holders(user="gaia_readonly", application="", state="active", count=3),
            sessions.Holders(user="gaia_app", application="api", state="idle", count=count, idle_long=idle_long),
        ]
        for count, idle_long in ((50, 0), (95, 90))
    )
    assert sessions.connections(100, few).check.ok
    full = sessions.connections(100, many)
    assert full.found.startswith("out of connections: 98 of 100 are taken: 95 idle of gaia_app (api), 3 active")
    assert full.level == "fault" and full.mend is not None and "90 sessions" in full.mend.title
    near = sessions.connections(120, many)
    assert near.level == "warning"


def session(pid: int, state: str, seconds: float) -> sessions.Session:
    return sessions.Session(pid=pid, user="gaia_app", application="api", state=state, seconds=seconds)


def test_of_those_who_block_each_other_the_root_is_named() -> None:
    first, second, third = session(1, "idle in transaction", 70), session(2, "active", 20), session(3, "active", 9)
    found = sessions.blocked(
        [sessions.Wait(waiting=second, blocker=first), sessions.Wait(waiting=third, blocker=second)]
    )
    assert "2 sessions wait" in found.found and "pid 1 (gaia_app, api) has it, idle in transaction" in found.found
    assert "pg_terminate_backend(1)" in found.way and found.mend is not None and found.mend.subject == "1"


def test_a_blocker_at_work_is_never_offered_to_be_ended() -> None:
    wait = sessions.Wait(waiting=session(2, "active", 9), blocker=session(1, "active", 600))
    assert sessions.blocked([wait]).mend is None
    fresh = sessions.Wait(waiting=session(2, "active", 9), blocker=session(1, "idle in transaction", 9))
    assert sessions.blocked([fresh]).mend is None


def test_revisions_behind_and_unknown_have_different_ways_out() -> None:
    assert upkeep.revision("0002", "0002", ["0001", "0002"]).check.ok
    assert "./gaia migrate upgrade" in upkeep.revision("0001", "0002", ["0001", "0002"]).check.hint
    assert "git pull" in upkeep.revision("0003", "0002", ["0001", "0002"]).check.hint
    assert "at base" in upkeep.revision(None, "0002", ["0001", "0002"]).check.hint


def test_another_version_and_a_server_that_takes_no_writes_are_named() -> None:
    assert upkeep.version(160014).check.ok and "PostgreSQL 15" in upkeep.version(150004).check.hint
    assert "standby" in upkeep.writes(True, True).check.hint and "read-only" in upkeep.writes(False, True).check.hint


def test_an_index_that_is_being_built_is_not_called_invalid() -> None:
    assert wrong(upkeep.indexes(["game.ix"], True)) == {}
    assert "DROP INDEX CONCURRENTLY game.ix" in wrong(upkeep.indexes(["game.ix"], False))["indexes are valid"]


def test_transaction_ids_warn_when_freezing_is_late_and_are_a_fault_when_few_are_left() -> None:
    def level(ids: int) -> str | None:
        age = next(iter(upkeep.ages(upkeep.Age(database="gaia", ids=ids, freeze_max=200_000_000), True)))
        return age.level if age.found else None

    assert [level(ids) for ids in (150_000_000, 230_000_000, 1_800_000_000)] == [None, "warning", "fault"]
    assert "off" in wrong(upkeep.ages(None, False))["autovacuum"]


def test_a_late_standby_and_a_slot_that_nobody_reads_are_named() -> None:
    good = upkeep.Standby(name="b", state="streaming", bytes_behind=100, seconds_behind=0.1)
    late = upkeep.Standby(name="b", state="streaming", bytes_behind=2**30, seconds_behind=50.0)
    used = upkeep.Slot(name="s", active=True, status="reserved", bytes_kept=2**40)
    left = upkeep.Slot(name="s", active=False, status="extended", bytes_kept=2**30)
    lost = upkeep.Slot(name="s", active=False, status="lost", bytes_kept=0)
    assert wrong(upkeep.replication([good], [used])) == {}
    assert "1 GB and 50 s" in wrong(upkeep.replication([late], []))["standbys keep up"]
    assert "keeps 1 GB" in wrong(upkeep.replication([], [left]))["slot s"]
    assert "lost" in wrong(upkeep.replication([], [lost]))["slot s"]
    assert "40 s behind" in upkeep.standby(40.0, True).found and "nothing" in upkeep.standby(0.0, False).found
    assert upkeep.standby(None, True).check.ok


def test_what_a_restore_left_is_a_warning_and_what_it_keeps_a_note() -> None:
    half, kept = upkeep.leftovers(["gaia_restore_1", "gaia_before_1"])
    assert (half.check.ok, kept.check.ok) == (False, True)


@pytest.mark.parametrize(
    ("said", "name", "words"),
    [
        ("connection failed: Connection refused", access.ANSWERS, "./gaia up"),
        ('FATAL:  password authentication failed for user "gaia"', access.SUPERUSER, "./gaia up"),
        ('FATAL:  role "gaia" does not exist', access.SUPERUSER, "./gaia up"),
        ('FATAL:  database "gaia" does not exist', "database", "./gaia up"),
        ("FATAL:  sorry, too many clients already", access.CONNECTIONS, "kill PID"),
        ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER", access.CONNECTIONS, "kill"),
        ("FATAL:  the database system is starting up", access.ANSWERS, "wait"),
        ("connection timeout expired", access.ANSWERS, "./gaia logs"),
        ("something nobody has seen", access.ANSWERS, "./gaia logs"),
    ],
)
def test_what_libpq_says_is_told_in_the_operators_words(said: str, name: str, words: str) -> None:
    found = access.refused(said, "127.0.0.1:5432")
    assert found.name == name and words in found.way


def test_the_apps_own_password_is_a_check_of_its_own() -> None:
    assert access.refused("password authentication failed", "h:1", as_app=True).name == access.APP


class _as_an_ordinary_user:
    """For root, to whom no file is closed."""

    def __enter__(self) -> None:
        self._user = os.geteuid()
        if self._user == 0:
            os.seteuid(65534)

    def __exit__(self, *_: object) -> None:
        if self._user == 0:
            os.seteuid(0)
