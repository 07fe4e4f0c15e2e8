"""Rules about who may do what: grants, definer functions, views, row-level security."""

from collections.abc import Iterator

from pglast import ast, enums

from migrations.grants import SCHEMAS
from migrations.lint import dynamic, nodes
from migrations.lint.findings import Fault, Rule
from migrations.lint.scripts import Line, Script

_Change = enums.AlterTableType
READERS = frozenset({"gaia_backup", "gaia_readonly", "gaia_auditor"})
"""Roles that may see every row of what they are granted: for backups, reports and audits. None may write."""


def path_is_fixed(path: list[str]) -> bool:
    """Whether a definer function's search_path begins with pg_catalog and ends with pg_temp.

    A pg_temp that isn't named is searched first: whoever calls could put a table of his own before ours.
    """
    return len(path) > 1 and path[0] == "pg_catalog" and path[-1] == "pg_temp" and "pg_temp" not in path[:-1]


def _grant_to_public(script: Script, _line: Line) -> Iterator[Fault]:
    for statement, node in script.of(ast.GrantStmt, ast.AlterDefaultPrivilegesStmt):
        grant = node.action if nodes.is_a(node, ast.AlterDefaultPrivilegesStmt) else node
        public = any(role.roletype == enums.RoleSpecType.ROLESPEC_PUBLIC for role in grant.grantees or ())
        if grant.is_grant and public:
            yield Fault(message="grants to PUBLIC", statement=statement)


def _definer(script: Script, _line: Line) -> Iterator[Fault]:
    for statement, node in script.of(ast.CreateFunctionStmt, ast.AlterFunctionStmt):
        create = nodes.is_a(node, ast.CreateFunctionStmt)
        name = nodes.dotted(node.funcname if create else node.func)
        options = nodes.options(node.options if create else node.actions)
        setting: nodes.Node = options.get("set")
        about_path = nodes.is_a(setting, ast.VariableSetStmt) and setting.name in ("search_path", None)
        path = _path(node.options if create else node.actions)
        definer = "security" in options and nodes.is_on(options["security"])
        if (definer or (not create and about_path)) and not path_is_fixed(path):
            said = f"search_path is {', '.join(path) or 'not set'}"
            yield Fault(message=f"{name} runs with its owner's rights, but its {said}", statement=statement)


def _path(options: nodes.Node) -> list[str]:
    for item in options or ():
        setting = item.arg
        if nodes.is_a(setting, ast.VariableSetStmt) and setting.name == "search_path":
            return [str(nodes.constant(value)) for value in setting.args or ()]
    return []


def _view(script: Script, _line: Line) -> Iterator[Fault]:
    for statement, node in script.of(ast.ViewStmt):
        options = nodes.options(node.options)
        if "security_invoker" not in options or not nodes.is_on(options["security_invoker"]):
            message = f"view {nodes.relation(node.view)} reads with its owner's rights, past row-level security"
            yield Fault(message=message, statement=statement)
    for statement, node in script.of(ast.CreateTableAsStmt):
        if node.objtype == enums.ObjectType.OBJECT_MATVIEW:
            name = nodes.relation(node.into.rel)
            yield Fault(message=f"materialized view {name} knows no row-level security", statement=statement)
    for statement, node in script.of(ast.AlterTableStmt):
        for command in nodes.changes(node, _Change.AT_SetRelOptions, _Change.AT_ResetRelOptions):
            options = nodes.options(command.def_)
            off = command.subtype == _Change.AT_ResetRelOptions or not nodes.is_on(options.get("security_invoker"))
            if "security_invoker" in options and off:
                message = f"takes security_invoker from {nodes.relation(node.relation)}"
                yield Fault(message=message, statement=statement)


def _rls_off(script: Script, line: Line) -> Iterator[Fault]:
    switched_on = _row_security(line.upgrade_of(script), _Change.AT_EnableRowSecurity, _Change.AT_ForceRowSecurity)
    for statement, node in script.of(ast.AlterTableStmt):
        name = nodes.relation(node.relation)
        if not script.up and name in switched_on:
            continue  # undoes what this very revision did
        for _ in nodes.changes(node, _Change.AT_DisableRowSecurity, _Change.AT_NoForceRowSecurity):
            yield Fault(message=f"weakens row-level security of {name}", statement=statement)


def _row_security(script: Script, *kinds: enums.AlterTableType) -> set[str]:
    return {
        nodes.relation(node.relation)
        for _, node in script.of(ast.AlterTableStmt, now=True)
        if any(nodes.changes(node, *kinds))
    }


def _table_without_rls(script: Script, line: Line) -> Iterator[Fault]:
    if not script.up:
        return
    for statement, name in script.new_tables():
        is_partition = getattr(statement.node, "partbound", None) is not None
        if (
            nodes.schema(name) in SCHEMAS
            and not is_partition
            and not _gets_row_security(name, line.upgrades_from(script))
        ):
            message = f"{name} gets no row-level security, here or in a later revision"
            yield Fault(message=message, statement=statement)


def _gets_row_security(name: str, scripts: list[Script]) -> bool:
    """Whether the table gets it before it goes, under whatever name."""
    for script in scripts:
        for _, node in script.of(ast.AlterTableStmt, ast.RenameStmt, ast.DropStmt, now=True):
            if name in nodes.dropped(node, enums.ObjectType.OBJECT_TABLE):
                return True
            if nodes.is_a(node, ast.DropStmt) or node.relation is None or nodes.relation(node.relation) != name:
                continue
            if nodes.is_a(node, ast.RenameStmt) and node.renameType == enums.ObjectType.OBJECT_TABLE:
                name = f"{nodes.schema(name)}.{node.newname}"
            elif any(nodes.changes(node, _Change.AT_EnableRowSecurity)):
                return True
    return False


def _always_true(script: Script, _line: Line) -> Iterator[Fault]:
    for statement, node in script.of(ast.CreatePolicyStmt, ast.AlterPolicyStmt):
        permissive = not nodes.is_a(node, ast.CreatePolicyStmt) or node.permissive
        reads = nodes.is_a(node, ast.CreatePolicyStmt) and node.cmd_name == "select"
        roles = {role.rolename or "public" for role in node.roles or ()}
        if permissive and _is_true(node.qual, node.with_check) and not (reads and roles <= READERS):
            message = f"policy {node.policy_name} on {nodes.relation(node.table)} lets every row pass"
            yield Fault(message=message, statement=statement)


def _is_true(*conditions: nodes.Node) -> bool:
    return any(nodes.constant(condition) is True for condition in conditions)


def _unquoted(script: Script, _line: Line) -> Iterator[Fault]:
    for execute in script.executes:
        text = dynamic.short(execute.text)
        yield Fault(message=f"EXECUTE {text} puts in text that isn't quoted", statement=execute)


def _trigger_off(script: Script, _line: Line) -> Iterator[Fault]:
    off = (_Change.AT_DisableTrig, _Change.AT_DisableTrigAll, _Change.AT_DisableTrigUser)
    for statement, node in script.of(ast.AlterTableStmt):
        if any(nodes.changes(node, *off)):
            message = f"switches triggers of {nodes.relation(node.relation)} off"
            yield Fault(message=message, statement=statement)
    for statement, node in script.of(ast.VariableSetStmt):
        if node.name == "session_replication_role":
            yield Fault(message="session_replication_role switches triggers off", statement=statement)


RULES = (
    Rule(
        id="GAIA001",
        slug="grant-to-public",
        reason="PUBLIC is every login of the server, those of tomorrow included.",
        safe="grant to a role, in migrations/grants.py",
        find=_grant_to_public,
    ),
    Rule(
        id="GAIA002",
        slug="definer-search-path",
        reason="A SECURITY DEFINER function finds tables and operators by the caller's search_path, so the caller"
        " chooses what runs with the owner's rights. A pg_temp that isn't named is searched first.",
        safe="SET search_path = pg_catalog, pg_temp in CREATE FUNCTION, and schemas written out in its body",
        find=_definer,
    ),
    Rule(
        id="GAIA003",
        slug="view-without-invoker",
        reason="A plain view reads as its owner, whom row-level security doesn't bind.",
        safe="CREATE VIEW … WITH (security_invoker = true), or a definer function that checks who asks",
        find=_view,
    ),
    Rule(
        id="GAIA004",
        slug="rls-off",
        reason="Without row-level security the table is open to whoever is granted it.",
        safe="change the policies; leave row-level security on",
        find=_rls_off,
    ),
    Rule(
        id="GAIA005",
        slug="table-without-rls",
        reason="A forgotten WHERE in the backend then reads every user's rows.",
        safe="ALTER TABLE … ENABLE ROW LEVEL SECURITY, with policies, in the same revision",
        find=_table_without_rls,
    ),
    Rule(
        id="GAIA006",
        slug="always-true-policy",
        reason="Permissive policies are joined by OR: one that is always true undoes all others of its roles.",
        safe=f"a condition on the identity; FOR SELECT TO {', '.join(sorted(READERS))} may be true",
        find=_always_true,
    ),
    Rule(
        id="GAIA007",
        slug="unquoted-execute",
        reason="Text that is put into a statement without quotes becomes SQL, with the function's rights.",
        safe="format() with %I for names and %L for values, or EXECUTE … USING",
        find=_unquoted,
    ),
    Rule(
        id="GAIA008",
        slug="trigger-off",
        reason="Triggers keep the audit log append-only and complete, foreign keys included.",
        safe="leave them on; a change that they refuse isn't one to make",
        find=_trigger_off,
    ),
)
