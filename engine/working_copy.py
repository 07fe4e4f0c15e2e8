"""The stack file that the engine works with.

The engine writes into a stack file: the salt of the passphrase, and what ``pulumi config set`` says. So that a
clone stays clean it is given a copy in ``.gaia/config``. The copy follows the committed file: beside it lies
the text it was made from, and what was set by hand since then is carried over when the committed file changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from engine.checkout import Checkout, write
from engine.errors import ValueUnreadable

_SALT = "encryptionsalt"


def refresh(checkout: Checkout, stack: str) -> None:
    """Bring the working copy up to date with the committed file. Raises ``OSError`` where there is none."""
    committed = checkout.stack_file(stack).read_text(encoding="utf-8")
    copy, base = checkout.working_copy(stack), _base(checkout, stack)
    if copy.exists() and base.exists() and base.read_text(encoding="utf-8", errors="replace") == committed:
        return
    if not copy.exists():
        text = committed
    else:
        text = merged(
            committed, base.read_text(encoding="utf-8") if base.exists() else committed, copy.read_text("utf-8")
        )
    write(copy, text, mode=0o600)
    write(base, committed, mode=0o600)


def merged(committed: str, base: str, copy: str) -> str:
    """The committed text with what the copy has set beyond its base. What was committed since then wins."""
    new, old, own = _document(committed), _document(base), _document(copy)
    config = _carried(_config(new), _config(old), _config(own))
    if config == _config(new) and _SALT not in own:
        return committed
    document = {**new, "config": config}
    if _SALT in own and _SALT not in new:
        document[_SALT] = own[_SALT]
    return yaml.safe_dump(document, sort_keys=False)


def _carried(new: dict[str, Any], old: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """``new`` with each value that ``own`` has beyond ``old``, unless ``new`` changed that very value too."""
    carried = dict(new)
    for key, value in own.items():
        before, now = old.get(key), new.get(key)
        if isinstance(value, dict) and isinstance(now, dict):
            carried[key] = _carried(now, before if isinstance(before, dict) else {}, value)
        elif value != before and now == before:
            carried[key] = value
    return carried


def set_values(checkout: Checkout, stack: str, texts: Iterable[tuple[str, str]]) -> None:
    """Set values, such as ``database.port`` to ``5433``, in the working copy alone: all of them or none.

    Raises ``ValueUnreadable``.
    """
    refresh(checkout, stack)
    copy = checkout.working_copy(stack)
    document = _document(copy.read_text(encoding="utf-8"))
    config = _config(document)
    for path, text in texts:
        _set(config, path, _value(path, text))
    write(copy, yaml.safe_dump({**document, "config": config}, sort_keys=False), mode=0o600)


def _value(path: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        raise ValueUnreadable(f"--set {path}={text}: the value is not valid YAML; put it in quotes") from None


def _set(config: dict[str, Any], path: str, value: Any) -> None:
    key, *rest = path.split(".")
    name = f"gaia-db:{key}"
    if rest:
        section = at = dict(config[name]) if isinstance(config.get(name), dict) else {}
        for part in rest[:-1]:
            at[part] = dict(at[part]) if isinstance(at.get(part), dict) else {}
            at = at[part]
        at[rest[-1]] = value
        config[name] = section
    else:
        config[name] = value


def forget_salt(checkout: Checkout, stack: str) -> None:
    """Drop the salt of an earlier state's passphrase, unless the committed file has it: the stack is made anew."""
    copy = checkout.working_copy(stack)
    document = _document(copy.read_text(encoding="utf-8"))
    if _SALT in document and _SALT not in _document(checkout.stack_file(stack).read_text(encoding="utf-8")):
        del document[_SALT]
        write(copy, yaml.safe_dump(document, sort_keys=False), mode=0o600)


def take_back(checkout: Checkout, stack: str, before: str) -> None:
    """Give the working copy the values of an earlier text of it; the salt stays."""
    copy = checkout.working_copy(stack)
    document = {**_document(copy.read_text(encoding="utf-8")), "config": _config(_document(before))}
    write(copy, yaml.safe_dump(document, sort_keys=False), mode=0o600)


def remove(checkout: Checkout, stack: str) -> None:
    """Forget the working copy, and with it what was set by hand."""
    checkout.working_copy(stack).unlink(missing_ok=True)
    _base(checkout, stack).unlink(missing_ok=True)


def _base(checkout: Checkout, stack: str):
    return checkout.working_copy(stack).with_suffix(".base")


def _document(text: str) -> dict[str, Any]:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}  # the settings say what is wrong with it
    return document if isinstance(document, dict) else {}


def _config(document: dict[str, Any]) -> dict[str, Any]:
    config = document.get("config")
    return dict(config) if isinstance(config, dict) else {}
