"""Whether the text that PL/pgSQL executes is put together from quoted parts only."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from pglast import ast, parse_sql
from pglast.parser import ParseError

from migrations.lint import nodes

_QUOTES = {"quote_ident", "quote_literal", "quote_nullable"}
_PASSES_ON = {"concat", "concat_ws", "lower", "upper", "string_agg", "array_to_string", "replace", "btrim"}
"""Functions that are as safe as what they are given."""
_HARMLESS = {
    *("regclass", "regproc", "regprocedure", "regtype", "regrole", "regnamespace", "regconfig", "oid"),
    *("int2", "int4", "int8", "float4", "float8", "numeric", "bool", "uuid", "date"),
}
"""Types whose text can't hold a quote that isn't escaped."""
_SPECIFIER = re.compile(r"%(?:(\d+)\$)?-?(?:\d+|\*)?([sIL%])")


@dataclasses.dataclass
class Variable:
    """A variable of a body: its type and all that is assigned to it."""

    type: str = ""
    values: list[str] = dataclasses.field(default_factory=list)
    unknown: bool = False
    """Whether it gets values that can't be followed: it is a parameter, or a query fills it."""


def variables(tree: Any) -> dict[str, Variable]:
    """The variables of a body, by their names in lower case."""
    found: dict[str, Variable] = {}
    numbers: dict[int, str] = {}
    function = tree[0]["PLpgSQL_function"]
    for number, datum in enumerate(function.get("datums", [])):
        if (declared := datum.get("PLpgSQL_var")) is not None:
            numbers[number] = declared["refname"]
            found[declared["refname"]] = _declared(declared)
    _assignments(function.get("action"), found, numbers)
    return found


def _declared(datum: Any) -> Variable:
    kind = datum.get("datatype", {}).get("PLpgSQL_type", {}).get("typname", "")
    variable = Variable(type=kind.rpartition(".")[2].strip('"'))
    if "default_val" in datum:
        variable.values.append(datum["default_val"]["PLpgSQL_expr"]["query"])
    return variable


def _assignments(tree: Any, found: dict[str, Variable], numbers: Mapping[int, str]) -> None:
    if isinstance(tree, list):
        for item in tree:
            _assignments(item, found, numbers)
    elif isinstance(tree, dict):
        for key, value in tree.items():
            if key == "PLpgSQL_stmt_assign":
                name, _, text = value["expr"]["PLpgSQL_expr"]["query"].partition("=")
                found.setdefault(name.rstrip(" :").lower(), Variable()).values.append(text)
            elif key == "PLpgSQL_row":
                for field in value.get("fields", []):
                    found.setdefault(field["name"], Variable()).unknown = True
            _assignments(value, found, numbers)


def judge(text: str, known: Mapping[str, Variable]) -> tuple[str | None, bool]:
    """The statement with made-up names for its gaps, if it can be told, and whether all of them are quoted."""
    node = _expression(text)
    if node is None:
        return None, False
    return _sample(node, known), _safe(node, known, frozenset())


def _expression(text: str) -> nodes.Node:
    try:
        select: nodes.Node = parse_sql(f"SELECT {text}")[0].stmt
    except ParseError:
        return None
    return select.targetList[0].val if select.targetList else None


def _safe(node: nodes.Node, known: Mapping[str, Variable], seen: frozenset[str]) -> bool:
    if nodes.is_a(node, ast.A_Const):
        return True
    if nodes.is_a(node, ast.TypeCast):
        return _type(node) in _HARMLESS or _safe(node.arg, known, seen)
    if nodes.is_a(node, ast.ColumnRef):
        return _safe_variable(nodes.dotted(node.fields).lower(), known, seen)
    if nodes.is_a(node, ast.FuncCall):
        return _safe_call(node, known, seen)
    if nodes.is_a(node, ast.CoalesceExpr):
        return all(_safe(item, known, seen) for item in node.args)
    if nodes.is_a(node, ast.CaseExpr):
        results = [when.result for when in node.args]
        return all(_safe(item, known, seen) for item in [*results, *([node.defresult] if node.defresult else [])])
    if nodes.is_a(node, ast.A_Expr) and nodes.dotted(node.name) == "||":
        return _safe(node.lexpr, known, seen) and _safe(node.rexpr, known, seen)
    if nodes.is_a(node, ast.SubLink) and nodes.is_a(node.subselect, ast.SelectStmt):
        return all(_safe(target.val, known, seen) for target in node.subselect.targetList or ())
    return False


def _type(node: nodes.Node) -> str:
    return nodes.dotted(node.typeName).rpartition(".")[2]


def _safe_variable(name: str, known: Mapping[str, Variable], seen: frozenset[str]) -> bool:
    variable = known.get(name)
    if variable is None:
        return False
    if name in seen:
        return True  # ``text := text || …``: what it had before is judged already
    if variable.type in _HARMLESS:
        return True
    values = [_expression(text) for text in variable.values]
    return bool(values) and not variable.unknown and all(_safe(v, known, seen | {name}) for v in values)


def _safe_call(node: nodes.Node, known: Mapping[str, Variable], seen: frozenset[str]) -> bool:
    name, arguments = nodes.called(node), list(node.args or ())
    if name in _QUOTES:
        return True
    if name in _PASSES_ON:
        return all(_safe(item, known, seen) for item in arguments)
    if name != "format" or not arguments or not _safe(arguments[0], known, seen):
        return False
    template = _sample(arguments[0], known)
    if template is None:
        return False
    return all(_safe(item, known, seen) for item in _as_they_are(template, arguments[1:]))


def _as_they_are(template: str, arguments: list[nodes.Node]) -> list[nodes.Node]:
    """The arguments that ``%s`` puts in as they are."""
    found: list[nodes.Node] = []
    position = 0
    for match in _SPECIFIER.finditer(template):
        if match[2] == "%":
            continue
        position = int(match[1]) if match[1] else position + 1
        if match[2] == "s" and position <= len(arguments):
            found.append(arguments[position - 1])
    return found


_MADE_UP = {"I": "made_up", "s": "made_up", "L": "'made up'", "%": "%"}


def _sample(node: nodes.Node, known: Mapping[str, Variable]) -> str | None:
    """A text as the expression might give it."""
    value = nodes.constant(node)
    if isinstance(value, str):
        return value
    if nodes.is_a(node, ast.A_Expr) and nodes.dotted(node.name) == "||":
        left, right = _sample(node.lexpr, known), _sample(node.rexpr, known)
        return None if left is None and right is None else f"{left or 'made_up'}{right or 'made_up'}"
    if nodes.is_a(node, ast.FuncCall) and nodes.called(node) == "format" and node.args:
        template = _sample(node.args[0], known)
        return None if template is None else _SPECIFIER.sub(lambda m: _MADE_UP[m[2]], template)
    if nodes.is_a(node, ast.ColumnRef):
        variable = known.get(nodes.dotted(node.fields).lower())
        if variable and len(variable.values) == 1 and (inner := _expression(variable.values[0])) is not None:
            return _sample(inner, {})
    return None


def short(text: str, width: int = 60) -> str:
    """``text`` on one line, cut to ``width`` characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"
