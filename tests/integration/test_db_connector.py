"""The Cloud SQL connector, with the real library down to where Google would be asked. Not run with a real Cloud SQL."""

import asyncio
import inspect
import threading
from typing import Any

import asyncpg
import psycopg
import pytest

from db import errors
from db.manager import DatabaseManager
from tests.integration.db_world import ADA, WHO, World, people, world

connector = pytest.importorskip("google.cloud.sql.connector", reason="needs the extra connector")
pytestmark = pytest.mark.postgres
__all__ = ["people", "world"]

REAL = inspect.signature(connector.Connector)


class NearConnector:
    """Takes what the library's Connector takes, calls the drivers as it does, and connects to the test's server."""

    asked: list[tuple[str, str, dict[str, Any]]]
    closed: list[str]

    def __init__(self, **given: Any) -> None:
        assert set(given) <= set(REAL.parameters)

    async def connect_async(self, instance: str, driver: str, **given: Any) -> Any:
        self.asked.append((instance, driver, dict(given)))
        for name in ("ip_type", "timeout", "enable_iam_auth"):
            given.pop(name, None)
        host, port = self.place
        return await asyncpg.connect(host=host, port=port, **given)

    def connect(self, instance: str, driver: str, **given: Any) -> Any:
        self.asked.append((instance, driver, dict(given)))
        for name in ("ip_type", "timeout", "enable_iam_auth"):
            given.pop(name, None)
        host, port = self.place
        return psycopg.connect(host=host, port=port, dbname=given.pop("db"), **given)

    async def close_async(self) -> None:
        self.closed.append("async")

    def close(self) -> None:
        self.closed.append("sync")

    place: tuple[str, int]


@pytest.fixture
def near(world: World, monkeypatch: pytest.MonkeyPatch) -> DatabaseManager:
    NearConnector.asked, NearConnector.closed = [], []
    NearConnector.place = ("127.0.0.1", world.database.server.port)
    monkeypatch.setattr(connector, "Connector", NearConnector)
    return through(world)


def through(world: World) -> DatabaseManager:
    return world.manager(DATABASE_CONNECTOR="cloudsql", DB_INSTANCE_CONNECTION_NAME="project:region:instance")


def test_both_drivers_go_through_it_and_sessions_are_as_ever(world: World, near: DatabaseManager) -> None:
    async def run() -> object:
        async with near.get_async_session(ADA) as session:
            return await session.scalar(WHO)

    assert asyncio.run(run()) == ADA
    with near.get_sync_session(ADA) as session:
        assert session.scalar(WHO) == ADA
    near.close()
    assert [(instance, driver) for instance, driver, _ in NearConnector.asked] == [
        ("project:region:instance", "asyncpg"),
        ("project:region:instance", "psycopg"),
    ]
    assert sorted(NearConnector.closed) == ["async", "sync"]
    assert world.connections() == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_real_library_without_credentials_is_a_clear_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    def none(*_arguments: Any, **_more: Any) -> None:
        raise DefaultCredentialsError("Your default credentials were not found.")

    monkeypatch.setattr(google.auth, "default", none)
    manager = through(world)

    async def run() -> None:
        async with manager.get_async_session() as session:
            await session.execute("SELECT 1")

    with pytest.raises(errors.Unreachable, match=r"project:region:instance.*credentials were not found"):
        asyncio.run(run())
    for _ in range(3):
        with pytest.raises(errors.Unreachable, match="credentials"), manager.get_sync_session() as session:
            session.execute("SELECT 1")
    assert [one.name for one in threading.enumerate()].count("cloud sql connector") == 1, "not one for each attempt"
    manager.close()
    assert "cloud sql connector" not in [one.name for one in threading.enumerate()]


def test_without_the_library_the_error_names_the_extra(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "google.cloud.sql.connector", None)
    with (
        pytest.raises(errors.SettingsError, match=r"gaia-db\[connector\]"),
        through(world).get_sync_session() as session,
    ):
        session.execute("SELECT 1")
