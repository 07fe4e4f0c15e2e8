"""What stands within a function or a DO block: its statements, and what it puts together for EXECUTE."""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pglast import ast, parse_plpgsql
from pglast.parser import ParseError
from pglast.stream import RawStream

from migrations.lint import dynamic, nodes

_FOREIGN_TYPE = re.compile(r"\b(?!pg_catalog\b)\w+\.\w+(?:\.\w+)?%(TYPE|ROWTYPE)\b", re.IGNORECASE)
_FOREIGN_DECLARED = re.compile(
    r"((?:\bDECLARE|;|^)\s*\w+\s+(?:CONSTANT\s+)?)(?!pg_catalog\b)\w+\.\w+((?:\[\])?\s*(?:;|:=|NOT NULL|DEFAULT))",
    re.IGNORECASE | re.MULTILINE,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """One statement within a body, or one EXECUTE."""

    sql: str | None
    """The statement; of an EXECUTE its text with made-up names in the gaps, None if it isn't known."""
    text: str
    """As it is written."""
    offset: int
    """Lines from the start of the whole statement."""
    dynamic: bool = False
    safe: bool = True
    """Whether an EXECUTE quotes all that it puts in."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Body:
    """All parts of a body."""

    parts: tuple[Part, ...] = ()
    statements: tuple[nodes.Node, ...] = ()
    """The statements of a body in the SQL standard's form, which the parser has read already."""
    unread: str | None = None


def look_into(node: nodes.Node, text: str) -> Body:
    """The body of a CREATE FUNCTION or DO, of which ``text`` is the source."""
    if getattr(node, "sql_body", None) is not None:
        return Body(statements=tuple(_atomic(node.sql_body)))
    options = nodes.options(node.args if nodes.is_a(node, ast.DoStmt) else node.options)
    language = nodes.dotted(options.get("language")).lower() or "plpgsql"
    body = nodes.dotted(options.get("as"))
    offset = text.count("\n", 0, max(text.find(body), 0))
    if language == "sql":
        return Body(parts=(Part(sql=body, text=body, offset=offset),))
    return _plpgsql(node, text, offset) if language == "plpgsql" else Body()


def _atomic(body: nodes.Node) -> Iterator[nodes.Node]:
    """The statements of BEGIN ATOMIC, or the expression of RETURN."""
    if isinstance(body, tuple):
        for item in body:
            yield from _atomic(item)
    elif nodes.is_a(body, ast.Node):
        yield body


def _plpgsql(node: nodes.Node, text: str, offset: int) -> Body:
    try:
        tree = _tree(node, text)
    except (ParseError, ValueError) as error:
        return Body(unread=f"PL/pgSQL that can't be read: {error}")
    variables = dynamic.variables(tree)
    return Body(parts=tuple(_parts(tree, offset, variables)))


def _tree(node: nodes.Node, text: str) -> Any:
    """The parser knows no type outside pg_catalog: where that is all that is wrong, the types are replaced."""
    try:
        return parse_plpgsql(text)
    except ParseError:
        for part in nodes.walk(node):
            if nodes.is_a(part, ast.TypeName) and len(part.names or ()) > 1 and part.names[0].sval != "pg_catalog":
                part.names, part.pct_type = (ast.String("text"),), False
        body = nodes.options(node.args if nodes.is_a(node, ast.DoStmt) else node.options)["as"]
        for string in (body,) if nodes.is_a(body, ast.String) else body:
            plain = _FOREIGN_TYPE.sub(lambda m: "text" if m[1].upper() == "TYPE" else "record", string.sval)
            string.sval = _FOREIGN_DECLARED.sub(r"\1text\2", plain)
        return parse_plpgsql(RawStream()(node))


def _parts(tree: Any, offset: int, variables: Mapping[str, dynamic.Variable], line: int = 1) -> Iterator[Part]:
    if isinstance(tree, list):
        for item in tree:
            yield from _parts(item, offset, variables, line)
    elif isinstance(tree, dict):
        line = tree.get("lineno", line)
        for key, value in tree.items():
            if key == "datums":
                continue
            if key == "PLpgSQL_stmt_execsql" or key == "PLpgSQL_stmt_perform":
                yield _static(value, offset)
            elif key == "dynquery" or (key == "query" and "PLpgSQL_expr" in (value or {}) and _is_text(value)):
                yield _executed(value, offset + line - 1, variables)
            elif key == "query" and "PLpgSQL_expr" in (value or {}):
                query = value["PLpgSQL_expr"]["query"]
                yield Part(sql=query, text=query, offset=offset + line - 1)
            else:
                yield from _parts(value, offset, variables, line)


def _is_text(value: Any) -> bool:
    """Whether a query is an expression that gives the text of one (EXECUTE), not a query itself."""
    return value["PLpgSQL_expr"].get("parseMode") == 2


def _static(value: Any, offset: int) -> Part:
    expression = value.get("sqlstmt") or value["expr"]
    query = expression["PLpgSQL_expr"]["query"]
    return Part(sql=query, text=query, offset=offset + value.get("lineno", 1) - 1)


def _executed(value: Any, offset: int, variables: Mapping[str, dynamic.Variable]) -> Part:
    text = value["PLpgSQL_expr"]["query"]
    sql, safe = dynamic.judge(text, variables)
    return Part(sql=sql, text=text, offset=offset, dynamic=True, safe=safe)
