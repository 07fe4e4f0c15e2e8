"""Importing does nothing: no driver, no environment, no engine; and the old name is the same object."""

import subprocess
import sys

import db
from db.src import db_manager as by_its_old_name

SCRIPT = """
import os, sys
os.environ["DATABASE_URL"] = "not read at import"
import db
from db.src import db_manager
heavy = [name for name in ("sqlalchemy", "asyncpg", "psycopg", "google.cloud") if name in sys.modules]
assert not heavy, heavy
"""


def test_importing_loads_no_driver_and_reads_nothing() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)


def test_both_names_are_the_same_object() -> None:
    from db import db_manager

    assert db_manager is by_its_old_name


def test_every_public_name_is_there() -> None:
    assert all(getattr(db, name) is not None for name in db.__all__)
