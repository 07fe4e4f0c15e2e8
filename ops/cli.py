"""The command line: every command, its options and its help. The work is done by the modules beside this one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from ops import exits
from ops.report import Report

DAILY, INSPECT, REHEARSE = "Every day", "Look and connect", "Rehearse production"
DEVELOP = "Work on this repository"

StackOption = Annotated[
    str | None,
    typer.Option("--stack", envvar="GAIA_STACK", metavar="NAME", help="The stack; else the one that is up."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, nothing else.")]
AsOption = Annotated[str, typer.Option("--as", metavar="superuser|app", help="Whose login.")]
BackupsOption = Annotated[
    Path | None, typer.Option("--dir", metavar="FOLDER", help="The folder of the backups; else ./backups.")
]
KeepOption = Annotated[int, typer.Option("--keep", metavar="N", min=2, help="How many verified ones are kept.")]
PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True}

_EXIT_CODES = "Exit codes: " + " · ".join(f"{code} {meaning}" for code, meaning in exits.MEANINGS.items())


class _InOrder(TyperGroup):
    """Lists the commands as they are written here."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return list(self.commands)


app = typer.Typer(
    name="gaia",
    cls=_InOrder,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Gaia's PostgreSQL 16: one command to a running, migrated database.",
    epilog=_EXIT_CODES,
)
secrets_app = typer.Typer(cls=_InOrder, no_args_is_help=True, help="The file of secrets that the backend's tools read.")
backups_app = typer.Typer(cls=_InOrder, no_args_is_help=True, help="The backups in ./backups.")
migrate_app = typer.Typer(cls=_InOrder, no_args_is_help=True, help="Alembic's commands against a stack's database.")


def _example(*lines: str) -> str:
    return "[dim]Example:[/dim] " + " · ".join(f"[bold]{line}[/bold]" for line in lines)


@app.command(rich_help_panel=DAILY, epilog=_example("./gaia up", "./gaia up --set database.port=5433"))
def up(
    stack: StackOption = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set a value for this checkout alone, and keep it."),
    ] = None,
    restore_state: Annotated[
        bool, typer.Option("--restore-state", help="Go back to the state before the last change, where it is damaged.")
    ] = False,
    json: JsonOption = False,
) -> int:
    """Bring the database up: server, roles, schema. Run it again to mend what drifted."""
    from ops import up as module

    return _run(
        json, lambda report: module.up(report, stack_name=stack, changes=changes or [], restore_state=restore_state)
    )


@app.command(rich_help_panel=DAILY, epilog=_example("./gaia preview --refresh"))
def preview(
    stack: StackOption = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Look at the server first: shows drift.")] = False,
    json: JsonOption = False,
) -> int:
    """Show what `up` would change, without changing anything."""
    from ops import preview as module

    return _run(json, lambda report: module.preview(report, stack_name=stack, refresh=refresh))


@app.command(rich_help_panel=DAILY, epilog=_example("./gaia destroy", "./gaia destroy --purge --yes"))
def destroy(
    stack: StackOption = None,
    purge: Annotated[bool, typer.Option("--purge", help="Delete the data too, for good.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    json: JsonOption = False,
) -> int:
    """Stop the server and forget the stack. The data stays unless --purge."""
    from ops import destroy as module

    return _run(json, lambda report: module.destroy(report, stack_name=stack, purge=purge, yes=yes))


@app.command(rich_help_panel=DAILY, epilog=_example("./gaia rotate", "./gaia rotate --retire"))
def rotate(
    stack: StackOption = None,
    retire: Annotated[
        bool, typer.Option("--retire", help="Only finish the last rotation, where somebody still used the old login.")
    ] = False,
    wait_s: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=0, help="How long to wait until nobody uses it.")
    ] = 30,
    now: Annotated[bool, typer.Option("--now", help="Retire it whoever uses it, and end those sessions.")] = False,
    identity: Annotated[
        bool, typer.Option("--identity", help="The key that signs identities, instead of the password.")
    ] = False,
    json: JsonOption = False,
) -> int:
    """Give the app a new password without a failed connection: its two logins take turns."""
    from ops import rotate as module

    return _run(
        json,
        lambda report: module.rotate(
            report, stack_name=stack, retire=retire, now=now, wait_s=wait_s, identity=identity
        ),
    )


@app.command(
    rich_help_panel=DAILY,
    epilog=_example("./gaia restore", "./gaia restore gaia_backup_20261123_120000 --replace", "./gaia restore --drill"),
)
def restore(
    file: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help="A backup's name, folder or .sql.gz, or newest; else it asks."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the place of a database that has rows; that one is kept aside.")
    ] = False,
    drill: Annotated[
        bool, typer.Option("--drill", help="Restore into a scratch PostgreSQL instead, and time it.")
    ] = False,
    discard_old: Annotated[
        bool, typer.Option("--discard-old", help="Delete what earlier restores kept aside, for good.")
    ] = False,
    jobs: Annotated[int, typer.Option("--jobs", metavar="N", min=1, help="How much is done at once.")] = 2,
    place: Annotated[
        Path | None, typer.Option("--dir", metavar="FOLDER", help="Where the backups are, instead of ./backups.")
    ] = None,
    stack: StackOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask before --discard-old.")] = False,
    json: JsonOption = False,
) -> int:
    """Put a backup in the database's place, verified first; the old one serves until the new one is whole."""
    if replace + drill + discard_old > 1:
        raise typer.BadParameter("--replace, --drill and --discard-old are three things: ask for one at a time")
    if discard_old and file:
        raise typer.BadParameter("--discard-old takes no backup: it deletes all that was kept aside")
    if drill:
        from ops import drill as drills

        return _run(json, lambda report: drills.drill(report, file=file, jobs=jobs, place=place))
    from ops import restore as module

    if discard_old:
        return _run(json, lambda report: module.discard_old(report, stack_name=stack, yes=yes))
    return _run(
        json,
        lambda report: module.restore(report, stack_name=stack, file=file, replace=replace, jobs=jobs, place=place),
    )


@app.command(rich_help_panel=DAILY, epilog=_example("./gaia failover", "./gaia failover --yes --json"))
def failover(
    stack: StackOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Even where the last moments may be lost.")] = False,
    json: JsonOption = False,
) -> int:
    """Let the standby take the primary's place and port, and rebuild the old primary as its standby."""
    from ops import failover as module

    return _run(json, lambda report: module.failover(report, stack_name=stack, yes=yes))


@app.command(rich_help_panel=INSPECT, epilog=_example("./gaia status --json"))
def status(stack: StackOption = None, json: JsonOption = False) -> int:
    """Show what is there: server, address, revision, who holds the stack."""
    from ops import status as module

    return _run(json, lambda report: module.status(report, stack_name=stack))


@app.command(rich_help_panel=INSPECT, epilog=_example("./gaia verify --json"))
def verify(stack: StackOption = None, json: JsonOption = False) -> int:
    """Check that the database is what it should be; exit code 1 if it isn't."""
    from ops import verify as module

    return _run(json, lambda report: module.verify(report, stack_name=stack))


@app.command(rich_help_panel=INSPECT, epilog=_example("./gaia stats --only locks", "./gaia stats --watch"))
def stats(
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="SECTION", help="Only this section, with every row of it.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again, with rates; q ends.")] = False,
    every_s: Annotated[float, typer.Option("--every", metavar="SECONDS", help="Between two looks of --watch.")] = 2.0,
    stack: StackOption = None,
    json: JsonOption = False,
) -> int:
    """Show what the database holds, who uses it, and what holds it up."""
    from ops import stats as module

    return _run(
        json,
        lambda report: module.stats(report, stack_name=stack, only=only or [], watch=watch, every_s=every_s),
    )


@app.command(rich_help_panel=INSPECT, epilog=_example("./gaia doctor", "./gaia doctor --fix"))
def doctor(
    stack: StackOption = None,
    fix: Annotated[bool, typer.Option("--fix", help="Offer the safe mends, one after the other.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --fix: don't ask, do all of them.")] = False,
    json: JsonOption = False,
) -> int:
    """Find what is wrong and name the command that mends it; works when everything is down."""
    from ops.doctor import command

    return _run(json, lambda report: command.doctor(report, stack_name=stack, fix=fix, yes=yes))


@app.command(
    rich_help_panel=INSPECT, context_settings=PASS_THROUGH, epilog=_example("./gaia psql", "./gaia psql -c 'select 1'")
)
def psql(context: typer.Context, stack: StackOption = None, as_user: AsOption = "superuser") -> int:
    """Open psql, logged in; all other arguments go to psql."""
    from ops import access

    return _run(False, lambda report: access.psql(report, stack_name=stack, as_user=as_user, arguments=context.args))


@app.command(rich_help_panel=INSPECT, epilog=_example('psql "$(./gaia url)"', "./gaia url --as app"))
def url(
    stack: StackOption = None,
    as_user: AsOption = "superuser",
    exports: Annotated[
        bool, typer.Option("--exports", help="Print what `db` needs, for eval: DATABASE_URL, GAIA_IDENTITY_KEY.")
    ] = False,
    replica: Annotated[bool, typer.Option("--replica", help="The standby's, which only reads.")] = False,
    json: JsonOption = False,
) -> int:
    """Print the connection URI, password included."""
    from ops import access

    return _run(
        json,
        lambda report: access.url(report, stack_name=stack, as_user=as_user, as_exports=exports, replica=replica),
    )


@app.command(rich_help_panel=INSPECT, epilog=_example('eval "$(./gaia env)"', "./gaia env --file .env --for docker"))
def env(
    stack: StackOption = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", help="Write DATABASE_URL, POSTGRES_*, DATABASE_ECHO to this file (mode 0600)."),
    ] = None,
    reader: Annotated[str, typer.Option("--for", metavar="host|docker", help="Who reads the file.")] = "host",
) -> int:
    """Print the environment for `pulumi` and the backend, or write the backend's `.env`."""
    from ops import access

    return _run(False, lambda report: access.environment(report, stack_name=stack, file=file, reader=reader))


@app.command(rich_help_panel=INSPECT, epilog=_example("./gaia outputs --format json"))
def outputs(
    stack: StackOption = None,
    form: Annotated[str, typer.Option("--format", metavar="json|env|cloudrun|github", help="The form.")] = "json",
    json: JsonOption = False,
) -> int:
    """Print the contract that the backend's deploy reads; secrets are masked."""
    from ops import contract

    return _run(json, lambda report: contract.outputs(report, stack_name=stack, form=form))


@secrets_app.command(
    "render", epilog=_example("./gaia secrets render", "./gaia secrets render --file prod.secrets.env")
)
def secrets_render(
    stack: StackOption = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="Instead of secrets/.secrets.env in the checkout.")
    ] = None,
    json: JsonOption = False,
) -> int:
    """Write DB_*, DATABASE_URL and GAIA_IDENTITY_KEY to a file, encrypted by sops."""
    from ops import secrets_file

    return _run(json, lambda report: secrets_file.render(report, stack_name=stack, file=file))


app.add_typer(secrets_app, name="secrets", rich_help_panel=INSPECT, epilog=_example("./gaia secrets render"))


@app.command(rich_help_panel=INSPECT, epilog=_example("./gaia logs -n 50", "./gaia logs --follow"))
def logs(
    stack: StackOption = None,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="How many lines from the end.")] = 100,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as it grows.")] = False,
) -> int:
    """Show the end of the server's log."""
    from ops import access

    return _run(False, lambda report: access.logs(report, stack_name=stack, lines=lines, follow=follow))


@migrate_app.command("upgrade", epilog=_example("./gaia migrate upgrade", "./gaia migrate upgrade 0002"))
def migrate_upgrade(
    revision: Annotated[str, typer.Argument(help="A revision, or head.")] = "head",
    stack: StackOption = None,
    json: JsonOption = False,
) -> int:
    """Migrate up to a revision."""
    from ops import migrate

    return _run(json, lambda report: migrate.upgrade(report, stack_name=stack, revision=revision))


@migrate_app.command("downgrade", context_settings=PASS_THROUGH, epilog=_example("./gaia migrate downgrade -1"))
def migrate_downgrade(
    revision: Annotated[str, typer.Argument(help="A revision, -1, or base.")],
    stack: StackOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask, even where rows are deleted.")] = False,
    json: JsonOption = False,
) -> int:
    """Migrate down to a revision. Where tables with rows go, it asks, or wants --yes."""
    from ops import migrate

    return _run(json, lambda report: migrate.downgrade(report, stack_name=stack, revision=revision, yes=yes))


@migrate_app.command("new", epilog=_example('./gaia migrate new "add a table of guilds"'))
def migrate_new(title: str, stack: StackOption = None, json: JsonOption = False) -> int:
    """Write a revision from what db/models.py has and the database hasn't."""
    from ops import migrate

    return _run(json, lambda report: migrate.new(report, stack_name=stack, title=title))


@migrate_app.command("current", epilog=_example("./gaia migrate current"))
def migrate_current(stack: StackOption = None, json: JsonOption = False) -> int:
    """Show the revision that the database is at."""
    from ops import migrate

    return _run(json, lambda report: migrate.current(report, stack_name=stack))


@migrate_app.command("history", epilog=_example("./gaia migrate history"))
def migrate_history(json: JsonOption = False) -> int:
    """List the revisions, newest first."""
    from ops import migrate

    return _run(json, migrate.history)


@migrate_app.command("check", epilog=_example("./gaia migrate check"))
def migrate_check(stack: StackOption = None, json: JsonOption = False) -> int:
    """Check that models and database agree."""
    from ops import migrate

    return _run(json, lambda report: migrate.check(report, stack_name=stack))


@migrate_app.command("lint", epilog=_example("./gaia migrate lint", "./gaia migrate lint --json"))
def migrate_lint(stack: StackOption = None, json: JsonOption = False) -> int:
    """Look for what is dangerous in the revisions, and for what is wrong in the stack's database."""
    from ops import lint

    return _run(json, lambda report: lint.lint(report, stack_name=stack))


@migrate_app.command("plan", epilog=_example("./gaia migrate plan", "./gaia migrate plan 0004 --json"))
def migrate_plan(
    revision: Annotated[str, typer.Argument(help="A revision, +1, or head.")] = "head",
    stack: StackOption = None,
    json: JsonOption = False,
) -> int:
    """Show what an upgrade would do: SQL, locks and risk of each pending revision."""
    from ops import migrate

    return _run(json, lambda report: migrate.plan(report, stack_name=stack, revision=revision))


@migrate_app.command("prove", epilog=_example("./gaia migrate prove", "./gaia migrate prove --rows 200000"))
def migrate_prove(
    rows: Annotated[
        int, typer.Option("--rows", metavar="N", min=1, help="How many messages; the rest in proportion.")
    ] = 20_000,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Instead of .gaia/proof.json.")] = None,
    json: JsonOption = False,
) -> int:
    """Prove the revisions on a server of their own: up, down and up again, with data and readers."""
    from ops import prove as module

    return _run(json, lambda report: module.prove(report, rows=rows, out=out))


@app.command(rich_help_panel=DAILY, epilog=_example("./gaia backup", "./gaia backup --format sql.gz"))
def backup(
    stack: StackOption = None,
    form: Annotated[str, typer.Option("--format", metavar="directory|sql.gz", help="The form.")] = "directory",
    keep: KeepOption = 10,
    folder: BackupsOption = None,
    json: JsonOption = False,
) -> int:
    """Back up the database into ./backups, read it back, and keep the last ten."""
    from ops import backup as module

    return _run(json, lambda report: module.backup(report, stack_name=stack, form=form, keep=keep, folder=folder))


@backups_app.command("list", epilog=_example("./gaia backups list", "./gaia backups list --json"))
def backups_list(folder: BackupsOption = None, json: JsonOption = False) -> int:
    """List the backups, newest first."""
    from ops import backups as module

    return _run(json, lambda report: module.listed(report, folder=folder))


@backups_app.command("verify", epilog=_example("./gaia backups verify"))
def backups_verify(
    name: Annotated[str | None, typer.Argument(help="One of the list, or its path; else all.")] = None,
    folder: BackupsOption = None,
    json: JsonOption = False,
) -> int:
    """Read backups in full and compare them with their manifests; exit code 1 if one is damaged."""
    from ops import backups as module

    return _run(json, lambda report: module.verify(report, name=name, folder=folder))


@backups_app.command("prune", epilog=_example("./gaia backups prune --keep 5"))
def backups_prune(
    keep: KeepOption = 10,
    damaged: Annotated[bool, typer.Option("--damaged", help="Remove the damaged ones too.")] = False,
    folder: BackupsOption = None,
    json: JsonOption = False,
) -> int:
    """Remove the older ones; only verified ones count among those that are kept."""
    from ops import backups as module

    return _run(json, lambda report: module.prune(report, keep=keep, damaged=damaged, folder=folder))


app.add_typer(backups_app, name="backups", rich_help_panel=DAILY, epilog=_example("./gaia backups list"))
app.add_typer(migrate_app, name="migrate", rich_help_panel=DAILY, epilog=_example("./gaia migrate history"))


@app.command(rich_help_panel=DEVELOP, epilog=_example("./gaia seed --users 300 --messages 100000"))
def seed(
    users: Annotated[int, typer.Option("--users", metavar="N", min=1, help="How many users.")],
    messages: Annotated[int, typer.Option("--messages", metavar="M", min=0, help="How many messages.")],
    campaigns: Annotated[
        int | None, typer.Option("--campaigns", metavar="C", min=1, help="Else a third as many as users.")
    ] = None,
    number: Annotated[int, typer.Option("--seed", metavar="S", help="Another number makes other rows.")] = 0,
    until: Annotated[
        str | None, typer.Option("--until", metavar="DATE", help="The first day without messages; else today (UTC).")
    ] = None,
    add: Annotated[bool, typer.Option("--add", help="Add to a database that has users already.")] = False,
    stack: StackOption = None,
    json: JsonOption = False,
) -> int:
    """Fill the database with made-up people, campaigns and messages; never in Google Cloud."""
    from ops import seed as module

    return _run(
        json,
        lambda report: module.seed(
            report,
            stack_name=stack,
            users=users,
            messages=messages,
            campaigns=campaigns,
            number=number,
            until=until,
            add=add,
        ),
    )


@app.command(rich_help_panel=REHEARSE, epilog=_example("./gaia cloud", "./gaia cloud --api all"))
def cloud(
    project: Annotated[str, typer.Option("--project", metavar="ID", help="The project's id.")] = "demo-project",
    region: Annotated[str, typer.Option("--region", metavar="REGION", help="Its region.")] = "us-west1",
    apis: Annotated[
        list[str] | None,
        typer.Option("--api", metavar="NAME|all", help="An API that is enabled from the start, such as sqladmin."),
    ] = None,
    json: JsonOption = False,
) -> int:
    """Google's APIs of the stack on this machine, for any program or client, until Ctrl-C."""
    from ops import cloud as module

    return _run(json, lambda report: module.cloud(report, project=project, region=region, apis=apis or []))


@app.command(
    rich_help_panel=REHEARSE,
    epilog=_example(
        "./gaia rehearse",
        "./gaia rehearse --phase tier --set gcp.instance.tier=db-custom-2-7680",
        "./gaia rehearse --fault primary-lost",
    ),
)
def rehearse(
    stack: Annotated[str, typer.Option("--stack", metavar="NAME", help="A stack in Google Cloud.")] = "prod",
    provider: Annotated[
        str,
        typer.Option("--provider", metavar="auto|official|builtin", help="Pulumi's gcp plugin, or ours in its place."),
    ] = "auto",
    phases: Annotated[
        list[str] | None, typer.Option("--phase", metavar="PHASE", help="Only this phase, with those that it needs.")
    ] = None,
    faults: Annotated[
        list[str] | None,
        typer.Option("--fault", metavar="NAME|all", help="Let this go wrong, and look what comes of it."),
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Try a value of the stack file.")
    ] = None,
    page: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write the report as a page.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the cloud running until Ctrl-C.")] = False,
    json: JsonOption = False,
) -> int:
    """Bring production up on this machine, use it, change it, break it, take it down; exit code 1 if a check fails."""
    from ops import rehearse as module

    return _run(
        json,
        lambda report: module.rehearse(
            report,
            stack_name=stack,
            provider=provider,
            phases=phases or [],
            faults=faults or [],
            changes=changes or [],
            keep=keep,
            page=page,
        ),
    )


@app.command(rich_help_panel=DEVELOP, epilog=_example("./gaia setup"))
def setup(json: JsonOption = False) -> int:
    """Fetch or build the engine and install the development tools now rather than later."""
    from ops import develop

    return _run(json, develop.setup)


@app.command(
    rich_help_panel=DEVELOP, context_settings=PASS_THROUGH, epilog=_example("./gaia test", "./gaia test --tier unit -x")
)
def test(
    context: typer.Context,
    tiers: Annotated[
        list[str] | None,
        typer.Option(
            "--tier", metavar="unit|production|rehearsal|integration|engine|docker|faults", help="Only this tier."
        ),
    ] = None,
    faults: Annotated[bool, typer.Option("--faults", help="Only the fault suite: the same as --tier faults.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Make each fault as often as its docs say.")] = False,
) -> int:
    """Run the tests; all other arguments go to pytest."""
    from ops import develop

    chosen = [*(tiers or []), *(["faults"] if faults else [])]

    return _run(False, lambda report: develop.test(report, tiers=chosen, full=full, arguments=context.args))


@app.command(rich_help_panel=DEVELOP, epilog=_example("./gaia check"))
def check() -> int:
    """Check format, lint and types."""
    from ops import develop

    return _run(False, develop.check)


def main(arguments: list[str]) -> int:
    """Run one command line; returns the exit code."""
    if arguments[:1] == ["pulumi"]:
        return _run(False, lambda _report: _pulumi(arguments[1:]))
    try:
        code = app(arguments, prog_name="./gaia", standalone_mode=False)
    except typer.Exit as exit_:
        return exit_.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except Exception as error:
        # Typer's own errors about the command line show themselves, as one sentence.
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        return exits.USAGE
    return code if isinstance(code, int) else exits.FINE


def _run(as_json: bool, command: Callable[[Report], int | None]) -> int:
    """Run a command and turn what it raises into a sentence and an exit code."""
    report = Report(as_json=as_json)
    try:
        return command(report) or exits.FINE
    except KeyboardInterrupt:
        return _interrupted()
    except BrokenPipeError:
        # Nobody reads on. What is still to be written goes nowhere, or the last flush would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.FAILED
    except Exception as error:
        code, said = exits.code_of(error), str(error)
        if code is None and isinstance(error, OSError) and error.strerror:
            # A full disk, a folder that can't be written: the machine's fault, and no riddle.
            code, said = exits.FAILED, f"{error.filename or 'the machine'}: {error.strerror}; mend that, then run again"
        if code is None:
            raise
        if as_json:
            report.result("", {"ok": False, "error": said, "exit_code": code})
        else:
            print(f"gaia: {said}", file=sys.stderr)
        return code


def _pulumi(arguments: list[str]) -> None:
    from engine import checkout as places
    from engine.acquire import acquire
    from engine.stack import by_hand

    checkout = places.here()
    places.prepare(checkout)
    by_hand(checkout, acquire(say=_to_stderr, environ=os.environ).pulumi, arguments, os.environ)


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _interrupted() -> int:
    print("gaia: interrupted; run the command again to go on", file=sys.stderr)
    return exits.INTERRUPTED
