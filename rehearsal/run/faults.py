"""What goes wrong on request: each fault is a phase of its own, with what a person would look at afterwards."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg.sql

from infra.gcp.settings import WEEK
from migrations import runner
from ops.checks import Check
from rehearsal.cloud import sql_instances
from rehearsal.cloud.errors import GoogleError
from rehearsal.cloud.rules.sqladmin import INSTANCES
from rehearsal.cloud.state import Fault
from rehearsal.run import backend, inventory
from rehearsal.run.looking import (
    content,
    kept_backups,
    killed_in_the_middle,
    logins,
    members,
    next_number,
    nothing_more,
    only,
    replaced,
    sent,
    settings,
    short,
    sleeps,
    streamed,
    table,
    told,
    up,
    works,
)
from rehearsal.run.operator import Revision, adopt, asked, inside, migrator_url, push, revised, sql, take_over, until
from rehearsal.run.stage import Stage

Checks = Iterator[Check]
SLOW_S = 2.0
"""How much longer each write takes."""
_ALWAYS = 10**6
_CHANNEL = "monitoring.projects.notificationChannels.create"
_EXPORT = "cloudscheduler.projects.locations.jobs.create"
_UPDATE, _INSERT, _USER = "sql.instances.update", "sql.instances.insert", "sql.users.insert"
_POLICY = "cloudresourcemanager.projects.setIamPolicy"
_REPLICA = "spare"
_MIGRATE = "gaia-db-migrate"
_QUOTA = "Quota exceeded for quota metric 'Write requests' and limit 'Write requests per minute' of service"
_UNAVAILABLE = "The service is currently unavailable."
_INTERNAL = "Internal error encountered."
_DIED = "An internal error occurred while processing the operation."
_SLEEP_S = 600
_WHOLE = Revision(
    upgrade=("CREATE TABLE game.rehearsed_first (id integer PRIMARY KEY)",),
    downgrade=("DROP TABLE game.rehearsed_first",),
)
_LONG = Revision(
    upgrade=(
        "CREATE TABLE game.rehearsed_second (id integer PRIMARY KEY)",
        "UPDATE game.campaigns SET name = name || ', half'",
        "SELECT pg_sleep(CAST(current_setting('rehearsal.pause_s') AS float))",
        "UPDATE game.campaigns SET name = regexp_replace(name, ', half$', '')",
    ),
    downgrade=("DROP TABLE game.rehearsed_second",),
)


def slow_api(stage: Stage) -> Checks:
    """Every request that changes something takes seconds longer."""
    before, seen = inventory.unknown(stage), len(stage.cloud.journal)
    _change(stage, "slow-api")
    with stage.cloud.faulty(Fault(method="*", delay_s=SLOW_S, writes_alone=True, times=_ALWAYS)) as slow:
        said = up(stage)
    yield Check("up goes through", not said, said)
    yield Check("the API was slow", {_CHANNEL, _UPDATE} <= slow.met, f"{len(slow.met)} methods, {SLOW_S:g} s each")
    answers = sent(stage, seen, _CHANNEL, _UPDATE)
    once = answers == {_CHANNEL: [200], _UPDATE: [200]}
    yield Check("each change was sent once", once, told(answers))
    yield nothing_more(stage, before)


def too_many_requests(stage: Stage) -> Checks:
    """429: for good, of what makes a channel; then once, of every write."""
    before, service = inventory.unknown(stage), "monitoring.googleapis.com"
    quota = GoogleError(429, f"{_QUOTA} '{service}' for consumer 'project_number:{stage.cloud.number}'.")
    _change(stage, "too-many-requests")
    with stage.cloud.faulty(Fault(method=_CHANNEL, error=quota, times=_ALWAYS)):
        said = up(stage)
    yield Check("one that stays fails up, in Google's words", "429" in said and _QUOTA in said, short(said))
    yield nothing_more(stage, before, "nothing is half made")
    yield from _passing(stage, quota)
    yield nothing_more(stage, before)


def server_error(stage: Stage) -> Checks:
    """503 that stays, 500 that passes, and an answer that is lost although what it answers was done."""
    before, version = inventory.unknown(stage), settings(stage)["settingsVersion"]
    _change(stage, "server-error")
    # Without one day's export, which then is made anew.
    stage.set(gcp__exports__days=_days(stage)[:-1], gcp__alerts__export_missing_h=170)
    with stage.cloud.faulty(Fault(method=_UPDATE, error=GoogleError(503, _UNAVAILABLE), times=_ALWAYS)):
        said = up(stage)
    yield Check("one that stays fails up, in Google's words", "503" in said and _UNAVAILABLE in said, short(said))
    yield Check("the instance is as before", settings(stage)["settingsVersion"] == version)
    yield from _passing(stage, GoogleError(500, _INTERNAL))
    yield nothing_more(stage, before)
    yield from _lost_answers(stage, before)


def _lost_answers(stage: Stage, before: set[str]) -> Checks:
    """Made, and nobody was told: what has a name is refused the second time; what Google names is made twice."""
    days = _days(stage)
    short_name = f"gaia-db-export-{days[-1].lower()}"
    job = f"projects/{stage.cloud.project}/locations/{stage.cloud.region}/jobs/{short_name}"
    stage.set(gcp__exports__days=days)
    with stage.cloud.faulty(Fault(method=_EXPORT, error=GoogleError(500, _INTERNAL), after_work=True)):
        said = up(stage)
    named = "409" in said and short_name in said
    yield Check("an answer that is lost: sent again, refused as there, and named", named, short(said))
    yield only(stage, before, {job}, "it is in the cloud, and not in the state")
    said = up(stage)
    yield Check("the next up names it again, and makes nothing twice", "409" in said and short_name in said)
    asked(stage, "cloudscheduler", f"v1/{job}", verb="DELETE")
    stage.set(gcp__alerts__emails=_with(stage, "alerts", "emails", "lost"))
    with stage.cloud.faulty(Fault(method=_CHANNEL, error=GoogleError(500, _INTERNAL), after_work=True)):
        said = up(stage)
    yield Check("without it, up goes through", not said, short(said))
    twice = inventory.unknown(stage) - before
    yield Check("what Google names is made twice: one is nobody's", len(twice) == 1, ", ".join(twice))
    for each in twice:
        asked(stage, "monitoring", f"v3/{each}", verb="DELETE")
    yield nothing_more(stage, before, "once it is deleted by hand, nothing is there that the state doesn't know")


def precondition(stage: Stage) -> Checks:
    """Somebody else changes the same thing between a look and a change: 412 and 409, from the cloud's own rules."""
    before, seen, name = inventory.unknown(stage), len(stage.cloud.journal), stage.gcp["instance"]["name"]
    kept = _change(stage, "precondition")

    def relabelled() -> None:
        sql(stage, f"instances/{name}", {"settings": {"userLabels": {"by": "hand"}}}, verb="PATCH")

    with stage.cloud.faulty(Fault(method=_UPDATE, meanwhile=relabelled)):
        said = up(stage)
    yield Check("other settings meanwhile: 412, up fails in Google's words", "412" in said, short(said))
    stage.set(gcp__access__iam_users=_with(stage, "access", "iam_users", "ada"))

    def was_refused() -> None:
        until(lambda: 409 in sent(stage, seen, _UPDATE)[_UPDATE], "the change isn't asked for while a backup is taken")

    with (
        stage.cloud.faulty(Fault(method=_POLICY, meanwhile=lambda: _bind(stage))),
        stage.cloud.faulty(Fault(method="sql.backupRuns.insert", in_operation=True, meanwhile=was_refused)),
    ):
        asked(stage, "sqladmin", f"v1/projects/{stage.cloud.project}/instances/{name}/backupRuns", {})
        said = up(stage)
    yield Check("the next up heals", not said, short(said))
    answers = sent(stage, seen, _UPDATE, _POLICY)
    busy = [code for code in answers[_UPDATE][1:] if code == 409]
    yield Check("while a backup was taken, it was tried again", bool(busy), f"{len(busy)} times")
    labels = settings(stage).get("userLabels", {})
    yield Check("the settings are the program's again", "by" not in labels and kept_backups(stage) == kept, str(labels))
    yield Check("a policy that changed meanwhile is read and written again", 409 in answers[_POLICY], told(answers))
    bound = members(stage, "roles/viewer")
    yield Check("what the other bound is kept", bound == ["user:other@example.com"], ", ".join(bound))
    yield nothing_more(stage, before)


def operation_dies(stage: Stage) -> Checks:
    """An operation ends with an error: a change of the instance, a login, a replica; its work undone, and done."""
    before, rows = inventory.unknown(stage), content(stage)
    kept = _change(stage, "operation-dies")
    died = GoogleError(500, _DIED, reason="INTERNAL_ERROR")
    for after_work in (False, True):
        with stage.cloud.faulty(Fault(method=_UPDATE, error=died, in_operation=True, after_work=after_work)):
            said = up(stage)
        how = "done" if after_work else "undone"
        yield Check(f"a change that dies {how} fails up, in Google's words", _DIED in said, short(said))
        yield Check(f"its work is {how}", (kept_backups(stage) == kept) == after_work, f"{kept_backups(stage)} kept")
    stage.set(gcp__access__iam_users=_with(stage, "access", "iam_users", "ada", "ben"))
    with stage.cloud.faulty(Fault(method=_USER, error=died, in_operation=True)):
        said = up(stage)
    yield Check("a login that dies undone fails up", _DIED in said, short(said))
    yield from _replica_dies(stage, before, died)
    yield Check("all of it heals", kept_backups(stage) == kept and "ben@example.com" in logins(stage))
    yield Check("the data is there", content(stage) == rows)


def _replica_dies(stage: Stage, before: set[str], died: GoogleError) -> Checks:
    name = f"{stage.gcp['instance']['name']}-{_REPLICA}"
    resource_id = f"projects/{stage.cloud.project}/instances/{name}"
    stage.set(gcp__replicas={**(stage.gcp.get("replicas") or {}), _REPLICA: {}})
    with stage.cloud.faulty(Fault(method=_INSERT, error=died, in_operation=True, after_work=True)):
        said = up(stage)
    yield Check("a replica that dies when it is made fails up", "Create Instance" in said and _DIED in said)
    yield only(stage, before, {resource_id}, "it is in the cloud, and not in the state")
    said = up(stage)
    yield Check("the next up names it", "already exists" in said, short(said))
    why = adopt(
        stage,
        type="gcp:sql/databaseInstance:DatabaseInstance",
        name=f"replica-{_REPLICA}",
        parent="replicas",
        resource_id=resource_id,
    )
    yield Check("it can be imported", not why, why)
    said = up(stage)
    yield Check("then up goes through, and replaces nothing with data", not said and not replaced(stage), short(said))
    yield nothing_more(stage, before)


def job_killed(stage: Stage) -> Checks:
    """The migration job is killed in the middle of the second of two revisions, in a database with data."""
    before = content(stage)
    root = stage.stack.checkout.root
    with tempfile.TemporaryDirectory(prefix="gaia-killed-") as folder:
        checkout, (first, second) = revised(root, Path(folder), _WHOLE, _LONG)
        _pauses(stage, _SLEEP_S)
        push(stage, checkout)
        with killed_in_the_middle(stage, _MIGRATE) as killed:
            said = up(stage)
        yield Check("it was killed after its first changes", killed.is_set(), "" if killed.is_set() else "it ended")
        yield Check("up fails with the job", _MIGRATE in said or "execution" in said, short(said))
        until(lambda: not sleeps(stage), "the killed job's session goes on")
        yield Check("its session ends by itself, not after its statement", True)
        after = content(stage)
        yield Check("the revision is the last whole one", after[0] == first, str(after[0]))
        yield Check("the data is as before", after[1:] == before[1:], "" if after[1:] == before[1:] else str(after))
        yield Check("nothing of the killed revision is there", not table(stage, "game.rehearsed_second"))
        _pauses(stage, 0)
        stage.set(gcp__migration_job__run=next_number(stage))
        said = up(stage)
        healed = content(stage)
        yield Check("the next up heals", not said and healed == (second, *before[1:]), short(said) or str(healed[0]))
        # Back to what the checkout knows, for whatever comes next.
        runner.downgrade(migrator_url(stage), runner.head(), directory=checkout / "migrations")
    push(stage, root)
    said = up(stage)
    yield Check("and back", not said and content(stage) == before, short(said))


def primary_lost(stage: Stage) -> Checks:
    """The primary's machine is gone; its replica is promoted as docs/restore.md says."""
    old = stage.gcp["instance"]["name"]
    new = f"{old}-{_REPLICA}"
    if new not in stage.cloud.collection(INSTANCES):
        stage.set(gcp__replicas={**(stage.gcp.get("replicas") or {}), _REPLICA: {}})
        said = up(stage)
        yield Check("a replica follows", not said, short(said))
    marker, environment = f"committed-{uuid.uuid4().hex[:6]}", backend.environment(stage, stage.outputs())
    with inside(stage) as connection:
        connection.execute("UPDATE game.campaigns SET description = %s", [marker])
    streamed(stage, old, new)
    before = content(stage)
    sql_instances.lose(stage.cloud, old)
    yield Check("the backend gets in no more", not works(environment))
    said = sql(stage, f"instances/{new}/promoteReplica")
    yield Check("the replica is promoted", not said, said)
    said = take_over(stage, old=old, new=new, replica=_REPLICA)
    stage.set(gcp__instance__name=new, gcp__replicas={})
    yield Check("it takes the primary's place in the state", not said, said)
    stage.settings["gaia-db:gcp"]["instance"]["name"] = new
    said = up(stage, "--refresh")
    yield Check("up makes it whole, and replaces nothing with data", not said and not replaced(stage), short(said))
    contract = stage.outputs()
    yield Check("the contract names it", str(contract["instance_connection_name"]).endswith(f":{new}"))
    yield Check("the backend of a new deploy works", works(backend.environment(stage, contract)))
    after = content(stage)
    yield Check("what was committed is there", after == before and marker in str(after), "")
    backups = settings(stage)["backupConfiguration"]
    whole = bool(backups.get("enabled") and backups.get("pointInTimeRecoveryEnabled"))
    yield Check("it has backups and point-in-time recovery", whole)
    lost = f"projects/{stage.cloud.project}/instances/{old}"
    yield Check("the lost one is nobody's now", lost in inventory.unknown(stage), lost)
    asleep = {"settings": {"activationPolicy": "NEVER", "deletionProtectionEnabled": False}}
    said = sql(stage, f"instances/{old}", asleep, verb="PATCH") or sql(stage, f"instances/{old}", verb="DELETE")
    yield Check("a person can delete it", not said, said)


def _change(stage: Stage, name: str) -> int:
    """A change that a fault meets: a channel more, another number of backups that are kept; that number."""
    kept = kept_backups(stage) % 300 + 1
    stage.set(gcp__alerts__emails=_with(stage, "alerts", "emails", name), gcp__backups__kept=kept)
    return kept


def _days(stage: Stage) -> list[str]:
    """The days of an export."""
    return list((stage.gcp.get("exports") or {}).get("days") or WEEK)


def _with(stage: Stage, section: str, key: str, *names: str) -> dict[str, str]:
    """The addresses that the stack file has there, and these."""
    given = (stage.gcp.get(section) or {}).get(key) or {}
    return {**given, **{name: f"{name}@example.com" for name in names}}


def _passing(stage: Stage, error: GoogleError) -> Checks:
    """The next ``up``, while each method that changes something is answered so once, before it does anything."""
    fault = Fault(method="*", error=error, writes_alone=True, once_each=True, times=_ALWAYS)
    with stage.cloud.faulty(fault):
        said = up(stage)
    yield Check("one that passes is survived, and up heals", not said, short(said))
    yield Check(f"there were some of {error.code}", len(fault.met) > 1, ", ".join(sorted(fault.met)))


def _pauses(stage: Stage, seconds: int) -> None:
    """How long the long revision sleeps from now on."""
    with inside(stage) as connection:
        database = psycopg.sql.Identifier(stage.settings["gaia-db:database"]["name"])
        words = psycopg.sql.SQL("ALTER DATABASE {} SET rehearsal.pause_s = {}")
        connection.execute(words.format(database, psycopg.sql.Literal(str(seconds))))


def _bind(stage: Stage) -> None:
    """``gcloud projects add-iam-policy-binding``, by somebody else."""
    project = f"v1/projects/{stage.cloud.project}"
    policy = asked(stage, "cloudresourcemanager", f"{project}:getIamPolicy", {"options": {"requestedPolicyVersion": 3}})
    policy["bindings"].append({"role": "roles/viewer", "members": ["user:other@example.com"]})
    asked(stage, "cloudresourcemanager", f"{project}:setIamPolicy", {"policy": policy})


FAULTS: dict[str, Callable[[Stage], Checks]] = {
    "slow-api": slow_api,
    "too-many-requests": too_many_requests,
    "server-error": server_error,
    "precondition": precondition,
    "operation-dies": operation_dies,
    "job-killed": job_killed,
    "primary-lost": primary_lost,
}
"""Name → phase, in their order: the last one leaves another instance behind."""
NEEDS: dict[str, tuple[str, ...]] = dict.fromkeys(FAULTS, ("up", "migrate", "backend"))
