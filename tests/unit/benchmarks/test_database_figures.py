"""The arithmetic and the table of the database benchmarks; what they time isn't run here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from benchmarks.database import DATABASE_CASES
from benchmarks.database_changes import schema_sql
from benchmarks.database_measure import added, answers, p95, ratio, slower, table, throughput


def test_the_p95_is_what_95_in_100_stay_under() -> None:
    assert p95([float(number) for number in range(1, 101)]) == pytest.approx(95.95)


def test_a_median_isnt_moved_by_one_slow_answer() -> None:
    figure = slower("reads", "the owner", "median", [1.0, 1.2, 90.0], [1.0, 1.0, 1.0], bar=1.2)
    assert figure.value == pytest.approx(1.2)
    assert figure.ok
    assert not slower("reads", "the owner", "median", [1.21] * 3, [1.0] * 3, bar=1.2).ok


def test_throughput_must_reach_its_bar() -> None:
    figure = throughput("writes", "asyncpg", "rows/s", 1000, [2.0], [1.0], bar=0.5)
    assert (figure.ours, figure.baseline, figure.value) == (500, 1000, 0.5)
    assert figure.ok
    assert not throughput("writes", "asyncpg", "rows/s", 1000, [2.1], [1.0], bar=0.5).ok


def test_added_seconds_are_a_difference() -> None:
    figure = added("migrate", "psql", [1.5, 1.6, 9.0], [0.5, 0.6, 0.7], bar=1.0)
    assert figure.value == pytest.approx(1.0)
    assert figure.ok


def test_a_ratio_is_that_of_the_medians() -> None:
    figure = ratio("backup", "pg_dump", [1.3, 1.2, 9.0], [1.0, 0.9, 1.1], bar=1.3)
    assert (figure.value, figure.unit) == (pytest.approx(1.3), "s")


def test_every_question_goes_to_all_sides_and_none_is_always_the_first() -> None:
    asked: list[tuple[str, int]] = []

    def side(name: str) -> Callable[[int], Awaitable[None]]:
        async def ask(question: int) -> None:
            asked.append((name, question))

        return ask

    taken = asyncio.run(answers({"ours": side("ours"), "plain": side("plain")}, range(4)))

    assert asked[::2] == [("ours", 0), ("plain", 1), ("ours", 2), ("plain", 3)]
    assert sorted(asked) == sorted((name, number) for name in ("ours", "plain") for number in range(4))
    assert {name: len(samples) for name, samples in taken.items()} == {"ours": 4, "plain": 4}


def test_the_table_says_which_is_over_and_which_way_its_bar_goes() -> None:
    lines = table(
        [
            slower("reads", "small", "p95", [2.0] * 3, [1.0] * 3, bar=1.2),
            throughput("writes", "asyncpg", "rows/s", 1000, [1.0], [1.0], bar=0.5),
        ]
    ).splitlines()
    assert lines[1].split() == ["reads", "small", "p95", "2.00", "ms", "1.00", "ms", "2.00", "≤", "1.2", "over", "3"]
    assert "≥ 0.5" in lines[2]


def test_the_document_says_whether_it_is_within_its_bar() -> None:
    document = added("migrate", "psql", [1.23456], [0.5], bar=1.0).document()
    assert document["ok"] is True
    assert document["value"] == 0.735


def test_every_line_of_the_speed_table_has_a_case() -> None:
    assert list(DATABASE_CASES) == [
        *("db-last-50", "db-security", "db-search", "db-sessions", "db-writes", "db-migrate", "db-seed"),
        *("backup", "backup-hashes", "restore", "drill"),
    ]


def test_the_sql_for_psql_is_that_of_every_revision() -> None:
    text = schema_sql()
    assert text.startswith("SET ROLE gaia_owner;")
    assert all(f"CREATE TABLE {table} (" in text for table in ("auth.users", "game.campaigns", "game.chat_history"))
    assert "CREATE FUNCTION game.search_messages" in text
