"""Cloud SQL's API through Google's own client, with real servers behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from googleapiclient.errors import HttpError

from rehearsal.cloud import sql_instances
from rehearsal.cloud.errors import GoogleError
from rehearsal.cloud.state import Cloud, Fault
from tests.google_clients import PROJECT, allow, client, done, instance_body, make_account, running_cloud, settled

pytestmark = [pytest.mark.postgres, pytest.mark.xdist_group("sqladmin")]

DAILY = {"enabled": True, "pointInTimeRecoveryEnabled": True, "transactionLogRetentionDays": 7}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running_cloud(tmp_path_factory.mktemp("cloud")) as made:
        yield made


@pytest.fixture(scope="module")
def sql(cloud: Cloud) -> Iterator[Any]:
    """The client, with an instance ``main``, a database ``gaia`` and a user ``ada``."""
    with client(cloud, "sqladmin", "v1beta4") as made:
        body = instance_body("main", backupConfiguration=DAILY)
        done(made, made.instances().insert(project=PROJECT, body=body).execute())
        done(made, made.databases().insert(project=PROJECT, instance="main", body={"name": "gaia"}).execute())
        user = {"name": "ada", "password": "of-ada"}
        done(made, made.users().insert(project=PROJECT, instance="main", body=user).execute())
        yield made


def refusal(request: Any) -> tuple[int, str, str]:
    """HTTP code, reason and message of what is refused."""
    with pytest.raises(HttpError) as refused:
        request.execute()
    details = refused.value.error_details
    assert isinstance(details, list)
    return refused.value.status_code, details[0]["reason"], details[0]["message"]


def test_an_instance_is_shown_with_what_cloud_sql_adds(sql: Any) -> None:
    found = sql.instances().get(project=PROJECT, instance="main").execute()
    assert (found["state"], found["connectionName"]) == ("RUNNABLE", f"{PROJECT}:europe-west1:main")
    assert found["settings"]["settingsVersion"] == "1"
    assert found["settings"]["backupConfiguration"]["transactionalLogStorageState"] == "CLOUD_STORAGE"
    assert "rootPassword" not in found
    assert next(each["name"] for each in sql.instances().list(project=PROJECT).execute()["items"]) == "main"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"edition": "ENTERPRISE_PLUS"}, "Invalid Tier (db-g1-small) for (ENTERPRISE_PLUS) Edition"),
        ({"edition": None}, "Invalid Tier (db-g1-small) for (ENTERPRISE_PLUS) Edition"),
        ({"tier": "db-custom-3-7680"}, "Invalid Tier (db-custom-3-7680)"),
        ({"tier": "db-n1-standard-1"}, "Only custom or shared-core instance Billing Tier type allowed"),
        ({"backupConfiguration": {"transactionLogRetentionDays": 8}}, "must be between 1 and 7"),
        ({"backupConfiguration": {"pointInTimeRecoveryEnabled": True}}, "Point in time recovery can't be enabled"),
        ({"dataDiskSizeGb": "5"}, "Data disk size 5 GB"),
        ({"databaseFlags": [{"name": "max_connections", "value": "100000000"}]}, "Value requested is not valid."),
        ({"ipConfiguration": {"ipv4Enabled": False}}, "At least one of Public IP, Private IP or PSC"),
        (
            {"ipConfiguration": {"ipv4Enabled": False, "privateNetwork": f"projects/{PROJECT}/global/networks/x"}},
            f"Incorrect Service Networking config for instance: {PROJECT}:other:NETWORK_NOT_PEERED",
        ),
    ],
)
def test_settings_that_google_refuses_are_refused(sql: Any, settings: dict[str, Any], message: str) -> None:
    body = instance_body("other", **settings)
    code, _, said = refusal(sql.instances().insert(project=PROJECT, body=body))
    assert code == 400 and message in said


def test_an_unknown_field_or_enum_never_reaches_the_service(sql: Any, cloud: Cloud) -> None:
    body = instance_body("other", availabilityType="SOMETIMES")
    assert refusal(sql.instances().insert(project=PROJECT, body=body))[0] == 400


def test_a_name_is_not_free_again_within_a_week(sql: Any) -> None:
    body = instance_body("brief")
    done(sql, sql.instances().insert(project=PROJECT, body=body).execute())
    done(sql, sql.instances().delete(project=PROJECT, instance="brief").execute())
    code, reason, message = refusal(sql.instances().insert(project=PROJECT, body=body))
    assert (code, reason) == (409, "instanceAlreadyExists") and "until one week from the deletion date" in message


def test_protection_keeps_an_instance_until_it_is_taken_off(sql: Any) -> None:
    def protect(value: bool) -> None:
        body = {"settings": {"deletionProtectionEnabled": value}}
        done(sql, sql.instances().patch(project=PROJECT, instance="main", body=body).execute())

    protect(True)
    assert "protected" in refusal(sql.instances().delete(project=PROJECT, instance="main"))[2]
    protect(False)


def test_an_update_wants_the_version_it_was_read_at_and_restarts_for_a_tier(sql: Any, cloud: Cloud) -> None:
    settings = sql.instances().get(project=PROJECT, instance="main").execute()["settings"]
    settings["tier"] = "db-custom-1-3840"
    request = sql.instances().update(project=PROJECT, instance="main", body={"settings": settings})
    before = cloud.servers["main"].program.popen.pid
    done(sql, request.execute())
    assert cloud.servers["main"].program.popen.pid != before
    assert refusal(request)[:2] == (412, "staleData")
    now = sql.instances().get(project=PROJECT, instance="main").execute()["settings"]
    assert (now["tier"], int(now["settingsVersion"])) == ("db-custom-1-3840", int(settings["settingsVersion"]) + 1)


def test_users_and_databases_are_those_of_the_server(sql: Any, cloud: Cloud) -> None:
    users = sql.users().list(project=PROJECT, instance="main").execute()["items"]
    assert [user["name"] for user in users] == ["postgres", "ada"]
    assert users[1]["databaseRoles"] == ["cloudsqlsuperuser"] and not any("password" in user for user in users)
    database = sql.databases().get(project=PROJECT, instance="main", database="gaia").execute()
    assert (database["charset"], database["collation"]) == ("UTF8", "en_US.UTF8")
    with cloud.servers["main"].session("gaia") as session:
        session.execute("CREATE TABLE hers (number int); ALTER TABLE hers OWNER TO ada")
    code, _, message = refusal(sql.users().delete(project=PROJECT, instance="main", name="ada"))
    assert code == 400 and "failed to delete user ada: . role" in message


def test_a_password_has_to_meet_the_instances_policy(sql: Any) -> None:
    policy = {"enablePasswordPolicy": True, "minLength": 16, "disallowUsernameSubstring": True}
    body = {"settings": {"passwordValidationPolicy": policy}}
    done(sql, sql.instances().patch(project=PROJECT, instance="main", body=body).execute())
    for password in ("short", "long-enough-but-bob"):
        user = {"name": "bob", "password": password}
        assert "policy" in refusal(sql.users().insert(project=PROJECT, instance="main", body=user))[2]


def test_a_backup_is_taken_listed_and_restored(sql: Any, cloud: Cloud) -> None:
    with cloud.servers["main"].session("gaia") as session:
        session.execute("CREATE TABLE IF NOT EXISTS backed_up AS SELECT 1 AS number")
        begun = sql.backupRuns().insert(project=PROJECT, instance="main", body={"description": "before"}).execute()
        id = done(sql, begun)["backupContext"]["backupId"]
        session.execute("DROP TABLE backed_up")
    runs = sql.backupRuns().list(project=PROJECT, instance="main").execute()["items"]
    assert [(run["id"], run["status"], run["description"]) for run in runs] == [(id, "SUCCESSFUL", "before")]
    body = {"restoreBackupContext": {"backupRunId": id, "instanceId": "main", "project": PROJECT}}
    done(sql, sql.instances().restoreBackup(project=PROJECT, instance="main", body=body).execute())
    with cloud.servers["main"].session("gaia") as session:
        assert session.execute("SELECT number FROM backed_up").fetchone() == (1,)


def test_a_replica_follows_blocks_the_deletion_of_its_primary_and_is_promoted(sql: Any, cloud: Cloud) -> None:
    done(sql, sql.instances().insert(project=PROJECT, body=instance_body("first")).execute())
    body = {**instance_body("second"), "masterInstanceName": "first"}
    done(sql, sql.instances().insert(project=PROJECT, body=body).execute())
    first = sql.instances().get(project=PROJECT, instance="first").execute()
    assert (first["replicaNames"], first["settings"]["settingsVersion"]) == (["second"], "2")
    assert "read replicas (second)" in refusal(sql.instances().delete(project=PROJECT, instance="first"))[2]
    done(sql, sql.instances().promoteReplica(project=PROJECT, instance="second").execute())
    second = sql.instances().get(project=PROJECT, instance="second").execute()
    assert second["instanceType"] == "CLOUD_SQL_INSTANCE" and "masterInstanceName" not in second
    with cloud.servers["second"].session() as session:
        session.execute("CREATE TABLE written (number int)")
    for name in ("first", "second"):
        done(sql, sql.instances().delete(project=PROJECT, instance=name).execute())


def test_a_lost_primary_is_survived_by_its_replica(sql: Any, cloud: Cloud) -> None:
    done(sql, sql.instances().insert(project=PROJECT, body=instance_body("lost")).execute())
    body = {**instance_body("spare"), "masterInstanceName": "lost"}
    done(sql, sql.instances().insert(project=PROJECT, body=body).execute())
    with cloud.servers["lost"].session() as session:
        session.execute("CREATE TABLE kept AS SELECT 1 AS number")
    sql_instances.lose(cloud, "lost")
    assert sql.instances().get(project=PROJECT, instance="lost").execute()["state"] == "FAILED"
    assert "not running" in refusal(sql.users().list(project=PROJECT, instance="lost"))[2]
    done(sql, sql.instances().promoteReplica(project=PROJECT, instance="spare").execute())
    with cloud.servers["spare"].session() as session:
        session.execute("INSERT INTO kept VALUES (2)")
    done(sql, sql.instances().restart(project=PROJECT, instance="lost").execute())
    for name in ("lost", "spare"):
        done(sql, sql.instances().delete(project=PROJECT, instance=name).execute())


@pytest.mark.parametrize("after_work", [False, True])
def test_a_creation_that_dies_half_way_leaves_an_instance_that_has_to_be_deleted(
    sql: Any, cloud: Cloud, after_work: bool
) -> None:
    name = f"half-{after_work}".lower()
    error = GoogleError(500, "An unknown error occurred.", reason="INTERNAL_ERROR")
    fault = Fault(method="sql.instances.insert", error=error, in_operation=True, after_work=after_work)
    with cloud.faulty(fault):
        begun = sql.instances().insert(project=PROJECT, body=instance_body(name)).execute()
        assert settled(sql, begun)["error"]["errors"][0]["message"] == "An unknown error occurred."
    again = refusal(sql.instances().insert(project=PROJECT, body=instance_body(name)))
    assert again[:2] == (409, "instanceAlreadyExists")
    done(sql, sql.instances().delete(project=PROJECT, instance=name).execute())


def test_an_export_is_a_dump_in_the_bucket_which_an_import_reads(sql: Any, cloud: Cloud) -> None:
    for name in ("out", "back"):
        done(sql, sql.databases().insert(project=PROJECT, instance="main", body={"name": name}).execute())
    with cloud.servers["main"].session("out", user="ada", password="of-ada") as session:
        session.execute("CREATE TABLE exported AS SELECT 'as it was' AS word")
    with client(cloud, "storage", "v1") as storage:
        storage.buckets().insert(project=PROJECT, body={"name": "demo-exports", "location": "EU"}).execute()
    context = {"fileType": "SQL", "uri": "gs://demo-exports/monday.sql.gz", "databases": ["out"]}
    export = sql.instances().export(project=PROJECT, instance="main", body={"exportContext": context})
    refused = settled(sql, export.execute())["error"]["errors"][0]
    assert "permissions missing are: [storage.objects.create]" in refused["message"]
    account = sql.instances().get(project=PROJECT, instance="main").execute()["serviceAccountEmailAddress"]
    allow(cloud, "storage", "projects/_/buckets/demo-exports", "roles/storage.objectAdmin", account)
    done(sql, export.execute())
    assert "already exists" in settled(sql, export.execute())["error"]["errors"][0]["message"]
    context = {"uri": "gs://demo-exports/monday.sql.gz", "database": "back", "importUser": "ada"}
    body = {"importContext": context}
    done(sql, sql.instances().import_(project=PROJECT, instance="main", body=body).execute())
    with cloud.servers["main"].session("back") as session:
        assert session.execute("SELECT word FROM exported").fetchone() == ("as it was",)


def test_a_service_account_may_what_its_roles_allow_and_no_more(sql: Any, cloud: Cloud) -> None:
    email = make_account(cloud, "viewer")
    with client(cloud, "sqladmin", "v1beta4", cloud.token_for(email)) as theirs:
        get = theirs.instances().get(project=PROJECT, instance="main")
        assert refusal(get)[0] == 403
        allow(cloud, "cloudresourcemanager", f"projects/{PROJECT}", "roles/cloudsql.viewer", email)
        assert get.execute()["name"] == "main"
        assert refusal(theirs.instances().restart(project=PROJECT, instance="main"))[0] == 403


def test_one_operation_at_a_time(sql: Any) -> None:
    body = {"description": "slow"}
    request = sql.backupRuns().insert(project=PROJECT, instance="main", body=body)
    begun = request.execute()
    assert refusal(request)[:2] == (409, "operationInProgress")
    done(sql, begun)


def test_an_instance_that_is_stopped_answers_so_and_starts_again(sql: Any) -> None:
    for policy, state in (("NEVER", "STOPPED"), ("ALWAYS", "RUNNABLE")):
        body = {"settings": {"activationPolicy": policy}}
        done(sql, sql.instances().patch(project=PROJECT, instance="main", body=body).execute())
        assert sql.instances().get(project=PROJECT, instance="main").execute()["state"] == state
        if state == "STOPPED":
            assert "not running" in refusal(sql.users().list(project=PROJECT, instance="main"))[2]


def test_the_first_version_of_the_api_answers_as_well(sql: Any, cloud: Cloud) -> None:
    with client(cloud, "sqladmin", "v1") as first:
        found = first.instances().get(project=PROJECT, instance="main").execute()
        assert found["name"] == "main"
        assert first.flags().list().execute()["items"]


def test_the_servers_end_with_the_cloud(tmp_path: Path) -> None:
    with running_cloud(tmp_path) as cloud, client(cloud, "sqladmin", "v1beta4") as sql:
        done(sql, sql.instances().insert(project=PROJECT, body=instance_body("short")).execute())
        folder, pid = cloud.servers.folder, cloud.servers["short"].program.popen
    assert not folder.exists() and pid.poll() is not None
