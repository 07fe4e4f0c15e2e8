"""The name under which the backend has always imported it: `from db.src import db_manager`."""

from db.manager import db_manager

__all__ = ["db_manager"]
