"""What squawk finds: https://squawkhq.com/docs/rules. It is started once for all revisions."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from migrations.errors import MigrationError
from migrations.lint.dynamic import short
from migrations.lint.findings import WARNING, Finding
from migrations.lint.render import Emitted, Rendered
from migrations.lint.scripts import DO, Script, file_line
from migrations.lint.squawk_rules import OFF, ONLY_UP

POSTGRES = "16.0"
TIMEOUT_S = 30

_Line = tuple[Emitted, int, str]
"""A line of a file for squawk: the text it belongs to, its number within that, and what is written."""


class SquawkFailed(MigrationError):
    """Install the development tools: ./gaia setup."""


def findings(rendered: Sequence[Rendered], scripts: Sequence[Script], files: dict[str, str]) -> Iterator[Finding]:
    """What squawk finds in all revisions; ``scripts`` are the parsed ones."""
    with tempfile.TemporaryDirectory(prefix="gaia-lint-") as folder:
        paths: dict[str, tuple[Rendered, list[_Line]]] = {}
        for number, (item, script) in enumerate(zip(rendered, scripts, strict=True)):
            if lines := _lines(item, script):
                path = Path(folder) / f"{number:04d}.sql"
                path.write_text("".join(f"{text}\n" for _, _, text in lines), encoding="utf-8")
                paths[str(path)] = item, lines
        for found in run(list(paths)):
            item, lines = paths[found["file"]]
            emitted, offset, _ = lines[min(found["line"], len(lines) - 1)]
            about_clients = found["rule_name"] in ONLY_UP
            if not about_clients or (item.up and not _nobody_names_it(emitted.text)):
                yield _finding(found, item, emitted, offset, files[item.revision.id])


def run(paths: Sequence[str], exclude: Sequence[str] = tuple(OFF)) -> list[dict[str, Any]]:
    """squawk's own findings in these files; raises SquawkFailed."""
    if not paths:
        return []
    beside = Path(sys.executable).with_name("squawk")
    program = str(beside) if beside.exists() else shutil.which("squawk")
    if program is None:
        raise SquawkFailed("squawk is not installed: run ./gaia setup")
    # An empty configuration, so that none in a folder above says something else.
    command = [program, "--config", "/dev/null", "--reporter", "json", "--pg-version", POSTGRES]
    command += [f"--exclude={','.join(exclude)}"] if exclude else []
    done = subprocess.run([*command, *paths], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    try:
        return json.loads(done.stdout)
    except ValueError:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[0]
        raise SquawkFailed(f"squawk can't look at the revisions: {said}; run ./gaia setup") from None


def _lines(item: Rendered, script: Script) -> list[_Line]:
    """The file for squawk: what was sent, after each DO block what stands in it, and transactions as they were."""
    lines: list[_Line] = []
    before = None
    for number, emitted in enumerate(item.emitted):
        if emitted.block != before:
            ending = [] if before is None or before % 2 else ["COMMIT;"]
            starting = ["BEGIN;"] if emitted.block % 2 == 0 else []
            lines += [(emitted, 0, text) for text in (*ending, *starting)]
            before = emitted.block
        inner = [s for s in script.statements if s.sent == number and s.place == DO]
        for text in (emitted, *(Emitted(text=s.text, line=s.line, block=s.block) for s in inner)):
            lines += _written(text)
    return [*lines, *([(item.emitted[-1], 0, "COMMIT;")] if before is not None and before % 2 == 0 else [])]


def _written(emitted: Emitted) -> list[_Line]:
    # squawk's own comment would be a waiver without a reason. The last line may be a comment, its semicolon too.
    text = emitted.text.replace("squawk-ignore", "squawk ignore")
    ended = text.endswith(";") and "--" not in text.splitlines()[-1]
    lines = text.splitlines() + ([] if ended else [";"])
    return [(emitted, number, line) for number, line in enumerate(lines)]


def _nobody_names_it(sql: str) -> bool:
    """Indexes and the sequences of columns are in no client's query: a new name for one breaks nothing."""
    return sql.lstrip().upper().startswith(("ALTER INDEX", "ALTER SEQUENCE"))


def _finding(found: dict[str, Any], item: Rendered, emitted: Emitted, offset: int, file: str) -> Finding:
    texts = emitted.text.splitlines()
    rule = found["rule_name"]
    return Finding(
        rule=rule,
        id=rule,
        severity=WARNING if found["level"].lower() == "warning" else "error",
        message=f"{found['message'].rstrip('.')}: {short(emitted.text)}",
        safe=(found["help"] or f"see https://squawkhq.com/docs/{rule}").rstrip("."),
        revision=item.revision.id,
        direction="upgrade" if item.up else "downgrade",
        file=file,
        line=file_line(item.source.splitlines(), texts[offset] if offset < len(texts) else "", emitted.line),
    )
