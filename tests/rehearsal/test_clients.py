"""Google's own clients, as anybody installs them, work against the cloud through their endpoint overrides."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from google.auth.transport.requests import AuthorizedSession
from google.cloud import secretmanager_v1, storage
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build_from_document
from googleapiclient.discovery_cache import get_static_doc
from googleapiclient.errors import HttpError
from googleapiclient.http import MediaIoBaseUpload

from rehearsal.cloud.app import running
from rehearsal.cloud.errors import GoogleError
from rehearsal.cloud.state import Cloud, Fault
from tests.asking import NUMBER, PROJECT, REGION, a_cloud, done

P = f"projects/{PROJECT}"
L = f"{P}/locations/{REGION}"
PATIENCE_S = 60


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    made = a_cloud(tmp_path_factory.mktemp("cloud"))
    with running(made):
        yield made


def client(cloud: Cloud, service: str, version: str, token: str | None = None) -> Any:
    """google-api-python-client, from the document that comes with it; uploads go by its ``rootUrl`` too."""
    document = json.loads(get_static_doc(service, version) or "{}")
    document |= {"rootUrl": f"{cloud.url}/{service}/", "mtlsRootUrl": ""}
    return build_from_document(document, credentials=Credentials(token or cloud.operator_token))


def finished(request: Any, reads: Any) -> Any:
    """Wait for an operation as a client does: by asking."""
    operation, deadline = request.execute(), time.monotonic() + PATIENCE_S
    while not (operation.get("done") or operation.get("status") == "DONE"):
        assert time.monotonic() < deadline
        operation = reads(operation["name"]).execute()
    return operation


def test_secret_manager_s_client_over_rest(cloud: Cloud) -> None:
    secrets = secretmanager_v1.SecretManagerServiceClient(
        transport="rest",
        credentials=Credentials(cloud.operator_token),
        client_options={"api_endpoint": f"{cloud.url}/secretmanager"},
    )
    with secrets:
        secret = secrets.create_secret(
            request={"parent": P, "secret_id": "by-client", "secret": {"replication": {"automatic": {}}}}
        )
        assert secret.name == f"projects/{NUMBER}/secrets/by-client"
        payload = secretmanager_v1.SecretPayload(data=b"hello", data_crc32c=0x9A71BB4C)
        version = secrets.add_secret_version(parent=secret.name, payload=payload)
        read = secrets.access_secret_version(name=f"{P}/secrets/by-client/versions/latest")
        assert (read.name, read.payload.data) == (version.name, b"hello")
        with pytest.raises(exceptions.Conflict, match="already exists"):
            secrets.create_secret(
                request={"parent": P, "secret_id": "by-client", "secret": {"replication": {"automatic": {}}}}
            )
        assert secrets.destroy_secret_version(name=version.name).state.name == "DESTROYED"
        with pytest.raises(exceptions.BadRequest, match="DESTROYED"):
            secrets.access_secret_version(name=version.name)


def test_cloud_storage_s_client(cloud: Cloud) -> None:
    store = storage.Client(
        project=PROJECT,
        credentials=Credentials(cloud.operator_token),
        client_options={"api_endpoint": f"{cloud.url}/storage"},
    )
    with closing(store):
        bucket = store.bucket("by-client-dumps")
        bucket.versioning_enabled = True
        bucket.create(location="europe-west1")
        blob = bucket.blob("folder/of a/dump.sql")
        blob.upload_from_string("one", content_type="text/plain")
        blob.upload_from_string("two", content_type="text/plain")
        assert bucket.blob("folder/of a/dump.sql").download_as_bytes() == b"two"
        versions = list(store.list_blobs(bucket, versions=True))
        assert [each.download_as_bytes() for each in versions] == [b"one", b"two"]
        with pytest.raises(exceptions.Conflict, match="not empty"):
            bucket.delete()
        large = bucket.blob("large", chunk_size=256 * 1024)
        large.upload_from_file(io.BytesIO(b"x" * 700_000), size=700_000)
        assert large.download_as_bytes() == b"x" * 700_000
        assert [each.name for each in store.list_blobs(bucket, prefix="folder/")] == ["folder/of a/dump.sql"]
        for version in store.list_blobs(bucket, versions=True):
            bucket.delete_blob(version.name, generation=version.generation)
        bucket.delete()


def test_the_discovery_client_uploads_and_downloads(cloud: Cloud) -> None:
    with closing(client(cloud, "storage", "v1")) as api:
        api.buckets().insert(project=PROJECT, body={"name": "by-discovery", "location": "EU"}).execute()
        media = MediaIoBaseUpload(io.BytesIO(b"content"), "text/plain")
        api.objects().insert(bucket="by-discovery", name="a/b", media_body=media).execute()
        assert api.objects().get_media(bucket="by-discovery", object="a/b").execute() == b"content"


def test_a_network_with_its_private_range_and_its_connector(cloud: Cloud) -> None:
    with (
        closing(client(cloud, "compute", "v1")) as compute,
        closing(client(cloud, "vpcaccess", "v1")) as access,
        closing(client(cloud, "servicenetworking", "v1")) as networking,
    ):
        wait = compute.globalOperations()
        network = compute.networks().insert(project=PROJECT, body={"name": "vpc", "autoCreateSubnetworks": False})
        finished(network, lambda name: wait.wait(project=PROJECT, operation=name))
        path = f"{P}/global/networks/vpc"
        address = {"name": "range", "purpose": "VPC_PEERING", "addressType": "INTERNAL", "prefixLength": 20}
        reserve = compute.globalAddresses().insert(project=PROJECT, body={**address, "network": path})
        finished(reserve, lambda name: wait.get(project=PROJECT, operation=name))
        connection = {"network": f"projects/{NUMBER}/global/networks/vpc", "reservedPeeringRanges": ["range"]}
        service = "services/servicenetworking.googleapis.com"
        created = networking.services().connections().create(parent=service, body=connection)
        finished(created, lambda name: networking.operations().get(name=name))
        assert compute.networks().get(project=PROJECT, network="vpc").execute()["peerings"][0]["state"] == "ACTIVE"
        connector = {"network": "vpc", "ipCidrRange": "10.8.0.0/28", "minInstances": 2, "maxInstances": 3}
        operations = access.projects().locations().operations()
        made = access.projects().locations().connectors().create(parent=L, connectorId="conn", body=connector)
        done_ = finished(made, lambda name: operations.get(name=name))
        assert done_["response"]["state"] == "READY"


def test_paging_as_the_discovery_client_does_it(cloud: Cloud) -> None:
    with closing(client(cloud, "serviceusage", "v1")) as api:
        listed, request = [], api.services().list(parent=P, filter="state:ENABLED", pageSize=3)
        while request is not None:
            answer = request.execute()
            assert len(answer["services"]) <= 3
            listed += [service["config"]["name"] for service in answer["services"]]
            request = api.services().list_next(request, answer)
    assert listed == sorted(f"{short}.googleapis.com" for short in cloud.enabled)


def test_a_policy_that_somebody_else_changed_is_refused(cloud: Cloud) -> None:
    with closing(client(cloud, "cloudresourcemanager", "v1")) as api:
        policy = api.projects().getIamPolicy(resource=PROJECT, body={}).execute()
        binding = {"role": "roles/viewer", "members": ["user:u@example.com"]}
        changed = {"policy": {**policy, "bindings": [*policy["bindings"], binding]}}
        api.projects().setIamPolicy(resource=PROJECT, body=changed).execute()
        with pytest.raises(HttpError, match="concurrent policy changes") as refusal:
            api.projects().setIamPolicy(resource=PROJECT, body=changed).execute()
    assert refusal.value.resp.status == 409


def test_an_unknown_field_a_wrong_enum_and_a_wrong_path_get_google_s_errors(cloud: Cloud) -> None:
    session = AuthorizedSession(Credentials(cloud.operator_token))
    with closing(session):
        url = f"{cloud.url}/secretmanager/v1/{P}/secrets?secretId=x"
        answer = session.post(url, json={"replicatoin": {}}).json()
        assert answer["error"]["status"] == "INVALID_ARGUMENT"
        assert 'Unknown name "replicatoin": Cannot find field.' in answer["error"]["message"]
        url = f"{cloud.url}/artifactregistry/v1/{L}/repositories?repositoryId=x"
        answer = session.post(url, json={"format": "FLOPPY"}).json()
        assert "Invalid value at 'format'" in answer["error"]["message"]
        answer = session.get(f"{cloud.url}/secretmanager/v1/nothing/here")
        assert (answer.status_code, answer.json()["error"]["status"]) == (404, "NOT_FOUND")
        answer = session.get(f"{cloud.url}/secretmanager/v1/{P}/locations")
        assert answer.status_code == 501
        assert answer.json()["error"]["message"] == "not modelled: secretmanager.projects.locations.list"


def test_without_a_token_or_with_a_strange_one_nothing_is_told(cloud: Cloud) -> None:
    url = f"{cloud.url}/secretmanager/v1/{P}/secrets"
    for headers, words in (({"authorization": "Bearer ya29.strange"}, "invalid"), ({}, "missing")):
        with requests.get(url, headers=headers, timeout=PATIENCE_S) as answer:
            assert (answer.status_code, answer.json()["error"]["status"]) == (401, "UNAUTHENTICATED")
            assert words in answer.json()["error"]["message"]


def test_the_scheduler_really_calls_the_api_as_its_account(cloud: Cloud) -> None:
    done(cloud, f"POST iam/v1/{P}/serviceAccounts", {"accountId": "gaia-caller-sa"})
    email = cloud.service_account("gaia-caller-sa")
    done(cloud, f"POST secretmanager/v1/{P}/secrets?secretId=called", {"replication": {"automatic": {}}})
    job = {
        "name": f"{L}/jobs/caller",
        "schedule": "0 3 * * *",
        "httpTarget": {
            "uri": f"https://secretmanager.googleapis.com/v1/{P}/secrets/called",
            "httpMethod": "GET",
            "oauthToken": {"serviceAccountEmail": email},
        },
    }
    with closing(client(cloud, "cloudscheduler", "v1")) as api:
        jobs = api.projects().locations().jobs()
        jobs.create(parent=L, body=job).execute()
        assert attempt(jobs)["status"]["code"] == 7  # PERMISSION_DENIED
        binding = {"role": "roles/secretmanager.viewer", "members": [f"serviceAccount:{email}"]}
        done(cloud, f"POST secretmanager/v1/{P}/secrets/called:setIamPolicy", {"policy": {"bindings": [binding]}})
        assert attempt(jobs)["status"] == {}
    called = [entry for entry in cloud.journal if entry.principal == f"serviceAccount:{email}"]
    assert [entry.code for entry in called] == [403, 200]


def test_the_scheduler_opens_no_connection_beyond_this_cloud(cloud: Cloud) -> None:
    job = {"name": f"{L}/jobs/far", "schedule": "0 3 * * *", "httpTarget": {"uri": "https://example.com/x"}}
    with closing(client(cloud, "cloudscheduler", "v1")) as api:
        jobs = api.projects().locations().jobs()
        jobs.create(parent=L, body=job).execute()
        status = attempt(jobs, "far")["status"]
    assert status == {"code": 14, "message": "The rehearsal opens no connection to example.com."}


def attempt(jobs: Any, name: str = "caller") -> Any:
    """Let the scheduler's job run, and wait for what comes of it."""
    jobs.run(name=f"{L}/jobs/{name}", body={}).execute()
    deadline = time.monotonic() + PATIENCE_S
    while "status" not in (job := jobs.get(name=f"{L}/jobs/{name}").execute()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return job


def test_a_fault_on_request_is_met_as_often_as_it_says_and_clients_try_again(cloud: Cloud) -> None:
    busy = Fault(method="secretmanager.projects.secrets.list", error=GoogleError(503, "busy"), times=1)
    with closing(client(cloud, "secretmanager", "v1")) as api, cloud.faulty(busy):
        api.projects().secrets().list(parent=P).execute(num_retries=3)
    assert busy.times == 0


def test_two_clouds_know_nothing_of_each_other(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> None:
    done(cloud, f"POST secretmanager/v1/{P}/secrets?secretId=mine", {"replication": {"automatic": {}}})
    other = a_cloud(tmp_path_factory.mktemp("other"))
    with running(other) as url, closing(client(other, "secretmanager", "v1")) as api:
        assert api.projects().secrets().list(parent=P).execute() == {"totalSize": 0}
        headers = {"authorization": f"Bearer {cloud.operator_token}"}
        with requests.get(f"{url}/secretmanager/v1/{P}/secrets", headers=headers, timeout=PATIENCE_S) as answer:
            assert answer.status_code == 401


def test_the_journal_names_every_request_and_no_secret(cloud: Cloud) -> None:
    done(cloud, f"POST secretmanager/v1/{P}/secrets?secretId=canary", {"replication": {"automatic": {}}})
    done(cloud, f"POST secretmanager/v1/{P}/secrets/canary:addVersion", {"payload": {"data": "Y2FuYXJ5LXZhbHVl"}})
    told = json.dumps([str(entry) for entry in cloud.journal])
    assert "secrets.addVersion" in told
    assert "Y2FuYXJ5LXZhbHVl" not in told and cloud.operator_token not in told + repr(cloud)
