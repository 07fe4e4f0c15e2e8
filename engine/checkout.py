"""Where a checkout keeps what is its own: state, passphrase, working copies of stack files, run records."""

from __future__ import annotations

import os
import pwd
import secrets
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.errors import NotOurs, PassphraseWrong

PROJECT = "gaia-db"
STACK_FILE_PREFIX, STACK_FILE_SUFFIX = "Pulumi.", ".yaml"
_PASSPHRASE_VARIABLES = ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE")


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """One clone of the repository. All it writes lies in ``.gaia``, which git ignores."""

    root: Path
    folder: Path | None = None
    """Where to keep what is its own instead: a run that leaves nothing in the clone."""

    @property
    def own(self) -> Path:
        return self.folder or self.root / ".gaia"

    @property
    def state(self) -> Path:
        """The file backend of the local stacks."""
        return self.own / "state"

    @property
    def passphrase(self) -> Path:
        return self.own / "passphrase"

    @property
    def wrapper_folder(self) -> Path:
        """Holds the ``pulumi`` that prepares a run by hand as ``./gaia up`` would."""
        return self.own / "bin"

    @property
    def python_folder(self) -> Path:
        return self.root / ".venv" / "bin"

    def stack_file(self, stack: str) -> Path:
        """The committed stack file."""
        return self.root / f"{STACK_FILE_PREFIX}{stack}{STACK_FILE_SUFFIX}"

    def working_copy(self, stack: str) -> Path:
        """The stack file that the engine reads and writes in place of the committed one."""
        return self.own / "config" / self.stack_file(stack).name

    def run_file(self, stack: str, suffix: str) -> Path:
        return self.own / "run" / f"{stack}.{suffix}"

    @property
    def backend_url(self) -> str:
        """The state's folder, as the engine is told it.

        Without sidecars (``metadata=skip``): the engine writes those in place, and an empty one, left by a kill,
        makes it refuse the state (gocloud.dev/blob/fileblob, attrs.go).
        """
        return f"{self.state.as_uri()}?metadata=skip"

    def stacks(self) -> tuple[str, ...]:
        """The stacks that have a committed file."""
        names = (path.name for path in self.root.glob(f"{STACK_FILE_PREFIX}*{STACK_FILE_SUFFIX}"))
        return tuple(sorted(name.removeprefix(STACK_FILE_PREFIX).removesuffix(STACK_FILE_SUFFIX) for name in names))


def here() -> Checkout:
    """The checkout that this code belongs to."""
    return Checkout(root=Path(__file__).resolve().parent.parent)


def has_own_backend(checkout: Checkout, environ: Mapping[str, str]) -> bool:
    """Whether the state lies in the checkout: so it is unless Pulumi's own variable names another backend."""
    return environ.get("PULUMI_BACKEND_URL", "") in ("", checkout.backend_url, checkout.state.as_uri())


def names_passphrase(environ: Mapping[str, str]) -> bool:
    """Whether Pulumi's own variables say what the passphrase is, and not the checkout's file."""
    return any(name in environ for name in _PASSPHRASE_VARIABLES)


def pulumi_environment(checkout: Checkout, environ: Mapping[str, str], *, stack: str, engine: Path) -> dict[str, str]:
    """The variables that a run of the engine needs, by hand or by a command. No secret is among them.

    The passphrase goes by the name of its file. Pulumi's own variables win where they are set.
    """
    path = [str(folder) for folder in (checkout.python_folder, engine.parent)]
    path += [folder for folder in environ.get("PATH", "").split(os.pathsep) if folder and folder not in path]
    variables = {
        "PATH": os.pathsep.join(path),
        "PULUMI_STACK": stack,
        "PULUMI_OPTION_CONFIG_FILE": str(checkout.working_copy(stack)),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "GAIA_PYTHON": str(checkout.python_folder / "python"),
        "GAIA_IMPORT_AHEAD": "infra.ahead",
    }
    if has_own_backend(checkout, environ):
        variables["PULUMI_BACKEND_URL"] = checkout.backend_url
    if not names_passphrase(environ):
        variables["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(checkout.passphrase)
    return variables


def prepare(checkout: Checkout) -> None:
    """Make the checkout's own folders, its passphrase and its ``pulumi``; safe to repeat, and by two at once."""
    # The embedded server of root's checkouts is another user, who passes through here to its data.
    checkout.own.mkdir(mode=0o755, exist_ok=True)
    if checkout.own.stat().st_uid != os.geteuid():
        owner = _user_name(checkout.own.stat().st_uid)
        raise NotOurs(f"{checkout.own} belongs to {owner}: run this as {owner}, or work in a clone of your own")
    for folder in (checkout.state, checkout.working_copy("x").parent, checkout.run_file("x", "x").parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for sidecar in (checkout.state / ".pulumi").glob("stacks/**/*.attrs"):
        sidecar.unlink(missing_ok=True)  # of a run by hand, or of an engine that was told another way
    if not checkout.passphrase.exists():
        if any((checkout.state / ".pulumi" / "stacks" / PROJECT).glob("*.json")):
            raise PassphraseWrong(
                f"{checkout.passphrase} is gone, and with it the way to the secrets in {checkout.state}: put it back, "
                "or move that folder away; the next up then takes the database over, with new passwords"
            )
        _write_once(checkout.passphrase, secrets.token_urlsafe(32), mode=0o600)
    wrapper = checkout.wrapper_folder / "pulumi"
    launcher = shlex.quote(str(checkout.root / "gaia"))
    script = f'#!/bin/sh\n# The engine, prepared as ./gaia prepares it.\nexec {launcher} pulumi "$@"\n'
    if not wrapper.exists() or wrapper.read_text(encoding="utf-8") != script:
        wrapper.parent.mkdir(exist_ok=True)
        write(wrapper, script, mode=0o755)


def write(file: Path, text: str, *, mode: int) -> None:
    """Write a file as a whole, or not at all."""
    aside = _written_aside(file, text, mode=mode)
    try:
        aside.replace(file)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def _write_once(file: Path, text: str, *, mode: int) -> None:
    aside = _written_aside(file, text, mode=mode)
    try:
        os.link(aside, file)  # unlike a rename, this never overwrites what another run wrote first
    except FileExistsError:
        pass
    finally:
        aside.unlink()


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _written_aside(file: Path, text: str, *, mode: int) -> Path:
    descriptor, aside = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        os.fchmod(descriptor, mode)
        out.write(text)
    return Path(aside)
