"""Rules about what others wait for while a revision runs: rewrites, scans under a lock, partitions."""

from collections.abc import Iterator

from pglast import ast, enums

from migrations.lint import nodes
from migrations.lint.findings import Fault, Rule
from migrations.lint.scripts import Line, Script, Statement

_Change = enums.AlterTableType
_Kind = enums.ConstrType
_NOT_VOLATILE = frozenset(
    {
        *("now", "transaction_timestamp", "statement_timestamp", "date_trunc", "timezone", "make_interval"),
        *("current_setting", "jsonb_build_object", "jsonb_build_array", "to_jsonb", "to_char", "to_tsvector", "lower"),
        *("upper", "array_to_string", "concat", "length", "coalesce", "sha256"),
        *("md5", "decode", "encode", "convert_to"),
    }
)
"""Functions known to give the same value throughout a statement; of all others a rewrite is assumed."""
_SERIAL = {"serial", "bigserial", "smallserial", "serial4", "serial8", "serial2"}


def _existing(script: Script, *kinds: enums.AlterTableType) -> Iterator[tuple[Statement, str, nodes.Node]]:
    """Changes of ``kinds`` to tables that were there before."""
    for statement, node in script.of(ast.AlterTableStmt, now=True):
        table = nodes.relation(node.relation)
        if table not in script.made:
            for command in nodes.changes(node, *kinds):
                yield statement, table, command


def _rewriting_column(script: Script, _line: Line) -> Iterator[Fault]:
    for statement, table, command in _existing(script, _Change.AT_AddColumn):
        column = command.def_
        if why := _rewrites(column):
            message = f"adding {table}.{column.colname} rewrites the table: {why}"
            yield Fault(message=message, statement=statement)


def _rewrites(column: nodes.Node) -> str | None:
    if nodes.dotted(column.typeName).rpartition(".")[2] in _SERIAL:
        return "a serial takes a value for each row"
    for constraint in column.constraints or ():
        if constraint.contype == _Kind.CONSTR_IDENTITY:
            return "an identity takes a value for each row"
        if constraint.contype == _Kind.CONSTR_GENERATED:
            return "a stored column is computed for each row"
        if constraint.contype == _Kind.CONSTR_DEFAULT:
            for call in nodes.walk(constraint.raw_expr):
                if nodes.is_a(call, ast.FuncCall) and nodes.called(call) not in _NOT_VOLATILE:
                    return f"its default {nodes.called(call)}() is volatile"
    return None


def _checked_column(script: Script, _line: Line) -> Iterator[Fault]:
    for statement, table, command in _existing(script, _Change.AT_AddColumn):
        if any(constraint.contype == _Kind.CONSTR_CHECK for constraint in command.def_.constraints or ()):
            message = f"reads all of {table} under an exclusive lock, to check {command.def_.colname}"
            yield Fault(message=message, statement=statement)


def _type_change(script: Script, _line: Line) -> Iterator[Fault]:
    for statement, table, command in _existing(script, _Change.AT_AlterColumnType):
        kind = nodes.dotted(command.def_.typeName).removeprefix("pg_catalog.")
        yield Fault(message=f"changes {table}.{command.name} to {kind}", statement=statement)


def _rewriting_command(script: Script, _line: Line) -> Iterator[Fault]:
    moves = (_Change.AT_SetLogged, _Change.AT_SetUnLogged, _Change.AT_SetTableSpace, _Change.AT_SetAccessMethod)
    for statement, table, _ in _existing(script, *moves):
        yield Fault(message=f"copies {table} while nobody may read it", statement=statement)
    for statement, node in script.of(ast.ClusterStmt, ast.RefreshMatViewStmt, ast.VacuumStmt, now=True):
        full = "full" in nodes.options(node.options) if nodes.is_a(node, ast.VacuumStmt) else True
        if full and not getattr(node, "concurrent", False):
            yield Fault(message="copies the table while nobody may read it", statement=statement)


def _set_not_null(script: Script, line: Line) -> Iterator[Fault]:
    for statement, table, command in _existing(script, _Change.AT_SetNotNull):
        if command.name not in _checked(table, line.upgrades_until(script)):
            message = f"scans {table} under an exclusive lock to see that {command.name} is never null"
            yield Fault(message=message, statement=statement)


def _checked(table: str, scripts: list[Script]) -> set[str]:
    """The columns that a validated check says are never null."""
    waiting: dict[str, set[str]] = {}
    found: set[str] = set()
    for script in scripts:
        for _, node in script.of(ast.AlterTableStmt, now=True):
            if nodes.relation(node.relation) != table:
                continue
            for command in nodes.changes(node, _Change.AT_AddConstraint, _Change.AT_ValidateConstraint):
                if command.subtype == _Change.AT_ValidateConstraint:
                    found |= waiting.get(command.name, set())
                elif command.def_.contype == _Kind.CONSTR_CHECK:
                    columns = _not_null_columns(command.def_.raw_expr)
                    waiting[command.def_.conname] = columns
                    found |= set() if command.def_.skip_validation else columns
    return found


def _not_null_columns(condition: nodes.Node) -> set[str]:
    if nodes.is_a(condition, ast.BoolExpr) and condition.boolop == enums.BoolExprType.AND_EXPR:
        return set().union(*map(_not_null_columns, condition.args))
    if nodes.is_a(condition, ast.NullTest) and condition.nulltesttype == enums.NullTestType.IS_NOT_NULL:
        return {nodes.dotted(condition.arg.fields)} if nodes.is_a(condition.arg, ast.ColumnRef) else set()
    return set()


def _foreign_key(script: Script, _line: Line) -> Iterator[Fault]:
    for statement, table, command in _existing(script, _Change.AT_AddConstraint, _Change.AT_AddColumn):
        constraints = (command.def_,) if nodes.is_a(command.def_, ast.Constraint) else command.def_.constraints or ()
        # A new column that is null throughout is not looked through (transformAlterTableStmt in parse_utilcmd.c).
        is_empty = nodes.is_a(command.def_, ast.ColumnDef) and not any(
            c.contype == _Kind.CONSTR_DEFAULT for c in constraints
        )
        for key in constraints:
            if key.contype == _Kind.CONSTR_FOREIGN and not key.skip_validation and not is_empty:
                message = f"looks through {table} while nobody may write to it or to {nodes.relation(key.pktable)}"
                yield Fault(message=message, statement=statement)


def _lock_table(script: Script, _line: Line) -> Iterator[Fault]:
    for statement, node in script.of(ast.LockStmt):
        names = ", ".join(nodes.relation(r) for r in node.relations)
        yield Fault(message=f"locks {names} until the transaction ends", statement=statement)


def _partition_of(script: Script, _line: Line) -> Iterator[Fault]:
    for statement, node in script.of(ast.CreateStmt):
        if node.partbound is None or node.partbound.is_default:
            continue
        parent = nodes.relation(node.inhRelations[0])
        if parent not in script.made:
            message = f"creating {nodes.relation(node.relation)} as a partition stops all reads of {parent}"
            yield Fault(message=message, statement=statement)


def _default_partition(script: Script, _line: Line) -> Iterator[Fault]:
    for statement, node in script.of(ast.CreateStmt):
        if node.partbound is not None and node.partbound.is_default:
            message = f"{nodes.relation(node.relation)} is a default partition"
            yield Fault(message=message, statement=statement)
    for statement, node in script.of(ast.AlterTableStmt):
        for command in nodes.changes(node, _Change.AT_AttachPartition):
            if command.def_.bound is not None and command.def_.bound.is_default:
                message = f"{nodes.relation(command.def_.name)} becomes a default partition"
                yield Fault(message=message, statement=statement)


RULES = (
    Rule(
        id="GAIA020",
        slug="rewriting-column",
        reason="A volatile default, an identity or a stored column has to be written into each row, while nobody may"
        " read the table.",
        safe="add the column without it, set the default for new rows, fill the old ones in batches",
        find=_rewriting_column,
    ),
    Rule(
        id="GAIA021",
        slug="type-change",
        reason="Most changes of a type rewrite the table and its indexes under an exclusive lock, and the release that"
        " still runs knows the old type.",
        safe="a new column, filled in batches, and a switch in the backend; waive what needs no rewrite",
        find=_type_change,
    ),
    Rule(
        id="GAIA022",
        slug="set-not-null",
        reason="SET NOT NULL scans the table under an exclusive lock, unless a validated check already says it.",
        safe="ADD CONSTRAINT … CHECK (… IS NOT NULL) NOT VALID; VALIDATE it in the next revision; then SET NOT NULL",
        find=_set_not_null,
    ),
    Rule(
        id="GAIA023",
        slug="foreign-key-validates",
        reason="A foreign key is checked for each row under a lock against writing, on both tables.",
        safe="ADD CONSTRAINT … NOT VALID, and VALIDATE CONSTRAINT in the next revision",
        find=_foreign_key,
    ),
    Rule(
        id="GAIA024",
        slug="lock-table",
        reason="Everybody queues behind an explicit lock, however short the rest is.",
        safe="let statements take the locks they need; an advisory lock keeps two runs apart",
        find=_lock_table,
    ),
    Rule(
        id="GAIA025",
        slug="partition-of",
        reason="CREATE TABLE … PARTITION OF locks the parent against everything, reading included.",
        safe="CREATE TABLE … (LIKE parent), then ATTACH PARTITION; months are made by `python -m migrations maintain`",
        find=_partition_of,
    ),
    Rule(
        id="GAIA026",
        slug="default-partition",
        reason='With a default partition "last 50" merges all partitions, and DETACH CONCURRENTLY is refused.',
        safe="make partitions ahead of time, and let an insert beyond them fail",
        find=_default_partition,
    ),
    Rule(
        id="GAIA027",
        slug="checked-column",
        reason="The check of a new column is tried on each row while nobody may read the table.",
        safe="add the column; ADD CONSTRAINT … CHECK (…) NOT VALID; VALIDATE CONSTRAINT in the next revision",
        find=_checked_column,
    ),
    Rule(
        id="GAIA028",
        slug="rewriting-command",
        reason="CLUSTER, VACUUM FULL, REFRESH and a change of storage copy the table while nobody may read it.",
        safe="REFRESH … CONCURRENTLY; for the others pg_repack, or a new table filled in batches",
        find=_rewriting_command,
    ),
)
