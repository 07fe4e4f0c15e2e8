"""What kind of statement locks what, and what that means for whoever uses the database meanwhile.

A plain table by the beginning of a statement: no parser is needed where migrations run. A test runs the statements on
a server and compares (https://www.postgresql.org/docs/16/explicit-locking.html, .../sql-altertable.html).
"""

import dataclasses
import re
from collections.abc import Iterator

WEAKENS = "weakens"
"""Takes a guard away: nobody waits, and nothing fails."""
RISKS = ("safe", "unknown", "blocks writes", "blocks reads", "rewrites", WEAKENS, "loses data")
"""From harmless to worst."""

ROW_EXCLUSIVE = "ROW EXCLUSIVE"
SHARE_UPDATE_EXCLUSIVE = "SHARE UPDATE EXCLUSIVE"
SHARE = "SHARE"
SHARE_ROW_EXCLUSIVE = "SHARE ROW EXCLUSIVE"
ACCESS_EXCLUSIVE = "ACCESS EXCLUSIVE"
MODES = (
    "ACCESS SHARE",
    "ROW SHARE",
    ROW_EXCLUSIVE,
    SHARE_UPDATE_EXCLUSIVE,
    SHARE,
    SHARE_ROW_EXCLUSIVE,
    "EXCLUSIVE",
    ACCESS_EXCLUSIVE,
)
"""From weakest to strongest; the last one keeps readers away too."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of statement."""

    pattern: "re.Pattern[str]"
    mode: str | None
    """The lock on its table; None for no lock that anybody waits for."""
    risk: str
    reason: str
    slow: bool = False
    """Whether it takes longer, the more rows there are."""


_PART = r'(?:"[^"]+"|[\w$]+)'
NAME = rf"(?P<table>{_PART}(?:\.{_PART})?)"
_MAYBE = r"(?:IF (?:NOT )?EXISTS )?(?:ONLY )?"


def _kind(pattern: str, mode: str | None, risk: str, reason: str, *, slow: bool = False) -> Kind:
    expression = re.sub(r"\bNAME\b", lambda _: NAME, pattern).replace(
        "MAYBE ", _MAYBE
    )  # white space is single in what is matched
    return Kind(pattern=re.compile(expression, re.IGNORECASE), mode=mode, risk=risk, reason=reason, slow=slow)


_INSTANT = "for an instant: only the catalog changes"
_BUILT = "the index is built while the table is locked; make it CONCURRENTLY"
_NO_TRIGGER = "until it is back, what it refused or wrote down happens unseen"
_SCANNED = "all rows are read while the table is locked"

STATEMENTS = (
    _kind(r"CREATE (?:UNLOGGED |GLOBAL |LOCAL )?TEMP", None, "safe", "seen by this session only"),
    _kind(
        r"CREATE TABLE MAYBE \S+ PARTITION OF NAME",
        ACCESS_EXCLUSIVE,
        "blocks reads",
        f"{_INSTANT}, but everybody waits for it; make the table, then ATTACH it",
    ),
    _kind(r"CREATE (?:UNLOGGED )?TABLE MAYBE NAME", None, "safe", "the table is new"),
    _kind(
        r"CREATE (?:UNIQUE )?INDEX CONCURRENTLY (?:IF NOT EXISTS )?(?:\S+ )?ON (?:ONLY )?NAME",
        SHARE_UPDATE_EXCLUSIVE,
        "safe",
        "others read and write meanwhile",
    ),
    _kind(
        r"CREATE (?:UNIQUE )?INDEX (?:IF NOT EXISTS )?\S+ ON (?:ONLY )?NAME", SHARE, "blocks writes", _BUILT, slow=True
    ),
    _kind(r"DROP INDEX CONCURRENTLY (?:IF EXISTS )?(?P<index>\S+)", SHARE_UPDATE_EXCLUSIVE, "safe", "nobody waits"),
    _kind(r"DROP INDEX (?:IF EXISTS )?(?P<index>\S+)", ACCESS_EXCLUSIVE, "safe", _INSTANT),
    _kind(r"REINDEX .*CONCURRENTLY", None, "safe", "others read and write meanwhile"),
    _kind(r"REINDEX ", None, "blocks reads", "the index is built while the table is locked", slow=True),
    _kind(r"ALTER INDEX (?:IF EXISTS )?\S+ RENAME", None, "safe", _INSTANT),
    _kind(r"ALTER INDEX ", None, "safe", _INSTANT),
    _kind(r"DROP TABLE MAYBE NAME", ACCESS_EXCLUSIVE, "loses data", "the table goes, with its rows"),
    _kind(r"DROP (?:MATERIALIZED )?VIEW MAYBE NAME", ACCESS_EXCLUSIVE, "blocks reads", "whoever reads it fails"),
    _kind(r"DROP SCHEMA .*CASCADE", None, "loses data", "all that is in the schema goes"),
    _kind(r"TRUNCATE (?:TABLE )?(?:ONLY )?NAME", ACCESS_EXCLUSIVE, "loses data", "all rows go"),
    _kind(r"DELETE FROM (?:ONLY )?NAME", ROW_EXCLUSIVE, "loses data", "rows go", slow=True),
    _kind(
        r"UPDATE (?:ONLY )?NAME",
        ROW_EXCLUSIVE,
        "blocks writes",
        "whoever writes the same rows waits to the end of the transaction",
        slow=True,
    ),
    _kind(r"INSERT INTO NAME .*\bSELECT\b", ROW_EXCLUSIVE, "safe", "others read and write meanwhile", slow=True),
    _kind(r"INSERT INTO NAME", ROW_EXCLUSIVE, "safe", "others read and write meanwhile"),
    _kind(
        r"CREATE (?:OR REPLACE )?(?:CONSTRAINT )?TRIGGER .*?\bON NAME",
        SHARE_ROW_EXCLUSIVE,
        "safe",
        f"writers wait {_INSTANT}",
    ),
    _kind(r"DROP TRIGGER .*?\bON NAME", ACCESS_EXCLUSIVE, WEAKENS, _NO_TRIGGER),
    _kind(
        r"DROP POLICY .*?\bON NAME",
        ACCESS_EXCLUSIVE,
        WEAKENS,
        "until it is made again, other policies alone decide who sees a row",
    ),
    _kind(r"(?:CREATE|ALTER) POLICY .*?\bON NAME", ACCESS_EXCLUSIVE, "safe", _INSTANT),
    _kind(r"(?:CREATE|DROP) .*?\bRULE .*?\b(?:TO|ON) NAME", ACCESS_EXCLUSIVE, "safe", _INSTANT),
    _kind(r"CREATE STATISTICS .*\bFROM NAME", SHARE_UPDATE_EXCLUSIVE, "safe", "nobody waits"),
    _kind(r"COMMENT ON TABLE NAME", SHARE_UPDATE_EXCLUSIVE, "safe", "nobody waits"),
    _kind(rf"COMMENT ON COLUMN NAME\.{_PART}", SHARE_UPDATE_EXCLUSIVE, "safe", "nobody waits"),
    _kind(r"COMMENT ON (?:CONSTRAINT|TRIGGER|POLICY) .*?\bON NAME", None, "safe", "nobody waits"),
    _kind(r"COMMENT ON ", None, "safe", "locks no table"),
    _kind(r"LOCK (?:TABLE )?(?:ONLY )?NAME IN (?P<mode>[\w ]+?) MODE", None, "unknown", "the lock is asked for"),
    _kind(r"LOCK (?:TABLE )?(?:ONLY )?NAME", ACCESS_EXCLUSIVE, "blocks reads", "the lock is asked for"),
    _kind(r"VACUUM .*FULL", None, "rewrites", "each row is written again while the table is locked", slow=True),
    _kind(r"CLUSTER ", None, "rewrites", "each row is written again while the table is locked", slow=True),
    _kind(r"REFRESH MATERIALIZED VIEW CONCURRENTLY NAME", "EXCLUSIVE", "safe", "others read it meanwhile", slow=True),
    _kind(r"REFRESH MATERIALIZED VIEW NAME", ACCESS_EXCLUSIVE, "blocks reads", "it is filled while locked", slow=True),
    _kind(
        r"(?:GRANT|ALTER DEFAULT PRIVILEGES) .*\bTO (?:.*[ ,])?PUBLIC\b",
        None,
        WEAKENS,
        "PUBLIC is every login of the server, those of tomorrow included",
    ),
    _kind(r"(?:GRANT|REVOKE|ALTER DEFAULT PRIVILEGES) ", None, "safe", "locks no table"),
    _kind(r"(?:SET|RESET|SHOW|BEGIN|COMMIT|ANALYZE|NOTIFY)\b", None, "safe", "locks no table that anybody waits for"),
    _kind(
        r"(?:CREATE|ALTER|DROP) (?:OR REPLACE )?(?:SCHEMA|FUNCTION|PROCEDURE|ROUTINE|AGGREGATE|TYPE|DOMAIN|SEQUENCE"
        r"|EXTENSION|COLLATION|CAST|OPERATOR|TEXT SEARCH|EVENT TRIGGER|ROLE|PUBLICATION)\b",
        None,
        "safe",
        "locks no table",
    ),
    _kind(r"CREATE (?:OR REPLACE )?(?:RECURSIVE )?VIEW ", None, "safe", "its tables can be read and written meanwhile"),
    _kind(r"ALTER VIEW NAME", ACCESS_EXCLUSIVE, "safe", _INSTANT),
    _kind(r"CREATE MATERIALIZED VIEW ", None, "safe", "its tables can be read and written meanwhile", slow=True),
    _kind(r"SELECT (?:pg_catalog\.)?(?:setval|set_config|nextval)\s*\(", None, "safe", "locks no table"),
)
"""First match counts. ``ALTER TABLE`` has a table of its own, :data:`SUBCOMMANDS`."""

_VOLATILE = (
    r"\bDEFAULT (?!(?:pg_catalog\.)?(?:now|current_\w+|transaction_timestamp|statement_timestamp)\s*\()[\w.]+\s*\("
)

_COMPUTED = rf"(?:GENERATED .*(?:STORED|IDENTITY)|\b(?:small|big)?serial\b|{_VOLATILE})"

SUBCOMMANDS = (
    _kind(
        rf"ADD (?:COLUMN )?(?:IF NOT EXISTS )?{_PART} .*{_COMPUTED}",
        ACCESS_EXCLUSIVE,
        "rewrites",
        "each row is written again with its value while the table is locked",
        slow=True,
    ),
    _kind(r"ADD (?:CONSTRAINT \S+ )?(?:UNIQUE|PRIMARY KEY) USING INDEX", ACCESS_EXCLUSIVE, "safe", _INSTANT),
    _kind(
        r"ADD (?:CONSTRAINT \S+ )?(?:UNIQUE|PRIMARY KEY|EXCLUDE)\b", ACCESS_EXCLUSIVE, "blocks reads", _BUILT, slow=True
    ),
    _kind(r"ADD (?:CONSTRAINT \S+ )?FOREIGN KEY.*NOT VALID", SHARE_ROW_EXCLUSIVE, "safe", f"writers wait {_INSTANT}"),
    _kind(
        r"ADD (?:CONSTRAINT \S+ )?FOREIGN KEY",
        SHARE_ROW_EXCLUSIVE,
        "blocks writes",
        f"{_SCANNED} for writing, both of them; add it NOT VALID, VALIDATE it later",
        slow=True,
    ),
    _kind(r"ADD (?:CONSTRAINT \S+ )?CHECK.*NOT VALID", ACCESS_EXCLUSIVE, "safe", _INSTANT),
    _kind(
        r"ADD (?:CONSTRAINT \S+ )?CHECK",
        ACCESS_EXCLUSIVE,
        "blocks reads",
        f"{_SCANNED}; add it NOT VALID, VALIDATE it later",
        slow=True,
    ),
    _kind(
        rf"ADD (?:COLUMN )?(?:IF NOT EXISTS )?{_PART} .*\b(?:REFERENCES|CHECK|UNIQUE|PRIMARY KEY)\b",
        ACCESS_EXCLUSIVE,
        "blocks reads",
        f"{_SCANNED}; add the column first, the constraint later",
        slow=True,
    ),
    _kind(r"ADD ", ACCESS_EXCLUSIVE, "safe", _INSTANT),
    _kind(r"VALIDATE CONSTRAINT", SHARE_UPDATE_EXCLUSIVE, "safe", "others read and write meanwhile"),
    _kind(r"DROP CONSTRAINT", ACCESS_EXCLUSIVE, "safe", _INSTANT),
    _kind(r"DROP ", ACCESS_EXCLUSIVE, "loses data", "the column goes, with its values"),
    _kind(
        r"ALTER (?:COLUMN )?\S+ (?:SET DATA )?TYPE ",
        ACCESS_EXCLUSIVE,
        "rewrites",
        "unless the new type stores the same bytes, each row is written again while the table is locked",
        slow=True,
    ),
    _kind(
        r"ALTER (?:COLUMN )?\S+ SET NOT NULL",
        ACCESS_EXCLUSIVE,
        "blocks reads",
        f"{_SCANNED}; not so if a valid CHECK already says it",
        slow=True,
    ),
    _kind(r"ALTER (?:COLUMN )?\S+ SET STATISTICS", SHARE_UPDATE_EXCLUSIVE, "safe", "nobody waits"),
    _kind(r"ALTER ", ACCESS_EXCLUSIVE, "safe", _INSTANT),
    _kind(
        r"RENAME (?:COLUMN )?\S+ TO|RENAME TO",
        ACCESS_EXCLUSIVE,
        "blocks reads",
        "the release that runs asks for the old name, and fails",
    ),
    _kind(r"RENAME CONSTRAINT", ACCESS_EXCLUSIVE, "safe", _INSTANT),
    _kind(r"SET SCHEMA", ACCESS_EXCLUSIVE, "blocks reads", "the release that runs asks for the old name, and fails"),
    _kind(
        r"SET (?:LOGGED|UNLOGGED|TABLESPACE|ACCESS METHOD)", ACCESS_EXCLUSIVE, "rewrites", "all is copied", slow=True
    ),
    _kind(r"(?:SET|RESET) ?\(", SHARE_UPDATE_EXCLUSIVE, "safe", "nobody waits"),
    _kind(r"(?:SET WITHOUT )?CLUSTER", SHARE_UPDATE_EXCLUSIVE, "safe", "nobody waits"),
    _kind(r"DISABLE TRIGGER\b", SHARE_ROW_EXCLUSIVE, WEAKENS, _NO_TRIGGER),
    _kind(r"ENABLE .*TRIGGER", SHARE_ROW_EXCLUSIVE, "safe", f"writers wait {_INSTANT}"),
    _kind(
        r"(?:DISABLE|NO FORCE) ROW LEVEL SECURITY",
        ACCESS_EXCLUSIVE,
        WEAKENS,
        "whoever is granted the table, or for NO FORCE its owner, sees every row",
    ),
    _kind(
        r"ATTACH PARTITION NAME",
        SHARE_UPDATE_EXCLUSIVE,
        "safe",
        "the partition's rows are read, unless a CHECK already says that they fit; others use the table meanwhile",
    ),
    _kind(
        r"DETACH PARTITION NAME (?:CONCURRENTLY|FINALIZE)",
        SHARE_UPDATE_EXCLUSIVE,
        "safe",
        "others use the table meanwhile",
    ),
    _kind(r"DETACH PARTITION NAME", ACCESS_EXCLUSIVE, "blocks reads", f"{_INSTANT}; detach it CONCURRENTLY"),
    _kind(
        r"(?:ENABLE|DISABLE|FORCE|NO FORCE|OWNER|REPLICA|INHERIT|NO INHERIT|OF|NOT OF)\b",
        ACCESS_EXCLUSIVE,
        "safe",
        _INSTANT,
    ),
)
"""Of ``ALTER TABLE``, each part between commas; first match counts."""

_TOKEN = re.compile(
    r"--[^\n]*|/\*.*?\*/|[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|(?P<tag>\$\w*\$).*?(?P=tag)"
    r'|"(?:[^"]|"")*"|[;(),]|[^-/\'$";(),eE]+|.',
    re.DOTALL,
)


def split(text: str) -> list[str]:
    """The single statements of ``text``, without their semicolons."""
    found, current = [], ""
    for token in _TOKEN.finditer(text):
        piece = token[0]
        atomic = re.search(r"\bBEGIN\s+ATOMIC\b", current, re.IGNORECASE)
        if piece != ";" or (atomic and not re.search(r"\bEND\s*$", current, re.IGNORECASE)):
            current += piece
            continue
        found.append(current.strip())
        current = ""
    return [statement for statement in (*found, current.strip()) if masked(statement)]


def masked(statement: str) -> str:
    """``statement`` without comments, its strings emptied and its white space single: what the patterns look at."""
    pieces = []
    for token in _TOKEN.finditer(statement):
        piece = token[0]
        if piece.startswith(("--", "/*")):
            piece = " "
        elif len(piece) > 1 and piece[-1] in "'$":
            piece = "''"
        pieces.append(piece)
    return " ".join("".join(pieces).split())


def parts(masked_text: str) -> list[str]:
    """What stands between the commas that are in no brackets."""
    found, current, depth = [], "", 0
    for piece in re.findall(r'"[^"]*"|.', masked_text):
        depth += (piece == "(") - (piece == ")")
        if piece == "," and depth == 0:
            found.append(current.strip())
            current = ""
        else:
            current += piece
    return [*found, current.strip()]


def kinds(masked_text: str) -> Iterator[tuple[Kind, "re.Match[str]"]]:
    """The kinds of one statement, several for an ``ALTER TABLE`` with several parts; none if it is of none we know."""
    if (altered := ALTER_TABLE.match(masked_text)) is not None:
        for part in parts(altered["rest"]):
            yield from _first(SUBCOMMANDS, part)
    else:
        yield from _first(STATEMENTS, masked_text)


ALTER_TABLE = re.compile(rf"ALTER (?:FOREIGN )?TABLE (?:IF EXISTS )?(?:ONLY )?{NAME} (?P<rest>.*)", re.IGNORECASE)
REFERENCES = re.compile(rf"\bREFERENCES {NAME}", re.IGNORECASE)
RENAMED = re.compile(rf"ALTER TABLE (?:IF EXISTS )?{NAME} RENAME TO (?P<new>{_PART})", re.IGNORECASE)


def _first(table: tuple[Kind, ...], text: str) -> Iterator[tuple[Kind, "re.Match[str]"]]:
    for kind in table:
        if (match := kind.pattern.match(text)) is not None:
            yield kind, match
            return
