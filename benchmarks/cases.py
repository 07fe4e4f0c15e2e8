"""What is compared with what, and the bar of each."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import yaml

from benchmarks import plain
from benchmarks.commands import CommandFailed, plain_environment, run
from benchmarks.copied import Copy
from benchmarks.measure import Bar, Side
from infra.local import postgres

HEALTHY_AFTER_S = 10.5
"""What the source document's healthcheck takes to say healthy: its first look comes after ten seconds."""
Sides = tuple[Side, Side | None]


class CannotRun(Exception):
    """This machine lacks what a case needs; the message says what."""


@dataclass(frozen=True)
class Bench:
    """What the cases share."""

    copy: Copy
    folder: Path
    """For what the plain tools make."""

    @cached_property
    def schema(self) -> Path:
        """A file that makes the schema of a migrated database with ``psql``; its ``up`` is our untimed first run."""
        file = self.folder / "schema.sql"
        with self.local_up():
            superuser = self.copy.settings("local").database.user
            file.write_text(plain.dump(self.copy.gaia("url", "--stack", "local").strip(), superuser))
        return file

    @contextmanager
    def local_up(self) -> Iterator[None]:
        """The stack ``local``, up on a port of its own."""
        self.copy.configure("local", {"database.port": free_port()})
        try:
            self.copy.gaia("up", "--stack", "local")
            yield
        finally:
            self.copy.purge("local")

    @contextmanager
    def program(self, text: str = "", debug_providers: str = "") -> Iterator[plain.Program]:
        """A plain program that was run once, so that its files are in the machine's memory as ours are."""
        program = plain.Program(
            folder=self.folder / "program",
            engine=self.copy.engine,
            virtualenv=self.copy.root / ".venv",
            debug_providers=debug_providers,
        )
        try:
            program.write(text)
            program.init()
            program.up()
            yield program
        finally:
            shutil.rmtree(program.folder, ignore_errors=True)


@contextmanager
def local_cold(bench: Bench) -> Iterator[Sides]:
    """Nothing there → a migrated database."""
    schema, port = bench.schema, free_port()
    bench.copy.configure("local", {"database.port": port})
    database = replace(bench.copy.settings("local").database, port=free_port())
    server = plain.Server(home=bench.folder / "server", database=database, schema=schema)
    with bench.program() as program:
        program.forget()
        try:
            yield (
                Side(run=lambda: bench.copy.gaia("up", "--stack", "local"), after=lambda: bench.copy.purge("local")),
                Side(run=_all(program.init, program.up, server.up), after=_all(server.remove, program.forget)),
            )
        finally:
            server.remove()
            bench.copy.purge("local")


@contextmanager
def unchanged(bench: Bench) -> Iterator[Sides]:
    """A stack that is up → the same."""
    with bench.local_up(), bench.program(plain.do_nothing(bench.copy.resource_count("local"))) as program:
        yield Side(run=lambda: bench.copy.gaia("up", "--stack", "local")), Side(run=program.up)


@contextmanager
def dev_cold(bench: Bench) -> Iterator[Sides]:
    """Nothing but the image there → a migrated database in a container."""
    import docker
    from docker.errors import DockerException

    from tests.images import postgres16
    from tests.standins.attached import official_plugin, running
    from tests.standins.docker_names import Names

    try:
        client = docker.from_env()
    except DockerException as error:
        raise CannotRun(f"no Docker engine answers ({error})") from None
    schema, names = bench.schema, Names()
    image = postgres16.ensure(client=client)
    docker_values = {f"docker.{what}": names(what) for what in ("container", "network", "volume")}
    bench.copy.configure("dev", {**docker_values, "docker.image": image, "database.port": names.port()})
    container = plain.Container(name=names("plain"), settings=bench.copy.settings("dev"), schema=schema)

    @contextmanager
    def provider() -> Iterator[str]:
        if official_plugin("docker"):
            yield ""
            return
        with running("tests.standins.docker_provider") as port:
            yield f"docker:{port}"

    try:
        with provider() as attached, bench.program(debug_providers=attached) as program:
            program.forget()
            ours = replace(bench.copy, debug_providers=attached)
            try:
                ours.gaia("up", "--stack", "dev")
                ours.purge("dev")
                yield (
                    Side(run=lambda: ours.gaia("up", "--stack", "dev"), after=lambda: ours.purge("dev")),
                    Side(
                        run=_all(program.init, program.up, container.up),
                        after=_all(container.remove, program.forget),
                    ),
                )
            finally:
                ours.purge("dev")
    finally:
        names.clear(client)
        client.close()


@contextmanager
def prod_preview(bench: Bench) -> Iterator[Sides]:
    """A preview of production, nothing of which is there, on the tests' stand-in for the provider."""
    from tests.standins.attached import running

    values = yaml.safe_load((bench.copy.root / "Pulumi.prod.yaml").read_text(encoding="utf-8"))
    values["config"]["gaia-db:gcp"] |= {"project": "gaia-benchmark"}
    values["config"]["gaia-db:gcp"]["migration_job"] |= {"image": _IMAGE}
    file = bench.folder / "prod.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    with running("tests.standins.gcp_provider") as port:
        attached = f"gcp:{port},random:{port}"
        with bench.program(debug_providers=attached) as program:

            def production(*command: str) -> str:
                # Of what ``./gaia env`` prints for a shell, that which differs from the plain program's.
                shell = {
                    "PULUMI_STACK": "prod",
                    "GAIA_IMPORT_AHEAD": "infra.ahead",
                    "PULUMI_OPTION_CONFIG_FILE": str(file),
                }
                return program.pulumi(*command, cwd=bench.copy.root, stack="prod", **shell)

            production("stack", "init", "--no-select")
            count = sum(json.loads(production("preview", "--json"))["changeSummary"].values())
            program.declare(plain.provided(count - 1))
            yield Side(run=lambda: production("preview")), Side(run=program.preview)


_IMAGE = f"us-west1-docker.pkg.dev/gaia-benchmark/gaia-db/migrations@sha256:{'a' * 64}"


@contextmanager
def url(bench: Bench) -> Iterator[Sides]:
    """The connection URI of a stack that is up."""
    with bench.local_up():
        yield Side(run=lambda: bench.copy.gaia("url")), None


@contextmanager
def stats(bench: Bench) -> Iterator[Sides]:
    """Every section of the statistics, against the shortest command that needs the login as well."""
    with bench.local_up():
        bench.copy.gaia("seed", "--users", "300", "--messages", "100000")
        yield Side(run=lambda: bench.copy.gaia("stats")), Side(run=lambda: bench.copy.gaia("url"))


@contextmanager
def doctor(bench: Bench) -> Iterator[Sides]:
    """The examination of a stack with which nothing is wrong."""
    with bench.local_up():
        yield Side(run=lambda: bench.copy.gaia("doctor")), None


@contextmanager
def doctor_down(bench: Bench) -> Iterator[Sides]:
    """The examination with the server killed, its port taken by somebody who never answers, and the state damaged."""
    with bench.local_up():
        settings = bench.copy.settings("local")
        state = bench.copy.root / ".gaia" / "state" / ".pulumi" / "stacks" / "gaia-db" / "local.json"
        whole = state.read_text()
        home = postgres.home_for(bench.copy.root, "local")
        os.kill(int((home / "data" / "postmaster.pid").read_text().split("\n", 1)[0]), signal.SIGKILL)
        with _taken(settings.database.port):
            state.write_text(whole[:200])
            try:
                yield Side(run=lambda: _finds_faults(bench)), None
            finally:
                state.write_text(whole)


def _finds_faults(bench: Bench) -> None:
    try:
        bench.copy.gaia("doctor")
    except CommandFailed as failed:
        if "exit code 1\n" in str(failed):
            return
        raise
    raise CommandFailed("./gaia doctor found nothing wrong")


@contextmanager
def launcher(bench: Bench) -> Iterator[Sides]:
    """The shortest command, through the launcher and without it."""
    by_hand = (bench.copy.python, "-P", "-m", "ops", "--help")
    yield (
        Side(run=lambda: bench.copy.gaia("--help")),
        Side(run=lambda: run(*by_hand, cwd=bench.copy.root, env=plain_environment())),
    )


@dataclass(frozen=True, kw_only=True)
class Case:
    """One comparison and what it must stay within."""

    open: Callable[[Bench], AbstractContextManager[Sides]]
    bars: tuple[Bar, ...]


CASES = {
    "local-cold": Case(open=local_cold, bars=(Bar(measure="ratio", at_most=1.5),)),
    "local-unchanged": Case(open=unchanged, bars=(Bar(measure="ratio", at_most=1.4),)),
    "dev-cold": Case(
        open=dev_cold, bars=(Bar(measure="ratio", at_most=1.5), Bar(measure="seconds", at_most=HEALTHY_AFTER_S / 2))
    ),
    "prod-preview": Case(open=prod_preview, bars=(Bar(measure="ratio", at_most=1.4),)),
    "url": Case(open=url, bars=(Bar(measure="seconds", at_most=0.8),)),
    "stats": Case(open=stats, bars=(Bar(measure="added seconds", at_most=0.5),)),
    "doctor": Case(open=doctor, bars=(Bar(measure="seconds", at_most=2.0),)),
    "doctor-down": Case(open=doctor_down, bars=(Bar(measure="seconds", at_most=5.0),)),
    "launcher": Case(open=launcher, bars=(Bar(measure="added seconds", at_most=0.15),)),
}


def _taken(port: int) -> socket.socket:
    """The port, taken by somebody who never answers. The children of a killed server hold it for a moment."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return socket.create_server(("127.0.0.1", port))
        except OSError:
            if time.monotonic() > deadline:
                raise CannotRun(f"port {port} stays taken") from None
            time.sleep(0.05)


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def machine() -> str:
    """What the figures depend on, in a line."""
    return f"{os.uname().sysname}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


def _all(*steps: Callable[[], object]) -> Callable[[], None]:
    def run_them() -> None:
        for step in steps:
            step()

    return run_them
