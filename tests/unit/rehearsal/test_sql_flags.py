"""Flags and machines as Cloud SQL has them, as far as no server is needed."""

from __future__ import annotations

import pytest

from rehearsal.sql import flags, tiers
from rehearsal.sql.errors import Refused
from rehearsal.sql.flags import Parameter

SMALL = tiers.tier("db-g1-small", "ENTERPRISE")
BUFFERS = Parameter(kind="integer", unit="8kB", least=16, most=2**30, words=(), context="postmaster")
CACHE = Parameter(kind="integer", unit="8kB", least=1, most=2**31 - 1, words=(), context="user")
LEVEL = Parameter(kind="enum", unit=None, least=None, most=None, words=("none", "ddl"), context="superuser")
CATALOG = {"shared_buffers": BUFFERS, "effective_cache_size": CACHE, "log_statement": LEVEL}


@pytest.mark.parametrize(
    ("tier", "connections"),
    [("db-f1-micro", 25), ("db-g1-small", 50), ("db-custom-1-3840", 100), ("db-custom-4-15360", 500)],
)
def test_how_many_connections_a_machine_has_by_itself(tier: str, connections: int) -> None:
    assert tiers.tier(tier, "ENTERPRISE").connections == connections


@pytest.mark.parametrize("tier", ["db-custom-3-7680", "db-custom-2-1024", "db-custom-2-7681", "db-custom-1-8192", "x"])
def test_a_machine_that_nobody_sells_is_refused(tier: str) -> None:
    with pytest.raises(Refused):
        tiers.tier(tier, "ENTERPRISE")


def test_each_edition_has_its_own_machines() -> None:
    assert tiers.tier("db-perf-optimized-N-2", "ENTERPRISE_PLUS").memory_mb == 16 * 1024
    for tier, edition in (("db-perf-optimized-N-2", "ENTERPRISE"), ("db-custom-1-3840", "ENTERPRISE_PLUS")):
        with pytest.raises(Refused, match=f"{tier}.*for \\({edition}\\) Edition"):
            tiers.tier(tier, edition)


def test_memory_is_counted_in_the_parameters_own_unit_and_is_a_share_of_the_machines() -> None:
    pages = SMALL.memory_mb * 1024 * 1024 // 8192
    flags.check({"shared_buffers": str(int(pages * 0.6))}, SMALL, CATALOG)
    for value in (str(int(pages * 0.6) + 1), "256MB", "0x10"):
        with pytest.raises(Refused):
            flags.check({"shared_buffers": value}, SMALL, CATALOG)


def test_a_shared_core_may_expect_less_cache_than_a_tenth_of_its_memory() -> None:
    flags.check({"effective_cache_size": "100"}, SMALL, CATALOG)
    with pytest.raises(Refused):
        flags.check({"effective_cache_size": "100"}, tiers.tier("db-custom-1-3840", "ENTERPRISE"), CATALOG)


def test_words_are_taken_as_they_are_written() -> None:
    flags.check({"log_statement": "ddl", "pgaudit.log": "ddl,-role"}, SMALL, CATALOG)
    for name, value in (("log_statement", "DDL"), ("pgaudit.log", "dd"), ("cloudsql.iam_authentication", "true")):
        with pytest.raises(Refused) as refused:
            flags.check({name: value}, SMALL, CATALOG)
        assert refused.value.reason == "invalidFlagValue"


def test_a_restart_is_needed_by_what_the_server_reads_at_its_start_and_by_googles_switches() -> None:
    before = {"shared_buffers": "100", "log_statement": "ddl"}
    after = {"shared_buffers": "200", "log_statement": "none", "cloudsql.iam_authentication": "on"}
    assert flags.needs_restart(before, after, CATALOG) == ["cloudsql.iam_authentication", "shared_buffers"]
    assert flags.needs_restart(before, {**before, "log_statement": "none"}, CATALOG) == []
