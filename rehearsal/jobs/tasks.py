"""One task of an execution: the container's process, started, watched, ended."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rehearsal.jobs import image as images
from rehearsal.jobs import metadata, sockets
from rehearsal.jobs.image import Image
from rehearsal.processes import Processes, Program

GRACE_S = 10.0
"""Between SIGTERM and SIGKILL: https://cloud.google.com/run/docs/container-contract#lifecycle-jobs"""
_LOOK_EVERY_S = 0.02
EXITED, TIMED_OUT, CANCELLED = (
    "The container exited with an error.",
    "The configured timeout was reached.",
    "Cancelled.",
)


MIGRATIONS = "migrations"
NOT_MODELLED = (
    "images: the checkout's own are put together from its Dockerfile, with this machine's Python; no other can be run",
    "the network: a container reaches this machine's loopback, and no VPC; where it lacks a way in, it is refused",
    "limits of CPU and memory",
    "other processes of this machine can be seen in /proc",
    "GAIA_SQLADMIN_URL, CLOUDSDK_API_ENDPOINT_OVERRIDES_SQL and GCE_METADATA_HOST, which Google doesn't set: they lead "
    "the job to this cloud",
)
"""What the report says of these jobs."""
REWRITTEN = "paths: this machine gives a container no files of its own, so its paths are rewritten in its environment"
"""Said as well where ``Machine.isolated`` is false."""


class NoImage(Exception):
    """There is no image of this name that could be run here: only the checkout's own ones can."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What to run, and with what."""

    name: str
    image: str
    """As the job names it."""
    command: Sequence[str]
    """Empty for the image's own."""
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    mounts_sockets_at: str | None
    """Where the container has the instances' sockets; None for nowhere."""
    ways: Mapping[str, Path]
    """By connection name, the folder of the instance's socket."""
    refused: Mapping[str, str]
    """By connection name, why the account may not connect."""
    files: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Secrets as files: path in the container → content."""
    account: str
    token: Callable[[], str] = field(repr=False)
    facts: Mapping[str, str]
    timeout_s: float


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How an attempt ended."""

    exit_code: int
    """Below zero: the signal that ended it."""
    why: str | None
    """None: it succeeded."""


@dataclass(frozen=True, kw_only=True)
class Kill:
    """A fault on request: the container of this job is killed once its log has this text."""

    job: str
    when: str


@dataclass(kw_only=True)
class Machine:
    """Where tasks run."""

    processes: Processes
    folder: Path
    address: Callable[[], Mapping[str, str]] = dict
    """Variables by which clients find this cloud instead of Google's."""
    faults: list[Kill] = field(default_factory=list)
    images: dict[str, Callable[[], Image]] = field(default_factory=lambda: {MIGRATIONS: images.read})
    """What can be run, by the name of the image without its registry, project, tag and digest."""
    _under_way: list[tuple[threading.Event, threading.Event]] = field(default_factory=list, repr=False)
    """Of each task: what stops it, and whether it is over."""

    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def close(self) -> None:
        """Stop every task and wait for its end."""
        while self._under_way:
            stop, over = self._under_way[-1]
            stop.set()
            over.wait(3 * GRACE_S)

    @functools.cached_property
    def _unpacked(self) -> dict[str, Image]:
        return {}

    def push(self, reference: str, image: Image) -> None:
        """Have this image under this reference, digest included, as ``docker push`` would."""
        with self._lock:
            folder = self.folder / f"image-{len(self._unpacked)}-{short(reference)}"
            self._unpacked[reference] = images.unpack(image, folder)

    def image(self, reference: str) -> Image:
        """The image of this reference, unpacked once; raises NoImage."""
        name = short(reference)
        with self._lock:
            if reference in self._unpacked:
                return self._unpacked[reference]
            if name not in self.images:
                raise NoImage(f"Image '{reference}' not found.")
            if name not in self._unpacked:
                self._unpacked[name] = images.unpack(self.images[name](), self.folder / f"image-{name}")
            return self._unpacked[name]

    @functools.cached_property
    def isolated(self) -> bool:
        """Whether this machine lets a container have files of its own; else paths are rewritten."""
        root = self.folder / "probe"
        root.mkdir(exist_ok=True)
        mounts = {path: path for path in ("/usr", "/bin", "/lib", "/lib64") if Path(path).exists()}
        try:
            probe = self.processes.start(["/bin/true"], environment={}, folder="/", root=root, mounts=mounts)
        except OSError:
            return False
        works = probe.popen.wait() == 0
        probe.forget()
        return works

    def run(self, task: Task, *, log: Path, job: str, stop: threading.Event) -> Ending:
        """Run it once, to its end; what it prints goes to the end of ``log``."""
        known = stop, threading.Event()
        self._under_way.append(known)
        try:
            return self._run(task, log=log, job=job, stop=stop)
        finally:
            shutil.rmtree(self.folder / task.name, ignore_errors=True)  # secrets may be files in it
            self._under_way.remove(known)
            known[1].set()

    def _run(self, task: Task, *, log: Path, job: str, stop: threading.Event) -> Ending:
        place = self.folder / task.name
        place.mkdir(mode=0o755, parents=True, exist_ok=True)

        def tell(text: str) -> None:
            with log.open("a") as out:
                out.write(f"{text}\n")

        with contextlib.ExitStack() as stack:
            mounted = stack.enter_context(sockets.mounted(place / "s", task.ways, task.refused, tell=tell))
            host = stack.enter_context(metadata.serving(task.account, token=task.token, facts=task.facts))
            environment = {
                **_BASE,
                **self.image(task.image).environment,
                **task.environment,
                **self.address(),
                "GCE_METADATA_HOST": host,
            }
            program = self._start(task, place, mounted, environment, log)
            return self._watch(program, task, log=log, job=job, stop=stop)

    def _start(self, task: Task, place: Path, mounted: Path, environment: Mapping[str, str], log: Path) -> Program:
        image = self.image(task.image)
        command = [*(task.command or image.entrypoint), *(task.arguments or ([] if task.command else image.command))]
        if command[0] == "python":
            command[0] = images.python()
        mounts = {inside: str(source) for inside, source in image.files.items()}
        mounts |= self._written(task.files, place, image.ids)
        if task.mounts_sockets_at:
            mounts[task.mounts_sockets_at] = str(mounted)
        with log.open("ab") as out:
            if self.isolated:
                own = {way: way for way in map(str, {path.resolve() for path in task.ways.values()})}
                (root := place / "root").mkdir(exist_ok=True)
                return self.processes.start(
                    command,
                    environment=environment,
                    folder=image.folder,
                    output=out.fileno(),
                    ids=image.ids if self.processes.user is not None else None,
                    root=root,
                    mounts={**images.system(), **own, **mounts},
                )
            tree = _tree(place / "tree", mounts)
            return self.processes.start(
                command,
                environment=_rewritten(environment, mounts, tree),
                folder=f"{tree}{image.folder}",
                output=out.fileno(),
            )

    def _watch(self, program: Program, task: Task, *, log: Path, job: str, stop: threading.Event) -> Ending:
        deadline, gentle = time.monotonic() + task.timeout_s, ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, 10.0))
        while program.runs:
            if stop.is_set():
                return Ending(exit_code=program.end(signals=gentle), why=CANCELLED)
            if time.monotonic() > deadline:
                return Ending(exit_code=program.end(signals=gentle), why=TIMED_OUT)
            for fault in [fault for fault in self.faults if fault.job == job and fault.when in _text(log)]:
                self.faults.remove(fault)
                program.end(signals=((signal.SIGKILL, 10.0),))
            time.sleep(_LOOK_EVERY_S)
        code = program.popen.wait()
        program.forget()
        if code == 0:
            return Ending(exit_code=0, why=None)
        with log.open("a") as out:
            said = f"Container called exit({code})." if code > 0 else f"Container terminated on signal {-code}."
            out.write(f"{said}\n")
        return Ending(exit_code=code, why=EXITED)

    def _written(self, files: Mapping[str, str], place: Path, ids: tuple[int, int]) -> dict[str, str]:
        written: dict[str, str] = {}
        for number, (inside, content) in enumerate(files.items()):
            file = place / f"file-{number}"
            file.touch(mode=0o400)
            file.write_text(content)
            if self.processes.user is not None:
                os.chown(file, *ids)
            written[inside] = str(file)
        return written


_BASE = {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin", "HOME": "/", "LANG": "C.UTF-8"}
"""What the base image sets; Python's own folder isn't in it where it lies elsewhere on this machine."""


def variables(*, job: str, execution: str, index: int, attempt: int, count: int) -> dict[str, str]:
    """What Cloud Run sets: https://cloud.google.com/run/docs/container-contract#jobs-env-vars"""
    return {
        "CLOUD_RUN_JOB": job,
        "CLOUD_RUN_EXECUTION": execution,
        "CLOUD_RUN_TASK_INDEX": str(index),
        "CLOUD_RUN_TASK_ATTEMPT": str(attempt),
        "CLOUD_RUN_TASK_COUNT": str(count),
    }


def short(reference: str) -> str:
    """The last part of an image's name, without tag and digest."""
    return reference.partition("@")[0].rpartition("/")[2].partition(":")[0]


def _text(log: Path) -> str:
    return log.read_text(errors="replace") if log.exists() else ""


def _tree(folder: Path, mounts: Mapping[str, str]) -> Path:
    """What a namespace would show, as links."""
    for inside, source in mounts.items():
        link = folder / inside.lstrip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(source)
    return folder


def _rewritten(environment: Mapping[str, str], mounts: Mapping[str, str], tree: Path) -> dict[str, str]:
    """Without files of its own, the container's paths become those of this machine."""
    changed = {**environment, "PYTHONPATH": ":".join(f"{tree}{p}" for p in environment["PYTHONPATH"].split(":"))}
    for name, value in changed.items():
        for inside, source in mounts.items():
            if inside not in environment["PYTHONPATH"] and not inside.startswith("/opt/"):
                value = value.replace(inside, source)
        changed[name] = value
    return changed
