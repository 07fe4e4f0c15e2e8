"""Made-up rows of production's shape, for every table that the catalog has, at whichever revision it is.

Known columns have an expression here; others are filled by their type. A table that stays empty is reported, so that
a new one can't be forgotten: give it a line in :data:`VALUES`, or a reason in :data:`EMPTY`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from migrations.connection import one_sentence
from migrations.grants import quoted

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]

SHARE: Mapping[str, float] = {
    "auth.users": 1 / 100,
    "auth.oauth_accounts": 1 / 200,
    "auth.sessions": 1 / 50,
    "auth.access_control": 1 / 200,
    "auth.identity_keys": 0,
    "game.campaigns": 1 / 400,
    "game.campaign_participants": 1 / 80,
    "game.chat_history": 1,
    "audit.security_events": 1 / 4,
}
"""Rows of a table for each message asked for; a table that is not here gets a tenth."""

OTHERS_SHARE = 1 / 10
LEAST_ROWS = 2
_POOL = 100_000
ENOUGH = 0.75
"""Of the rows wanted; some drawn pairs of keys repeat, and are left out."""
NEW_COLUMNS_ROWS = 100
"""So many rows more when a table has got other columns, so that these have values too."""

# The present month, because the tables by month have partitions for it; no two rows need the same moment.
_MOMENT = "greatest(date_trunc('month', now(), 'UTC'), now() - ({i} * 0.37) * interval '1 second')"
_SENTENCE = "repeat('The dragon wakes and looks at you. ', (1 + ({i} * 7919) % 12)::integer) || {i}"

VALUES: Mapping[str, str] = {
    "auth.users.username": "'user ' || {i}",
    "auth.users.email": "'user' || {i} || '@example.com'",
    "auth.users.password_hash": "'$argon2id$v=19$m=65536,t=3,p=4$' || md5({i}::text)",
    "auth.users.is_admin": "{i} % 50 = 0",
    "auth.users.is_active": "{i} % 20 <> 0",
    "auth.oauth_accounts.provider": "(ARRAY['google', 'discord', 'github'])[1 + {i} % 3]",
    "auth.oauth_accounts.provider_account_id": "'account ' || {i}",
    "auth.oauth_accounts.email": "'user' || {i} || '@example.com'",
    "auth.oauth_accounts.access_token_encrypted": "sha256({i}::text::bytea)",
    "auth.oauth_accounts.refresh_token_encrypted": "sha256({i}::text::bytea)",
    "auth.oauth_accounts.encryption_key_id": "'key-1'",
    "auth.sessions.token_hash": "sha256(('session ' || {i})::bytea)",
    "auth.sessions.expires_at": "now() + interval '30 days'",
    "auth.access_control.resource_type": "'campaign'",
    "auth.access_control.resource_id": "gen_random_uuid()",
    "auth.access_control.permission_level": "(ARRAY['read', 'write', 'admin'])[1 + {i} % 3]",
    "auth.access_control.expires_at": "now() + interval '90 days'",
    "auth.identity_keys.key_id": "left(md5({i}::text), 8)",
    "auth.identity_keys.inner_pad": "sha256({i}::text::bytea) || sha256({i}::text::bytea)",
    "auth.identity_keys.outer_pad": "sha256({i}::text::bytea) || sha256({i}::text::bytea)",
    "game.campaigns.name": "'Campaign ' || {i}",
    "game.campaigns.settings": "jsonb_build_object('tone', 'grim', 'level', {i} % 20)",
    "game.campaigns.state": "jsonb_build_object('scene', {i}, 'party', jsonb_build_array('ada', 'bob'))",
    "game.campaign_participants.role": "(ARRAY['game_master', 'player', 'player', 'spectator'])[1 + {i} % 4]",
    "game.campaign_participants.character_name": "'Hero ' || {i}",
    "game.campaign_participants.left_at": "CASE WHEN {i} % 10 = 0 THEN now() + interval '1 second' END",
    "game.chat_history.role": "(ARRAY['user', 'user', 'assistant', 'system', 'tool'])[1 + {i} % 5]",
    "game.chat_history.content": _SENTENCE,
    "game.chat_history.metadata": "jsonb_build_object('tokens', {i} % 400)",
    "game.chat_history.created_at": _MOMENT,
    "audit.security_events.event_type": "(ARRAY['login', 'login_failed', 'permission.granted'])[1 + {i} % 3]",
    "audit.security_events.details": "jsonb_build_object('n', {i})",
    "audit.security_events.created_at": _MOMENT,
}
"""``schema.table.column`` → an SQL expression, in which ``{i}`` is the row's number."""

EMPTY: Mapping[str, str] = {}
"""``schema.table`` → why it needs no rows."""

BY_TYPE: Mapping[str, str] = {
    "text": "'text ' || {i}",
    "varchar": "left('t' || {i}, 10)",
    "bpchar": "'t'",
    "uuid": "gen_random_uuid()",
    "bool": "{i} % 2 = 0",
    "int2": "{i} % 30000",
    "int4": "{i}",
    "int8": "{i}",
    "numeric": "{i}",
    "float4": "{i}",
    "float8": "{i}",
    "bytea": "sha256({i}::text::bytea)",
    "jsonb": "jsonb_build_object('n', {i})",
    "json": "json_build_object('n', {i})",
    "timestamptz": _MOMENT,
    "timestamp": "now()::timestamp",
    "date": "current_date",
    "time": "localtime",
    "interval": "{i} * interval '1 second'",
    "inet": "'192.0.2.1'::inet + ({i} % 200)",
    "cidr": "'192.0.2.0/24'::cidr",
    "tsvector": "to_tsvector('simple', 'text ' || {i})",
    "regconfig": "'simple'::regconfig",
}
"""Name of a type → an SQL expression; arrays are empty ones."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """One column that an INSERT may name."""

    name: str
    type: str
    optional: bool
    """Whether it may be left out."""
    refers: tuple[str, str] | None
    """The table and the column that a foreign key of this column alone leads to."""
    checked: bool
    """Whether a CHECK speaks of it: a value by type might not do."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Filled:
    """What :func:`fill` leaves."""

    rows: Mapping[str, int]
    """Table → rows."""
    shapes: Mapping[str, tuple[str, ...]]
    """Table → columns, for the next :func:`fill` to see which have changed."""
    faults: tuple[str, ...]
    """Each table without rows, and why."""


def fill(
    connection: "Connection",
    messages: int,
    shapes: Mapping[str, tuple[str, ...]],
    say: Callable[[str], None] = lambda _: None,
) -> Filled:
    """Bring every table to its number of rows for ``messages``; ``connection`` is a superuser's, in autocommit mode."""
    import psycopg

    tables = _tables(connection)
    rows: dict[str, int] = {}
    faults: list[str] = []
    for table in _in_order(tables):
        columns = tables[table]
        names = tuple(column.name for column in columns)
        there = count(connection, table)
        changed = NEW_COLUMNS_ROWS if there and shapes.get(table) not in (None, names) else 0
        target = max(round(messages * SHARE.get(table, OTHERS_SHARE)), LEAST_ROWS)
        wanted = target - there if there < ENOUGH * target else 0
        try:
            if max(wanted, changed) > 0:
                say(f"{table}: {max(wanted, changed):,} rows")
                _insert(connection, table, columns, there, max(wanted, changed))
            why = "its rows were refused as duplicates"
        except psycopg.Error as error:
            why = error.diag.message_primary or one_sentence(str(error))
        rows[table] = count(connection, table)
        if not rows[table] and table not in EMPTY:
            faults.append(f"{table} has no rows ({why}): give its columns a line in migrations/proof/rows.py")
    connection.execute("ANALYZE")
    return Filled(rows=rows, shapes={t: tuple(c.name for c in cs) for t, cs in tables.items()}, faults=tuple(faults))


def count(connection: "Connection", table: str) -> int:
    """How many rows ``schema.table`` has."""
    row = connection.execute(f"SELECT count(*) FROM {_quoted_table(table)}".encode()).fetchone()
    return int(row[0]) if row else 0


def _insert(connection: "Connection", table: str, columns: list[Column], there: int, number: int) -> None:
    pools: dict[str, str] = {}
    values: dict[str, str] = {}
    for column in columns:
        name = quoted(column.name)
        if (known := VALUES.get(f"{table}.{column.name}")) is not None:
            values[name] = known.replace("{i}", "i")
        elif column.refers is not None:
            pools[name] = _pool(*column.refers)
            # Each column draws for itself, so that keys of two foreign keys seldom repeat.
            drawn = f"(hashint8extended(i, {len(pools)}) & 2147483647) % nullif(cardinality(pools.{name}), 0)"
            values[name] = f"pools.{name}[1 + {drawn}]"
        elif not column.optional or not column.checked:
            values[name] = _by_type(column)
    picked = ", ".join(f"{pool} AS {name}" for name, pool in pools.items()) or "1"
    connection.execute(
        (
            f"WITH pools AS MATERIALIZED (SELECT {picked})"
            f" INSERT INTO {_quoted_table(table)} ({', '.join(values)}) SELECT {', '.join(values.values())}"
            f" FROM generate_series({there + 1}::bigint, {there + number}::bigint) i, pools ON CONFLICT DO NOTHING"
        ).encode()
    )


def _pool(table: str, column: str) -> str:
    name = quoted(column)
    return f"(SELECT array_agg({name}) FROM (SELECT {name} FROM {_quoted_table(table)} LIMIT {_POOL}) drawn)"


def _by_type(column: Column) -> str:
    if column.type.startswith("_"):
        return f"'{{}}'::{quoted(column.type[1:])}[]"
    return BY_TYPE.get(column.type, "NULL").replace("{i}", "i")


def _quoted_table(table: str) -> str:
    schema, _, name = table.partition(".")
    return f"{quoted(schema)}.{quoted(name)}"


def _in_order(tables: Mapping[str, list[Column]]) -> list[str]:
    """Tables after those that their foreign keys lead to."""
    needs = {table: {c.refers[0] for c in columns if c.refers} - {table} for table, columns in tables.items()}
    try:
        return [table for table in TopologicalSorter(needs).static_order() if table in tables]
    except CycleError:
        return sorted(tables)


def _tables(connection: "Connection") -> dict[str, list[Column]]:
    found: dict[str, list[Column]] = {}
    for table, name, type_, optional, refers, referred, checked in connection.execute(_COLUMNS).fetchall():
        columns = found.setdefault(table, [])
        if name is not None:
            target = (refers, referred) if refers else None
            columns.append(Column(name=name, type=type_, optional=optional, refers=target, checked=checked))
    return found


_COLUMNS = """
SELECT n.nspname || '.' || t.relname, a.attname, y.typname, NOT a.attnotnull OR a.atthasdef OR a.attidentity <> '',
       fn.nspname || '.' || ft.relname, fa.attname,
       EXISTS (SELECT FROM pg_constraint WHERE conrelid = t.oid AND contype = 'c' AND a.attnum = ANY(conkey))
FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    AND a.attidentity <> 'a'
LEFT JOIN pg_type y ON y.oid = a.atttypid
LEFT JOIN pg_constraint k ON k.conrelid = t.oid AND k.contype = 'f' AND k.conkey = ARRAY[a.attnum] AND k.conparentid = 0
LEFT JOIN pg_class ft ON ft.oid = k.confrelid LEFT JOIN pg_namespace fn ON fn.oid = ft.relnamespace
LEFT JOIN pg_attribute fa ON fa.attrelid = ft.oid AND fa.attnum = k.confkey[1]
WHERE t.relkind IN ('r', 'p') AND NOT t.relispartition AND n.nspname !~ '^(pg_|information_schema$)'
  AND (n.nspname, t.relname) <> ('public', 'alembic_version')
ORDER BY t.oid, a.attnum
"""
