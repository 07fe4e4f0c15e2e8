"""A server in a container, as one of a pair: what ``infra.local.postgres`` does to the embedded one.

Pulumi makes the containers and the volumes; this works on the data in them. It asks a running container to do so, or
else a short-lived one beside it, which has the volume and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePath, PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from infra.local import docker_engine, postgres
from infra.local.docker_engine import DATA
from infra.local.errors import ContainerFailed, ServerFailed

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

    from infra.settings import Docker

INTERNAL_PORT = 5432
USER = "postgres"
"""The image's user that the server runs as."""
REMOVABLE = "removable.txt"
"""Beside the notes on a standby: the name of its volume, once the primary has all that is in it."""
RUN_TIMEOUT_S = 24 * 3600
"""A copy of a large database takes its time, and says nothing meanwhile."""

# Replication isn't among the databases that the image's own line lets in.
_HBA = "host replication gaia_replication samenet scram-sha-256"
_CONFIGURE = f"""\
cd "$PGDATA"
grep -qxF '{_HBA}' pg_hba.conf || echo '{_HBA}' >>pg_hba.conf
line="include_if_exists = '{postgres.REPLICATION_CONF}'"
grep -qxF "$line" postgresql.conf || echo "$line" >>postgresql.conf
"""

_WRITE = """\
umask 077
cd "$PGDATA" && printf %s "$TEXT" >"$1.new" && sync "$1.new" && mv "$1.new" "$1"
"""

SUPERVISE = f"""\
server= ending=
trap 'ending=1' INT TERM
while [ -z "$ending" ]; do
  if [ -f "$PGDATA/{postgres.STANDBY_SIGNAL}" ] && grep -q primary_conninfo "$PGDATA/{postgres.REPLICATION_CONF}"; then
    rm -f "$PGDATA/postmaster.pid"
    docker-entrypoint.sh "$@" &
    server=$!
    while kill -0 "$server" 2>/dev/null; do
      if [ -z "$ending" ]; then wait "$server"; else kill -INT "$server" 2>/dev/null; sleep 0.2; fi
    done
    server=
    : >"$PGDATA/gaia-ended"
  fi
  [ -n "$ending" ] || sleep 0.5
done
"""
"""What a standby's container runs: its server, as long as its data says whose standby it is. Else the stack makes
that data, or mends it; an empty volume is never filled with a database of its own. No other server has this volume:
what one that was killed left of its process number may be another's in the next container. It is asked to end until it
does: the entry point doesn't hear a signal before the server does."""

_START = f"""\
cd "$PGDATA" && rm -f gaia-ended && touch {postgres.STANDBY_SIGNAL} || exit 1
until=$(($(date +%s) + $1))
until pg_isready -q -h 127.0.0.1 -U "$POSTGRES_USER" -d postgres; do
  if [ -f gaia-ended ]; then echo "it ended at once"; exit 1; fi
  if [ "$(date +%s)" -gt "$until" ]; then echo "no answer within $1 s"; exit 1; fi
  sleep 0.2
done
"""

_PROMOTE = f"""\
cd "$PGDATA" && rm -f postmaster.pid || exit 1
if [ -f {postgres.STANDBY_SIGNAL} ]; then standby=1; else standby=; fi
pg_ctl start -D . -w -s -t "$1" -l /tmp/log -o "-c listen_addresses= -c hot_standby=off" || {{ cat /tmp/log; exit 1; }}
[ -z "$standby" ] || pg_ctl promote -D . -w -s -t "$1" || exit 1
pg_ctl stop -D . -w -s -t "$1" -m fast
"""
"""One that was promoted already, and killed before it could end, is recovered."""


@dataclass(frozen=True, kw_only=True)
class ContainedServer:
    """Where one server of a pair lives."""

    home: Path
    """Where what is noted about it lies, on this machine."""
    container: str
    volume: str
    other: tuple[str, str] = field(repr=False)
    """Its standby's container and volume."""
    image: str
    labels: Mapping[str, str]
    """What tells whose its containers are."""
    standby: bool = False

    @classmethod
    def noted(cls, home: Path, notes: Mapping[str, Any]) -> ContainedServer:
        """The primary that ``to_note`` wrote down."""
        return cls(home=home, **{**notes, "other": tuple(notes["other"])})

    def to_note(self) -> dict[str, Any]:
        """Plain data from which ``noted`` makes it again."""
        noted = {key: value for key, value in asdict(self).items() if key not in ("home", "standby")}
        return {**noted, "other": list(self.other)}

    @property
    def data(self) -> PurePosixPath:
        return PurePosixPath(DATA)

    @property
    def log(self) -> str:
        return f"docker logs {self.container}"

    @property
    def place(self) -> str:
        """Its data, in a sentence."""
        return f"volume {self.volume}"

    @property
    def passfile(self) -> str:
        """Where the server has its password for its primary."""
        return f"{DATA}/replication.pass"

    def beside(self) -> ContainedServer:
        """Its standby."""
        container, volume = self.other
        home = postgres.standby_home(self.home)
        return replace(self, home=home, container=container, volume=volume, standby=True)

    def status(self) -> str:
        """``running``, ``stopped``, ``absent``, or Docker's word for a container that does neither."""
        with _engine() as client:
            found = docker_engine.find(client, self.container)
            if found is None or found.status in ("exited", "created", "dead"):
                return "stopped" if docker_engine.has_volume(client, self.volume) else "absent"
            if found.status != "running":
                return "running" if found.status == "paused" and not self.standby else found.status
            code = _asked(found, ["pg_ctl", "status", "-D", DATA]).returncode
        return {0: "running", 3: "stopped"}.get(code, "absent")

    def start(self, *, port: int, timeout_s: int, setting: str) -> None:
        """Have the container of a standby start its server."""
        with _engine() as client:
            found = docker_engine.find(client, self.container)
            if found is None:
                raise ServerFailed(f"container {self.container} is gone: run ./gaia up again")
            found.start()
            done = _asked(found, ["sh", "-c", _START, "start", str(timeout_s)])
            if done.returncode != 0:
                log = b"".join(found.logs(tail=20, stream=True, follow=False)).decode("utf-8", errors="replace")
                raise ServerFailed(f"PostgreSQL in {self.container} did not start: {done.stdout.strip()}\n{log}")

    def stop(self, *, timeout_s: int = postgres.STOP_TIMEOUT_S) -> None:
        """End the server. A standby's container stays, with nothing else at work in it."""
        with _engine() as client:
            found = docker_engine.find(client, self.container)
            if found is None or found.status in ("exited", "created", "dead"):
                return
            if not self.standby:
                found.stop(timeout=timeout_s)
                return
            if found.status == "paused":
                found.unpause()
            _asked(found, ["rm", "-f", f"{DATA}/{postgres.STANDBY_SIGNAL}"])
            # Whatever a run that was killed left at work on the data ends with it.
            found.restart(timeout=timeout_s)
            _asked(found, ["rm", "-f", f"{DATA}/postmaster.pid"])

    def quiet(self) -> None:
        """End it, and whatever else works on its data."""
        self.stop()

    def fence(self, *, timeout_s: int) -> None:
        """End the container for good, and never let the data take writes again."""
        self.stop(timeout_s=timeout_s)
        if self.status() != "absent":
            self.write(postgres.STANDBY_SIGNAL, "")
        self.discard()

    def promote(self, *, port: int, timeout_s: int, setting: str) -> None:
        """Make a standby's data a primary's, without its container: that has another port and name."""
        self.discard()
        done = self._shell(_PROMOTE, str(timeout_s), check=False)
        if done.returncode != 0:
            raise ServerFailed(f"{self.place} could not be promoted: {(done.stdout + done.stderr).strip()}")

    def discard(self) -> None:
        """Remove the container, if it is there; ``up`` makes it anew."""
        with _engine() as client:
            found = docker_engine.find(client, self.container)
            if found is not None and docker_engine.is_ours(found.labels, self.labels):
                if found.status == "running":
                    found.stop(timeout=postgres.STOP_TIMEOUT_S)
                found.remove(force=True)

    def identity(self) -> str:
        """The data's system identifier."""
        lines = self.run("pg_controldata", "-D", DATA).stdout.splitlines()
        return next(line.split(":")[1].strip() for line in lines if "system identifier" in line)

    def configure(self, parameters: Mapping[str, Any]) -> None:
        """Have a primary let its standby in, and both read what ``infra.local.replication`` writes."""
        if not self.standby:
            self._shell(_CONFIGURE)

    def run(
        self,
        program: str,
        *arguments: str | PurePath,
        environment: Mapping[str, str] = MappingProxyType({}),
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as the server's user. Raises ``ServerFailed`` with what it said, unless ``check`` is false."""
        command = [program, *(str(argument) for argument in arguments)]
        with _engine() as client:
            done = self._run(client, command, environment)
        if done is None:
            with self.aside(), _engine() as client:
                done = self._run(client, command, environment)
        if done is None:
            raise ServerFailed(f"{self.place} is gone")
        if check and done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise ServerFailed(f"{program} in {self.place} failed with exit code {done.returncode}: {said}")
        return done

    def copy(self, *flags: str, environment: Mapping[str, str]) -> None:
        """Make the data anew with ``pg_basebackup``.

        Where a volume is mounted nothing can be renamed to. Of a copy that is cut off nobody takes the data for whole:
        the file that says what it is comes last.
        """
        self._shell('find "$PGDATA" -mindepth 1 -maxdepth 1 -exec rm -rf {} +')
        self.run("pg_basebackup", "--pgdata", DATA, *flags, environment=environment)

    def read(self, name: str) -> str | None:
        """A file of the data; None where there is none."""
        done = self.run("cat", f"{DATA}/{name}", check=False)
        return done.stdout if done.returncode == 0 else None

    def write(self, name: str, text: str) -> None:
        """Write a file of the data, whole or not at all."""
        self.run("sh", "-c", _WRITE, "write", name, environment={"TEXT": text})

    def write_passfile(self, text: str) -> None:
        """Write the file of ``passfile``."""
        self.write(PurePosixPath(self.passfile).name, text)

    def delete(self, name: str) -> None:
        """Remove a file or folder of the data, if it is there."""
        self.run("rm", "-rf", f"{DATA}/{name}")

    def note(self, name: str, text: str) -> None:
        """Write a file about it on this machine, whole or not at all."""
        self.home.mkdir(parents=True, exist_ok=True)
        aside = self.home / f".{name}.new"
        aside.touch(mode=0o600)
        aside.write_text(text, encoding="utf-8")
        aside.replace(self.home / name)

    def remove(self) -> None:
        """End it, and let its volume go with its container."""
        self.stop()
        self.note(REMOVABLE, self.volume)

    def _shell(self, script: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("sh", "-c", script, "gaia", *arguments, check=check)

    def _run(
        self, client: DockerClient, command: list[str], environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str] | None:
        for name in (self.container, self._aside):
            found = docker_engine.find(client, name)
            if found is not None and found.status == "running":
                return _asked(found, command, environment)
        return None

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """A container that has the volume and nothing else: ``run`` works in it where the server's own doesn't run."""
        from docker.errors import APIError

        with _engine() as client:
            docker_engine.end_asides(client, self.volume)
            if not docker_engine.has_volume(client, self.volume):
                yield
                return
            try:
                client.containers.run(
                    self.image,
                    ["sleep", str(RUN_TIMEOUT_S)],
                    entrypoint=[],
                    name=self._aside,
                    user=USER,
                    network_mode="none",
                    labels={**self.labels, docker_engine.ASIDE_LABEL: "true"},
                    volumes={self.volume: {"bind": DATA}},
                    detach=True,
                )
            except APIError as error:
                raise ContainerFailed(f"container {self._aside} can't be run: {error.explanation}") from None
            try:
                yield
            finally:
                docker_engine.end_asides(client, self.volume)

    @property
    def _aside(self) -> str:
        return f"{self.volume}-aside"


def home_for(checkout: Path, stack: str) -> Path:
    """Where what is noted about a stack's servers lies."""
    return checkout / ".gaia" / "data" / stack


def of_settings(home: Path, docker: Docker, labels: Mapping[str, str]) -> ContainedServer:
    """The primary that the settings name."""
    volume, standby_volume = docker.volumes
    return ContainedServer(
        home=home,
        container=docker.container,
        volume=volume,
        other=(docker.standby_container, standby_volume),
        image=docker.image,
        labels=labels,
    )


def forget_volume(home: Path, volume: str) -> None:
    """Remove the volume of a standby that is gone, where the primary has all that was in it."""
    note = home / REMOVABLE
    try:
        if note.read_text(encoding="utf-8") != volume:
            return
    except OSError:
        return
    docker_engine.remove_volume(volume)
    shutil.rmtree(home, ignore_errors=True)


def _asked(
    container: Container, command: list[str], environment: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    from docker.errors import APIError

    try:
        done = container.exec_run(command, user=USER, environment=dict(environment), demux=True)
    except APIError as error:
        raise ServerFailed(f"container {container.name} can't be asked: {error.explanation}") from None
    out, err = cast("tuple[bytes | None, bytes | None]", done.output)
    return subprocess.CompletedProcess(command, done.exit_code or 0, _text(out), _text(err))


def _text(said: bytes | None) -> str:
    return (said or b"").decode("utf-8", errors="replace")


@contextlib.contextmanager
def _engine() -> Iterator[DockerClient]:
    client = docker_engine.connect(os.environ, timeout_s=RUN_TIMEOUT_S)
    try:
        yield client
    finally:
        client.close()
