"""The lint of whole revision files: Alembic's SQL, squawk, waivers, lines."""

import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from migrations import revisions
from migrations.lint import check, squawk, squawk_rules
from migrations.lint.findings import Finding, count
from migrations.lint.render import Rendered, render

WRITE = """
def upgrade() -> None:
    {up}


def downgrade() -> None:
    {down}
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The migrations with the first revision only."""
    ignore = shutil.ignore_patterns("__pycache__", "lint")
    tree = shutil.copytree(revisions.DIRECTORY, tmp_path / "migrations", ignore=ignore)
    for path in (tree / "versions").glob("*.py"):
        if not path.name.startswith("0001"):
            path.unlink()
    return tree


def write(tree: Path, up: str, down: str = 'op.execute("SELECT 1")', head: str = "") -> Path:
    """Revision 0002: ``head`` at the top, ``up`` and ``down`` in the functions."""
    path = tree / "versions" / "0002_test.py"
    body = WRITE.format(up=textwrap.indent(up, "    ").strip(), down=textwrap.indent(down, "    ").strip())
    text = (
        '"""Test."""\n\nimport sqlalchemy as sa\nfrom alembic import op\n\nrevision = "0002"\ndown_revision = "0001"\n'
    )
    path.write_text(f"{text}\n{head}\n{body}")
    return path


def lint(tree: Path) -> list[Finding]:
    return [f for f in check.revisions(tree) if f.revision == "0002"]


def ids(tree: Path) -> set[str]:
    return {f.id for f in lint(tree)}


def of(tree: Path, up: bool) -> Rendered:
    return next(item for item in render(tree) if item.revision.id == "0002" and item.up == up)


def test_each_direction_is_what_alembic_would_send(tree: Path) -> None:
    write(tree, 'op.add_column("users", sa.Column("n", sa.Integer()), schema="auth")', 'op.execute("SELECT 2")')
    assert [e.text for e in of(tree, True).emitted] == ["ALTER TABLE auth.users ADD COLUMN n INTEGER;"]
    assert [e.text for e in of(tree, False).emitted] == ["SELECT 2;"]


def test_percent_signs_are_those_of_the_file(tree: Path) -> None:
    write(tree, "op.execute(\"SELECT format('%I %%', 'a'), 5 % 2\")")
    assert [e.text for e in of(tree, True).emitted] == ["SELECT format('%I %%', 'a'), 5 % 2;"]


def test_an_autocommit_block_is_told_from_the_transaction_around_it(tree: Path) -> None:
    block = 'with op.get_context().autocommit_block():\n    op.execute("VACUUM auth.users")'
    write(tree, f'op.execute("SELECT 1")\n{block}\nop.execute("SELECT 2")')
    assert [(e.text, e.block) for e in of(tree, True).emitted] == [
        ("SELECT 1;", 0),
        ("VACUUM auth.users;", 1),
        ("SELECT 2;", 2),
    ]


def test_an_index_made_concurrently_in_a_block_of_its_own_is_fine(tree: Path) -> None:
    index = 'op.create_index("i", "users", ["created_at"], schema="auth", postgresql_concurrently=True)'
    drop = 'op.drop_index("i", schema="auth", postgresql_concurrently=True, if_exists=True)'
    block = "with op.get_context().autocommit_block():\n    {}"
    write(tree, block.format(index), block.format(drop))
    assert lint(tree) == []
    write(tree, index, drop)
    assert ids(tree) == {"GAIA030"}


def test_a_revision_that_asks_the_database_is_said_to_be_unreadable(tree: Path) -> None:
    write(tree, 'op.get_bind().execute(sa.text("SELECT 1")).scalar()')
    (found,) = lint(tree)
    assert found.id == "GAIA037" and "AttributeError" in found.message


def test_a_downgrade_that_is_missing_is_found(tree: Path) -> None:
    write(tree, 'op.execute("SELECT 1")', "raise NotImplementedError")
    assert ids(tree) == {"GAIA036"}
    write(tree, 'op.execute("SELECT 1")', "pass")
    assert ids(tree) == {"GAIA036"}


def test_the_line_is_that_of_the_sql_or_else_of_the_call(tree: Path) -> None:
    head = 'SQL = """\nSELECT 1;\nLOCK TABLE auth.users\n"""\nPART = "LOCK TABLE auth."'
    path = write(tree, 'op.execute(SQL)\nop.execute(PART + "sessions")', head=head)
    lines = path.read_text().splitlines()
    expected = {lines.index("LOCK TABLE auth.users") + 1, lines.index('    op.execute(PART + "sessions")') + 1}
    assert {f.line for f in lint(tree)} == expected
    assert all((f.file or "").endswith("0002_test.py") for f in lint(tree))


def test_the_line_within_a_function_is_that_of_its_statement(tree: Path) -> None:
    body = "CREATE FUNCTION auth.f() RETURNS void LANGUAGE plpgsql AS $$\nBEGIN\n    LOCK TABLE auth.users;\nEND $$"
    path = write(tree, "op.execute(SQL)", head=f'SQL = """\n{body}\n"""')
    assert [f.line for f in lint(tree)] == [path.read_text().splitlines().index("    LOCK TABLE auth.users;") + 1]


def test_squawk_knows_a_table_that_the_same_revision_makes(tree: Path) -> None:
    index = 'op.create_index("i", {!r}, ["{}"], schema={!r})'
    table = 'op.create_table("t", sa.Column("n", sa.BigInteger(), primary_key=True, autoincrement=False))'
    write(tree, f"{table}\n{index.format('t', 'n', None)}", 'op.drop_table("t")')
    assert lint(tree) == []
    write(tree, index.format("users", "created_at", "auth"), 'op.drop_index("i", schema="auth")')
    assert {(f.id, f.direction) for f in lint(tree)} == {
        ("require-concurrent-index-creation", "upgrade"),
        ("require-concurrent-index-deletion", "downgrade"),
    }


def test_squawk_sees_what_stands_in_a_do_block(tree: Path) -> None:
    path = write(
        tree,
        "op.execute(SQL)",
        head='SQL = """\nDO $$ BEGIN\n    CREATE INDEX i ON auth.users (created_at);\nEND $$\n"""',
    )
    (found,) = lint(tree)
    line = path.read_text().splitlines().index("    CREATE INDEX i ON auth.users (created_at);") + 1
    assert (found.id, found.line) == ("require-concurrent-index-creation", line)


def test_a_comment_at_the_end_hides_nothing_that_follows(tree: Path) -> None:
    write(tree, 'op.execute("SELECT 1 -- so far")\nop.execute("ALTER TABLE auth.users RENAME TO people")')
    assert ids(tree) == {"renaming-table"}


def test_what_breaks_clients_is_looked_for_on_the_way_up_only(tree: Path) -> None:
    rename = 'op.alter_column("users", "{}", new_column_name="{}", schema="auth")'
    write(tree, rename.format("username", "name"), rename.format("name", "username"))
    assert [(f.id, f.direction) for f in lint(tree)] == [("renaming-column", "upgrade")]


def test_a_comment_of_squawks_own_waives_nothing(tree: Path) -> None:
    write(tree, 'op.execute("-- squawk-ignore renaming-table\\nALTER TABLE auth.users RENAME TO people")')
    assert ids(tree) == {"renaming-table"}


def test_squawk_has_the_rules_that_are_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty.sql"
    empty.write_text("SELECT 1;\n")
    assert squawk.run([str(empty)], exclude=squawk_rules.RULES) == []
    assert set(squawk_rules.OFF) | squawk_rules.ONLY_UP <= set(squawk_rules.RULES)


def test_squawk_that_fails_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(squawk.SquawkFailed, match=r"squawk can't look .* run \./gaia setup"):
        squawk.run([str(tmp_path / "nothing.sql")], exclude=["nonsense"])


LOCK = 'op.execute("LOCK TABLE auth.users")'


@pytest.mark.parametrize("name", ["GAIA024", "GAIA024-lock-table"])
def test_a_waiver_with_a_reason_covers_the_finding(tree: Path, name: str) -> None:
    write(tree, LOCK, head=f'waivers = {{"{name}": "nobody uses it at that hour"}}')
    assert lint(tree) == []


def test_a_waiver_covers_a_rule_of_squawks(tree: Path) -> None:
    write(
        tree,
        'op.execute("ALTER TABLE auth.users RENAME TO people")',
        head='waivers = {"renaming-table": "the backend knows both names"}',
    )
    assert lint(tree) == []


def test_a_waiver_covers_nothing_in_another_revision(tree: Path) -> None:
    write(tree, LOCK)
    first = next((tree / "versions").glob("0001*"))
    first.write_text(first.read_text() + '\nwaivers = {"GAIA024": "nobody uses it at that hour"}\n')
    assert [(f.revision, f.id) for f in check.revisions(tree) if f.id in ("GAIA024", "GAIA093")] == [
        ("0001", "GAIA093"),
        ("0002", "GAIA024"),
    ]


@pytest.mark.parametrize(
    ("waivers", "expected"),
    [
        ('{"GAIA024": ""}', {"GAIA091"}),
        ('{"GAIA024": "ok"}', {"GAIA091"}),
        ('{"GAIA999": "there is no such rule"}', {"GAIA024", "GAIA092"}),
        ('{"GAIA024": "nobody uses it then", "GAIA001": "nothing is granted here"}', {"GAIA093"}),
        ('{"GAIA024": "nobody uses it then", "renaming-table": "nothing is renamed"}', {"GAIA093"}),
        ('{"GAIA024": None}', {"GAIA024", "GAIA090"}),
        ('dict(GAIA024="nobody uses it then")', {"GAIA024", "GAIA090"}),
    ],
)
def test_a_waiver_that_is_wrong_is_a_finding(tree: Path, waivers: str, expected: set[str]) -> None:
    path = write(tree, LOCK, head=f"waivers = {waivers}")
    found = lint(tree)
    assert {f.id for f in found} == expected
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if text.startswith("waivers"))
    assert all(f.line == line for f in found if f.id.startswith("GAIA09"))


def test_a_finding_is_two_lines_or_fits_a_terminal(tree: Path) -> None:
    write(tree, 'op.execute("GRANT SELECT ON auth.users TO PUBLIC")')
    (found,) = lint(tree)
    said, safe = found.sentence().splitlines()
    assert said.startswith(f"{found.place}: error GAIA001-grant-to-public (upgrade): ")
    assert safe.startswith("    Safe way: grant to a role")
    place = "migrations/versions/0002_test.py"
    short = Finding(**{**found.document(), "file": place})
    assert all(len(line) <= 80 for line in short.sentence(80).splitlines())
    assert count([found], "the revisions") == "1 error in the revisions"
    assert count([], "the revisions") == "no finding in the revisions"


def test_the_revisions_of_this_checkout_have_no_finding() -> None:
    assert [f.sentence() for f in check.revisions()] == []


def test_ten_revisions_take_less_than_two_seconds() -> None:
    check.revisions()  # imports
    started = time.process_time()  # of this process: others may keep the machine busy
    check.revisions()
    assert (time.process_time() - started) / len(revisions.history()) * 10 < 2.0


def test_neither_the_runner_nor_the_catalog_lint_needs_pglast() -> None:
    modules = "migrations.runner, migrations.__main__, migrations.lint.catalog"
    program = f"import sys, {modules}; sys.exit('pglast' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, cwd=revisions.DIRECTORY.parent).returncode == 0
