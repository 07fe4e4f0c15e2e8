"""Looks at pglast's nodes: names, walks, what an ALTER TABLE does."""

from collections.abc import Iterator
from typing import Any

from pglast import ast, enums

Node = Any
"""A node of pglast; its attributes depend on its class."""


def is_a(node: Node, *kinds: type) -> bool:
    """Whether it is of one of these classes; without narrowing, for pglast types every attribute as optional."""
    return isinstance(node, kinds)


def walk(node: Node) -> Iterator[Node]:
    """``node`` and every node below it."""
    if isinstance(node, tuple | list):
        for item in node:
            yield from walk(item)
    elif is_a(node, ast.Node):
        yield node
        for attribute in node:
            yield from walk(getattr(node, attribute))


def relation(node: Node) -> str:
    """``schema.table`` of a RangeVar, or ``table`` where no schema is written."""
    return f"{node.schemaname}.{node.relname}" if node.schemaname else str(node.relname)


def dotted(parts: Node) -> str:
    """A name that the parser keeps as a list of strings."""
    if is_a(parts, ast.String):
        return str(parts.sval)
    if is_a(parts, ast.TypeName):
        return dotted(parts.names)
    if is_a(parts, ast.ObjectWithArgs):
        return dotted(parts.objname)
    return ".".join(str(part.sval) for part in parts or () if is_a(part, ast.String))


def schema(name: str) -> str:
    """The schema of ``schema.table``; empty where none is written."""
    return name.rpartition(".")[0]


def called(node: Node) -> str:
    """The function's name without its schema."""
    return dotted(node.funcname).rpartition(".")[2]


def constant(node: Node) -> Any:
    """The value of a constant; None for everything else."""
    if is_a(node, ast.TypeCast):
        return constant(node.arg)
    if not is_a(node, ast.A_Const) or node.isnull:
        return None
    value = node.val
    if is_a(value, ast.String):
        return value.sval
    if is_a(value, ast.Boolean):
        return value.boolval
    return value.ival if is_a(value, ast.Integer) else None


def options(defs: Node) -> dict[str, Node]:
    """Options by their names, in lower case."""
    return {str(item.defname).lower(): item.arg for item in defs or () if is_a(item, ast.DefElem)}


def is_on(value: Node) -> bool:
    """Whether an option's value means yes; an option without a value does."""
    if value is None:
        return True
    if is_a(value, ast.Integer):
        return value.ival == 1
    if is_a(value, ast.Boolean):
        return bool(value.boolval)
    text = dotted(value) or str(constant(value))
    return text.lower() in {"true", "on", "yes", "1"}


def changes(node: Node, *kinds: enums.AlterTableType) -> Iterator[Node]:
    """The parts of an ALTER TABLE that are of one of ``kinds``; nothing for other statements."""
    if is_a(node, ast.AlterTableStmt):
        yield from (command for command in node.cmds or () if command.subtype in kinds)


def foreign_keys(node: Node) -> Iterator[tuple[str, Node]]:
    """Each foreign key that a CREATE TABLE or ALTER TABLE makes, with the table that refers."""
    if is_a(node, ast.CreateStmt, ast.AlterTableStmt) and node.relation is not None:
        for item in walk(node):
            if is_a(item, ast.Constraint) and item.contype == enums.ConstrType.CONSTR_FOREIGN:
                yield relation(node.relation), item


def dropped(node: Node, *kinds: enums.ObjectType) -> Iterator[str]:
    """The names of what a DROP of one of ``kinds`` takes away."""
    if is_a(node, ast.DropStmt) and node.removeType in kinds:
        yield from (dotted(name) for name in node.objects or ())


def created(node: Node) -> Node:
    """The RangeVar of the table that a statement creates; None if it creates none."""
    if is_a(node, ast.CreateStmt):
        return node.relation
    if is_a(node, ast.CreateTableAsStmt):
        return node.into.rel
    return node.intoClause.rel if is_a(node, ast.SelectStmt) and node.intoClause else None


def within_schema(node: Node) -> Iterator[Node]:
    """What CREATE SCHEMA makes within the schema, each with the schema's name in its own."""
    for element in (node.schemaElts or ()) if is_a(node, ast.CreateSchemaStmt) else ():
        target: Node = getattr(element, "relation", None) or getattr(element, "view", None)
        if is_a(target, ast.RangeVar) and not target.schemaname:
            target.schemaname = node.schemaname
        yield element
