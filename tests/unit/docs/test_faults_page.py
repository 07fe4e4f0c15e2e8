"""The page about the faults names tests that are there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "faults.md"


def test_every_row_names_a_test_of_the_suite_and_every_test_file_has_a_row() -> None:
    named = re.findall(r"\| `(test_\w+\.py)` \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(named) == {file.name for file in (ROOT / "tests" / "faults").glob("test_*.py")}
