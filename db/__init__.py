"""What Gaia's backend imports: `from db import db_manager`. Names are loaded when they are first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from db import errors, identity, messages, models
    from db.errors import DatabaseError
    from db.health import Health
    from db.manager import DatabaseManager, db_manager
    from db.settings import Settings

__all__ = [
    "DatabaseError",
    "DatabaseManager",
    "Health",
    "Settings",
    "db_manager",
    "errors",
    "identity",
    "messages",
    "models",
]

_FROM = {
    "DatabaseError": "db.errors",
    "DatabaseManager": "db.manager",
    "Health": "db.health",
    "Settings": "db.settings",
    "db_manager": "db.manager",
}


def __getattr__(name: str) -> Any:
    if name in _FROM:
        return getattr(import_module(_FROM[name]), name)
    if name in __all__:
        return import_module(f"db.{name}")
    raise AttributeError(f"module 'db' has no attribute {name!r}")
