"""``./gaia status``: what is there, at a glance, without changing anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine import checkout as places
from engine import locks
from ops import stacks
from ops.exits import FINE
from ops.report import Report

if TYPE_CHECKING:
    from engine.stack import Stack
    from infra.local.replication import Pair
    from infra.settings import Settings


def status(report: Report, *, stack_name: str | None) -> int:
    """Print what the stack is, whether its server runs, and at which revision it is."""
    checkout = places.here()
    name = stack_name or stacks.chosen(checkout)
    if name is None:
        report.result("no stack is up: run ./gaia up", {"ok": True, "stack": None, "state": "absent"})
        return FINE
    stack = stacks.with_engine(checkout, name, report.long)
    settings = stacks.read_settings(checkout, name)
    run = locks.last_run(checkout, name)
    document: dict[str, Any] = {
        "ok": True,
        "stack": name,
        "target": settings.target,
        "state": "up" if stacks.is_up(stack) else "absent",
        "server": _server(checkout, settings),
        "address": None,
        "server_version": None,
        "revision": None,
        "head": None,
        "standby": None,
        "pending_operations": len(stack.pending()),
        "held_by": f"{run.command} (pid {run.pid})" if run and run.alive() else None,
    }
    if document["state"] == "up" and document["server"] == "running":
        document |= _database(stack)
    report.result(
        "\n".join(
            f"{key.replace('_', ' '):<19} {_standby_in_words(value) if key == 'standby' else value}"
            for key, value in document.items()
            if value is not None and key != "ok"
        ),
        document,
    )
    return FINE


def _server(checkout: places.Checkout, settings: Settings) -> str:
    from infra.local.errors import LocalError

    try:
        if settings.docker is not None:
            from infra.local import contained, docker_engine, failover

            if failover.under_way(contained.home_for(checkout.root, settings.stack)):
                return failover.UNDER_WAY
            client = docker_engine.connect()
            found = docker_engine.find(client, settings.docker.container)
            client.close()
            return found.status if found else "absent"
        from infra.local import failover, postgres

        server = postgres.locate(postgres.home_for(checkout.root, settings.stack))
        return failover.UNDER_WAY if failover.under_way(server.home) else postgres.status(server)
    except LocalError as error:
        return f"unknown: {error}"


def _database(stack: Stack) -> dict[str, Any]:
    import psycopg

    from migrations import runner
    from migrations.connection import one_sentence
    from migrations.errors import MigrationError

    logins = stacks.logins(stack)
    login = logins.superuser
    try:
        with psycopg.connect(login.url, connect_timeout=5) as connection:
            number = connection.info.server_version
        at = runner.current(login.url)
    except (psycopg.OperationalError, MigrationError) as error:
        return {"server": f"does not answer: {one_sentence(str(error))}"}
    return {
        "address": f"{login.host}:{login.port}/{login.database}",
        "server_version": f"{number // 10000}.{number % 10000}",
        "revision": at or "base",
        "head": runner.head(),
        "standby": _standby(logins.pair) if logins.pair else None,
    }


def _standby(pair: Pair) -> dict[str, Any]:
    from infra.local import replication

    seen = replication.look(pair)
    return {
        "status": seen.status,
        "address": f"{pair.address}:{pair.port}",
        "synchronous": pair.synchronous,
        "lag_bytes": seen.lag_bytes,
        "lag_s": seen.lag_s,
    }


def _standby_in_words(standby: dict[str, Any]) -> str:
    behind = "" if standby["lag_bytes"] is None else f", {standby['lag_bytes']} bytes behind"
    commits = ", commits wait for it" if standby["synchronous"] else ""
    return f"{standby['status']} at {standby['address']}{behind}{commits}"
