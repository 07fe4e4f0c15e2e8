"""What is wrong in a migrated database, as its catalog tells it; for ``migrate lint`` and ``verify``."""

import dataclasses
import fnmatch
from typing import TYPE_CHECKING, Any

from migrations.grants import SCHEMAS
from migrations.lint import queries
from migrations.lint.findings import Finding, Rule, finding, in_order

if TYPE_CHECKING:
    import psycopg


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """A rule and its query, which gives each thing at fault and what is wrong with it."""

    rule: Rule
    query: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Allowed:
    """A thing that may break a rule, and why."""

    rule: str
    thing: str
    """As the finding names it; ``*`` stands for anything."""
    reason: str


CHECKS = (
    Check(
        query=queries.FOREIGN_KEY_WITHOUT_INDEX,
        rule=Rule(
            id="GAIA101",
            slug="foreign-key-without-index",
            reason="Each delete in the table referred to then reads this one from end to end.",
            safe="an index that begins with the key's columns",
        ),
    ),
    Check(
        query=queries.RLS_WITHOUT_POLICY,
        rule=Rule(
            id="GAIA102",
            slug="rls-without-policy",
            reason="Nobody but the owner sees a row: mostly a policy was forgotten.",
            safe="CREATE POLICY; or, if it is meant, a line in the lint's allow-list",
        ),
    ),
    Check(
        query=queries.POLICY_WITHOUT_RLS,
        rule=Rule(
            id="GAIA103",
            slug="policy-without-rls",
            reason="The policies look as if they guarded the table, and do nothing.",
            safe="ALTER TABLE … ENABLE ROW LEVEL SECURITY",
        ),
    ),
    Check(
        query=queries.DEFINER_SEARCH_PATH,
        rule=Rule(
            id="GAIA104",
            slug="definer-without-search-path",
            reason="The caller's search_path decides what the function finds, with its owner's rights.",
            safe="SET search_path = pg_catalog, pg_temp on the function",
        ),
    ),
    Check(
        query=queries.EXECUTABLE_BY_PUBLIC,
        rule=Rule(
            id="GAIA105",
            slug="executable-by-public",
            reason="Every login of the server may call it; so it is with new functions, unless revoked.",
            safe="REVOKE EXECUTE … FROM PUBLIC: ./gaia migrate upgrade brings the grants in order",
        ),
    ),
    Check(
        query=queries.REDUNDANT_INDEX,
        rule=Rule(
            id="GAIA106",
            slug="redundant-index",
            reason="It is written at each insert and never needed: another index begins with the same columns.",
            safe="DROP INDEX CONCURRENTLY",
        ),
    ),
    Check(
        query=queries.INVALID_INDEX,
        rule=Rule(
            id="GAIA107",
            slug="invalid-index",
            reason="A CREATE INDEX CONCURRENTLY failed: it is written at each insert, and no query uses it.",
            safe="DROP INDEX CONCURRENTLY, then make it again",
        ),
    ),
    Check(
        query=queries.WITHOUT_PRIMARY_KEY,
        rule=Rule(
            id="GAIA108",
            slug="table-without-primary-key",
            reason="Rows can't be told apart, and logical replication refuses to update them.",
            safe="a primary key",
        ),
    ),
    Check(
        query=queries.VIEW_WITHOUT_INVOKER,
        rule=Rule(
            id="GAIA109",
            slug="view-without-invoker",
            reason="It reads as its owner, whom row-level security doesn't bind.",
            safe="ALTER VIEW … SET (security_invoker = true)",
        ),
    ),
    Check(
        query=queries.ALWAYS_TRUE,
        rule=Rule(
            id="GAIA110",
            slug="always-true-policy",
            reason="Permissive policies are joined by OR: one that is always true undoes the others of its roles.",
            safe="a condition on the identity",
        ),
    ),
    Check(
        query=queries.PARTITION_WITHOUT_TRIGGERS,
        rule=Rule(
            id="GAIA111",
            slug="partition-without-triggers",
            reason="Statement triggers of the parent aren't cloned, and detaching takes the row triggers away: what"
            " addresses the partition itself passes unseen.",
            safe="make the parent's triggers on the partition too: python -m migrations maintain",
        ),
    ),
    Check(
        query=queries.TABLE_WITHOUT_RLS,
        rule=Rule(
            id="GAIA112",
            slug="table-without-rls",
            reason="A forgotten WHERE in the backend reads every user's rows.",
            safe="ALTER TABLE … ENABLE ROW LEVEL SECURITY, with policies",
        ),
    ),
    Check(
        query=queries.REG_COLUMN,
        rule=Rule(
            id="GAIA113",
            slug="reg-column",
            reason="pg_upgrade refuses a database with columns of these types, which hold OIDs.",
            safe="text, cast where it is used",
        ),
    ),
    Check(
        query=queries.DEFAULT_PARTITION,
        rule=Rule(
            id="GAIA114",
            slug="default-partition",
            reason='"last 50" merges all partitions, and DETACH CONCURRENTLY is refused.',
            safe="detach it, and make partitions ahead of time",
        ),
    ),
    Check(
        query=queries.PARTITION_GRANTED,
        rule=Rule(
            id="GAIA115",
            slug="partition-granted",
            reason="Whoever addresses a partition itself passes the policies of its parent.",
            safe="REVOKE on the partition; grants on the parent are enough",
        ),
    ),
)

ALLOWED = (
    Allowed(
        rule="GAIA102",
        thing="auth.identity_keys",
        reason="no policy on purpose: only the definer function of the owner reads the signing keys",
    ),
    Allowed(
        rule="GAIA110",
        thing="policy * FOR SELECT TO gaia_backup",
        reason="a backup has every row, and BYPASSRLS can't be granted on Cloud SQL",
    ),
    Allowed(
        rule="GAIA110", thing="policy * FOR SELECT TO gaia_readonly", reason="reports read what is granted, all of it"
    ),
    Allowed(
        rule="GAIA110", thing="policy * FOR SELECT TO gaia_auditor", reason="an audit reads what is granted, all of it"
    ),
    Allowed(
        rule="GAIA115",
        thing="* to gaia_backup",
        reason="pg_dump reads each partition by its own name",
    ),
)
"""What may be so, and why."""


def findings(
    connection: "psycopg.Connection[tuple[Any, ...]]", allowed: tuple[Allowed, ...] = ALLOWED
) -> list[Finding]:
    """What breaks a rule in this database, but for what is allowed. Reads the catalog only."""
    found: list[Finding] = []
    for check in CHECKS:
        rows = connection.execute(check.query.encode(), {"schemas": list(SCHEMAS)}).fetchall()
        found += [
            finding(check.rule, f"{thing} {said}")
            for thing, said in rows
            if not _is_allowed(check.rule, thing, allowed)
        ]
    return in_order(found)


def _is_allowed(rule: Rule, thing: str, allowed: tuple[Allowed, ...]) -> bool:
    return any(item.rule == rule.id and fnmatch.fnmatchcase(thing, item.thing) for item in allowed)
