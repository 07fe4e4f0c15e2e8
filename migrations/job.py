"""What the Cloud Run job runs: a backup where revisions are pending, then all that makes the database usable.

``python -m migrations.job``; everything comes from the environment (``VARIABLES``), every line it prints is one JSON
object, the last one the result. Exit codes as ``python -m migrations``.
"""

import contextlib
import dataclasses
import datetime as dt
import json
import os
import signal
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from db.identity import IdentityKeyError
from db.identity import keys as identity_keys
from migrations import backup_first, bootstrap, iam_logins, paths, runner, sqladmin
from migrations import connection as connections
from migrations.errors import BadSetting, MigrationError
from migrations.revisions import DIRECTORY, history

VARIABLES = {
    "GAIA_MIGRATIONS_URL": "the login that migrates, as a URL",
    "GAIA_INSTANCE": "project:region:instance: take a backup of it before pending revisions; without it none is taken",
    "GAIA_IDENTITY_KEY": "the key, or current,previous, that identities are signed with; without it they stay",
    "GAIA_APP_PASSWORD": "password of gaia_app; without it that stays",
    "GAIA_APP_PASSWORD_B": "password of gaia_app_b; without it that stays",
    "GAIA_IAM_LOGINS": "JSON: each login without a password, and the role it gets the rights of; without it they stay",
    "GAIA_BACKUP_TIMEOUT_S": "how long the backup may take; 1800",
    "GAIA_SQLADMIN_URL": "address of the Cloud SQL Admin API, version included; Google's",
    "GOOGLE_OAUTH_ACCESS_TOKEN": "a token where there is no metadata server, as on a laptop",
    "GCE_METADATA_HOST": "the metadata server; metadata.google.internal",
    "CLOUD_RUN_EXECUTION": "set by Cloud Run; goes into the backup's description",
}
"""What it reads, and what each is for."""

LOGINS = {"GAIA_APP_PASSWORD": "gaia_app", "GAIA_APP_PASSWORD_B": "gaia_app_b"}
SECRETS = ("GAIA_IDENTITY_KEY", *LOGINS, "GOOGLE_OAUTH_ACCESS_TOKEN")
FINE, FAILED = 0, 1
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
_LONGEST_BACKUP_S = 24 * 3600.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What the environment says."""

    url: str = dataclasses.field(repr=False)
    passwords: Mapping[str, str] = dataclasses.field(repr=False)
    identity_keys: tuple[str, ...] = dataclasses.field(repr=False)
    iam_logins: Mapping[str, str] | None
    instance: sqladmin.Instance | None
    api: str
    backup_timeout_s: float
    token: str | None = dataclasses.field(repr=False)
    metadata_host: str
    execution: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Done:
    """What :func:`run` did."""

    applied: runner.Applied
    iam_logins: tuple[str, ...]
    backup: backup_first.Backup | None


class Log:
    """Prints one JSON object a line, as Cloud Logging reads them; none ever holds one of ``secrets``."""

    def __init__(self, secrets: tuple[str, ...] = ()) -> None:
        self._secrets = tuple(sorted({s for s in secrets if s}, key=len, reverse=True))

    def line(self, message: str, *, severity: str = "INFO", **more: Any) -> None:
        """Print one."""
        now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        self._print({"time": now, "severity": severity, "message": message, **more})

    def event(self, event: runner.Event) -> None:
        """Print what the runner does."""
        seconds = None if event.seconds is None else round(event.seconds, 3)
        self.line(event.message, event=event.kind, revision=event.revision, seconds=seconds)

    def result(self, ok: bool, message: str, **more: Any) -> None:
        """Print the last one."""
        self.line(message, severity="INFO" if ok else "ERROR", ok=ok, **more)

    def _print(self, data: Mapping[str, Any]) -> None:
        text = json.dumps(data, default=str)
        for secret in self._secrets:
            text = text.replace(json.dumps(secret)[1:-1], "***")
        print(text, flush=True)


def main(environment: Mapping[str, str] = os.environ) -> int:
    """Run the job; returns its exit code."""
    log = Log(secrets_of(environment))
    try:
        with _ending_on_sigterm():
            done = run(settings_of(environment), log=log)
    except MigrationError as error:
        log.result(False, str(error), error=type(error).__name__)
        return exit_code(error)
    except SystemExit:
        log.result(False, "ended by SIGTERM: the revision at hand is rolled back", error="Terminated")
        return TERMINATED
    except KeyboardInterrupt:
        log.result(False, "interrupted: the revision at hand is rolled back", error="KeyboardInterrupt")
        return INTERRUPTED
    except Exception as error:  # a fault of ours: its place is named, and the log stays one object a line
        log.result(False, f"{type(error).__name__}: {error}", error=type(error).__name__, at=_places(error))
        return FAILED
    log.result(True, f"at {done.applied.result.after or 'base'}", **document(done))
    return FINE


def run(settings: Settings, *, log: Log, directory: Path = DIRECTORY) -> Done:
    """Back up where revisions are pending, then apply all; raises MigrationError. No backup, no migration."""
    pending = waiting(settings.url, directory)
    backup = None
    if pending and settings.instance is not None:
        backup = _backed_up(settings, settings.instance, pending, log)
    else:
        log.line(_why_no_backup(pending), event="backup", backup_id=None)
    try:
        applied = bootstrap.apply(
            settings.url,
            passwords=settings.passwords,
            identity_keys=settings.identity_keys,
            on_event=log.event,
            directory=directory,
        )
        granted = _let_in(settings)
    except MigrationError:
        if backup is not None:
            back = f"gcloud sql backups restore {backup.id} --restore-instance=…"
            log.line(f"backup {backup.id} is from before: {back}", severity="WARNING", backup_id=backup.id)
        raise
    return Done(applied=applied, iam_logins=granted, backup=backup)


def _let_in(settings: Settings) -> tuple[str, ...]:
    if settings.iam_logins is None:
        return ()
    with connections.connect(settings.url) as connection:
        return iam_logins.apply(connection, settings.iam_logins)


def waiting(url: str, directory: Path = DIRECTORY) -> tuple[str, ...]:
    """The revisions that are pending; raises what ``runner.upgrade`` raises before its first step."""
    line = history(directory)
    with connections.connect(url) as session:
        connections.become_owner(session)
        before = paths.known(line, connections.revision_of(session))
    return tuple(step.revision for step in paths.up_path(line, before, "head"))


def settings_of(environment: Mapping[str, str]) -> Settings:
    """What the environment says; raises NoDatabaseUrl, or BadSetting with all faults at once."""
    url = connections.url_from_environment(environment)
    faults: list[str] = []

    def read(parse: Any, name: str, default: Any) -> Any:
        if not (text := environment.get(name)):
            return default
        try:
            return parse(text)
        except (BadSetting, IdentityKeyError) as error:
            faults.append(str(error).rstrip("."))
            return default

    settings = Settings(
        url=url,
        passwords={login: environment[name] for name, login in LOGINS.items() if environment.get(name)},
        identity_keys=read(identity_keys, "GAIA_IDENTITY_KEY", ()),
        iam_logins=read(iam_logins.parse, "GAIA_IAM_LOGINS", None),
        instance=read(sqladmin.Instance.parse, "GAIA_INSTANCE", None),
        api=read(sqladmin.checked_url, "GAIA_SQLADMIN_URL", sqladmin.API),
        backup_timeout_s=read(_seconds, "GAIA_BACKUP_TIMEOUT_S", backup_first.TIMEOUT_S),
        token=environment.get("GOOGLE_OAUTH_ACCESS_TOKEN") or None,
        metadata_host=environment.get("GCE_METADATA_HOST") or sqladmin.METADATA_HOST,
        execution=environment.get("CLOUD_RUN_EXECUTION") or uuid.uuid4().hex[:12],
    )
    if faults:
        raise BadSetting("; ".join(faults))
    return settings


def secrets_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """What must not be printed: the secrets, and the passwords of the URLs, as they are and as they are written."""
    found = [environment.get(name, "") for name in SECRETS]
    found += environment.get("GAIA_IDENTITY_KEY", "").split(",")
    for name in connections.URL_VARIABLES:
        url = environment.get(name, "")
        with contextlib.suppress(ValueError):
            written = urlsplit(url).password or ""
            found += [url, written, unquote(written)]
    return tuple(part.strip() for part in found if len(part.strip()) > 3)


def document(done: Done) -> dict[str, Any]:
    """The result as data."""
    result = done.applied.result
    return {
        "before": result.before,
        "after": result.after,
        "applied": list(result.applied),
        "roles": list(done.applied.roles),
        "grants": list(result.grants),
        "iam_logins": list(done.iam_logins),
        "backup": None if done.backup is None else dataclasses.asdict(done.backup),
    }


def exit_code(error: MigrationError) -> int:
    """As ``python -m migrations`` ends with it."""
    from migrations import __main__ as command_line

    return command_line._exit_code(error)


def _backed_up(
    settings: Settings, instance: sqladmin.Instance, pending: tuple[str, ...], log: Log
) -> backup_first.Backup:
    def tell(message: str) -> None:
        log.line(message, event="backup")

    log.line(f"backs up {instance} before {', '.join(pending)}", event="backup", revisions=list(pending))
    client = sqladmin.Client(
        sqladmin.Token(settings.token, host=settings.metadata_host),
        base_url=settings.api,
        deadline=time.monotonic() + settings.backup_timeout_s,
        on_wait=tell,
    )
    description = f"gaia: before {pending[0]}..{pending[-1]} ({settings.execution})"
    backup = backup_first.take(client, instance, description, tell=tell)
    log.line(f"backup {backup.id} of {instance} is done", event="backup", backup_id=backup.id, seconds=backup.seconds)
    return backup


def _why_no_backup(pending: tuple[str, ...]) -> str:
    return "no backup: GAIA_INSTANCE is not set" if pending else "no backup: nothing is pending"


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 1 <= (seconds := float(text)) <= _LONGEST_BACKUP_S:
            return seconds
    raise BadSetting(f"GAIA_BACKUP_TIMEOUT_S is {text!r}: give seconds from 1 to {_LONGEST_BACKUP_S:.0f}")


@contextlib.contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Process 1 of a container has no default action for SIGTERM, which Cloud Run sends ten seconds before the end."""

    def end(_signal: int, _frame: Any) -> None:
        raise SystemExit(TERMINATED)

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not the main thread: whoever called takes care of it
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _places(error: BaseException) -> list[str]:
    """Where it came from, innermost last, without the values that a full traceback might quote."""
    found, trace = [], error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        found.append(f"{Path(code.co_filename).name}:{trace.tb_lineno} in {code.co_name}")
        trace = trace.tb_next
    return found[-8:]


if __name__ == "__main__":
    sys.exit(main())
