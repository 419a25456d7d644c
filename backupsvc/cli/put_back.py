"""``backupsvc catalog config put-back``, and the end of ``restore --surroundings``: what a deleted
guest had around it is put back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupsvc.cli.driving import EnqueueOption, FollowOption
from backupsvc.cli.options import AsJsonUnasked, BySetOf, GuestThatHadIt, Yes
from backupsvc.errors import BackupsvcError, UsageError

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service
    from backupsvc.operations.put_back.opening import Ahead
    from backupsvc.operations.restore.planning import Plan
    from backupsvc.operations.surroundings import Found
    from policies.model import Operation

AsVmid = Annotated[
    int | None, typer.Option("--as", metavar="VMID", min=100, help="The VMID that it has now.")
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Say what would be put back, and what would be left to you."),
]


def put_back(
    vmid: GuestThatHadIt,
    as_vmid: AsVmid = None,
    at: BySetOf = None,
    yes: Yes = False,
    enqueue: EnqueueOption = False,
    follow: FollowOption = False,
    dry_run: DryRun = False,
    as_json: AsJsonUnasked = False,
) -> None:
    """Put back what a guest had around it before it was deleted, through Proxmox VE's API as far as
    the restore token may: pool, rights, firewall, replication, backup jobs, HA with its rules, start
    order and tags. What it may not do is printed as the command to type. Nothing that is there is
    overwritten, and HA gets no guest that does not run.

    Shows the plan and asks; without a terminal it needs --yes. Exit 0 only if nothing is left to be
    done by hand.

    Example: backupsvc catalog config put-back 108
    """
    from backupsvc.cli.catalog_config import time_of
    from backupsvc.cli.driving import check_options, drive_one, must_agree, require_answerable
    from backupsvc.cli.output import emit_json, foresee
    from backupsvc.cli.session import open_service
    from backupsvc.operations import surroundings
    from backupsvc.operations.put_back.opening import came_back, look_ahead, open_put_back
    from backupsvc.operations.put_back.result import ahead_as_dict, outcome

    check_options(enqueue, follow, dry_run)
    unasked = yes or as_json
    require_answerable(f"nothing was put back around guest {vmid}", unasked=unasked or dry_run)
    with open_service(enqueue=enqueue) as service:
        kept_at = None if at is None else time_of(service, at)
        restored = came_back(service, vmid if as_vmid is None else as_vmid)
        text = "" if restored else None
        found = surroundings.of(service, vmid, text, as_vmid=as_vmid, at=kept_at)
        ahead = look_ahead(service, vmid, found, as_vmid=as_vmid, restored=restored)
        if dry_run:
            if as_json:
                emit_json({"dry_run": True} | ahead_as_dict(ahead))
            else:
                foresee(lines(ahead), filter(None, [ahead.blocker]))
            left = any(end is not None and end.left for _, end in ahead.things)
            raise typer.Exit(ahead.blocker.exit_code if ahead.blocker else int(left))
        if ahead.blocker is not None:
            raise ahead.blocker
        if not unasked:
            must_agree(lines(ahead), "Put it back?", "nothing was put back")
        ended = drive_one(
            service,
            lambda: open_put_back(service, ahead),
            ahead.vmid,
            enqueue=enqueue,
            follow=follow,
            as_json=as_json,
        )
    if as_json:
        emit_json({"dry_run": False} | outcome(ended.operation) | ended.workers)
    else:
        _show(ended.operation)
    raise typer.Exit(ended.code)


@dataclass(frozen=True, slots=True)
class Afterwards:
    """What came of a putting back at the end of a restore: how it ended, or why it never began, and
    the exit code.
    """

    operation: Operation | None
    error: BackupsvcError | None
    code: int

    def as_dict(self) -> dict[str, Any]:
        """As ``restore --json`` prints it."""
        from backupsvc.operations.put_back.result import outcome, refused

        return outcome(self.operation) if self.operation else refused(self.error)

    def show(self) -> None:
        """Tell a person."""
        from backupsvc.cli.output import tell_error

        if self.operation:
            _show(self.operation)
        elif self.error:
            tell_error(
                f"what was around it was not put back: {self.error.message}", self.error.hint
            )


def check_options_of_restore(*, clone: bool, left_alone: bool) -> None:
    """Given whether a restore makes a clone, and whether it is left to the workers unfollowed, raise
    UsageError if it cannot be asked to put back what was around its guest.
    """
    if clone:
        raise UsageError(
            "--surroundings does not go with --clone: a clone is a machine of its own, and gets "
            "nothing of the guest's"
        )
    if left_alone:
        raise UsageError(
            "--surroundings needs --follow with --enqueue: what was around the guest is put back once "
            "it is restored",
            "or put it back afterwards with `backupsvc catalog config put-back`",
        )


def after_restore(
    service: Service, plan: Plan, missing: Found, *, enqueue: bool, quiet: bool
) -> Afterwards:
    """Given a restore that went well, its plan, and what was shown of the guest's surroundings then,
    put these back, and return what came of it.
    """
    from backupsvc.cli.driving import bring_to_end
    from backupsvc.cli.progress import Progress
    from backupsvc.operations.opening import opened_by
    from backupsvc.operations.put_back.opening import look_ahead, open_put_back

    try:
        ahead = look_ahead(service, plan.vmid, missing, as_vmid=plan.target, restored=True)
        operation = opened_by(lambda: open_put_back(service, ahead))
    except BackupsvcError as error:
        return Afterwards(None, error, error.exit_code)
    # where the workers do it, the restore was announced already: this only follows it
    with Progress(quiet=quiet) as progress:
        [ended] = bring_to_end(service, [operation], progress, enqueue=enqueue)
    code = service.engine.kinds[ended.kind].exit_code(service.catalog, ended)
    return Afterwards(ended, None, code)


def lines(ahead: Ahead) -> list[str]:
    """Given what would be put back, return the lines that tell it to a person."""
    from backupsvc.clock import iso

    kept = iso(ahead.memory.kept_at)
    told = [f"passed over: {note}" for note in ahead.notes]
    told.append(f"guest {ahead.vmid}, by the configuration of {kept}")
    for thing, end in ahead.things:
        word = "put back" if end is None else "left to you" if end.left else "note"
        told.append(f"  {word}: {thing.what}: {thing.detail}")
        if end is not None and end.detail not in ("", thing.detail):
            told.append(f"    {end.detail}")
        told += [f"    {command}" for command in thing.commands]
    if not ahead.things:
        told.append("  nothing is missing")
    return told


def ended_lines(operation: Operation) -> list[str]:
    """Given a putting back that has ended, return the lines that tell what came of it."""
    from backupsvc.operations.put_back.memory import recall
    from backupsvc.operations.put_back.result import ends, to_type

    came = ends(recall(operation))
    told = [
        f"{end.outcome}: {thing.what}{f': {end.detail}' if end.detail else ''}"
        for thing, end in came
    ]
    return [*(told or ["nothing is missing"]), *to_type(end for _, end in came)]


def _show(ended: Operation) -> None:
    """Say what came of it."""
    from backupsvc.cli.output import say, tell_error
    from backupsvc.operations.put_back.result import outcome

    for line in ended_lines(ended):
        say(line)
    if error := outcome(ended)["error"]:
        hint = error["hint"] or f"look at it with `backupsvc operations show {ended.id}`"
        tell_error(error["message"], hint)
