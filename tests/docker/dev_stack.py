"""A Docker stack in a clone, under names and ports of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from infra.local import docker_engine
from tests.clone import Clone
from tests.standins.docker_names import Names


class Dev:
    """The dev stack of one test."""

    def __init__(self, clone: Clone, names: Names, image: str, port: int, provider: dict[str, str]) -> None:
        self.clone = clone
        self.env = provider
        self.port = port
        self.replica_port = names.port()
        self.mark = docker_engine.labels_of(clone.root, "dev")[docker_engine.CHECKOUT_LABEL]
        self.container = names("postgres")
        self.network = names("net")
        self.volume = names("data")
        values = {
            "docker.container": self.container,
            "docker.network": self.network,
            "docker.volume": self.volume,
            "docker.image": image,
            "database.port": port,
        }
        self.settings = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]

    def up(self, *flags: str, env: dict[str, str] | None = None) -> dict[str, object]:
        return self.clone.json("up", "--stack", "dev", *self.settings, *flags, env={**self.env, **(env or {})})

    def gaia(self, *arguments: str, code: int | None = 0, env: dict[str, str] | None = None) -> str:
        done = self.clone.gaia(*arguments, "--stack", "dev", code=code, env={**self.env, **(env or {})})
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def json(self, *arguments: str, code: int = 0) -> Any:
        return self.clone.json(*arguments, "--stack", "dev", code=code, env=self.env)

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.clone.gaia("url", "--stack", "dev", env=self.env).stdout.strip())

    def add_user(self, name: str) -> None:
        with self.connect() as connection:
            connection.execute(
                "INSERT INTO auth.users (username, email) VALUES (%s, %s)", (name, f"{name}@example.org")
            )

    def users(self) -> int:
        with self.connect() as connection:
            row = connection.execute("SELECT count(*) FROM auth.users").fetchone()
        assert row
        return row[0]


@pytest.fixture
def dev(clone: Clone, unique_name: Names, postgres_image: str, standin_docker: dict[str, str]) -> Iterator[Dev]:
    stack = Dev(clone, unique_name, postgres_image, unique_name.port(), standin_docker)
    yield stack
    clone.gaia("destroy", "--stack", "dev", "--purge", "--yes", env=standin_docker, code=None)
