"""Databases full of made-up messages, loaded as fast as this machine can: by month, without indexes, in processes."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import replace

from psycopg import sql

from db.seed import messages, people
from db.seed.campaigns import Campaigns
from db.seed.load import Loader, load
from db.seed.messages import Evenings
from db.seed.plan import Plan
from db.seed.words import Tongue
from migrations import bootstrap, partitions
from migrations import connection as connections
from tests import postgres

USERS, CAMPAIGNS = 3000, 1000
KEY = "ab" * 32
"""What the identities of a benchmark are signed with."""
INDEXES = {
    "ix_chat_history_campaign_id_created_at_message_id": "btree (campaign_id, created_at, message_id)",
    "ix_chat_history_user_id": "btree (user_id)",
    "ix_chat_history_search": "gin (search)",
}
"""Those of chat_history that are made after its rows."""


def plan(rows: int, until: dt.date | None = None) -> Plan:
    """So many messages among the same people in the same campaigns, however many messages they are."""
    return Plan.of(users=USERS, campaigns=CAMPAIGNS, messages=rows, until=until or dt.datetime.now(dt.UTC).date())


def migrated(server: postgres.Server, name: str, chosen: Plan) -> postgres.Database:
    """A database at head, with the partitions of the plan's months."""
    database = server.create(name)
    bootstrap.apply(database.url, passwords=postgres.PASSWORDS, identity_keys=[KEY])
    partitions.maintain(database.url, since=chosen.since)
    return database


def filled(server: postgres.Server, name: str, chosen: Plan) -> postgres.Database:
    """A database with the plan's rows, its indexes complete and its statistics fresh."""
    database = migrated(server, name, chosen)
    with connections.connect(database.url) as connection:
        load(connection, replace(chosen, messages=0))
        for index in INDEXES:
            connection.execute(sql.SQL("DROP INDEX game.{}").format(sql.Identifier(index)))
    _in_processes(database.url, chosen)
    with connections.connect(database.url) as connection:
        connections.become_owner(connection)
        for index, columns in INDEXES.items():  # takes the partitions' indexes, which are there, as its parts
            connection.execute(f"CREATE INDEX {index} ON game.chat_history USING {columns}".encode())
        connection.execute("RESET ROLE")
        connection.execute("VACUUM (ANALYZE)")
    return database


def _in_processes(url: str, chosen: Plan) -> None:
    """Fill the months, each process every n-th of them. Raises ``RuntimeError`` if one fails."""
    count = min(os.cpu_count() or 1, 8)
    processes = [
        multiprocessing.Process(target=_fill_months, args=(url, chosen, which, count)) for which in range(count)
    ]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join()
    finally:
        for process in processes:
            process.terminate()
    if any(process.exitcode for process in processes):
        raise RuntimeError("a process that loads messages failed; what it said stands above")


def _fill_months(url: str, chosen: Plan, which: int, count: int) -> None:
    tongue = Tongue(chosen.dice("words"))
    evenings = Evenings(chosen, Campaigns(chosen, people.people(chosen, tongue)), tongue)
    with connections.connect(url) as connection:
        # No checks of foreign keys: the rows are known to fit.
        connection.execute("SET session_replication_role = replica; SET maintenance_work_mem = '1GB'")
        for number, month in list(enumerate(evenings.months()))[which::count]:
            partition = f"game.chat_history_{month:%Y_%m}"
            columns = f"{messages.COLUMNS}, message_id"
            Loader(connection, lambda _table, _rows: None).copy(
                partition, columns, _numbered(evenings.month(month), number)
            )
            for index in INDEXES.values():
                connection.execute(f"CREATE INDEX ON {partition} USING {index}".encode())
            connection.execute(f"VACUUM (ANALYZE) {partition}".encode())


def _numbered(lines: Iterator[str], month: int) -> Iterator[str]:
    """The rows with their keys, which grow with time whichever process is faster."""
    return (f"{line[:-1]}\t{(month << 32) + number}\n" for number, line in enumerate(lines, start=1))
