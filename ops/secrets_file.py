"""``./gaia secrets render``: the document's ``secrets/.secrets.env``, encrypted by ``sops``, never in plain text.

The values go to ``sops`` by its standard input and come back encrypted by its output: no argument, no environment and
no file of this machine ever holds them.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from engine import checkout as places
from ops import stacks
from ops.exits import Missing, OpsError, Refused, UsageFault
from ops.report import Report

DEFAULT = Path("secrets") / ".secrets.env"
"""In the checkout; git ignores the folder."""
_FORM = ("--input-type", "dotenv", "--output-type", "dotenv")
_TIMEOUT_S = 60
"""Recipients may be keys in a cloud, which has to be asked."""
_NOBODY = ("no keys provided", "no matching creation rules", "config file not found", "no master keys")
"""What ``sops`` says where it isn't told for whom to encrypt."""


class SopsFailed(OpsError):
    """See what ``sops`` says; the file is as it was."""


def render(report: Report, *, stack_name: str | None, file: Path | None) -> None:
    """Write the stack's values into the file, unless they are in it. Other keys of the file stay."""
    checkout = places.here()
    target = (file or checkout.root / DEFAULT).resolve()
    if name := stacks.in_cloud(stack_name):
        raise Refused(
            f"stack {name} keeps its values in Secret Manager, and nowhere else: read one with "
            "gcloud secrets versions access latest --secret=db-url (db-user, db-password, db-name, db-identity-key)"
        )
    sops = program()
    stack = stacks.open_stack(stack_name, report.long)
    values = document_values(stacks.logins(stack))
    before = _decrypted(sops, target, checkout.root)
    after = merged(before, values)
    if changed := after != before:
        _write(target, _run(sops, ["--encrypt", *_FORM, "--filename-override", str(target)], checkout.root, after))
    said = "wrote" if changed else "nothing to change in"
    report.result(
        f"{said} {target}, encrypted: sops decrypt {target}",
        {"ok": True, "stack": stack.name, "file": str(target), "changed": changed, "keys": list(values)},
    )


def program() -> str:
    """The ``sops`` to run. Raises ``Missing``."""
    if found := shutil.which("sops"):
        return found
    raise Missing("sops is not on PATH: install it (https://getsops.io), then run this again; nothing was written")


def document_values(logins: stacks.Logins) -> dict[str, str]:
    """What the document keeps in this file, and the key that the backend signs with."""
    app = logins.app
    return {
        "DB_USER": app.user,
        "DB_PASSWORD": app.password,
        "DB_NAME": app.database,
        "DB_HOST": app.host,
        "DATABASE_URL": app.url,
        "GAIA_IDENTITY_KEY": logins.identity_key,
    }


def merged(before: str, values: Mapping[str, str]) -> str:
    """The file's text with these values: in their place where they stand already, else at the end."""
    left = dict(values)
    lines = [_replaced(line, values, left) for line in before.splitlines()]
    lines += [f"{key}={value}" for key, value in left.items()]
    return "".join(f"{line}\n" for line in lines if line is not None)


def _replaced(line: str, values: Mapping[str, str], left: dict[str, str]) -> str | None:
    """A line as it is to be; None for one that sets a key for the second time."""
    key = line.partition("=")[0]
    if key not in values:
        return line
    return f"{key}={left.pop(key)}" if key in left else None


def _decrypted(sops: str, file: Path, folder: Path) -> str:
    """The file's text; empty where there is none. Raises ``Refused``: what can't be read would be lost."""
    if not file.exists():
        return ""
    if not file.is_file():
        raise UsageFault(f"--file {file}: is no ordinary file; name one to write, such as {DEFAULT}")
    try:
        return _run(sops, ["--decrypt", *_FORM, str(file)], folder, None)
    except SopsFailed as error:
        raise Refused(
            f"{file} is there and can't be read, so its other keys would be lost ({error}): "
            "give sops its key, or move the file away"
        ) from None


def _run(sops: str, arguments: list[str], folder: Path, text: str | None) -> str:
    """What ``sops`` answers. It runs in the checkout, whose ``.sops.yaml`` may say for whom to encrypt."""
    source = ["/dev/stdin"] if text is not None else []
    try:
        done = subprocess.run(
            [sops, *arguments, *source],
            cwd=folder,
            input=text or "",
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SopsFailed(f"sops gave no answer ({type(error).__name__}): run it by hand") from None
    if done.returncode == 0:
        return done.stdout
    said = " ".join(done.stderr.split())
    if text is not None and any(words in said for words in _NOBODY):
        raise Missing(
            "sops is not told for whom to encrypt: make a key with age-keygen -o ~/.config/sops/age/keys.txt, then "
            "name its public key in SOPS_AGE_RECIPIENTS or in .sops.yaml"
        )
    # The lines after the first name every place where it looked for keys.
    first = next(filter(None, map(str.strip, done.stderr.splitlines())), "nothing")
    raise SopsFailed(f"sops says: {_without(first, text or '').rstrip('.')}")


def _write(file: Path, encrypted: str) -> None:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        places.write(file, encrypted, mode=0o600)
    except OSError as error:
        raise UsageFault(
            f"--file {file}: can't be written ({error.strerror}); name a file in a folder that is yours"
        ) from None


def _without(said: str, text: str) -> str:
    """What ``sops`` said, should it quote what it was given."""
    for line in text.splitlines():
        value = line.partition("=")[2]
        said = said.replace(value, "***") if value else said
    return said
