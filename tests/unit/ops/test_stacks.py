"""Which stack a command is about, and how its logins are written down."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from engine import checkout as places
from engine import working_copy
from engine.checkout import Checkout
from engine.stack import Resource
from infra.settings import SettingsError
from ops import access, stacks, up
from ops.exits import Missing, UsageFault
from ops.report import Report
from ops.stacks import Login

APP = Login(host="127.0.0.1", port=5432, database="gaia", user="gaia_app", password="a" * 16)
SCHEMA = {
    "host": "127.0.0.1",
    "port": 5433.0,
    "database": "gaia",
    "superuser": "gaia",
    "password": "s" * 16,
    "app_password": "a" * 16,
    "identity_key": "ab" * 32,
    "container": None,
}


class _Stack:
    """A stack with these resources."""

    name = "local"

    def __init__(self, *resources: Resource) -> None:
        self.found = list(resources)

    def resources(self, *, timeout_s: float | None = None) -> list[Resource]:
        return self.found


def having(**changed: Any) -> Any:
    return _Stack(Resource(type=stacks.SCHEMA_TYPE, name="schema", outputs={**SCHEMA, **changed}))


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(root=tmp_path)
    places.prepare(made)
    for name, target in (("dev", "docker"), ("local", "embedded")):
        made.stack_file(name).write_text(f"config: {{gaia-db:target: {target}}}\n")
    return made


def state(checkout: Checkout, name: str) -> None:
    folder = checkout.state / ".pulumi" / "stacks" / places.PROJECT
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text("{}")


# --- the choice ---


def test_a_fresh_checkout_has_chosen_no_stack(checkout: Checkout) -> None:
    assert stacks.chosen(checkout) is None


def test_a_choice_is_kept_until_it_is_undone(checkout: Checkout) -> None:
    stacks.remember(checkout, "dev")
    assert stacks.chosen(checkout) == "dev"
    stacks.forget(checkout, "local")
    assert stacks.chosen(checkout) == "dev"
    stacks.forget(checkout, "dev")
    assert stacks.chosen(checkout) is None


def test_the_only_stack_with_a_state_is_the_one_that_is_meant(checkout: Checkout) -> None:
    state(checkout, "local")
    assert stacks.chosen(checkout) == "local"
    state(checkout, "dev")
    assert stacks.chosen(checkout) is None


def test_a_choice_of_a_stack_that_is_gone_counts_for_nothing(checkout: Checkout) -> None:
    stacks.remember(checkout, "dev")
    checkout.stack_file("dev").unlink()
    assert stacks.chosen(checkout) is None


# --- settings of the working copy ---


def test_settings_are_those_of_the_working_copy(checkout: Checkout) -> None:
    working_copy.set_values(checkout, "local", [("database.port", "5433")])
    assert stacks.read_settings(checkout, "local").database.port == 5433


def test_a_refused_value_leaves_everything_as_it_was(checkout: Checkout) -> None:
    with up._with_changes(checkout, "local", [("database.port", "5433")]):
        pass
    before = checkout.working_copy("local").read_text()
    with pytest.raises(SettingsError, match=r"database\.name"):  # noqa: SIM117
        with up._with_changes(checkout, "local", [("database.port", "5434"), ("database.name", "Gaia")]):
            pass
    assert checkout.working_copy("local").read_text() == before


def test_a_value_is_not_kept_where_what_needs_it_fails(checkout: Checkout) -> None:
    with up._with_changes(checkout, "local", [("database.port", "5433")]):
        pass
    with pytest.raises(OSError, match="no"):  # noqa: PT012, SIM117
        with up._with_changes(checkout, "local", [("database.port", "5434")]) as settings:
            assert settings.database.port == 5434
            raise OSError("no")
    assert stacks.read_settings(checkout, "local").database.port == 5433


# --- logins ---


@examples(max_examples=20, deadline=None, database=None)
@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_login_survives_its_url(password: str, user: str) -> None:
    url = urlsplit(Login(host="127.0.0.1", port=5432, database="gaia", user=user, password=password).url)
    assert (unquote(url.username or ""), unquote(url.password or "")) == (user, password)
    assert (url.hostname, url.port, url.path) == ("127.0.0.1", 5432, "/gaia")


@pytest.mark.parametrize(("as_app", "user", "password"), [(True, "gaia_app", "a" * 16), (False, "gaia", "s" * 16)])
def test_the_app_and_the_superuser_have_logins_of_their_own(as_app: bool, user: str, password: str) -> None:
    logins = stacks.logins(having())
    login = logins.app if as_app else logins.superuser
    assert (login.user, login.password, login.port) == (user, password, 5433)


def test_a_stack_without_a_database_has_no_login() -> None:
    stack: Any = _Stack()
    with pytest.raises(Missing, match=r"stack local is not up: run \./gaia up --stack local"):
        stacks.logins(stack)


def test_psql_gets_the_password_by_its_environment() -> None:
    assert access._libpq(APP) == {
        "PGHOST": "127.0.0.1",
        "PGPORT": "5432",
        "PGDATABASE": "gaia",
        "PGUSER": "gaia_app",
        "PGPASSWORD": "a" * 16,
    }


@pytest.mark.parametrize(("as_user", "as_app"), [("app", True), ("superuser", False)])
def test_a_login_is_the_apps_or_the_superusers(as_user: str, as_app: bool) -> None:
    assert access._as_app(as_user) is as_app


def test_any_other_login_is_refused() -> None:
    with pytest.raises(UsageFault, match="--as root: must be superuser or app"):
        access._as_app("root")


@pytest.mark.parametrize(("reader", "address"), [("host", "127.0.0.1:5433"), ("docker", "postgres:5432")])
def test_the_backends_file_has_the_documents_variables_and_the_apps_login(reader: str, address: str) -> None:
    lines = access.document_lines(having(container="gaia-postgres"), reader)
    variables = dict(shlex.split(line)[0].split("=", 1) for line in lines)
    assert variables == {
        "DATABASE_URL": f"postgresql://gaia_app:{'a' * 16}@{address}/gaia",
        "GAIA_IDENTITY_KEY": "ab" * 32,
        "POSTGRES_DB": "gaia",
        "POSTGRES_USER": "gaia",
        "POSTGRES_PASSWORD": "s" * 16,
        "DATABASE_ECHO": "false",
    }


def test_a_container_cannot_reach_a_server_outside_docker() -> None:
    with pytest.raises(UsageFault, match="containers can't reach its loopback address"):
        access.document_lines(having(), "docker")


def test_an_unknown_reader_of_the_file_is_refused() -> None:
    with pytest.raises(UsageFault, match="--for dokcer"):
        access.environment(Report(), stack_name=None, file=None, reader="dokcer")
