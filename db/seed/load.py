"""Puts a plan's rows into a database, in one transaction: all of them or none."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from db.seed import campaigns, events, messages, people
from db.seed.copying import blocks
from db.seed.plan import Plan
from db.seed.words import Tongue

if TYPE_CHECKING:
    import psycopg

Seen = Callable[[str, int], None]
"""Told of each piece: the table, and how many rows went into it."""
TABLES = (
    *("auth.users", "auth.oauth_accounts", "auth.sessions", "game.campaigns", "game.campaign_participants"),
    *("auth.access_control", "audit.security_events", "game.chat_history"),
)


@dataclass
class Loader:
    """COPY into one connection, counted by table."""

    connection: "psycopg.Connection[Any]"
    seen: Seen

    def copy(self, table: str, columns: str, lines: Iterable[str]) -> None:
        """Copy the rows as they are made: the server works while the next ones are written."""
        statement = f"COPY {table} ({columns}) FROM STDIN".encode()
        with self.connection.cursor() as cursor, cursor.copy(statement) as copy:
            for block, count in blocks(lines):
                copy.write(block)
                self.seen(table, count)


def load(connection: "psycopg.Connection[Any]", plan: Plan, seen: Seen = lambda _table, _rows: None) -> None:
    """Copy all of the plan's rows; needs the owner and the partitions of the plan's months.

    The messages go month by month: the server keeps what it has to check of a COPY until the COPY ends.
    """
    tongue = Tongue(plan.dice("words"))
    everybody = people.people(plan, tongue)
    played = campaigns.Campaigns(plan, everybody)
    with connection.transaction():
        copy = Loader(connection, seen).copy
        copy("auth.users", people.USER_COLUMNS, people.user_rows(plan, everybody))
        copy("auth.oauth_accounts", people.ACCOUNT_COLUMNS, people.account_rows(plan, everybody))
        copy("auth.sessions", people.SESSION_COLUMNS, people.session_rows(plan, everybody))
        copy("game.campaigns", campaigns.CAMPAIGN_COLUMNS, campaigns.campaign_rows(plan, played, tongue))
        copy(
            "game.campaign_participants",
            campaigns.PARTICIPANT_COLUMNS,
            campaigns.participant_rows(plan, played, tongue),
        )
        copy("auth.access_control", campaigns.GRANT_COLUMNS, campaigns.grant_rows(plan, played, everybody))
        copy("audit.security_events", events.COLUMNS, events.event_rows(plan, everybody))
        evenings = messages.Evenings(plan, played, tongue)
        for month in evenings.months():
            copy("game.chat_history", messages.COLUMNS, evenings.month(month))


def analyze(connection: "psycopg.Connection[Any]") -> None:
    """Tell the planner what is there now."""
    connection.execute(f"ANALYZE {', '.join(TABLES)}".encode())
