"""Who may do what: every binding has its reason, and nobody reads a secret that isn't theirs."""

from __future__ import annotations

import pytest

from infra.gcp import bindings
from infra.gcp.access import ACCOUNTS
from infra.gcp.bindings import Binding
from infra.gcp.secrets import READER, READERS, readers
from tests.production import planning
from tests.production.planning import Plan, Registered, merged, short

EVERYTHING = merged(
    planning.production(planning.SCALED),
    {
        "gcp": {
            "access": {
                "iam_users": {"ada": "ada@example.com"},
                "backend_iam_login": True,
                "drill_principal": "principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/"
                "github/subject/repo:gaia/gaia-db:environment:drill",
                "preview_principal": "principalSet://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/"
                "github/attribute.repository/gaia/gaia-db",
            }
        }
    },
)
SHAPES = {**planning.variants(), "everything": EVERYTHING}
AT_ADDRESS = ("scaled", "everything")
"""Where the jobs come over Private Service Connect."""


def planned(name: str) -> Plan:
    return planning.planned(SHAPES[name])


def rights(plan: Plan) -> list[Registered]:
    return [each for each in plan.custom() if "iam" in each.type.lower() and "member" in each.inputs]


def binding_of(each: Registered) -> Binding:
    """The entry of the list that a registered right is."""
    if each.name.startswith("person-"):
        _, _, kind = each.name.split("-", 2)
        return next(one for one in (bindings.PERSON_CONNECTS, bindings.PERSON_LOGS_IN) if one.name == kind)
    return next(one for one in bindings.ALL if one.name == each.name)


def why(each: Registered) -> str:
    if short(each.type) == "secretmanager/SecretIamMember":
        secret, _, account = each.name.rpartition("-for-")
        return {str(name): reason for name, reason in READERS[secret].items()}[account]
    return binding_of(each).why


@pytest.mark.parametrize("name", SHAPES)
def test_every_right_has_its_reason(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = [
        (each.inputs["member"], each.inputs["role"], short(each.type), why(each)) for each in rights(planned(name))
    ]
    for member, role, kind, reason in sorted(table):
        print(f"{member.split('@')[0]:44} {role.split('/')[-1]:30} {kind:32} {reason}")
    assert all(len(reason) >= 7 for *_, reason in table)
    assert len(capsys.readouterr().out.splitlines()) == len(table) > 0


@pytest.mark.parametrize("name", SHAPES)
def test_a_right_is_the_one_that_the_list_names(name: str) -> None:
    for each in rights(planned(name)):
        if short(each.type) != "secretmanager/SecretIamMember":
            assert each.inputs["role"].split("/")[-1] == binding_of(each).role.split("/")[-1], each.urn


def test_no_reason_is_left_over() -> None:
    named = {binding_of(each).name for each in rights(planned("everything")) if "Secret" not in each.type}
    assert named == {one.name for one in bindings.ALL}


@pytest.mark.parametrize("name", SHAPES)
def test_nobody_owns_edits_or_administers_the_project(name: str) -> None:
    for each in rights(planned(name)):
        if short(each.type) == "projects/IAMMember":
            role = each.inputs["role"].lower()
            assert role not in ("roles/owner", "roles/editor", "roles/viewer")
            assert "admin" not in role


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_given_on_the_project_can_only_be_given_there_and_is_narrowed_to_our_instances(name: str) -> None:
    plan = planned(name)
    ours = {each.inputs["name"] for each in plan.of("sql/DatabaseInstance").values()}
    for each in plan.of("projects/IAMMember").values():
        if each.name == bindings.DRILL_TELLS.name:
            continue  # logs have no policies, and writing one can't be narrowed to it
        assert "cloudsql" in each.inputs["role"] or "gaiaDb" in each.inputs["role"]
        if each.name == bindings.MIGRATIONS_BACK_UP.name:
            continue  # operations are no instances: see access.py
        expression = each.inputs["condition"]["expression"]
        assert {part for part in expression.split('"') if part.startswith("projects/")} == {
            f"projects/{planning.PROJECT}/instances/{instance}" for instance in ours
        }


def test_the_stack_s_own_roles_may_read_call_and_nothing_else() -> None:
    roles = planned("defaults").of("projects/IAMCustomRole")
    permissions = {permission for each in roles.values() for permission in each.inputs["permissions"]}
    assert {each.inputs["roleId"] for each in roles.values()} == set(bindings.PERMISSIONS)
    assert not [
        one for one in permissions if one.endswith((".delete", ".update", ".connect", ".login", ".restoreBackup"))
    ]


@pytest.mark.parametrize("name", SHAPES)
def test_each_secret_is_read_by_exactly_those_that_use_it(name: str) -> None:
    plan = planned(name)
    found: dict[str, set[str]] = {secret: set() for secret in plan.of("secretmanager/Secret")}
    for each in plan.of("secretmanager/SecretIamMember").values():
        assert each.inputs["role"] == READER
        account = each.inputs["member"].removeprefix("serviceAccount:gaia-").split("-sa@")[0]
        found[each.inputs["secretId"]].add(account)
    assert found == {secret: set(readers(secret, jobs_at_address=name in AT_ADDRESS)) for secret in found}


@pytest.mark.parametrize("name", ["defaults", "scaled", "public"])
def test_the_jobs_use_every_secret_that_their_account_may_read(name: str) -> None:
    plan = planned(name)
    used: set[str] = set()
    for job in plan.of("cloudrunv2/Job").values():
        template = job.inputs["template"]["template"]
        envs = template["containers"][0]["envs"]
        used |= {env["valueSource"]["secretKeyRef"]["secret"] for env in envs if "valueSource" in env}
        used |= {volume["secret"]["secret"].removesuffix("-id") for volume in template["volumes"] if "secret" in volume}
    secrets = plan.of("secretmanager/Secret")
    assert used == {each for each in secrets if "migrate" in readers(each, jobs_at_address=name in AT_ADDRESS)}


def test_the_key_that_signs_identities_and_the_backend_s_login_are_nobody_else_s() -> None:
    assert set(READERS["db-identity-key"]) == {"backend", "migrate"}
    assert set(READERS["db-url"]) == {"backend"}
    assert "backend" not in READERS["db-migrator-url"]


@pytest.mark.parametrize("name", SHAPES)
def test_each_task_has_an_account_of_its_own(name: str) -> None:
    accounts = {each.inputs["accountId"] for each in planned(name).of("serviceaccount/Account").values()}
    drills = "gaia-drill-sa" in accounts
    assert drills == (name in ("public", "everything"))  # where somebody is named who drills
    assert accounts == {f"gaia-{account}-sa" for account in ACCOUNTS if drills or account != "drill"}
    assert all(6 <= len(account) <= 30 for account in accounts)


def test_the_preview_may_do_nothing_in_the_project() -> None:
    members = [each.inputs["member"] for each in rights(planned("everything"))]
    assert not [member for member in members if member.startswith("serviceAccount:gaia-preview-sa")]


def test_the_document_s_binding_of_the_backend_is_there() -> None:
    right = planned("defaults").one("projects/IAMMember", "backend-connects").inputs
    assert right["role"] == "roles/cloudsql.client"
    assert right["member"] == f"serviceAccount:gaia-backend-sa@{planning.PROJECT}.iam.gserviceaccount.com"
