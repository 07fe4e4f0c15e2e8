"""``./gaia url``, ``psql``, ``env``, ``logs``: how to get at the database."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from engine import checkout as places
from ops import env_files, stacks
from ops.exits import Missing, UsageFault
from ops.report import Report

if TYPE_CHECKING:
    from engine.stack import Stack
    from ops.stacks import Login

DOCKER_HOST_NAME = "postgres"
"""The database's alias in the Docker network."""
DOCKER_STANDBY_NAME = "postgres-standby"
"""Its standby's."""
DOCKER_PORT = 5432


def url(report: Report, *, stack_name: str | None, as_user: str, as_exports: bool, replica: bool = False) -> None:
    """Print the connection URI, password included: it is what this command is for."""
    as_app = _as_app(as_user)
    stack = stacks.open_stack(stack_name, report.long)
    logins = stacks.logins(stack)
    login = logins.app if as_app else logins.superuser
    if replica:
        if logins.pair is None:
            raise Missing(f"stack {stack.name} has no standby: ./gaia up --set database.replicas=1")
        login = login.reached_at(login.host, logins.pair.port)
    if as_exports:
        values = {"DATABASE_URL": login.url, "GAIA_IDENTITY_KEY": logins.identity_key, **_replica(logins.replica)}
        print("\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items()))
        return
    report.result(login.url, {"ok": True, "stack": stack.name, "user": login.user, "url": login.url})


def psql(report: Report, *, stack_name: str | None, as_user: str, arguments: list[str]) -> int:
    """Become psql, logged in. The password goes by the environment, never by an argument."""
    from infra.local import postgres

    as_app = _as_app(as_user)
    logins = stacks.logins(stacks.open_stack(stack_name, report.long))
    login = logins.app if as_app else logins.superuser
    program = postgres.packaged_binaries() / "psql"
    variables = {**os.environ, **_libpq(login)}
    sys.stdout.flush()
    os.execve(program, [str(program), *arguments], variables)


def environment(report: Report, *, stack_name: str | None, file: Path | None, reader: str) -> None:
    """Print what a shell needs, or write the source document's variables to a file."""
    if reader not in ("host", "docker"):
        raise UsageFault(f"--for {reader}: must be host or docker")
    checkout = places.here()
    places.prepare(checkout)
    name = stack_name or stacks.chosen(checkout) or "local"
    if file is not None:
        stack = stacks.with_engine(checkout, name, report.long)
        lines = document_lines(stack, reader)
        try:
            env_files.write(stack, _regular(file), reader, lines)
        except OSError as error:
            raise UsageFault(
                f"--file {file}: can't be written ({error.strerror}); name a file in a folder that is yours"
            ) from None
        report.say(f"wrote {file}, readable by you alone")
        return
    stack = stacks.with_engine(checkout, name, report.long)
    stack.make()
    needed = places.pulumi_environment(checkout, os.environ, stack=name, engine=stack.engine)
    # `pulumi` in the wrapper's folder brings its own stack file for each stack, fresh for each run.
    needed.pop("PULUMI_OPTION_CONFIG_FILE")
    path = [str(checkout.wrapper_folder), *(part for part in needed["PATH"].split(os.pathsep))]
    needed["PATH"] = os.pathsep.join(dict.fromkeys(path))
    needed["GAIA_STACK"] = name
    lines = [f"export {key}={shlex.quote(value)}" for key, value in needed.items()]
    if stacks.is_up(stack):
        # The shell asks for it when it evaluates this line: nothing secret is printed here.
        launcher = shlex.quote(str(checkout.root / "gaia"))
        lines.append(f'eval "$({launcher} url --as app --exports --stack {shlex.quote(name)})"')
    print("\n".join(lines))


def _regular(file: Path) -> Path:
    """The file itself, behind any link. Raises ``UsageFault`` where it is a folder or a device."""
    target = file.resolve()
    if target.exists() and not target.is_file():
        raise UsageFault(f"--file {file}: is no ordinary file; name one to write, such as .env")
    return target


def logs(report: Report, *, stack_name: str | None, lines: int, follow: bool) -> int:
    """Show the end of the server's log."""
    checkout = places.here()
    name = stack_name or stacks.chosen(checkout)
    if name is None:
        raise Missing("no stack is up yet: run ./gaia up")
    settings = stacks.read_settings(checkout, name)
    if settings.docker is not None:
        return _container_logs(settings.docker.container, lines, follow)
    from infra.local import postgres

    log = postgres.Server(home=postgres.home_for(checkout.root, name), binaries=Path(), user=None).log
    if not log.exists():
        raise Missing(f"stack {name} has no log yet: run ./gaia up --stack {name}")
    flags = ["-F"] if follow else []
    return subprocess.run(["tail", "-n", str(lines), *flags, str(log)], check=False).returncode


def _container_logs(container: str, lines: int, follow: bool) -> int:
    from infra.local import docker_engine

    client = docker_engine.connect(timeout_s=24 * 3600 if follow else docker_engine.CALL_TIMEOUT_S)
    found = docker_engine.find(client, container)
    if found is None:
        raise Missing(f"there is no container {container}: run ./gaia up --stack dev")
    if not follow:
        sys.stdout.buffer.write(found.logs(tail=lines))
        return 0
    for chunk in found.logs(tail=lines, stream=True, follow=True):
        sys.stdout.buffer.write(chunk)
        sys.stdout.flush()
    return 0


def document_lines(stack: Stack, reader: str) -> list[str]:
    """The variables of the source document. The backend's URL is the app's login; the superuser is the container's."""
    logins = stacks.logins(stack)
    app, replica, superuser = logins.app, logins.replica, logins.superuser
    if reader == "docker":
        if superuser.container is None:
            raise UsageFault(f"stack {stack.name} runs outside Docker: containers can't reach its loopback address")
        app = app.reached_at(DOCKER_HOST_NAME, DOCKER_PORT)
        replica = replica and replica.reached_at(DOCKER_STANDBY_NAME, DOCKER_PORT)
    variables = {
        "DATABASE_URL": app.url,
        "GAIA_IDENTITY_KEY": logins.identity_key,
        **_replica(replica),
        "POSTGRES_DB": superuser.database,
        "POSTGRES_USER": superuser.user,
        "POSTGRES_PASSWORD": superuser.password,
        "DATABASE_ECHO": "false",
    }
    # Quotes only where they are needed: shells and Compose take them off, `docker run --env-file` does not.
    return [f"{name}={shlex.quote(value)}" for name, value in variables.items()]


def _replica(login: Login | None) -> dict[str, str]:
    """Where ``db`` sends what only reads."""
    return {"DATABASE_REPLICA_URL": login.url} if login else {}


def _libpq(login: Login) -> dict[str, str]:
    return {
        "PGHOST": login.host,
        "PGPORT": str(login.port),
        "PGDATABASE": login.database,
        "PGUSER": login.user,
        "PGPASSWORD": login.password,
    }


def _as_app(as_user: str) -> bool:
    if as_user not in ("superuser", "app"):
        raise UsageFault(f"--as {as_user}: must be superuser or app")
    return as_user == "app"
