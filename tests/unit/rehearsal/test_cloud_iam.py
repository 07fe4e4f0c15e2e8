"""Who may do what: roles, conditions, custom roles, what a resource lies in; and policies as they are set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.gcp import bindings
from rehearsal.cloud import conditions, iam, roles, services
from rehearsal.cloud.call import METHODS
from rehearsal.cloud.state import Cloud
from tests.asking import PROJECT, a_cloud, ask, done, refused

P = f"projects/{PROJECT}"
NAMES = {"resource.name": f"{P}/instances/db", "resource.service": "sqladmin.googleapis.com", "resource.type": ""}


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    made = a_cloud(tmp_path)
    done(made, f"POST iam/v1/{P}/serviceAccounts", {"accountId": "gaia-x-sa"})
    done(made, f"POST secretmanager/v1/{P}/secrets?secretId=s", {"replication": {"automatic": {}}})
    done(made, f"POST secretmanager/v1/{P}/secrets/s:addVersion", {"payload": {"data": "aGk="}})
    return made


EMAIL = f"gaia-x-sa@{PROJECT}.iam.gserviceaccount.com"
MEMBER = f"serviceAccount:{EMAIL}"
ACCESS = f"GET secretmanager/v1/{P}/secrets/s/versions/1:access"


def bind(cloud: Cloud, where: str, role: str, **more: Any) -> None:
    binding = {"role": role, "members": [MEMBER], **more}
    done(cloud, f"POST {where}:setIamPolicy", {"policy": {"version": 3, "bindings": [binding]}})


def test_an_account_without_a_binding_is_denied_in_google_s_words(cloud: Cloud) -> None:
    code, message = refused(cloud, ACCESS, email=EMAIL)
    assert code == 403
    assert "Permission 'secretmanager.versions.access' denied" in message


def test_a_binding_on_the_secret_gives_its_versions(cloud: Cloud) -> None:
    bind(cloud, f"secretmanager/v1/{P}/secrets/s", "roles/secretmanager.secretAccessor")
    assert ask(cloud, ACCESS, email=EMAIL)[0] == 200
    assert refused(cloud, f"GET secretmanager/v1/{P}/secrets/s", email=EMAIL)[0] == 403


def test_a_binding_on_the_project_gives_what_lies_in_it(cloud: Cloud) -> None:
    bind(cloud, f"cloudresourcemanager/v1/{P}", "roles/secretmanager.secretAccessor")
    assert ask(cloud, ACCESS, email=EMAIL)[0] == 200


def test_a_custom_role_gives_its_permissions_until_it_is_deleted(cloud: Cloud) -> None:
    role = {"roleId": "reader", "role": {"includedPermissions": ["secretmanager.versions.access"]}}
    done(cloud, f"POST iam/v1/{P}/roles", role)
    bind(cloud, f"secretmanager/v1/{P}/secrets/s", f"{P}/roles/reader")
    assert ask(cloud, ACCESS, email=EMAIL)[0] == 200
    done(cloud, f"DELETE iam/v1/{P}/roles/reader")
    assert refused(cloud, ACCESS, email=EMAIL)[0] == 403


def test_a_condition_narrows_a_binding(cloud: Cloud) -> None:
    here = f'resource.name == "{P}/secrets/s/versions/1"'
    role = "roles/secretmanager.secretAccessor"
    bind(cloud, f"cloudresourcemanager/v1/{P}", role, condition={"title": "t", "expression": here})
    assert ask(cloud, ACCESS, email=EMAIL)[0] == 200
    elsewhere = {"title": "t", "expression": f'resource.name == "{P}/secrets/other"'}
    bind(cloud, f"cloudresourcemanager/v1/{P}", role, condition=elsewhere)
    assert refused(cloud, ACCESS, email=EMAIL)[0] == 403


def test_a_deleted_account_s_binding_gives_its_namesake_nothing(cloud: Cloud) -> None:
    bind(cloud, f"secretmanager/v1/{P}/secrets/s", "roles/secretmanager.secretAccessor")
    done(cloud, f"DELETE iam/v1/{P}/serviceAccounts/{EMAIL}")
    done(cloud, f"POST iam/v1/{P}/serviceAccounts", {"accountId": "gaia-x-sa"})
    assert refused(cloud, ACCESS, email=EMAIL)[0] == 403


@pytest.mark.parametrize(
    ("binding", "words"),
    [
        ({"role": "secretAccessor", "members": ["user:a@example.com"]}, "format roles/"),
        ({"role": f"{P}/roles/nothing", "members": ["user:a@example.com"]}, "does not exist"),
        ({"role": "roles/viewer", "members": ["a@example.com"]}, "Invalid member"),
        ({"role": "roles/viewer", "members": [f"serviceAccount:nobody@{PROJECT}.iam.gserviceaccount.com"]}, "exist"),
        ({"role": "roles/viewer", "members": ["serviceAccount:service-123456789012@gcp-sa-cloud-sql.iam."]}, "exist"),
        ({"role": "roles/viewer", "members": ["user:a@b.c"], "condition": {"expression": "true"}}, "version must be"),
    ],
)
def test_a_policy_that_google_would_not_take_is_refused(cloud: Cloud, binding: dict[str, Any], words: str) -> None:
    code, message = refused(
        cloud, f"POST cloudresourcemanager/v1/{P}:setIamPolicy", {"policy": {"bindings": [binding]}}
    )
    assert code == 400 and words in message


def test_a_condition_that_is_no_expression_is_refused(cloud: Cloud) -> None:
    binding = {"role": "roles/viewer", "members": ["user:a@b.c"], "condition": {"title": "t", "expression": "a =="}}
    request = f"POST cloudresourcemanager/v1/{P}:setIamPolicy"
    assert "Invalid expression" in refused(cloud, request, {"policy": {"version": 3, "bindings": [binding]}})[1]


def test_the_program_s_own_condition_holds_on_its_instances_alone() -> None:
    expression = bindings.on_instances(PROJECT, ["db", "db-reports"])
    assert conditions.holds(expression, NAMES)
    assert not conditions.holds(expression, NAMES | {"resource.name": f"{P}/instances/other"})
    assert not conditions.holds(expression, NAMES | {"resource.service": "run.googleapis.com"})


@pytest.mark.parametrize(
    ("expression", "true"),
    [
        ('resource.name.startsWith("projects/")', True),
        ('!(resource.name.endsWith("/other")) && true', True),
        ("resource.service != 'sqladmin.googleapis.com' || false", False),
        ('"a" < "b"', True),
    ],
)
def test_conditions_are_evaluated(expression: str, true: bool) -> None:
    assert conditions.holds(expression, NAMES) is true


@pytest.mark.parametrize("expression", ["", "resource.nonsense == 'a'", '"a"', "(true", "true true", "a & b", "1 == 1"])
def test_what_is_no_condition_is_said_so(expression: str) -> None:
    with pytest.raises(conditions.NotCel):
        conditions.check(expression)


def test_every_role_that_the_program_binds_is_known() -> None:
    used = {binding.role for binding in bindings.ALL if binding.role.startswith("roles/")}
    assert {*used, "roles/secretmanager.secretAccessor"} <= roles.ROLES.keys()


def test_every_permission_of_the_program_s_own_roles_is_looked_at_somewhere() -> None:
    services.registered()
    known = {each.permission for each in METHODS.values()} | {each for every in roles.ROLES.values() for each in every}
    wanted = {each for permissions in bindings.PERMISSIONS.values() for each in permissions}
    assert wanted <= known


def test_an_editor_may_not_read_secrets_nor_give_rights() -> None:
    assert roles.role_allows("roles/editor", "secretmanager.secrets.create")
    assert not roles.role_allows("roles/editor", "secretmanager.versions.access")
    assert not roles.role_allows("roles/editor", "secretmanager.secrets.setIamPolicy")


def test_a_policy_s_bindings_of_one_role_become_one_and_empty_ones_go(cloud: Cloud) -> None:
    sent = [
        {"role": "roles/viewer", "members": ["user:b@example.com"]},
        {"role": "roles/viewer", "members": ["user:a@example.com"]},
        {"role": "roles/editor", "members": []},
    ]
    policy = iam.set_policy(cloud, "cloudresourcemanager", P, {"bindings": sent})
    assert policy["bindings"] == [{"role": "roles/viewer", "members": ["user:a@example.com", "user:b@example.com"]}]
