"""Passwords and keys: never in the plain, percent-encoded where they stand in a URL, and rotated without a gap."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from db import settings as backend
from infra.gcp.secrets import READERS, address_url, socket_url
from infra.rotation import login_of
from tests.production import planning
from tests.production.planning import CANARY, Plan, merged

VARIANTS = planning.variants()
ODD = "p@ss/w:ö rd?&#%+"


def planned(name: str) -> Plan:
    return planning.planned(VARIANTS[name])


def turned(**rotation: Any) -> Plan:
    return planning.planned(planning.production({"gcp": {"rotation": rotation}}))


def passwords(plan: Plan) -> dict[str, str]:
    """Which login has which password: what the job is given, and the user that the API makes."""
    variables = {"GAIA_APP_PASSWORD": "gaia_app", "GAIA_APP_PASSWORD_B": "gaia_app_b"}
    envs = plan.one("cloudrunv2/Job", "migrate").inputs["template"]["template"]["containers"][0]["envs"]
    return {
        **{
            variables[env["name"]]: secret(plan, env["valueSource"]["secretKeyRef"]["secret"])
            for env in envs
            if env["name"] in variables
        },
        **{each.inputs["name"]: each.inputs["password"] for each in plan.of("sql/User").values()},
    }


def secret(plan: Plan, name: str) -> str:
    return plan.one("secretmanager/SecretVersion", f"{name}-version").inputs["secretData"]


@pytest.mark.parametrize("name", VARIANTS)
def test_no_secret_stands_in_the_plain_in_what_the_engine_gets(name: str) -> None:
    plan = planned(name)
    assert any(CANARY in str(each.inputs) for each in plan.custom())
    for each in plan.resources.values():
        assert [text for text in planning.plain_texts(each.raw) if CANARY in text] == [], each.urn
    assert [text for text in planning.plain_texts(plan.outputs) if CANARY in text] == []


@pytest.mark.parametrize("name", VARIANTS)
def test_no_secret_is_in_the_contract_not_even_marked(name: str) -> None:
    assert CANARY not in str(planned(name).outputs)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_version_that_somebody_reads_is_pinned(name: str) -> None:
    plan = planned(name)
    for job in plan.of("cloudrunv2/Job").values():
        envs = job.inputs["template"]["template"]["containers"][0]["envs"]
        versions = [env["valueSource"]["secretKeyRef"]["version"] for env in envs if "valueSource" in env]
        assert versions
        assert all(version.isdigit() for version in versions)
    for reference in (value for key, value in plan.outputs.items() if key.endswith("_secret")):
        assert reference["version"].isdigit()
        assert reference["id"].startswith(f"projects/{planning.PROJECT}/secrets/db-")


def test_the_url_is_the_documents_percent_encoded() -> None:
    url = socket_url(user="gaia_app", password=ODD, database="gaia", connection_name="p:us-west1:gaia-prod-db")
    parts = urlsplit(url)
    assert ODD not in url
    assert (parts.username, unquote(parts.password or ""), parts.path) == ("gaia_app", ODD, "/gaia")
    assert parse_qs(parts.query) == {"host": ["/cloudsql/p:us-west1:gaia-prod-db"]}
    assert url.endswith("@/gaia?host=/cloudsql/p:us-west1:gaia-prod-db")


@pytest.mark.parametrize("name", ["defaults", "scaled", "public"])
def test_the_backend_s_package_understands_its_url(name: str) -> None:
    plan = planned(name)
    found = backend.from_environment({"DATABASE_URL": secret(plan, "db-url")})
    assert (found.user, found.database) == (plan.outputs["app_user"], "gaia")
    assert found.host == plan.outputs["host"]
    assert found.password == f"{CANARY}-app-password-1"
    assert found.sslmode == ("disable" if name == "defaults" else "verify-ca")


def test_a_client_certificate_is_named_where_the_server_asks_for_one() -> None:
    url = address_url(user="a", password="b", database="gaia", host="203.0.113.9", client_certificate=True)
    found = backend.from_environment({"DATABASE_URL": url})
    assert (found.sslcert, found.sslkey) == (
        "/secrets/client-cert/client-cert.pem",
        "/secrets/client-key/client-key.pem",
    )
    secrets = planned("public").of("secretmanager/Secret")
    assert {"db-server-ca", "db-client-cert", "db-client-key"} <= set(secrets)
    ip = planned("public").one("sql/DatabaseInstance", "primary").inputs["settings"]["ipConfiguration"]
    assert ip["sslMode"] == "TRUSTED_CLIENT_CERTIFICATE_REQUIRED"


# --- rotation ---


def test_the_logins_take_turns() -> None:
    assert [login_of(turn) for turn in (1, 2, 3)] == ["gaia_app", "gaia_app_b", "gaia_app"]


def test_both_logins_and_the_migrator_have_a_password_of_their_own() -> None:
    found = passwords(planned("defaults"))
    assert set(found) == {"gaia_app", "gaia_app_b", "gaia_migrator"}
    assert len(set(found.values())) == 3


def test_the_api_makes_no_login_of_the_backend() -> None:
    """What it makes may create roles, and PostgreSQL 16 lets nobody but its maker take that away."""
    assert {each.inputs["name"] for each in planned("defaults").of("sql/User").values()} == {"gaia_migrator"}


def test_a_turn_gives_the_idle_login_a_new_password_and_leaves_the_one_in_use_alone() -> None:
    first, second = passwords(turned(turn=1)), passwords(turned(turn=2))
    assert second["gaia_app"] == first["gaia_app"]
    assert second["gaia_app_b"] != first["gaia_app_b"]
    assert second["gaia_migrator"] == first["gaia_migrator"]


def test_a_turn_hands_the_other_login_on() -> None:
    plan = turned(turn=2)
    assert plan.outputs["app_user"] == secret(plan, "db-user") == "gaia_app_b"
    assert secret(plan, "db-password") == passwords(plan)["gaia_app_b"]
    assert urlsplit(secret(plan, "db-url")).username == "gaia_app_b"


def test_the_login_whose_turn_is_over_is_retired_when_asked_to() -> None:
    before, after = passwords(turned(turn=2)), passwords(turned(turn=2, retire_previous=True))
    assert after["gaia_app"] != before["gaia_app"]
    assert after["gaia_app_b"] == before["gaia_app_b"]
    # Nobody but the job reads it.
    plan = turned(turn=2, retire_previous=True)
    versions = plan.of("secretmanager/SecretVersion")
    assert [name for name, each in versions.items() if after["gaia_app"] in str(each.inputs)] == [
        "db-password-other-version"
    ]
    assert list(READERS["db-password-other"]) == ["migrate"]


def test_an_identity_key_is_handed_on_with_the_one_before_it_until_that_is_retired() -> None:
    one, both, alone = (
        secret(plan, "db-identity-key")
        for plan in (
            turned(),
            turned(identity_turn=2),
            turned(identity_turn=2, retire_previous_identity=True),
        )
    )
    assert both.split(",") == [alone, one]


def test_the_job_runs_again_exactly_when_it_has_something_to_do() -> None:
    def token(*changes: dict[str, Any]) -> str:
        plan = planning.planned(merged(VARIANTS["defaults"], *changes))
        return plan.one("cloudrunv2/Job", "migrate").inputs["runExecutionToken"]

    same = token()
    assert len(f"gaia-db-migrate-{same}") < 63
    assert token({"gcp": {"alerts": {"cpu": 0.5}, "backups": {"kept": 8}}}) == same
    assert len({same, token({"gcp": {"migration_job": {"run": 2}}}), token({"gcp": {"rotation": {"turn": 2}}})}) == 3
