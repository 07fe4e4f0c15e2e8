"""A restore that is killed at whichever moment leaves the old database serving, or the new one, whole."""

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import psycopg
import pytest

from backup import contents, databases
from backup.contents import TableContent
from backup.folder import Entry
from backup.swap import swap
from tests.postgres import IDENTITY_KEY, Database
from tests.restoring import drop_kept, manifest_of, named_after, put_back

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(3600)]

ROOT = Path(__file__).resolve().parents[2]
FEW, FULL = 5, 50
LAST_STEP = "swapping the names"
CODE = """
import json, sys
from pathlib import Path
from backup import folder, restore, source
given = json.load(sys.stdin)
say = lambda line: print(line, flush=True)
say("begun")
restore.restore(given["url"], source.verified(folder.look(Path(given["backup"]))), binaries=Path(given["binaries"]),
    identity_keys=[given["key"]], replace=True, jobs=2, say=say, now=lambda line: None)
say("done")
"""


def begun(database: Database, entry: Entry) -> "subprocess.Popen[str]":
    """A restore in a process of its own, at its first statement."""
    given = {
        "url": database.url,
        "backup": str(entry.path),
        "binaries": str(database.server.binaries),
        "key": IDENTITY_KEY,
    }
    process = subprocess.Popen(
        [sys.executable, "-c", CODE],
        cwd=ROOT,
        env=dict(os.environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(given))
    process.stdin.close()
    reach(process, "begun")
    return process


def reach(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdout is not None
    assert any(said.strip() == line for said in process.stdout), f"it ended before: {line}"


def kill(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def settle(database: Database) -> None:
    """Wait until the server has noticed that the killed one is gone: what it had sent may be done after its death."""
    deadline = time.monotonic() + 30
    with psycopg.connect(database.server.url(), autocommit=True) as connection:
        while connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchone() != (0,):
            assert time.monotonic() < deadline, "a session of the killed restore goes on"
            time.sleep(0.05)


def content_of(database: Database) -> Mapping[str, TableContent]:
    with database.connect() as connection:
        return contents.contents(connection)


def bring_back(database: Database) -> None:
    """Give the old database its name again."""
    with psycopg.connect(database.server.url(), autocommit=True) as connection:
        (kept,) = databases.kept(connection, database.name)
        swap(connection, live=database.name, new=kept.name, kept="gaia_to_be_dropped")
        databases.drop(connection, "gaia_to_be_dropped")


def test_a_killed_restore_leaves_the_old_database_or_the_new_one(
    database: Database,
    backed_up: Entry,
    counts: Callable[[int, int], int],
    record: Callable[[str, str], None],
) -> None:
    times, dice = counts(FEW, FULL), random.Random(7)
    with database.connect() as connection:
        connection.execute("INSERT INTO auth.users (username, email) VALUES ('old', 'old@example.invalid')")
    old, new = content_of(database), manifest_of(backed_up).tables
    started = time.monotonic()
    put_back(database, backed_up, replace=True)
    whole_s = time.monotonic() - started
    bring_back(database)
    serving: Counter[str] = Counter()
    for number in range(times):
        process = begun(database, backed_up)
        if number % 5 == 4:  # the last step is short: a random moment would rarely meet it
            reach(process, LAST_STEP)
            time.sleep(dice.uniform(0, 0.1))
        else:
            time.sleep(dice.uniform(0, whole_s))
        kill(process)
        settle(database)
        found = content_of(database)
        assert found in (old, new), contents.differences(old, found)
        serving["the new one" if found == new else "the old one"] += 1
        if found == new:
            bring_back(database)

    done = put_back(database, backed_up, replace=True)
    assert content_of(database) == new
    assert named_after(database) == [database.name, done.kept], "something was left"
    drop_kept(database)
    came = ", ".join(f"{count} × {which}" for which, count in sorted(serving.items()))
    record("SIGKILL of a restore", f"{times} of {times} left one that serves, whole: {came}")
