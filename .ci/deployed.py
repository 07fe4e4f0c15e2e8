"""What `deploy` does after `up`, for the stack of GAIA_STACK: .venv/bin/python .ci/deployed.py head|verify|hand-on

head     the stack's schema_revision is the newest revision of this checkout
verify   the instance runs; in its own network the migration job finds the schema it should
hand-on  writes gaia-db-outputs.json, and the contract into $GITHUB_OUTPUT

Exit codes: 0 fine, 1 something isn't as it should be, 2 usage.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FILE = "gaia-db-outputs.json"


class Failed(Exception):
    """Something isn't as it should be; the message says what, and the way out."""


def main(arguments: Sequence[str]) -> int:
    """Run one of the three."""
    commands = {"head": head, "verify": verify, "hand-on": hand_on}
    stack = os.environ.get("GAIA_STACK")
    if len(arguments) != 1 or arguments[0] not in commands or not stack:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        commands[arguments[0]](stack)
    except Failed as error:
        print(f".ci/deployed.py: {error}", file=sys.stderr)
        return 1
    return 0


def head(stack: str) -> None:
    """Nothing may go on with a schema that is older than the code."""
    at, newest = contract(stack)["schema_revision"], newest_revision()
    if at != newest:
        raise Failed(
            f"stack {stack} is at revision {at}, and this commit's head is {newest}: look at the log of the last "
            "execution of its migration job; docs/runbooks/migration-job-failed.md"
        )
    print(f"ok    schema_revision is head ({newest})")


def verify(stack: str) -> None:
    """What `./gaia verify` asks, as far as somebody outside the database's network can ask it."""
    found = contract(stack)
    absent = [name for name in NEEDED if not found[name]]
    say("the contract has what the backend's deploy needs", not absent, f"{', '.join(absent)}: null")
    project, region, instance = found["instance_connection_name"].rsplit(":", 2)
    shown = json.loads(run("gcloud", "sql", "instances", "describe", instance, f"--project={project}", "--format=json"))
    say("the instance runs", shown.get("state") == "RUNNABLE", f"its state is {shown.get('state')}")
    version = shown.get("databaseVersion", "")
    say("PostgreSQL 16", version == "POSTGRES_16", f"it is {version}")
    job = found["migration_job"].rsplit("/", 1)[-1]
    # By the job, which is in the database's network, as this machine isn't.
    for name, arguments in (
        ("the job's image has this commit's revisions", f"-m,migrations,plan,{newest_revision()}"),
        ("the models and the database agree", "-m,migrations,check"),
    ):
        where = (f"--project={project}", f"--region={region}")
        run("gcloud", "run", "jobs", "execute", job, *where, f"--args={arguments}", "--wait", "--quiet")
        say(name, True, "")


NEEDED = (
    "instance_connection_name",
    "migration_job",
    "runtime_service_account",
    "database_url_secret",
    "user_secret",
    "password_secret",
    "name_secret",
)


def hand_on(stack: str) -> None:
    """For a later job, for whoever downloads the artifact, and for people. There is no secret value in it."""
    found = contract(stack)
    Path(FILE).write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    if target := os.environ.get("GITHUB_OUTPUT"):
        with Path(target).open("a", encoding="utf-8") as file:
            # One line, as json.dumps escapes line breaks: a second one would be another output.
            file.write(f"contract={json.dumps(found, sort_keys=True)}\n")
    print(f"wrote {FILE}")


def contract(stack: str) -> dict[str, Any]:
    return json.loads(run("./gaia", "outputs", "--stack", stack, "--format", "json"))


def newest_revision() -> str:
    return json.loads(run("./gaia", "migrate", "history", "--json"))["revisions"][0]["id"]


def say(name: str, ok: bool, hint: str) -> None:
    if not ok:
        raise Failed(f"FAIL  {name}: {hint}")
    print(f"ok    {name}")


def run(*command: str) -> str:
    """What a command prints; what it says on stderr shows."""
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Failed(f"`{' '.join(command)}` ended with {done.returncode}; its reason is above")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
