"""The report as one page that needs nothing else: phases and checks, the timeline, the graph of the resources."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape

from ops.checks import Check
from rehearsal.run.outcome import Run

_WIDTH, _ROW, _LABEL = 1080, 22, 150
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1120px;padding:0 1rem;color:#1c2430;background:#fff}
h1{font-size:1.6rem;margin:0 0 .2rem}h2{font-size:1.15rem;margin:2rem 0 .5rem}
.ok{color:#136f3a}.bad{color:#b3261e}small,.hint{color:#5a6573}
details{border-top:1px solid #e3e7ec;padding:.35rem 0}summary{cursor:pointer;display:flex;gap:.8rem}
summary b{min-width:11rem}summary span:last-child{margin-left:auto;font-variant-numeric:tabular-nums}
ul{margin:.3rem 0 .3rem 1rem;padding:0;list-style:none}
svg{width:100%;height:auto;background:#f7f9fb;border-radius:6px}svg text{font:11px system-ui,sans-serif;fill:#1c2430}
.scroll{overflow-x:auto}.edge{stroke:#b8c2ce;fill:none;stroke-width:.8}
svg text.name{font-size:9px;fill:#fff}g.node:hover rect{stroke:#1c2430;stroke-width:1.5}
@media(prefers-color-scheme:dark){body{background:#14181d;color:#e6eaef}svg{background:#1c2229}svg text{fill:#e6eaef}
.hint,small{color:#9aa6b2}.ok{color:#5fd38d}.bad{color:#ff8a80}details{border-color:#2a323b}.edge{stroke:#465362}}
"""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A resource of the program: its URN, type, and the URNs that it waits for."""

    urn: str
    type: str
    after: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.urn.rsplit("::", 1)[-1]

    @property
    def service(self) -> str:
        """``sql`` of ``gcp:sql/user:User``; the package where it has one module alone."""
        package, module = self.type.split(":")[:2]
        return package if module.startswith("index") else module.split("/")[0]


def page(run: Run, nodes: Iterable[Node]) -> str:
    """The whole document."""
    verdict = "went through" if run.ok else "failed"
    how = "the official provider" if run.provider == "official" else "the built-in provider"
    return "\n".join(
        (
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<title>Rehearsal of {escape(run.stack)}: {verdict}</title><style>{_STYLE}</style></head><body>",
            f'<h1>Rehearsal of {escape(run.stack)}: <span class="{_class(run.ok)}">{verdict}</span></h1>',
            f"<p><small>{run.seconds:.1f} s on one machine, with {how}; the engine, PostgreSQL and the migrations are"
            " real, Google's API is a stand-in.</small></p>",
            "<h2>Phases</h2>",
            *(_phase(phase.name, phase.ok, phase.seconds, phase.checks) for phase in run.phases),
            "<h2>Timeline</h2>",
            timeline([(phase.name, phase.started_s, phase.seconds, phase.ok) for phase in run.phases]),
            "<h2>Resources</h2>",
            '<p class="hint">From left to right: what waits for what. A service has a color; hover for the name.</p>',
            f'<div class="scroll">{graph(list(nodes))}</div>',
            *_notes(run.notes),
            "</body></html>",
        )
    )


def _phase(name: str, ok: bool, seconds: float, checks: Iterable[Check]) -> str:
    items = "".join(
        f'<li><span class="{_class(check.ok)}">{"✓" if check.ok else "✗"}</span> {escape(check.name)}'
        + (f' <span class="hint">{escape(check.hint)}</span>' if check.hint else "")
        + "</li>"
        for check in checks
    )
    return (
        f"<details{'' if ok else ' open'}><summary><b>{escape(name)}</b>"
        f'<span class="{_class(ok)}">{"ok" if ok else "FAILED"}</span><span>{seconds:.1f} s</span></summary>'
        f"<ul>{items}</ul></details>"
    )


def timeline(bars: list[tuple[str, float, float, bool]]) -> str:
    """Bars of (name, start, seconds, ok), one below the other."""
    total = max((start + seconds for _, start, seconds, _ in bars), default=0) or 1
    scale = (_WIDTH - _LABEL - 60) / total
    rows = []
    for number, (name, start, seconds, ok) in enumerate(bars):
        y, x, width = 6 + number * _ROW, _LABEL + start * scale, max(seconds * scale, 2)
        color = "#4c78a8" if ok else "#e45756"
        rows.append(f'<text x="8" y="{y + 14}">{escape(name)}</text>')
        rows.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_ROW - 6}" rx="3" fill="{color}"/>')
        rows.append(f'<text x="{x + width + 6:.1f}" y="{y + 13}">{seconds:.1f} s</text>')
    return f'<svg viewBox="0 0 {_WIDTH} {len(bars) * _ROW + 12}" role="img">{"".join(rows)}</svg>'


def graph(nodes: list[Node]) -> str:
    """Resources in columns: each stands to the right of all that it waits for."""
    known = {node.urn: node for node in nodes}
    columns: dict[int, list[Node]] = defaultdict(list)
    depth = depths(known)
    for node in sorted(nodes, key=lambda each: (each.service, each.name)):
        columns[depth[node.urn]].append(node)
    place, height = {}, 16
    step = 170
    for column, inside in columns.items():
        for row, node in enumerate(inside):
            place[node.urn] = (12 + column * step, 12 + row * height)
    services = sorted({node.service for node in nodes})
    colors = {service: f"hsl({360 * number // len(services)} 45% 45%)" for number, service in enumerate(services)}
    edges = [
        f'<path class="edge" d="M{place[urn][0] + 130},{place[urn][1] + 6} C{place[urn][0] + 150},{place[urn][1] + 6}'
        f' {x - 20},{y + 6} {x},{y + 6}"/>'
        for node in nodes
        for x, y in [place[node.urn]]
        for urn in node.after
        if urn in place
    ]
    boxes = [
        f'<g class="node"><title>{escape(node.type)}\n{escape(node.name)}</title><rect x="{x}" y="{y}" width="130"'
        f' height="12" rx="3" fill="{colors[node.service]}"/><text class="name" x="{x + 4}" y="{y + 9.5}">'
        f"{escape(node.name[:26])}</text></g>"
        for node in nodes
        for x, y in [place[node.urn]]
    ]
    legend = " ".join(f'<tspan fill="{color}">■</tspan> {escape(service)} &#160;' for service, color in colors.items())
    wide = 24 + max(len(columns), 1) * step
    high = 40 + max((len(inside) for inside in columns.values()), default=0) * height
    text = f'<text x="12" y="{high - 10}">{legend}</text>'
    return f'<svg viewBox="0 0 {wide} {high}" role="img">{"".join((*edges, *boxes))}{text}</svg>'


def depths(nodes: Mapping[str, Node]) -> dict[str, int]:
    """How many others each waits for, one after the other; what isn't among the nodes doesn't count."""
    found: dict[str, int] = {}

    def depth(urn: str) -> int:
        if urn not in found:
            found[urn] = 0  # the engine lets no circle through; this doesn't hang if it did
            found[urn] = 1 + max((depth(each) for each in nodes[urn].after if each in nodes), default=-1)
        return found[urn]

    for urn in nodes:
        depth(urn)
    return found


def _notes(notes: Iterable[str]) -> list[str]:
    items = [f"<li>{escape(note)}</li>" for note in notes]
    return ["<h2>Not as Google would</h2>", f"<ul>{''.join(items)}</ul>"] if items else []


def _class(ok: bool) -> str:
    return "ok" if ok else "bad"
