"""What is rehearsed, in this order: each phase makes a change to production as people do, and looks what came of it."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg

from db.errors import DatabaseError
from db.manager import DatabaseManager
from db.settings import from_environment
from engine.errors import OperationFailed
from migrations import guards, partitions, roles, runner
from ops.checks import Check
from rehearsal.cloud import objects
from rehearsal.cloud.rules.sqladmin import INSTANCES
from rehearsal.cloud.services.cloudscheduler import JOBS
from rehearsal.run import backend
from rehearsal.run.looking import content, replaced, table, works
from rehearsal.run.operator import (
    Revision,
    empty_buckets,
    executed,
    exported,
    inside,
    migrator_url,
    newest_export,
    push,
    revised,
    scheduled,
)
from rehearsal.run.stage import Stage

Checks = Iterator[Check]
_DRILL_TIMEOUT_S = 300
_BROKEN = Revision(
    upgrade=("CREATE TABLE game.half_made (id integer PRIMARY KEY)", "SELECT 1 / 0"),
    downgrade=("DROP TABLE game.half_made",),
)


def preview(stage: Stage) -> Checks:
    """What the first ``up`` would make; Google is asked nothing."""
    asked = len(stage.cloud.journal)
    changes = stage.run("preview").changes
    others = {name: count for name, count in changes.items() if name != "create"}
    yield Check("everything is made", not others and bool(changes.get("create")), _counted(changes))
    calls = len(stage.cloud.journal) - asked
    yield Check("a preview asks Google nothing", calls == 0, f"{calls} requests" if calls else "")


def up(stage: Stage) -> Checks:
    """The first ``up`` of docs/production.md: everything but the jobs, for which there is no image yet."""
    changes = stage.run("up").changes
    yield Check("up", True, _counted(changes))
    contract = stage.outputs()
    yield Check("nothing is migrated without an image", contract["schema_revision"] == "base", "")
    yield from _no_refusals(stage)


def migrate(stage: Stage) -> Checks:
    """The image is pushed, its digest set: ``up`` makes the job, runs it, and waits for it."""
    push(stage, stage.stack.checkout.root)
    changes = stage.run("up").changes
    yield Check("up ran the job", True, _counted(changes))
    contract, head = stage.outputs(), runner.head()
    yield Check("schema_revision is head", contract["schema_revision"] == head, str(contract["schema_revision"]))
    with inside(stage) as connection:
        at = runner.current_of(connection)
        yield Check("the database is at head", at == head, str(at))
    backups = [entry for entry in stage.cloud.journal if entry.method == "sql.backupRuns.insert" and entry.code < 300]
    yield Check("a backup was taken before the revisions", bool(backups), "" if backups else "no backup was asked for")


def backend_connects(stage: Stage) -> Checks:
    """A backend works, with the contract and the secrets alone: two users, one of whom must not see the other's."""
    environment = backend.environment(stage, stage.outputs())
    manager = DatabaseManager(from_environment(environment))
    try:
        ada, ben = (_register(manager, name) for name in ("ada", "ben"))
        yield Check("registers through the functions of the database", ada != ben)
        with manager.get_sync_session(ada) as session:
            session.execute("INSERT INTO game.campaigns (owner_id, name) VALUES (:user, 'Rehearsed')", {"user": ada})
        seen = {
            name: _campaigns(manager, user) for name, user in (("its owner", ada), ("another", ben), ("nobody", None))
        }
        yield Check("a campaign is its owner's alone", seen == {"its owner": 1, "another": 0, "nobody": 0}, str(seen))
        try:
            with manager.get_sync_session(ada) as session:
                session.execute("UPDATE auth.users SET is_admin = true")
            yield Check("nobody makes oneself an admin", False, "the backend's login could")
        except DatabaseError:
            yield Check("nobody makes oneself an admin", True)
    finally:
        manager.close()


def verify(stage: Stage) -> Checks:
    """Grants, policies and settings of the real server, against the code and the stack file."""
    with psycopg.connect(migrator_url(stage), autocommit=True) as connection:
        lacking = roles.missing(connection)
        yield Check("roles and grants", not lacking, "; ".join(lacking))
    with inside(stage) as connection:
        lacking = partitions.missing(connection)
        yield Check("partitions", not lacking, "; ".join(lacking))
        changed = guards.missing(connection)
        yield Check("functions, triggers and policies", not changed, "; ".join(changed))
        wanted = str(stage.settings["gaia-db:database"]["tuning"]["max_connections"])
        shown = connection.execute("SHOW max_connections").fetchone()
        yield Check("max_connections is the flag", shown == (wanted,), str(shown and shown[0]))
        row = connection.execute(
            "SELECT rolsuper, rolbypassrls, pg_has_role('gaia_app', 'cloudsqlsuperuser', 'MEMBER')"
            " FROM pg_roles WHERE rolname = 'gaia_app'"
        ).fetchone()
        yield Check("gaia_app is no superuser, nor Cloud SQL's", row == (False, False, False))


def again(stage: Stage) -> Checks:
    """``up`` once more has nothing to do, and the cloud is as the state has it."""
    changes = stage.run("up", "--refresh").changes
    others = {name: count for name, count in changes.items() if name != "same"}
    yield Check("nothing changes", not others, _counted(others) if others else "")


def tier(stage: Stage) -> Checks:
    """A bigger machine: changed in place, with the one restart that the runbook names."""
    before = _started(stage)
    stage.set(gcp__instance__tier="db-custom-1-3840")
    changes = stage.run("up").changes
    yield Check("changed in place", not _lost(changes) and changes.get("update", 0) >= 1, _counted(changes))
    yield Check("the server restarted", _started(stage) != before)
    with inside(stage) as connection:
        yield Check("the data is there", connection.execute("SELECT count(*) FROM game.campaigns").fetchone() == (1,))


def rotation(stage: Stage) -> Checks:
    """The logins take turns under load; then the old one is retired, and no connection fails."""
    first = backend.environment(stage, stage.outputs())
    with backend.Load(first) as old:
        stage.set(gcp__rotation__turn=2)
        stage.run("up")
        contract = stage.outputs()
        yield Check("the other login's turn", contract["app_user"] == "gaia_app_b", str(contract["app_user"]))
        yield Check("nothing with data is replaced", not replaced(stage), "")
        second = backend.environment(stage, contract)
        with backend.Load(second) as new:
            time.sleep(1)
        yield Check("a new deploy works", new.worked > 0 and not new.failures, "; ".join(new.failures[:2]))
    yield Check("no connection failed meanwhile", not old.failures, _load(old))
    with backend.Load(second) as new:
        stage.set(gcp__rotation__retire_previous=True)
        stage.run("up")
    yield Check("none while the old login was retired", not new.failures, _load(new))
    yield Check("the retired login gets in no more", not works(first), "")


def broken_migration(stage: Stage) -> Checks:
    """A revision fails half-way: the job fails, ``up`` fails with it, nothing has changed; the next ``up`` heals."""
    before = content(stage)
    with tempfile.TemporaryDirectory(prefix="gaia-broken-") as name:
        broken, _ = revised(stage.stack.checkout.root, Path(name), _BROKEN)
        push(stage, broken)
        try:
            stage.run("up")
            yield Check("up fails with the job", False, "it went through")
        except OperationFailed as error:
            said = str(error)
            yield Check("up fails with the job", "gaia-db-migrate" in said or "execution" in said, said[-300:])
    after = content(stage)
    undone = after == before and not table(stage, "game.half_made")
    yield Check("revision and data are as before", undone, "" if undone else f"{before} → {after}")
    push(stage, stage.stack.checkout.root)
    stage.set(gcp__migration_job__run=int(stage.gcp["migration_job"]["run"]) + 1)
    stage.run("up")
    healed = content(stage)
    yield Check("the next up heals", healed == before, str(stage.outputs()["schema_revision"]))


def maintenance(stage: Stage) -> Checks:
    """The scheduler starts the job that makes next months' partitions, as an identity that may do nothing else."""
    answered = scheduled(stage, "gaia-db-maintain")
    yield Check(
        "the scheduler may start the job",
        answered["code"] == 200,
        "" if answered["code"] == 200 else answered["answer"],
    )
    ended = executed(stage, "gaia-db-maintain")
    yield Check("the job makes partitions", ended == "", ended)


def export(stage: Stage) -> Checks:
    """The scheduler has a file written into the bucket, as its own identity; a drill restores that file."""
    days = sorted(name for name in stage.cloud.collection(JOBS) if "/gaia-db-export-" in name)
    yield Check("exports are scheduled", bool(days), f"{len(days)} days")
    refusal = exported(stage, days[0].rpartition("/")[2])
    yield Check("the scheduler exports", not refusal, refusal)
    found = newest_export(stage)
    yield Check("the export is in the bucket", found is not None, found["name"] if found else "no object came")
    if found is None:
        return
    with tempfile.TemporaryDirectory(prefix="gaia-export-") as folder:
        file = Path(folder) / found["name"].rpartition("/")[2]
        shutil.copyfile(objects.content(stage.cloud, found), file)
        text = gzip.decompress(file.read_bytes())
        yield Check("the export has the data", b"Rehearsed" in text, f"{len(text):,} bytes")
        done = subprocess.run(
            [stage.stack.checkout.root / "gaia", "restore", "--drill", file, "--dir", folder, "--json"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_DRILL_TIMEOUT_S,
            check=False,
        )
        said = done.stdout.strip() or done.stderr.strip()
        yield Check("a drill restores it", done.returncode == 0, said[-300:] if done.returncode else "")


def refused(stage: Stage) -> Checks:
    """A ``destroy`` of production is refused as long as its protection stands."""
    try:
        stage.run("destroy")
        yield Check("destroy is refused", False, "it went through")
    except OperationFailed as error:
        yield Check("destroy is refused", "protect" in str(error), str(error)[:300])
    yield Check("the instance is there", bool(stage.cloud.collection(INSTANCES)))


def teardown(stage: Stage) -> Checks:
    """Unprotected on purpose, everything goes; only what must stay is left, and named."""
    stage.set(gcp__instance__deletion_protection=False)
    stage.run("up")
    empty_buckets(stage)
    deleted = stage.run("destroy").changes.get("delete", 0)
    yield Check("destroyed", deleted > 0, f"{deleted} deleted")
    yield Check("no instance is left", not stage.cloud.collection(INSTANCES))
    yield Check("the state is empty", stage.stack.resource_count() == 0)


PHASES: dict[str, Callable[[Stage], Checks]] = {
    "preview": preview,
    "up": up,
    "migrate": migrate,
    "backend": backend_connects,
    "verify": verify,
    "again": again,
    "tier": tier,
    "rotation": rotation,
    "broken-migration": broken_migration,
    "maintenance": maintenance,
    "export": export,
    "refused": refused,
    "teardown": teardown,
}
"""Name → phase, in their order."""
NEEDS: dict[str, tuple[str, ...]] = {
    "preview": (),
    "up": (),
    "migrate": ("up",),
    "backend": ("up", "migrate"),
    "verify": ("up", "migrate"),
    "again": ("up", "migrate"),
    "tier": ("up", "migrate", "backend"),
    "rotation": ("up", "migrate"),
    "broken-migration": ("up", "migrate"),
    "maintenance": ("up", "migrate"),
    "export": ("up", "migrate", "backend"),
    "refused": ("up",),
    "teardown": ("up",),
}
"""What has to be there before a phase can run alone."""


def _no_refusals(stage: Stage) -> Checks:
    """Whatever Google refused on the way and the provider tried again is worth a look."""
    said = [f"{entry.method}: {entry.message}" for entry in stage.cloud.journal if entry.code == 403]
    yield Check("nothing was refused on the way", not said, "; ".join(said[:3]))


def _counted(changes: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(changes.items()))


def _lost(changes: Mapping[str, int]) -> int:
    return sum(count for name, count in changes.items() if "replace" in name or name == "delete")


def _started(stage: Stage) -> Any:
    with inside(stage) as connection:
        return connection.execute("SELECT pg_postmaster_start_time()").fetchone()


def _register(manager: DatabaseManager, name: str) -> uuid.UUID:
    with manager.get_sync_session() as session:
        return session.scalar(
            "SELECT auth.register(:name, :email, 'x')",
            {"name": f"{name}-{uuid.uuid4().hex[:6]}", "email": f"{uuid.uuid4().hex}@example.com"},
        )


def _campaigns(manager: DatabaseManager, user: uuid.UUID | None) -> int:
    with manager.get_sync_session(user) as session:
        return int(session.scalar("SELECT count(*) FROM game.campaigns WHERE name = 'Rehearsed'"))


def _load(load: backend.Load) -> str:
    return "; ".join(load.failures[:2]) if load.failures else f"{load.worked} transactions"
