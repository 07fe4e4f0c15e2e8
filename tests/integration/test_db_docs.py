"""The flow that docs/db.md prints runs, from an account to a search."""

import asyncio
import re
from pathlib import Path

import pytest

from tests.integration.db_world import World, people, world

pytestmark = pytest.mark.postgres
__all__ = ["people", "world"]

PAGE = Path(__file__).parents[2] / "docs" / "db.md"


def test_the_flow_of_the_page_runs_as_printed(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    snippets = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (flow,) = (snippet for snippet in snippets if "auth.register" in snippet)
    scope: dict[str, object] = {}
    exec(flow, scope)
    monkeypatch.setitem(scope, "db_manager", world.manager())
    asyncio.run(scope["sign_up_and_play"]("cleo", "cleo@gaia.local", "a hash"))  # type: ignore[operator]
    assert "**cave**" in capsys.readouterr().out
