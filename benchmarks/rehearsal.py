"""The cases of the rehearsal: production on its stage, and as many resources that nothing hangs on; how it grows."""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil
import yaml

from benchmarks.commands import END_TIMEOUT_S, CommandFailed, plain_environment
from benchmarks.copied import SOURCE
from benchmarks.database_measure import Figure, ratio
from engine.acquire import acquire
from engine.errors import EngineError
from rehearsal.run.stage import PROJECT, opened
from tests.postgres import unavailable

Say = Callable[[str], None]
STACK = "prod"
NOISE = 1.1
"""Medians of the same differ by a tenth on one machine."""
WHOLE_S, WHOLE_MB = 120, 1500
_LOOK_EVERY_S = 0.2
_NOTHING = """\
from pulumi_gcp import secretmanager

for number in range({count}):
    secretmanager.Secret(
        f"nothing-{{number}}",
        secret_id=f"nothing-{{number}}",
        replication=secretmanager.SecretReplicationArgs(auto=secretmanager.SecretReplicationAutoArgs()),
    )
"""


@dataclass(frozen=True, kw_only=True)
class Program:
    """A checkout with a program, and what is set in its stack file."""

    root: Path = SOURCE
    given: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class Taken:
    """One run: seconds, and how many resources it made."""

    preview_s: float
    up_s: float
    resources: int


@dataclass(frozen=True, kw_only=True)
class Growing:
    """Something of which production may have many."""

    setting: str
    one: str
    """What the setting says of one of them."""
    half: int
    """Twice as many are compared with it."""


GROWING = {
    "replicas": Growing(setting="gcp.replicas", one="{}", half=2),
    "alerts": Growing(setting="gcp.alerts.emails", one="somebody@example.com", half=8),
    "users": Growing(setting="gcp.access.iam_users", one="somebody@example.com", half=8),
}


def up(runs: int, say: Say) -> list[Figure]:
    """Production without its jobs, for which there is no image yet, against a program of as many secrets.

    Google can't be had, so the yardstick is what the stage takes for as many resources that nothing hangs on: the same
    engine, provider, cloud, commands and flags; one request makes a secret, one reads it. No secret waits for another,
    or has a policy, an operation or a server behind it. Whatever production adds is in the ratio: its imports and
    components, the order of its resources, bindings, and a real PostgreSQL with its database and users.
    """
    ours = Program()
    count = once(ours).resources
    against = f"{count} secrets"
    with nothing(count) as plain:
        once(plain)
        taken = in_turn("rehearsal-up", {against: plain, "ours": ours}, runs, say)
    mine, other = taken["ours"], taken[against]
    return [
        ratio("rehearsal-preview", against, [each.preview_s for each in mine], [each.preview_s for each in other], 1.4),
        ratio("rehearsal-up", against, [each.up_s for each in mine], [each.up_s for each in other], 1.5),
    ]


def growth(runs: int, say: Say) -> list[Figure]:
    """Twice as many replicas, channels of alerts or users, against none and twice what half of them added."""
    once(Program())
    found: list[Figure] = []
    for name, what in GROWING.items():
        programs = {f"{number} {name}": grown(what, number) for number in (0, what.half, 2 * what.half)}
        none, half, full = (
            [each.up_s for each in taken] for taken in in_turn("rehearsal-growth", programs, runs, say).values()
        )
        found.append(proportion(name, what.half, none, half, full))
    return found


def proportion(name: str, many: int, none: Sequence[float], half: Sequence[float], full: Sequence[float]) -> Figure:
    """What twice ``many`` take, by what they would if each added what each of ``many`` adds."""
    mine, expected = median(full), 2 * median(half) - median(none)
    return Figure(
        name="rehearsal-growth",
        against=f"0, and twice what {many} add",
        measure=f"{2 * many} {name}",
        unit="s",
        ours=mine,
        baseline=expected,
        value=mine / expected,
        bar=NOISE,
        samples=len(full),
    )


def whole(runs: int, say: Say) -> list[Figure]:
    """All phases by ``./gaia rehearse``: its time, and its memory with that of all that it starts."""
    seconds, peaks = [], []
    for number in range(1, runs + 1):
        second, peak = watched("rehearse", "--json", "--provider", "builtin")
        seconds.append(second)
        peaks.append(peak)
        say(f"rehearsal-whole {number}/{runs}: {second:.1f} s, {peak:.0f} MB")
    return [
        limit("its time", "s", median(seconds), WHOLE_S, runs),
        # The worst counts: memory that isn't there ends the run.
        limit("its memory", "MB", max(peaks), WHOLE_MB, runs),
    ]


def limit(measure: str, unit: str, ours: float, most: float, runs: int) -> Figure:
    return Figure(
        name="rehearsal-whole",
        against="what it may be",
        measure=measure,
        unit=unit,
        ours=ours,
        baseline=most,
        value=ours / most,
        bar=1.0,
        samples=runs,
    )


REHEARSAL_CASES: dict[str, Callable[[int, Say], list[Figure]]] = {
    "rehearsal-up": up,
    "rehearsal-growth": growth,
    "rehearsal-whole": whole,
}


def in_turn(name: str, programs: Mapping[str, Program], runs: int, say: Say) -> dict[str, list[Taken]]:
    """Each program on a stage of its own, forth and back: what else the machine does falls on all."""
    taken: dict[str, list[Taken]] = {each: [] for each in programs}
    for number in range(1, runs + 1):
        for each, program in list(programs.items())[:: 1 if number % 2 else -1]:
            taken[each].append(once(program))
        said = (f"{each}: preview {of[-1].preview_s:.2f} s, up {of[-1].up_s:.2f} s" for each, of in taken.items())
        say(f"{name} {number}/{runs}: {'; '.join(said)}")
    return taken


def once(program: Program) -> Taken:
    """Preview and ``up`` on a fresh stage, which isn't timed. Raises ``CommandFailed``."""
    if reason := unavailable():
        raise CommandFailed(reason)
    try:
        with opened(program.root, STACK, acquire(), choice="builtin", given=program.given) as stage:
            _ = stage.servers.template.data  # made ahead, as it is in a run that begins with its preview
            # Ours enables it by a resource, like all APIs.
            stage.cloud.enabled |= {"secretmanager"} if program.root != SOURCE else set()
            began = time.perf_counter()
            stage.run("preview")
            previewed = time.perf_counter()
            changes = stage.run("up").changes
            ended = time.perf_counter()
    except EngineError as error:
        raise CommandFailed(str(error)) from None
    return Taken(preview_s=previewed - began, up_s=ended - previewed, resources=sum(changes.values()))


def grown(what: Growing, number: int) -> Program:
    """Production with so many of them."""
    if not number:
        return Program()
    several = ", ".join(f"a{each}: {what.one}" for each in range(1, number + 1))
    return Program(given=[(what.setting, f"{{{several}}}")])


@contextmanager
def nothing(count: int) -> Iterator[Program]:
    """A checkout with a program of so many secrets, in the environment of ours."""
    with tempfile.TemporaryDirectory(prefix="gaia-benchmark-") as name:
        root = Path(name)
        (root / "Pulumi.yaml").write_bytes((SOURCE / "Pulumi.yaml").read_bytes())
        (root / ".venv").symlink_to(SOURCE / ".venv")
        (root / "__main__.py").write_text(_NOTHING.format(count=count))
        where = yaml.safe_load((SOURCE / f"Pulumi.{STACK}.yaml").read_text())["config"]["gaia-db:gcp"]["region"]
        config = {"gaia-db:gcp": {"project": PROJECT, "region": where}, "gcp:project": PROJECT}
        (root / f"Pulumi.{STACK}.yaml").write_text(yaml.safe_dump({"config": config}))
        yield Program(root=root)


def watched(*arguments: str) -> tuple[float, float]:
    """Seconds of a ``./gaia`` command and the most memory in MB of all its processes. Raises ``CommandFailed``."""
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as complained:
        began = time.perf_counter()
        process = subprocess.Popen(
            [SOURCE / "gaia", *arguments],
            cwd=SOURCE,
            env=plain_environment(),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=complained,
            start_new_session=True,
        )
        peak = 0.0
        try:
            while process.poll() is None:
                peak = max(peak, memory_mb(psutil.Process(process.pid)))
                time.sleep(_LOOK_EVERY_S)
        except BaseException:
            process.send_signal(signal.SIGINT)
            process.wait(END_TIMEOUT_S)
            raise
        seconds = time.perf_counter() - began
        said.seek(0)
        if process.returncode != 0 or not json.load(said)["ok"]:
            complained.seek(0)
            raise CommandFailed(
                f"./gaia {' '.join(arguments)}: exit code {process.returncode}\n{complained.read()[-1500:]}"
            )
    return seconds, peak


def memory_mb(process: psutil.Process) -> float:
    """Of this process and all below it; what several share counts once (PSS)."""
    total = 0
    with suppress(psutil.Error):
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.Error, OSError):
                total += each.memory_full_info().pss
    return total / 1e6
