"""Prints how to deploy a backend beside the database: ``pulumi stack output --json | python examples/backend-deploy``.

Exit codes: 0 printed, 2 usage, or outputs that can't be deployed with.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # ops and infra, where the package isn't installed

import commands
import manifest
from flags import Database, Unfit, read

from ops.exits import UsageFault


def main() -> int:
    """Print one of the forms."""
    options = _parser().parse_args()
    try:
        print(_rendered(options, read(json.load(options.outputs))))
    except (Unfit, UsageFault) as error:
        print(f"backend-deploy: {error}", file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"backend-deploy: {options.outputs.name} is no JSON object ({error}); "
              "it takes what `pulumi stack output --json` prints", file=sys.stderr)  # fmt: skip
        return 2
    return 0


def _rendered(options: argparse.Namespace, database: Database) -> str:
    if options.form == "yaml":
        return manifest.service(database, name=options.name, image=options.image).rstrip()
    if options.form == "job":
        return commands.job(database, name=options.name, image=options.image, arguments=options.argument)
    make = commands.with_secrets if options.form == "secrets" else commands.with_environment
    return make(database, service=options.name, image=options.image)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python examples/backend-deploy", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "form",
        choices=("secrets", "environment", "job", "yaml"),
        help="the service's command, its login from Secret Manager or in its environment; a job's; the service's YAML",
    )
    parser.add_argument("--image", required=True, help="the backend's image, by digest")
    parser.add_argument("--name", default="gaia-backend", help="of the service or job; %(default)s")
    parser.add_argument(
        "--outputs", type=argparse.FileType(), default=sys.stdin, metavar="FILE", help="the outputs as JSON; else stdin"
    )
    parser.add_argument("--argument", action="append", default=[], help="of the job; can be given again")
    return parser


if __name__ == "__main__":
    sys.exit(main())
