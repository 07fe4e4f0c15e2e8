"""What a person needs to go on by hand in a rehearsal that was left running: the addresses, as variables of a shell."""

from __future__ import annotations

import shlex
from contextlib import suppress
from pathlib import Path

from rehearsal.cloud import endpoints
from rehearsal.run import backend
from rehearsal.run.stage import Stage


def write(stage: Stage) -> Path:
    """A file for ``.`` in a shell, which only its owner may read: psql, gcloud and pulumi then work on this stage."""
    token = _secret(stage, "token", stage.cloud.operator_token)
    variables = {
        **{name: value for name, value in stage.stack.environment().items() if name not in ("HOME", "USER", "LANG")},
        **endpoints.gcloud(stage.cloud.url),
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(token),
        "CLOUDSDK_CORE_PROJECT": stage.cloud.project,
    }
    # A stage that broke off may have no contract yet, or one whose secrets can't be read.
    with suppress(backend.Shut, KeyError, TypeError):
        variables |= backend.environment(stage, stage.outputs())
    return _secret(stage, "env", "".join(f"export {key}={shlex.quote(value)}\n" for key, value in variables.items()))


def _secret(stage: Stage, name: str, text: str) -> Path:
    file = stage.stack.checkout.own.parent / name
    file.touch(mode=0o600)
    file.write_text(text, encoding="utf-8")
    return file
