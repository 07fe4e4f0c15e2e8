"""Rules about rows: what deletes them, changes all of them, or changes the audit log."""

from collections.abc import Iterator

from pglast import ast, enums

from migrations.lint import nodes
from migrations.lint.findings import Fault, Rule
from migrations.lint.scripts import Line, Script

_Object = enums.ObjectType
AUDIT = "audit"
_ACTIONS = {"c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}


def _drops(script: Script, line: Line) -> Iterator[Fault]:
    upgrade = line.upgrade_of(script)  # what it made, its downgrade may drop
    gone = script.made | upgrade.made
    columns = script.made_columns | upgrade.made_columns
    schemas = script.made_schemas | upgrade.made_schemas
    for statement, node in script.of(ast.DropStmt, ast.TruncateStmt, ast.AlterTableStmt, now=True):
        for name in nodes.dropped(node, _Object.OBJECT_TABLE):
            if name not in gone:
                yield Fault(message=f"drops {name} with its rows", statement=statement)
        for name in nodes.dropped(node, _Object.OBJECT_SCHEMA):
            if node.behavior == enums.DropBehavior.DROP_CASCADE and name not in schemas:
                yield Fault(message=f"drops schema {name} with all that is in it", statement=statement)
        for name in [nodes.relation(r) for r in node.relations] if nodes.is_a(node, ast.TruncateStmt) else ():
            if name not in gone:
                yield Fault(message=f"empties {name}", statement=statement)
        for command in nodes.changes(node, enums.AlterTableType.AT_DropColumn):
            table = nodes.relation(node.relation)
            if table not in gone and f"{table}.{command.name}" not in columns:
                yield Fault(message=f"drops {table}.{command.name} with its values", statement=statement)


def _whole_table(script: Script, _line: Line) -> Iterator[Fault]:
    for statement in script.statements:
        for node in nodes.walk(statement.node):
            if not nodes.is_a(node, ast.UpdateStmt, ast.DeleteStmt) or nodes.relation(node.relation) in script.made:
                continue
            if node.whereClause is None or nodes.constant(node.whereClause) is True:
                verb = "updates" if nodes.is_a(node, ast.UpdateStmt) else "deletes"
                message = f"{verb} every row of {nodes.relation(node.relation)}"
                yield Fault(message=message, statement=statement)


def _audit_changed(script: Script, _line: Line) -> Iterator[Fault]:
    for statement in script.statements:
        for table, key in nodes.foreign_keys(statement.node):
            referred = nodes.relation(key.pktable)
            action = _ACTIONS.get(key.fk_del_action) or _ACTIONS.get(key.fk_upd_action)
            if nodes.schema(table) == AUDIT and action:
                message = f"a change of {referred} changes {table}, which is append-only ({action})"
                yield Fault(message=message, statement=statement)
            elif nodes.schema(referred) == AUDIT:
                message = f"{table} refers to {referred}, whose months then can't be detached"
                yield Fault(message=message, statement=statement)


RULES = (
    Rule(
        id="GAIA010",
        slug="data-loss",
        reason="What is dropped or emptied is gone for good; and the release that is still running may read it."
        " A downgrade that drops what its own upgrade made is no finding: it asks before it runs.",
        safe="stop using it in one release, drop it in the next, and say in a waiver why its rows aren't needed",
        find=_drops,
    ),
    Rule(
        id="GAIA011",
        slug="whole-table-change",
        reason="Changing every row locks them all, doubles the table, and is mostly a forgotten WHERE.",
        safe="batches by key, in a job or a revision of their own; or a WHERE that says which rows",
        find=_whole_table,
    ),
    Rule(
        id="GAIA012",
        slug="audit-by-cascade",
        reason="ON DELETE CASCADE or SET NULL changes an append-only table although nobody may.",
        safe="no foreign key in or to the audit schema: store the key as a plain column",
        find=_audit_changed,
    ),
)
