"""``backupsvc ha drill``: move a guest under HA away and back, and measure what its users notice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from backupsvc.cli.completing import vmids
from backupsvc.cli.options import AsJsonUnasked, DryRunOfPlan, Yes
from backupsvc.errors import UsageError

if TYPE_CHECKING:
    from policies.ha.drill import Plan

Guest = Annotated[
    int | None, typer.Argument(help="The guest to move.", autocompletion=vmids, show_default=False)
]
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
OnLab = Annotated[
    bool,
    typer.Option(
        "--on-lab",
        help="Let a node fail on embedded clusters of its own, in four scenes; asks no other.",
    ),
]


def drill(
    vmid: Guest = None,
    to: ToNode = None,
    relocate: Relocate = False,
    on_lab: OnLab = False,
    yes: Yes = False,
    dry_run: DryRunOfPlan = False,
    as_json: AsJsonUnasked = False,
) -> None:
    """Let HA move a guest to another node and back, while its service is asked ten times a second
    from this machine: how long was it away?

    Refused outside its window (ha.drill.window), when quorum is at risk, when its backup is not
    proven, and when anything of that is not known. Shows the plan and asks. Exit 0 only if it went,
    answered there, and is back home.

    With --on-lab no guest of yours is touched: the reference site's own test is played on embedded
    clusters (a node fails, with and without a third vote, with and without replication). Exit 0 if
    the guest came back where it could, and only there.
    """
    if on_lab:
        if vmid is not None or to is not None or relocate:
            raise UsageError(
                "--on-lab plays its own scenes", "leave out the guest, --to and --relocate"
            )
        _on_lab(dry_run=dry_run, as_json=as_json)
    if vmid is None:
        raise UsageError("no guest is named", "name one, or play the scenes of --on-lab")
    from backupsvc.cli.driving import drive_one, must_agree, require_answerable
    from backupsvc.cli.output import emit_json, say, tell, tell_error
    from backupsvc.cli.session import open_service
    from backupsvc.operations.ha_drill.opening import open_drill
    from backupsvc.operations.ha_drill.result import lines, outcome
    from backupsvc.report.ha_drill import plan
    from policies.ha.drill import Asked

    unasked = yes or as_json
    require_answerable(f"guest {vmid} was not moved", unasked=unasked or dry_run)
    with open_service() as service:
        found, macs = plan(service, Asked(vmid, to, relocate))
        if dry_run:
            if as_json:
                emit_json({"dry_run": True} | as_dict(found))
            else:
                for line in told(found):
                    say(line)
                for why in found.blockers:
                    tell(f"backupsvc: it is refused: {why}")
            raise typer.Exit(4 if found.blockers else 0)
        if not unasked and not found.blockers:
            must_agree(told(found), "Move it?", "nothing was moved")
        ended = drive_one(service, lambda: open_drill(service, found, macs), vmid, as_json=as_json)
    result = outcome(ended.operation)
    if as_json:
        emit_json(result)
    else:
        for line in lines(ended.operation):
            say(line)
        if error := result["error"]:
            tell_error(error["message"], error["hint"])
    raise typer.Exit(ended.code)


def _on_lab(*, dry_run: bool, as_json: bool) -> NoReturn:
    from backupsvc.cli import ha_on_lab
    from backupsvc.cli.output import answering, emit_json, say, table, tell
    from backupsvc.cli.session import SIMULATED
    from policies.ha.rehearsal import SCENES

    answering(2, "--on-lab")  # its answer has a shape of its own
    if dry_run:
        names = [scene.name for scene in SCENES]
        if as_json:
            emit_json({"dry_run": True, "scenes": names})
        else:
            for name in names:
                say(f"a node would fail on a cluster of its own: {name}")
        raise typer.Exit(0)
    tell(SIMULATED)
    found = ha_on_lab.rehearse(lambda text: None if as_json else tell(text))
    if as_json:
        emit_json(ha_on_lab.as_dict(found))
    else:
        table(ha_on_lab.HEADS, ha_on_lab.rows(found))
        say(ha_on_lab.SHORTENED)
    raise typer.Exit(0 if all(one.as_expected for one in found) else 1)


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
