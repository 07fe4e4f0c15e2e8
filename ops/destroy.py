"""``./gaia destroy``: the end of a stack, with its data or without."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from engine import locks
from ops import preflight, stacks
from ops.progress import Progress
from ops.report import Report

if TYPE_CHECKING:
    from engine.stack import Stack
    from infra.settings import Settings


def destroy(report: Report, *, stack_name: str | None, purge: bool, yes: bool) -> None:
    """Stop the server and forget the stack; with ``purge`` its data goes too."""
    stack = stacks.open_stack(stack_name, report.long)
    settings = stacks.read_settings(stack.checkout, stack.name)
    if purge and not yes:
        stacks.confirm(f"This deletes all data of stack {stack.name}, for good.", stack.name)
    with (
        report.working("destroying") as working,
        locks.held(stack.checkout, stack.name, "./gaia destroy", report.say) as run,
    ):
        preflight.require_target(stack, settings, report)
        made = stack.state_file.exists() if stack.has_own_backend else True
        deleted = 0
        if made:
            stack.make()
            preflight.settle(stack, run.run_id, report)
            deleted = stack.run("destroy", run.run_id, on_event=Progress(working)).changes.get("delete", 0)
        if purge:
            working.now("removing the data")
            _purge(stack, settings)
            if made:
                stack.remove()
        stacks.forget(stack.checkout, stack.name)
    kept = "its data is gone" if purge else f"its data is kept; ./gaia up --stack {stack.name} brings it back"
    text = f"stack {stack.name} destroyed in {report.seconds:.1f} s; {kept}"
    report.result(
        text, {"ok": True, "stack": stack.name, "deleted": deleted, "purged": purge, "seconds": report.seconds}
    )


def _purge(stack: Stack, settings: Settings) -> None:
    if settings.docker is not None:
        from infra.local import contained, docker_engine, postgres

        for volume in settings.docker.volumes:
            docker_engine.remove_volume(volume)
        home = contained.home_for(stack.checkout.root, stack.name)
        for folder in (home, postgres.standby_home(home)):
            shutil.rmtree(folder, ignore_errors=True)
    else:
        from infra.local import postgres

        server = postgres.locate(postgres.home_for(stack.checkout.root, stack.name))
        postgres.remove(postgres.beside(server))
        postgres.remove(server)
