"""Rules about what a transaction may hold, what outlives it, and whether a revision goes down again."""

from collections.abc import Iterator

from pglast import ast, enums

from migrations.lint import nodes
from migrations.lint.findings import Fault, Rule
from migrations.lint.scripts import TOP, Line, Script, Statement

_Set = enums.VariableSetKind
_Control = enums.TransactionStmtKind
_SAVEPOINTS = {
    *(_Control.TRANS_STMT_SAVEPOINT, _Control.TRANS_STMT_RELEASE, _Control.TRANS_STMT_ROLLBACK_TO),
}


def _concurrently(node: nodes.Node) -> str | None:
    """What a statement does CONCURRENTLY; None if nothing."""
    if nodes.is_a(node, ast.IndexStmt) and node.concurrent:
        return f"CREATE INDEX CONCURRENTLY {node.idxname or ''}".strip()
    if nodes.is_a(node, ast.DropStmt) and node.concurrent:
        return f"DROP INDEX CONCURRENTLY {nodes.dotted(node.objects[0])}"
    if nodes.is_a(node, ast.ReindexStmt) and "concurrently" in nodes.options(node.params):
        return "REINDEX CONCURRENTLY"
    for command in nodes.changes(node, enums.AlterTableType.AT_DetachPartition):
        if command.def_.concurrent:
            return f"DETACH PARTITION {nodes.relation(command.def_.name)} CONCURRENTLY"
    return None


def _in_transaction(script: Script, _line: Line) -> Iterator[Fault]:
    for statement in script.statements:
        what = _concurrently(statement.node)
        if what and not statement.autocommit:
            yield Fault(message=f"{what} stands in a transaction, where PostgreSQL refuses it", statement=statement)


def _mixed(script: Script, _line: Line) -> Iterator[Fault]:
    own = [s for s in script.statements if s.place == TOP and not _may_stand_beside(s)]
    concurrent = next((s for s in own if s.autocommit and _concurrently(s.node)), None)
    for statement in own if concurrent else ():
        if concurrent and statement is not concurrent:
            message = f"stands beside {_concurrently(concurrent.node)}: if that fails, half of the revision stays"
            yield Fault(message=message, statement=statement)


def _may_stand_beside(statement: Statement) -> bool:
    """Whether it can be repeated, and does nothing else: it clears away a dead index, or sets something."""
    node = statement.node
    dead_index = nodes.is_a(node, ast.DropStmt) and node.concurrent and node.missing_ok
    return nodes.is_a(node, ast.VariableSetStmt, ast.CommentStmt) or (dead_index and statement.autocommit)


def _keeps_dead_index(script: Script, _line: Line) -> Iterator[Fault]:
    for statement, node in script.of(ast.IndexStmt):
        if node.concurrent and node.if_not_exists:
            message = f"IF NOT EXISTS keeps {node.idxname or 'an index'} that an earlier run left invalid"
            yield Fault(message=message, statement=statement)


def _enum_value(script: Script, _line: Line) -> Iterator[Fault]:
    made = {nodes.dotted(node.typeName) for _, node in script.of(ast.CreateEnumStmt, now=True)}
    for statement, node in script.of(ast.AlterEnumStmt, now=True):
        if node.oldVal is not None or nodes.dotted(node.typeName) in made:
            continue
        after = script.statements[script.statements.index(statement) + 1 :]
        same = [s for s in after if s.block == statement.block and s.runs_now and not statement.autocommit]
        user = next((s for s in same if _holds(s.node, node.newVal)), None)
        if user is not None:
            message = f"uses '{node.newVal}' in the transaction that adds it to {nodes.dotted(node.typeName)}"
            yield Fault(message=message, statement=user)


def _holds(node: nodes.Node, value: str) -> bool:
    return any(nodes.is_a(n, ast.A_Const) and nodes.constant(n) == value for n in nodes.walk(node))


def _leaks(script: Script, _line: Line) -> Iterator[Fault]:
    for statement in script.statements:
        node = statement.node
        if nodes.is_a(node, ast.VariableSetStmt):
            for_transaction = node.is_local or (node.kind == _Set.VAR_SET_MULTI and node.name == "TRANSACTION")
            if not for_transaction:
                message = f"{node.name or 'the reset of all settings'} stays so after the transaction"
                yield Fault(message=message, statement=statement)
        else:
            for call in nodes.walk(node):
                if nodes.is_a(call, ast.FuncCall) and nodes.called(call) == "set_config" and _stays(call):
                    message = f"{nodes.constant(call.args[0]) or 'a setting'} stays so after the transaction"
                    yield Fault(message=message, statement=statement)


def _stays(call: nodes.Node) -> bool:
    return len(call.args or ()) == 3 and nodes.constant(call.args[2]) is not True


def _own_transaction(script: Script, _line: Line) -> Iterator[Fault]:
    for statement, node in script.of(ast.TransactionStmt, now=True):
        if node.kind not in _SAVEPOINTS:
            yield Fault(message="begins or ends a transaction, which is the runner's", statement=statement)


def _no_downgrade(script: Script, line: Line) -> Iterator[Fault]:
    if script.up:
        return
    if script.failure and script.failure.startswith("NotImplementedError"):
        yield Fault(message="its downgrade raises NotImplementedError")
    elif not script.failure and not script.statements and line.upgrade_of(script).statements:
        yield Fault(message="its downgrade does nothing, its upgrade does")


def _unreadable(script: Script, _line: Line) -> Iterator[Fault]:
    if script.failure and not script.failure.startswith("NotImplementedError"):
        yield Fault(message=f"can't be written out as SQL ({script.failure}), so nothing of it was looked at")
    for number, reason in script.unread:
        yield Fault(message=f"not looked at: {reason}", statement=Statement(node=None, line=number, block=0))


RULES = (
    Rule(
        id="GAIA030",
        slug="concurrently-in-transaction",
        reason="PostgreSQL refuses CONCURRENTLY in a transaction, and so in functions and DO blocks.",
        safe="with op.get_context().autocommit_block(): around this statement alone",
        find=_in_transaction,
    ),
    Rule(
        id="GAIA031",
        slug="concurrently-mixed",
        reason="An autocommit block commits what stands before it. If the index fails, the revision is half done, and"
        " a second run fails at what is there already.",
        safe="a revision for the index alone: DROP INDEX CONCURRENTLY IF EXISTS may stand before it",
        find=_mixed,
    ),
    Rule(
        id="GAIA032",
        slug="keeps-dead-index",
        reason="A failed CREATE INDEX CONCURRENTLY leaves an invalid index under its name: IF NOT EXISTS keeps that.",
        safe="DROP INDEX CONCURRENTLY IF EXISTS before it, and no IF NOT EXISTS",
        find=_keeps_dead_index,
    ),
    Rule(
        id="GAIA033",
        slug="enum-value-in-use",
        reason="A value that ALTER TYPE … ADD VALUE adds can't be used before that transaction is committed.",
        safe="add the value in one revision, use it in the next",
        find=_enum_value,
    ),
    Rule(
        id="GAIA034",
        slug="setting-leaks",
        reason="What is SET without LOCAL outlives the transaction: for the next revision, or the next user of a pooled"
        " connection.",
        safe="SET LOCAL, set_config(…, true), or SET at CREATE FUNCTION",
        find=_leaks,
    ),
    Rule(
        id="GAIA035",
        slug="own-transaction",
        reason="A revision is one transaction, which the runner begins and ends: a COMMIT in between leaves half of it"
        " when the rest fails.",
        safe="two revisions, or an autocommit_block() for what can't run in a transaction",
        find=_own_transaction,
    ),
    Rule(
        id="GAIA036",
        slug="no-downgrade",
        reason="A release that can't be rolled back must be repaired under load.",
        safe="write the downgrade; where rows can't come back, restore the schema and say so in a waiver",
        find=_no_downgrade,
    ),
    Rule(
        id="GAIA037",
        slug="unreadable",
        reason="What can't be written out or parsed was looked at by nobody.",
        safe="plain SQL that needs no connection to be written out; plpgsql types that the parser knows",
        find=_unreadable,
    ),
)
