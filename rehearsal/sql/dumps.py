"""Exports and imports: plain SQL, as Cloud SQL writes and reads it."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Sequence
from pathlib import Path

from infra.local import postgres
from infra.local.errors import ServerFailed
from rehearsal.sql.errors import OperationFailed
from rehearsal.sql.running import Instance


def dump(
    instance: Instance, database: str, file: Path, *, schema_only: bool = False, tables: Sequence[str] = ()
) -> None:
    """Write a database into ``file``, compressed if that ends in .gz; raises OperationFailed.

    As the administrator, who reads past row-level security.
    """
    written = instance.home / f"{file.name}.export"
    how = ["--format=plain", f"--file={written}", f"--dbname={database}"]
    how += ["--schema-only"] if schema_only else []
    how += [f"--table={table}" for table in tables]
    try:
        with instance.as_admin() as login:
            postgres.run(instance.server, "pg_dump", *how, environment=login)
        _moved(written, file)
    except ServerFailed as error:
        raise OperationFailed(f"pg_dump: {error}", code="ERROR_RDBMS") from None
    finally:
        written.unlink(missing_ok=True)


def load(instance: Instance, database: str, file: Path, *, user: str) -> None:
    """Run a file of SQL, compressed or not, as this user; it stops at the first error. Raises OperationFailed."""
    read = instance.home / f"{file.name}.import"
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as source, read.open("wb") as target:
            shutil.copyfileobj(source, target)
        read.chmod(0o644)
        with instance.as_admin() as login:
            environment = {**login, "PGOPTIONS": f"-c role={user}"}
            how = ("-X", "-q", "-v", "ON_ERROR_STOP=1", f"--dbname={database}", f"--file={read}")
            postgres.run(instance.server, "psql", *how, environment=environment)
    except ServerFailed as error:
        raise OperationFailed(f"psql: {error}", code="ERROR_RDBMS") from None
    finally:
        read.unlink(missing_ok=True)


def _moved(written: Path, file: Path) -> None:
    if file.suffix != ".gz":
        shutil.copyfile(written, file)
        return
    with written.open("rb") as source, gzip.open(file, "wb", compresslevel=1) as target:
        shutil.copyfileobj(source, target)
