"""The data directory that every instance begins as: initdb takes a second, a copy a twentieth of that."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from infra.local import postgres
from rehearsal.sql.flags import Catalog, Parameter
from rehearsal.sql.running import ADMIN, Instance

ROLES = """
CREATE ROLE cloudsqlsuperuser LOGIN CREATEROLE CREATEDB;
GRANT pg_monitor, pg_signal_backend TO cloudsqlsuperuser WITH ADMIN OPTION;
CREATE ROLE cloudsqlagent LOGIN CREATEROLE CREATEDB IN ROLE cloudsqlsuperuser;
CREATE ROLE cloudsqlimportexport LOGIN CREATEROLE CREATEDB IN ROLE cloudsqlsuperuser;
CREATE ROLE cloudsqlreplica LOGIN REPLICATION IN ROLE pg_monitor;
CREATE ROLE cloudsqliamuser NOLOGIN;
CREATE ROLE cloudsqliamserviceaccount NOLOGIN;
CREATE ROLE postgres LOGIN CREATEROLE CREATEDB IN ROLE cloudsqlsuperuser;
ALTER DATABASE postgres OWNER TO cloudsqlsuperuser;
ALTER DATABASE template1 OWNER TO cloudsqlsuperuser;
"""
"""What ``\\du`` shows on Cloud SQL: cyrilgdn/terraform-provider-postgresql#233, and
https://cloud.google.com/sql/docs/postgres/users. What Google changed in PostgreSQL itself for cloudsqlsuperuser (event
triggers, extensions, replication users) is not here."""

SYSTEM = frozenset(
    {
        "cloudsqladmin",
        "cloudsqlagent",
        "cloudsqliamserviceaccount",
        "cloudsqliamuser",
        "cloudsqlimportexport",
        "cloudsqlreplica",
        "cloudsqlsuperuser",
    }
)
"""Roles that nobody may make, change or delete."""


class Template:
    """Made once for each cloud, as soon as it is asked for."""

    def __init__(self, build: Callable[[], Instance]) -> None:
        self._build, self._lock = build, threading.Lock()
        self._done: tuple[Path, Catalog] | None = None
        self._spare: Path | None = None

    def prepare(self) -> None:
        """Begin in a thread of its own, with a copy for the first instance too."""
        threading.Thread(target=self._ahead, name="template", daemon=True).start()

    def _ahead(self) -> None:
        # Whoever needs it tries again and hears why; where the cloud has ended meanwhile, nobody does.
        with contextlib.suppress(Exception):
            data, _ = self._ready()
            spare = data.with_name("spare")
            self._build().copied_from(data, to=spare)
            with self._lock:
                self._spare = spare

    def given_to(self, instance: Instance) -> None:
        """Have a new instance begin as it."""
        data, _ = self._ready()
        with self._lock:
            spare, self._spare = self._spare, None
        if spare is None:
            instance.copied_from(data)
        else:
            spare.rename(instance.server.data)

    @property
    def data(self) -> Path:
        """The folder to copy."""
        return self._ready()[0]

    @property
    def catalog(self) -> Catalog:
        """What the server says of its parameters."""
        return self._ready()[1]

    def _ready(self) -> tuple[Path, Catalog]:
        with self._lock:
            if self._done is None:
                instance = self._build()
                _initialised(instance)
                instance.start()
                catalog = _set_up(instance)
                instance.stop()
                self._done = instance.server.data, catalog
            return self._done


def _initialised(instance: Instance) -> None:
    server = instance.server
    postgres.make_home(server)
    shutil.rmtree(server.data, ignore_errors=True)
    flags = ("-U", ADMIN, "--auth=scram-sha-256", "--no-sync", *postgres.INITDB_FLAGS)
    with instance.secret_file(f"{instance.password}\n") as file:
        postgres.run(server, "initdb", "-D", server.data, f"--pwfile={file}", *flags)
    with (server.data / "postgresql.conf").open("a") as conf:
        conf.write("include_if_exists = 'cloudsql.conf'\n")


def _set_up(instance: Instance) -> Catalog:
    with instance.session() as session:
        session.execute(ROLES.encode())
        session.execute(b"CREATE DATABASE cloudsqladmin")
        rows = session.execute(
            "SELECT name, vartype, unit, min_val, max_val, enumvals, context FROM pg_settings"
        ).fetchall()
    return {
        name: Parameter(
            kind=kind,
            unit=unit,
            least=None if least is None else float(least),
            most=None if most is None else float(most),
            words=tuple(words or ()),
            context=context,
        )
        for name, kind, unit, least, most, words, context in rows
    }
