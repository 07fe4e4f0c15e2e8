"""The other side: Pulumi, PostgreSQL and Docker by hand, with the flags and the tuning that ours uses."""

from __future__ import annotations

import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg

from benchmarks.commands import CommandFailed, plain_environment, run
from infra.local import container, embedded, postgres
from infra.settings import Database, Settings

STACK = "plain"
UP_FLAGS = ("--json", "--non-interactive", "--refresh", "--yes", "--skip-preview")
"""Those of ``engine.stack.Stack.run``."""
PASSWORD = "benchmark-benchmark"
FIRST_ANSWER_TIMEOUT_S = 60
_LOOK_EVERY_S = 0.02

_PROGRAM = """\
name: plain
runtime:
  name: python
  options:
    virtualenv: {virtualenv}
"""
_DO_NOTHING = """\
from pulumi.dynamic import CreateResult, Resource, ResourceProvider


class Nothing(ResourceProvider):
    def create(self, props):
        return CreateResult("nothing", props)


class Idle(Resource, name="Idle"):
    pass


for number in range({count}):
    Idle(Nothing(), f"nothing-{{number}}", {{}})
"""


_PROVIDED = """\
from pulumi_gcp import storage

for number in range({count}):
    storage.Bucket(f"nothing-{{number}}", location="US")
"""


def do_nothing(count: int) -> str:
    """A program of this many dynamic resources; of none, an empty one."""
    return _DO_NOTHING.format(count=count) if count else ""


def provided(count: int) -> str:
    """A program of this many buckets of the provider ``gcp``, through its SDK."""
    return _PROVIDED.format(count=count)


@dataclass(frozen=True, kw_only=True)
class Program:
    """A Pulumi program with a file backend of its own, under our engine, language host and environment."""

    folder: Path
    engine: Path
    virtualenv: Path
    debug_providers: str = ""

    def write(self, text: str) -> None:
        """Write the program."""
        self.folder.mkdir()
        (self.folder / "Pulumi.yaml").write_text(_PROGRAM.format(virtualenv=self.virtualenv))
        self.declare(text)
        (self.folder / "passphrase").write_text(PASSWORD)

    def declare(self, text: str) -> None:
        """Make this the program."""
        (self.folder / "__main__.py").write_text(text)

    def init(self) -> None:
        """``pulumi stack init``, which derives the stack's key from the passphrase."""
        self._state.mkdir()
        flags = ("--no-select", "--non-interactive")
        run(self.engine, "stack", "init", STACK, *flags, cwd=self.folder, env=self._environment())

    def up(self) -> None:
        """``pulumi up``"""
        environment = {**self._environment(), "PULUMI_ENABLE_STREAMING_JSON_PREVIEW": "true"}
        run(self.engine, "up", *UP_FLAGS, "--stack", STACK, cwd=self.folder, env=environment)

    def preview(self) -> None:
        """``pulumi preview``"""
        self.pulumi("preview", cwd=self.folder, stack=STACK)

    def pulumi(self, *command: str, cwd: Path, stack: str, **variables: str) -> str:
        """A command of the engine on the program in ``cwd``, with the state and the passphrase of this one."""
        environment = {**self._environment(), **variables}
        return run(self.engine, *command, "--non-interactive", "--stack", stack, cwd=cwd, env=environment)

    def forget(self) -> None:
        """Remove the state and the key."""
        shutil.rmtree(self._state, ignore_errors=True)
        (self.folder / f"Pulumi.{STACK}.yaml").unlink(missing_ok=True)

    @property
    def _state(self) -> Path:
        return self.folder / "state"

    def _environment(self) -> dict[str, str]:
        environment = plain_environment()
        path = [str(self.virtualenv / "bin"), str(self.engine.parent), environment.get("PATH", "")]
        variables = {
            "PATH": os.pathsep.join(path),
            "PULUMI_BACKEND_URL": self._state.as_uri(),
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(self.folder / "passphrase"),
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "GAIA_PYTHON": str(self.virtualenv / "bin" / "python"),
        }
        if self.debug_providers:
            variables["PULUMI_DEBUG_PROVIDERS"] = self.debug_providers
        return {**environment, **variables}


@dataclass(frozen=True, kw_only=True)
class Server:
    """``initdb``, ``pg_ctl start -w``, ``createdb``, ``psql -1 -f``."""

    home: Path
    database: Database
    schema: Path

    def up(self) -> None:
        """Make the server, start it, load the schema: with the flags of ours, so with a password and a database."""
        at = postgres.locate(self.home)
        self.home.mkdir()
        if at.user:
            shutil.chown(self.home, at.user)
        user = self.database.user
        password = self.home / "password"
        password.write_text(PASSWORD)
        if at.user:
            shutil.chown(password, at.user)
        flags = ("--auth=scram-sha-256", f"--pwfile={password}", *postgres.INITDB_FLAGS)
        self._run("initdb", "-D", at.data, "-U", user, *flags)
        lines = [f"{name} = '{value}'\n" for name, value in embedded.parameters(self.database).items()]
        with (at.data / "postgresql.conf").open("a") as file:
            file.writelines(lines)
        self._run("pg_ctl", "start", "-D", at.data, "-l", at.log, "-w", "-s")
        where = ("-h", "127.0.0.1", "-p", str(self.database.port), "-U", user)
        environment = {**plain_environment(), "PGPASSWORD": PASSWORD}
        run(at.binaries / "createdb", *where, self.database.name, env=environment)
        load(self.schema, self.database.port, user, self.database.name)

    def remove(self) -> None:
        """Stop it and remove its data."""
        if (postgres.locate(self.home).data / "postmaster.pid").exists():
            self._run("pg_ctl", "stop", "-D", postgres.locate(self.home).data, "-m", "immediate", "-w", "-s")
        shutil.rmtree(self.home, ignore_errors=True)

    def _run(self, program: str, *arguments: str | Path) -> None:
        at = postgres.locate(self.home)
        run(at.binaries / program, *arguments, cwd=self.home, user=at.user)


@dataclass(frozen=True, kw_only=True)
class Container:
    """``docker run`` until the first answer over TCP, ``psql -1 -f``."""

    name: str
    settings: Settings
    schema: Path

    def up(self) -> None:
        """Start the container, wait for its first answer, load the schema."""
        database, docker = self.settings.database, self.settings.docker
        assert docker is not None
        variables = {
            "POSTGRES_DB": database.name,
            "POSTGRES_USER": database.user,
            "POSTGRES_PASSWORD": PASSWORD,
            "POSTGRES_INITDB_ARGS": container.INITDB_ARGS,
        }
        run(
            *("docker", "run", "--detach", "--name", self.name),
            *("--volume", f"{self.name}:{container.DATA}"),
            *("--publish", f"127.0.0.1:{database.port}:{container.INTERNAL_PORT}"),
            *("--shm-size", f"{docker.shm_size_mb}m"),
            *(part for name, value in variables.items() for part in ("--env", f"{name}={value}")),
            *(docker.image, "postgres", *container.command_line(database)),
        )
        self._first_answer()
        load(self.schema, database.port, database.user, database.name)

    def remove(self) -> None:
        """Remove it and its volume."""
        run("docker", "rm", "--force", "--volumes", self.name)
        run("docker", "volume", "rm", "--force", self.name)

    def _first_answer(self) -> None:
        database = self.settings.database
        deadline = time.monotonic() + FIRST_ANSWER_TIMEOUT_S
        while True:
            try:
                with psycopg.connect(
                    host="127.0.0.1", port=database.port, user=database.user, dbname=database.name, password=PASSWORD
                ) as connection:
                    connection.execute("SELECT 1")
                return
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    raise CommandFailed(f"container {self.name} gave no answer: {error}") from None
            time.sleep(_LOOK_EVERY_S)


def load(schema: Path, port: int, user: str, database: str) -> None:
    """Load a schema in one transaction."""
    where = ("-h", "127.0.0.1", "-p", str(port), "-U", user, "-d", database)
    command = (postgres.packaged_binaries() / "psql", "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", schema, *where)
    run(*command, env={**plain_environment(), "PGPASSWORD": PASSWORD})


def dump(url: str, superuser: str) -> str:
    """The roles and the schema of a database, as ``pg_dumpall`` and ``pg_dump`` write them."""
    folder = postgres.packaged_binaries()
    roles = run(folder / "pg_dumpall", "--roles-only", "-d", url, env=plain_environment())
    # The one that loads this is there already; the others follow.
    roles = re.sub(rf"(?m)^(CREATE|ALTER) ROLE {re.escape(superuser)}\b.*\n", "", roles)
    return roles + run(folder / "pg_dump", "--schema-only", url, env=plain_environment())
