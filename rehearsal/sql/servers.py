"""The servers of one cloud: made, changed, copied, lost, and ended with it."""

from __future__ import annotations

import itertools
import secrets
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.local import postgres
from rehearsal.processes import Processes
from rehearsal.sql import flags as flag_rules
from rehearsal.sql import inside
from rehearsal.sql.errors import OperationFailed, SqlError, invalid
from rehearsal.sql.running import Instance
from rehearsal.sql.template import Template
from rehearsal.sql.tiers import Tier

_POINT_TIMEOUT_S = 60.0
NOT_MODELLED = (
    "TLS: these binaries have none, so no certificate is checked; sslMode and client certificates are kept alone",
    "addresses: an instance is reached at its socket alone, as through Cloud Run or the Auth Proxy",
    "what Google changed in PostgreSQL for cloudsqlsuperuser: event triggers, extensions and replication users by it",
    "extensions: pgaudit, pg_stat_statements and others can't be loaded; their flags can be shown",
    "logins without a password: IAM users are made, and can't log in",
    "the standby of another zone: a failover restarts the same server",
    "maintenance, disk sizes, Query Insights, and how fast a machine is",
    "the order of text: every database is collated as C",
)
"""What the report says of these servers."""


@dataclass(frozen=True, kw_only=True)
class Backup:
    """A whole copy of a server's data."""

    id: str
    instance: str
    folder: Path
    began: datetime
    ended: datetime


@dataclass(kw_only=True)
class Servers:
    """By their instance's name."""

    processes: Processes = field(default_factory=Processes.begin)
    instances: dict[str, Instance] = field(default_factory=dict)
    backups: dict[str, Backup] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What isn't as Google has it, found while it ran."""

    def __post_init__(self) -> None:
        self.password = secrets.token_urlsafe(24)
        self._numbers, self._lock = itertools.count(1), threading.RLock()
        self._born: dict[str, tuple[Path, datetime]] = {}
        self.template = Template(lambda: self._home("t"))
        for name in ("cloudsql", "i", "b"):
            folder = self.folder / name
            postgres.make_home(postgres.Server(home=folder, binaries=folder, user=self.processes.user))
            folder.chmod(0o711)

    @property
    def folder(self) -> Path:
        return self.processes.folder

    @property
    def sockets(self) -> Path:
        """Stands for ``/cloudsql``: a folder for each connection name, with the socket in it."""
        return self.folder / "cloudsql"

    @property
    def template_server(self) -> postgres.Server:
        return self._home("t").server

    def described_flags(self) -> list[dict[str, Any]]:
        """Every flag, as ``sql.flags.list`` has it."""
        return flag_rules.described(self.template.catalog)

    def prepare(self) -> None:
        """Begin with what takes longest."""
        self.template.prepare()

    def check(self, flags: Mapping[str, str], tier: Tier) -> None:
        """Raise Refused where Cloud SQL would refuse these flags on this machine."""
        flag_rules.check(flags, tier, self.template.catalog)

    # A server's life.

    def create(
        self,
        name: str,
        connection_name: str,
        *,
        flags: Mapping[str, str],
        tier: Tier,
        archives: bool,
        password: str = "",
    ) -> Instance:
        """A new, empty server that runs; ``password`` is that of the user postgres."""
        instance = self._new(flags, tier, archives)
        self.template.given_to(instance)
        instance.start()
        if password:
            inside.change_user(instance, "postgres", password=password)
        # A stopped server's data, and all that was written since: any moment can be had again.
        self._known(name, connection_name, instance, base=self.template.data)
        return instance

    def replicate(self, name: str, connection_name: str, *, of: str, flags: Mapping[str, str], tier: Tier) -> Instance:
        """A server that streams from another."""
        primary, replica = self[of], self._new(flags, tier, archives=False)
        replica.slot = f"r{replica.home.name}"
        with primary.session() as session:
            session.execute("SELECT pg_create_physical_replication_slot(%s, true)", [replica.slot])
        try:
            self._from_primary(replica, primary)
        except SqlError:
            self._drop_slot(primary, replica.slot)
            raise
        self._known(name, connection_name, replica, base=None)
        return replica

    def delete(self, name: str) -> None:
        """End it and remove its data; backups stay."""
        instance = self[name]
        instance.stop()
        if instance.primary is not None:
            self._drop_slot(instance.primary, instance.slot)
        with self._lock:
            del self.instances[name]
            self._born.pop(name, None)
        for link in self.sockets.iterdir():
            if link.readlink() == instance.sockets:
                link.unlink()
        shutil.rmtree(instance.home, ignore_errors=True)

    def change(
        self,
        name: str,
        *,
        flags: Mapping[str, str],
        before: Mapping[str, str],
        tier: Tier,
        archives: bool,
        restart: bool,
    ) -> list[str]:
        """Give it other flags or another machine; returns why it was restarted, nothing where it wasn't."""
        instance = self[name]
        why = flag_rules.needs_restart(before, flags, self.template.catalog) + (["tier"] if restart else [])
        kept = dict(instance.parameters), instance.archives
        instance.parameters, instance.archives = flag_rules.parameters(flags, tier), archives
        try:
            instance.restart() if why else instance.reload()
        except OperationFailed:
            instance.parameters, instance.archives = kept
            instance.restart()
            raise
        return why

    def promote(self, name: str) -> None:
        """Have a replica take writes; it follows nobody from now on."""
        replica = self[name]
        primary, slot = replica.primary, replica.slot
        if primary is None:
            raise invalid("The instance is not a read replica.")
        replica.promoted()
        self._drop_slot(primary, slot)

    def lose(self, name: str) -> None:
        """Kill it, as a lost machine is: nothing is said to anybody, nothing more is written."""
        self[name].stop(at_once=True)

    # Copies.

    def new_backup_id(self) -> str:
        """A number that no other backup has, the newer the larger."""
        return str(int(time.time() * 1000) * 1000 + next(self._numbers) % 1000)

    def back_up(self, name: str, id: str = "") -> Backup:
        """A whole copy, while it runs."""
        began, id = datetime.now(UTC), id or self.new_backup_id()
        folder = self.folder / "b" / id
        self[name].backed_up_to(folder)
        backup = Backup(id=id, instance=name, folder=folder, began=began, ended=datetime.now(UTC))
        with self._lock:
            self.backups[id] = backup
        return backup

    def forget(self, backup: str) -> None:
        """Delete a backup."""
        with self._lock:
            found = self.backups.pop(backup)
        shutil.rmtree(found.folder, ignore_errors=True)

    def restore(self, name: str, backup: str) -> None:
        """Have a server hold what a backup holds, in place of what it holds now."""
        instance, found = self[name], self.backups[backup]
        followers = [each for each in self.instances.values() if each.primary is instance]
        if followers:
            raise invalid("The instance has read replicas: delete them before a restore.")
        with instance.lock:
            instance.stop()
            self._recovered(instance, found.folder, {"recovery_target": "immediate"}, archive=None)
        self._born.pop(name, None)

    def clone(
        self, name: str, connection_name: str, *, of: str, flags: Mapping[str, str], tier: Tier, at: datetime | None
    ) -> Instance:
        """A server of its own with what another holds, or held at a moment; raises OperationFailed."""
        source, copy = self[of], self._new(flags, tier, archives=self[of].archives)
        if at is None:
            source.backed_up_to(copy.server.data)
            self._recovered(copy, None, {"recovery_target": "immediate"}, archive=None)
        else:
            base = self._base(of, at)
            self._everything_archived(source)
            target = {"recovery_target_time": at.astimezone(UTC).isoformat()}
            self._recovered(copy, base, target, archive=source.archive)
        self._known(name, connection_name, copy, base=None)
        return copy

    def earliest(self, name: str) -> datetime | None:
        """From when on any moment can be had; None without a log of what was written."""
        if not self[name].archives:
            return None
        moments = [b.ended for b in self.backups.values() if b.instance == name]
        moments += [self._born[name][1]] if name in self._born else []
        return min(moments, default=None)

    def close(self) -> None:
        """End all of it."""
        self.processes.close()

    def __getitem__(self, name: str) -> Instance:
        with self._lock:
            if name not in self.instances:
                raise OperationFailed(f"there is no server {name}")
            return self.instances[name]

    def _new(self, flags: Mapping[str, str], tier: Tier, archives: bool) -> Instance:
        instance = self._home(f"i/{next(self._numbers)}")
        instance.parameters, instance.archives = flag_rules.parameters(flags, tier), archives
        postgres.make_home(instance.server)
        instance.home.chmod(0o711)
        return instance

    def _home(self, name: str) -> Instance:
        return Instance(home=self.folder / name, processes=self.processes, password=self.password)

    def _known(self, name: str, connection_name: str, instance: Instance, *, base: Path | None) -> None:
        (self.sockets / connection_name).symlink_to(instance.sockets)
        with self._lock:
            self.instances[name] = instance
            if base is not None:
                self._born[name] = base, datetime.now(UTC)

    def _from_primary(self, replica: Instance, primary: Instance) -> None:
        primary.backed_up_to(replica.server.data)
        replica.follow(primary)
        replica.start()
        deadline = time.monotonic() + _POINT_TIMEOUT_S
        while time.monotonic() < deadline:
            with primary.session() as session:
                query = "SELECT FROM pg_stat_replication WHERE application_name = %s AND state = 'streaming'"
                if session.execute(query, [replica.slot]).fetchone() is not None:
                    return
            time.sleep(0.05)
        raise OperationFailed(f"the replica doesn't follow its primary; its log:\n{replica.log_tail()}")

    def _drop_slot(self, primary: Instance, slot: str) -> None:
        if not primary.runs:
            return
        with primary.session() as session:
            session.execute(
                "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE slot_name = %s", [slot]
            )
            session.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
                " WHERE slot_name = %s AND NOT active",
                [slot],
            )

    def _recovered(
        self, instance: Instance, base: Path | None, target: Mapping[str, Any], *, archive: Path | None
    ) -> None:
        """Take a copy's data, replay what is wanted of the log, and go on from there on a timeline of its own."""
        if base is not None:
            instance.copied_from(base)
        postgres.write_as(instance.server, instance.server.data / "recovery.signal", "")
        fetched = f"cp {archive}/%f %p" if archive else "/bin/false"
        kept = instance.parameters
        instance.parameters = {
            **kept,
            **target,
            "restore_command": fetched,
            "recovery_target_action": "promote",
            # Nobody comes in before its end, so flags that were larger once don't matter.
            "hot_standby": "off",
        }
        try:
            instance.start()
        except SqlError:
            instance.stop()
            raise
        finally:
            instance.parameters = kept
        instance.reload()

    def _base(self, name: str, at: datetime) -> Path:
        """The newest copy from before that moment."""
        if not self[name].archives:
            raise invalid("Point-in-time recovery is not enabled for the instance.")
        copies = [(b.ended, b.folder) for b in self.backups.values() if b.instance == name and b.ended <= at]
        if name in self._born and self._born[name][1] <= at:
            copies.append((self._born[name][1], self._born[name][0]))
        if not copies:
            raise invalid(f"The point in time {at.isoformat()} is before the earliest one that can be restored.")
        return max(copies)[1]

    def _everything_archived(self, source: Instance) -> None:
        """Have all that was written in the archive: as on Cloud SQL, where it follows within minutes."""
        with source.session() as session:
            # A commit after the target, without which recovery can't tell that it has reached it.
            session.execute("SELECT pg_current_xact_id()")
            row = session.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone()
            assert row is not None
            deadline = time.monotonic() + _POINT_TIMEOUT_S
            while not (source.archive / row[0]).exists():
                if time.monotonic() > deadline:
                    raise OperationFailed(f"the log isn't archived; the server's log:\n{source.log_tail()}")
                time.sleep(0.02)
