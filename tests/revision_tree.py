"""A copy of the migrations, for tests that add revisions to it."""

import shutil
from pathlib import Path

import pytest

from migrations import runner


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The copy."""
    return shutil.copytree(runner.DIRECTORY, tmp_path / "migrations", ignore=shutil.ignore_patterns("__pycache__"))


def add(tree: Path, body: str) -> str:
    """Add a revision whose upgrade is ``body``; returns its number."""
    number = runner.revisions.next_id(tree)
    (tree / "versions" / f"{number}_added.py").write_text(
        f'"""Added by a test."""\n\nimport time\n\nfrom alembic import op\n\nrevision = "{number}"\n'
        f'down_revision = "{runner.head(tree)}"\n\n\ndef upgrade() -> None:\n    {body}\n\n\n'
        f"def downgrade() -> None:\n    op.execute('SELECT 1')\n"
    )
    return number
