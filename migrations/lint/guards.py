"""Rules about what guards the rows: triggers, policies, and the functions that they rest on."""

from collections.abc import Iterator

from pglast import ast, enums

from migrations.lint import nodes
from migrations.lint.findings import Fault, Rule
from migrations.lint.scripts import Line, Script

_Object = enums.ObjectType
_WORDS = {_Object.OBJECT_TRIGGER: "trigger", _Object.OBJECT_POLICY: "policy"}
FUNCTIONS = frozenset({"auth.current_user_id", "auth.is_admin", "audit.refuse_change"})
"""Who changes one of these changes who may do what, or what the audit log refuses."""


def _guard_dropped(script: Script, line: Line) -> Iterator[Fault]:
    upgrade = line.upgrade_of(script)
    gone = set() if script.up else {guard for _, guard in _made(upgrade)}  # what it made, its downgrade may drop
    new_tables = script.made | upgrade.made
    made = list(_made(script))
    for place, statement in enumerate(script.statements):
        for kind, word in _WORDS.items():
            for written in nodes.dropped(statement.node, kind):
                table, _, name = written.rpartition(".")
                again = any(
                    guard == (kind, table, name)
                    and at > place
                    and (script.statements[at].runs_now or not statement.runs_now)
                    for at, guard in made
                )
                if not again and table not in new_tables and (kind, table, name) not in gone:
                    yield Fault(message=f"drops {word} {name} on {table}, and makes it no more", statement=statement)


def _made(script: Script) -> Iterator[tuple[int, tuple[enums.ObjectType, str, str]]]:
    """Each trigger and policy that a script makes, with the place of its statement."""
    for place, statement in enumerate(script.statements):
        node = statement.node
        if nodes.is_a(node, ast.CreateTrigStmt):
            yield place, (_Object.OBJECT_TRIGGER, nodes.relation(node.relation), str(node.trigname))
        elif nodes.is_a(node, ast.CreatePolicyStmt):
            yield place, (_Object.OBJECT_POLICY, nodes.relation(node.table), str(node.policy_name))


def _guard_function(script: Script, line: Line) -> Iterator[Fault]:
    before = {name for s in line.upgrades_until(script) if s.revision.id != script.revision.id for name in _creates(s)}
    own = set() if script.up else set(_creates(line.upgrade_of(script))) - before
    for statement, node in script.of(ast.CreateFunctionStmt):
        if (name := nodes.dotted(node.funcname)) in FUNCTIONS and node.replace and name in before:
            yield Fault(message=f"replaces function {name}", statement=statement)
    for statement, node in script.of(ast.DropStmt):
        for name in nodes.dropped(node, _Object.OBJECT_FUNCTION, _Object.OBJECT_ROUTINE):
            if name in FUNCTIONS and name not in own:
                yield Fault(message=f"drops function {name}", statement=statement)
    altered = (ast.AlterFunctionStmt, ast.RenameStmt, ast.AlterObjectSchemaStmt, ast.AlterOwnerStmt)
    for statement, node in script.of(*altered):
        target = node.func if nodes.is_a(node, ast.AlterFunctionStmt) else node.object
        if (name := nodes.dotted(target)) in FUNCTIONS and name in before:
            yield Fault(message=f"alters function {name}", statement=statement)


def _creates(script: Script) -> Iterator[str]:
    for _, node in script.of(ast.CreateFunctionStmt, now=True):
        yield nodes.dotted(node.funcname)


RULES = (
    Rule(
        id="GAIA040",
        slug="guard-dropped",
        reason="Triggers keep the audit log complete and append-only, policies keep users apart: without one, what it"
        " guarded is open, and nothing fails.",
        safe="make it again under its name later in the same revision; or ALTER POLICY, CREATE OR REPLACE TRIGGER",
        find=_guard_dropped,
    ),
    Rule(
        id="GAIA041",
        slug="guard-function-changed",
        reason="The identity and the audit log rest on it: a fault in it opens every policy, or the log.",
        safe="a new function beside it; where this one has to change, a waiver that says how it was tried",
        find=_guard_function,
    ),
)
