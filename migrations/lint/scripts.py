"""The parsed statements of each revision, with those inside DO blocks, functions and EXECUTE."""

import dataclasses
from collections.abc import Iterator, Sequence
from functools import cached_property

from pglast import ast, enums, parse_sql
from pglast.parser import ParseError

from migrations.lint import bodies, nodes
from migrations.lint.render import Emitted, Rendered
from migrations.revisions import Revision

TOP, DO, FUNCTION = "top", "do", "function"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Statement:
    """One statement, wherever it stands; equal to none but itself."""

    node: nodes.Node
    line: int
    """In the revision's file."""
    block: int
    """Even: a transaction of the revision; odd: an autocommit block."""
    place: str = TOP
    """Of its own (``top``), within a DO block, or within a function, which runs later."""
    text: str = ""
    sent: int = 0
    """With which of the script's texts it was sent."""

    @property
    def autocommit(self) -> bool:
        """Whether it runs without a transaction."""
        return self.place == TOP and self.block % 2 == 1

    @property
    def runs_now(self) -> bool:
        """Whether the migration itself runs it."""
        return self.place != FUNCTION


@dataclasses.dataclass(frozen=True, kw_only=True)
class Execute:
    """An EXECUTE of PL/pgSQL whose text isn't safely put together."""

    text: str
    line: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Script:
    """One direction of one revision."""

    revision: Revision
    up: bool
    statements: tuple[Statement, ...]
    executes: tuple[Execute, ...]
    unread: tuple[tuple[int, str], ...]
    """Line and reason of what could not be read."""
    failure: str | None
    """Why the revision could not be written out."""

    @property
    def direction(self) -> str:
        """As people say it."""
        return "upgrade" if self.up else "downgrade"

    def of(self, *kinds: type, now: bool = False) -> Iterator[tuple[Statement, nodes.Node]]:
        """The statements of ``kinds``; with ``now`` only those that the migration runs itself."""
        for statement in self.statements:
            if isinstance(statement.node, kinds) and (statement.runs_now or not now):
                yield statement, statement.node

    def new_tables(self) -> Iterator[tuple[Statement, str]]:
        """Each statement that creates a table, and the table; partitions too."""
        for statement, node in self.of(ast.CreateStmt, ast.CreateTableAsStmt, ast.SelectStmt, now=True):
            if (target := nodes.created(node)) is not None:
                yield statement, nodes.relation(target)

    @cached_property
    def made(self) -> frozenset[str]:
        """The tables that this script creates: nobody else uses them yet."""
        return frozenset(name for _, name in self.new_tables())

    @cached_property
    def made_columns(self) -> frozenset[str]:
        """``table.column`` of the columns that this script adds."""
        added = enums.AlterTableType.AT_AddColumn
        return frozenset(
            f"{nodes.relation(n.relation)}.{command.def_.colname}"
            for _, n in self.of(ast.AlterTableStmt, now=True)
            for command in nodes.changes(n, added)
        )

    @cached_property
    def made_schemas(self) -> frozenset[str]:
        """The schemas that this script creates."""
        return frozenset(str(n.schemaname) for _, n in self.of(ast.CreateSchemaStmt, now=True))


@dataclasses.dataclass(frozen=True)
class Line:
    """All revisions, in their order."""

    scripts: Sequence[Script]

    def upgrade_of(self, script: Script) -> Script:
        """The upgrade of the same revision."""
        return next(s for s in self.scripts if s.up and s.revision.id == script.revision.id)

    def upgrades_until(self, script: Script) -> list[Script]:
        """The upgrades up to this one, itself included."""
        return [s for s in self.scripts if s.up and s.revision.id <= script.revision.id]

    def upgrades_from(self, script: Script) -> list[Script]:
        """This upgrade and the later ones."""
        return [s for s in self.scripts if s.up and s.revision.id >= script.revision.id]


def parse(rendered: Rendered) -> Script:
    """Parse everything that a revision sends in one direction."""
    reader = _Reader(rendered)
    for number, emitted in enumerate(rendered.emitted):
        reader.read(number, emitted)
    return Script(
        revision=rendered.revision,
        up=rendered.up,
        statements=tuple(reader.statements),
        executes=tuple(reader.executes),
        unread=tuple(reader.unread),
        failure=rendered.failure,
    )


def file_line(source: Sequence[str], text_line: str, call_line: int) -> int:
    """Where in the file a line of SQL stands, if it stands there just once; else where it was sent from."""
    wanted = text_line.strip().rstrip(";")
    found = [number for number, line in enumerate(source, start=1) if wanted and wanted in line]
    return found[0] if len(found) == 1 else call_line


class _Reader:
    """Collects the statements of one script."""

    def __init__(self, rendered: Rendered) -> None:
        self._source = rendered.source.splitlines()
        self.statements: list[Statement] = []
        self.executes: list[Execute] = []
        self.unread: list[tuple[int, str]] = []
        self._sent = 0

    def read(self, number: int, emitted: Emitted) -> None:
        """Take what was sent to the server at once."""
        self._sent = number
        self._parse(emitted.text, emitted, TOP, 0)

    def _parse(self, text: str, emitted: Emitted, place: str, offset: int, *, maybe: bool = False) -> None:
        try:
            parsed: nodes.Node = parse_sql(text)
        except ParseError as error:
            if not maybe:
                self.unread.append((emitted.line, str(error)))
            return
        for raw in parsed:
            end = raw.stmt_location + raw.stmt_len if raw.stmt_len else len(text)
            piece = text[raw.stmt_location : end]
            start = raw.stmt_location + len(piece) - len(piece.lstrip())
            self._take(raw.stmt, text[start:end], emitted, place, offset + text.count("\n", 0, start))

    def _take(self, node: nodes.Node, text: str, emitted: Emitted, place: str, offset: int) -> None:
        line = self._line(emitted, offset)
        self._add(node, text, emitted, place, line)
        if not nodes.is_a(node, ast.CreateFunctionStmt, ast.DoStmt):
            return
        inner = DO if nodes.is_a(node, ast.DoStmt) and place != FUNCTION else FUNCTION
        body = bodies.look_into(node, text)
        if body.unread:
            self.unread.append((line, body.unread))
        for part in body.statements:
            self._add(part, "", emitted, inner, line)
        for part in body.parts:
            at = offset + part.offset
            if not part.safe:
                self.executes.append(Execute(text=part.text, line=self._line(emitted, at)))
            if part.sql:
                self._parse(part.sql, emitted, inner, at, maybe=part.dynamic)

    def _add(self, node: nodes.Node, text: str, emitted: Emitted, place: str, line: int) -> None:
        statement = Statement(node=node, line=line, block=emitted.block, place=place, text=text, sent=self._sent)
        self.statements.append(statement)
        for element in nodes.within_schema(node):
            self.statements.append(dataclasses.replace(statement, node=element))

    def _line(self, emitted: Emitted, offset: int) -> int:
        lines = emitted.text.splitlines()
        return file_line(self._source, lines[offset] if offset < len(lines) else "", emitted.line)
