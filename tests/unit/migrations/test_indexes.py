"""The helpers for indexes, as SQL."""

import io

from alembic.migration import MigrationContext
from alembic.operations import Operations

from migrations import indexes, plan, statements


def written(change: str) -> list[str]:
    """The SQL of one helper, called as a revision calls it."""
    buffer = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": buffer, "transactional_ddl": True}
    )
    with context.begin_transaction():
        op = Operations(context)
        if change == "create":
            indexes.create_concurrently(op, "ix_a", "campaigns", ["name"], schema="game", unique=True)
        else:
            indexes.drop_concurrently(op, "ix_a", "campaigns", schema="game")
    return statements.split(buffer.getvalue())


def test_an_index_is_made_outside_a_transaction_and_may_wait_for_long() -> None:
    assert written("create") == [
        "BEGIN",
        "COMMIT",
        "SET lock_timeout = 0",
        "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS ix_a ON game.campaigns (name)",
        "SET lock_timeout = 1000",
        "BEGIN",
        "COMMIT",
    ]


def test_an_index_is_dropped_in_the_same_way() -> None:
    assert "DROP INDEX CONCURRENTLY IF EXISTS game.ix_a" in written("drop")


def test_the_plan_calls_both_safe() -> None:
    catalog = plan.Catalog(tables=frozenset({"game.campaigns"}), indexes={"game.ix_a": "game.campaigns"})
    for change in ("create", "drop"):
        judged = plan.judge([(sql, 1) for sql in written(change)], catalog)
        assert {statement.risk for statement in judged} == {"safe"}
        assert {lock for s in judged for lock in (s.locks or {}).items()} == {
            ("game.campaigns", "SHARE UPDATE EXCLUSIVE")
        }


def test_a_name_is_said_as_sql_has_it() -> None:
    assert str(indexes.Index(schema="game", name="Odd one", table="t")) == 'game."Odd one"'
