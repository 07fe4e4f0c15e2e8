"""The commands that deploy: the backend with its login from Secret Manager or in its environment, and a job."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from flags import Database, Unfit

_OF_A_SERVICE_ALONE = ("max-instances",)


def with_secrets(database: Database, *, service: str, image: str) -> str:
    """Cloud Run reads the login from Secret Manager when an instance starts: the way to deploy in production."""
    return _command("gcloud run deploy", service, _service_flags(database, image))


def with_environment(database: Database, *, service: str, image: str) -> str:
    """A script that puts the login itself into the service's environment. Needs jq.

    Whoever may look at the service then reads the password, and it stands in the process list while gcloud runs.
    """
    outputs = database.outputs
    secret, _, version = database.secrets.get("DB_PASSWORD", "").partition(":")
    if not version:
        raise Unfit("the stack gives no password_secret: deploy with the login from Secret Manager")
    values = {"DB_USER": "$DB_USER", "DB_PASSWORD": "$DB_PASSWORD", "DB_NAME": "$DB_NAME", **database.variables}
    values |= {"DB_HOST": "$DB_HOST", "DATABASE_URL": "$DATABASE_URL"}
    # Separated by spaces, which no value has: a password may have commas.
    variables = "--set-env-vars=^ ^" + " ".join(f"{name}={value}" for name, value in values.items())
    others = {name: value for name, value in database.secrets.items() if name not in values}
    flags = [*_quoted({"image": image, **_placed(database), **database.flags}), f'"{variables}"']
    if others:
        flags.append(shlex.quote(f"--set-secrets={_pairs(others)}"))
    project = shlex.quote(f"--project={outputs['project']}")
    return "\n".join(
        (
            "set -euo pipefail",
            "encoded() { printf '%s' \"$1\" | jq -sRr @uri; }",
            f"DB_USER={shlex.quote(outputs['app_user'])}",
            f"DB_PASSWORD=$(gcloud secrets versions access {version} --secret={shlex.quote(secret)} {project})",
            f"DB_NAME={shlex.quote(outputs['database'])}",
            f"DB_HOST={shlex.quote(outputs['host'])}",
            'login="$(encoded "$DB_USER"):$(encoded "$DB_PASSWORD")"',
            'DATABASE_URL="postgresql://$login@/$(encoded "$DB_NAME")?host=$DB_HOST"',
            _lines("gcloud run deploy", service, flags),
        )
    )


def job(database: Database, *, name: str, image: str, arguments: Sequence[str] = ()) -> str:
    """A job of the backend's own, such as a nightly clean-up, with the same login."""
    flags = dict(_service_flags(database, image))
    for flag in _OF_A_SERVICE_ALONE:
        flags.pop(flag, None)
    # The same thing, under another name for jobs.
    if "add-cloudsql-instances" in flags:
        flags["set-cloudsql-instances"] = flags.pop("add-cloudsql-instances")
    if arguments:
        flags["args"] = ",".join(arguments)
    return _command("gcloud run jobs deploy", name, flags)


def _service_flags(database: Database, image: str) -> dict[str, str]:
    return {
        "image": image,
        **_placed(database),
        **database.flags,
        "set-env-vars": _pairs(database.variables),
        "set-secrets": _pairs(database.secrets),
    }


def _placed(database: Database) -> dict[str, str]:
    return {name: database.outputs[name] for name in ("project", "region") if database.outputs[name]}


def _pairs(values: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in values.items())


def _quoted(flags: Mapping[str, str]) -> list[str]:
    return [shlex.quote(f"--{flag}={value}") for flag, value in flags.items()]


def _command(command: str, name: str, flags: Mapping[str, str]) -> str:
    return _lines(command, name, _quoted(flags))


def _lines(command: str, name: str, flags: Sequence[str]) -> str:
    return " \\\n  ".join((f"{command} {shlex.quote(name)}", *flags))
