"""``./gaia rehearse``: production brought up on this machine, against a stand-in for Google Cloud."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from engine import checkout as places
from ops.cloud import require_packages
from ops.exits import FAILED, FINE, Missing, UsageFault
from ops.progress import Progress
from ops.report import Report

if TYPE_CHECKING:
    from ops.checks import Check
    from rehearsal.run.outcome import Run
    from rehearsal.run.stage import Stage


ALL = "all"


def rehearse(
    report: Report,
    *,
    stack_name: str,
    provider: str,
    phases: list[str],
    faults: list[str],
    changes: list[str],
    keep: bool,
    page: Path | None,
) -> int:
    """Play the phases, or the faults; exit code 1 where a check failed. Raises ``UsageFault``, ``Missing``."""
    require_packages(places.here())
    from engine.acquire import acquire
    from ops import stacks
    from ops.up import pair
    from rehearsal.run import html
    from rehearsal.run.outcome import Run
    from rehearsal.run.play import chosen, play
    from rehearsal.run.stage import Choice, ProviderMissing, opened

    _require_known(provider, get_args(Choice), phases)
    names = [*phases, *_faults(faults)]
    given = [pair(change) for change in changes]
    checkout = places.here()
    if stacks.read_settings(checkout, stack_name).target != "gcp":
        raise UsageFault(f"stack {stack_name} is none of Google Cloud's: there is nothing to rehearse")
    engine = acquire(say=report.long)

    def told(check: Check) -> None:
        report.say(f"    {'ok  ' if check.ok else 'FAIL'}  {check.name}" + (f": {check.hint}" if check.hint else ""))

    with report.working("starting the cloud") as working:
        options: dict[str, Any] = {"choice": cast(Choice, provider), "given": given}
        try:
            with opened(
                checkout.root, stack_name, engine, on_event=Progress(working, preview=True), **options
            ) as stage:
                run = Run(stack=stack_name, provider=stage.provider)
                for phase in play(stage, chosen(names), on_phase=working.step, on_check=told):
                    run.phases.append(phase)
                run.notes += stage.notes()
                if page is not None:
                    page.write_text(html.page(run, stage.nodes), encoding="utf-8")
                if keep:
                    working.now("running until Ctrl-C")
                    _hold(report, stage)
        except ProviderMissing as error:
            raise Missing(str(error)) from None
    report.result(_text(run), run.document())
    return FINE if run.ok else FAILED


def _require_known(provider: str, choices: tuple[str, ...], phases: list[str]) -> None:
    from rehearsal.run.phases import PHASES

    if provider not in choices:
        raise UsageFault(f"--provider {provider}: must be {', '.join(choices)}")
    if unknown := [name for name in phases if name not in PHASES]:
        raise UsageFault(f"--phase {unknown[0]}: must be {', '.join(PHASES)}")


def _faults(given: list[str]) -> list[str]:
    """The faults of these names, all of them where ``all`` is one. Raises ``UsageFault``."""
    from rehearsal.run.faults import FAULTS

    if unknown := [name for name in given if name not in (*FAULTS, ALL)]:
        raise UsageFault(f"--fault {unknown[0]}: must be {', '.join(FAULTS)} or {ALL}")
    return list(FAULTS) if ALL in given else given


def _text(run: Run) -> str:
    width = max((len(phase.name) for phase in run.phases), default=0)
    lines = [
        f"{'ok  ' if phase.ok else 'FAIL'}  {phase.name:<{width}}  {phase.seconds:6.1f} s  "
        f"{sum(check.ok for check in phase.checks)} of {len(phase.checks)} checks"
        for phase in run.phases
    ]
    how = "the official provider" if run.provider == "official" else "the built-in provider"
    verdict = "went through" if run.ok else "FAILED"
    lines.append(f"{run.stack} {verdict} on this machine in {run.seconds:.0f} s, with {how}")
    lines.append(f"{len(run.notes)} things are not as Google has them: --json and --html name them")
    return "\n".join(lines)


def _hold(report: Report, stage: Stage) -> None:
    """Leave it running until Ctrl-C."""
    from rehearsal.run import kept

    report.say(f"the cloud answers at {stage.cloud.url}; in another terminal: . {kept.write(stage)}")
    report.say('then psql "$DATABASE_URL" is the backend; gcloud and pulumi work on what was brought up')
    report.say("Ctrl-C ends it, and nothing is left")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        report.say("ending")
