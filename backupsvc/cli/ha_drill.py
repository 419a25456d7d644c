"""``backupsvc ha drill``: move a guest under HA away and back, and measure what its users notice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupsvc.cli.completing import vmids
from backupsvc.cli.options import AsJsonUnasked, DryRunOfPlan, Yes
from backupsvc.errors import UsageError

if TYPE_CHECKING:
    from policies.ha.drill import Plan

Guest = Annotated[int, typer.Argument(help="The guest to move.", autocompletion=vmids)]
ToNode = Annotated[
    str | None, typer.Option("--to", metavar="NODE", help="To this node; else one that fits.")
]
Relocate = Annotated[
    bool,
    typer.Option(
        "--relocate/--migrate",
        help="Stop it and start it there, as a failover would; or keep it running.",
    ),
]


def drill(
    vmid: Guest,
    to: ToNode = None,
    relocate: Relocate = False,
    yes: Yes = False,
    dry_run: DryRunOfPlan = False,
    as_json: AsJsonUnasked = False,
) -> None:
    """Let HA move a guest to another node and back, while its service is asked ten times a second
    from this machine: how long was it away?

    Refused outside its window (ha.drill.window), when quorum is at risk, when its backup is not
    proven, and when anything of that is not known. Shows the plan and asks. Exit 0 only if it went,
    answered there, and is back home.
    """
    from backupsvc.cli.driving import bring_to_end
    from backupsvc.cli.output import ask, can_ask, emit_json, say, tell
    from backupsvc.cli.progress import Progress
    from backupsvc.cli.session import open_service
    from backupsvc.operations.ha_drill.opening import open_drill
    from backupsvc.operations.ha_drill.result import lines, outcome
    from backupsvc.operations.opening import opened_by
    from backupsvc.report.ha_drill import plan
    from policies.ha.drill import Asked

    unasked = yes or as_json
    if not (unasked or dry_run or can_ask()):
        raise UsageError(
            f"guest {vmid} was not moved: there is no terminal on which to ask whether it should be",
            "add --yes if that is decided; --dry-run says what would be done",
        )
    with open_service() as service:
        found, macs = plan(service, Asked(vmid, to, relocate))
        if dry_run:
            if as_json:
                emit_json({"dry_run": True} | as_dict(found))
            else:
                _foreseen(found)
            raise typer.Exit(4 if found.blockers else 0)
        if not unasked and not found.blockers:
            for line in told(found):
                tell(line)
            if not ask("Move it?"):
                tell("nothing was moved")
                raise typer.Exit(1)
        operation = opened_by(lambda: open_drill(service, found, macs))
        with Progress(quiet=as_json) as progress:
            (ended,) = bring_to_end(service, [operation], progress, enqueue=False)
        code = service.engine.kinds[ended.kind].exit_code(service.catalog, ended)
    result = outcome(ended)
    if as_json:
        emit_json(result)
    else:
        for line in lines(ended):
            say(line)
        _show_error(result["error"])
    raise typer.Exit(code)


def as_dict(found: Plan) -> dict[str, Any]:
    """Given a plan, return it as ``ha drill --dry-run --json`` prints it."""
    return {
        "vmid": found.vmid,
        "name": found.name,
        "sid": found.sid or None,
        "home": found.home,
        "target": found.target,
        "how": found.how,
        "check": found.check.name if found.check else None,
        "address": found.address,
        "simulated": found.simulated,
        "blockers": list(found.blockers),
        "notes": list(found.notes),
    }


def told(found: Plan) -> list[str]:
    """Given a plan, return the lines that tell it to a person."""
    verb, how = ("would be" if found.blockers else "will be"), {"migrate": "kept running"}
    return [
        f"guest {found.vmid} ({found.name}) {verb} moved from {found.home or 'where it is'} to "
        f"{found.target or 'no node'} by HA, {how.get(found.how, 'stopped and started')}, and brought home",
        f"  meanwhile {found.check.name if found.check else 'nothing'} at "
        f"{found.address or 'no address'} is asked ten times a second from this machine",
        *(f"  {note}" for note in found.notes),
    ]


def _foreseen(found: Plan) -> None:
    from backupsvc.cli.output import say, tell

    for line in told(found):
        say(line)
    for why in found.blockers:
        tell(f"backupsvc: it is refused: {why}")


def _show_error(error: dict[str, Any] | None) -> None:
    from backupsvc.cli.output import tell

    if error:
        tell(f"backupsvc: {error['message']}")
        if error["hint"]:
            tell(f"  -> {error['hint']}")
