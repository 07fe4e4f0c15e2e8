"""What `drill` does every night: .venv/bin/python .ci/drill.py

Takes the newest export out of the bucket GAIA_EXPORTS, restores it into a PostgreSQL of its own, and writes the result
into the log gaia-db-drill of GAIA_PROJECT, where the alert drill-missing counts the good ones.

Exit codes: 0 it restored, 1 it didn't, or there is none, 2 usage.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOG = "gaia-db-drill"
LINE = re.compile(r"^\s*(?P<bytes>\d+)\s+(?P<made>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)\s+(?P<url>gs://\S+\.sql\.gz)$")
"""A file, as `gcloud storage ls --long` lists it."""


class Failed(Exception):
    """There is nothing to restore, or it didn't restore; the message says what."""


def main() -> int:
    """Drill, and tell the log either way."""
    project, bucket = os.environ.get("GAIA_PROJECT"), os.environ.get("GAIA_EXPORTS")
    if not project or not bucket:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        result = {"ok": True, **drill(bucket)}
    except Failed as error:
        print(f".ci/drill.py: {error}; docs/runbooks/drill-missing.md", file=sys.stderr)
        result = {"ok": False, "error": str(error)}
    run("gcloud", "logging", "write", LOG, json.dumps(result), "--payload-type=json", f"--project={project}")
    print(json.dumps(result))
    return 0 if result["ok"] else 1


def drill(bucket: str) -> dict[str, Any]:
    """Restore the newest export. Raises ``Failed``."""
    lines = map(LINE.match, run("gcloud", "storage", "ls", "--long", f"gs://{bucket}/").splitlines())
    exports = sorted((found["made"], found["url"]) for found in lines if found)
    if not exports:
        raise Failed(f"there is no export in gs://{bucket}")
    made, url = exports[-1]
    age = datetime.now(UTC) - datetime.fromisoformat(made)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / url.rpartition("/")[2]
        run("gcloud", "storage", "cp", url, str(file))
        started = time.monotonic()
        run("./gaia", "restore", "--drill", str(file), "--json")
        seconds = round(time.monotonic() - started, 1)
    return {"export": url, "age_s": int(age.total_seconds()), "seconds": seconds}


def run(*command: str) -> str:
    """What a command prints; what it says on stderr shows."""
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        print(done.stdout, file=sys.stderr)
        raise Failed(f"`{' '.join(command[:4])}` ended with {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
