"""``backupsvc copy recheck``: read copies anew where they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backupsvc.cli.completing import vmids
from backupsvc.cli.driving import EnqueueOption, FollowOption
from backupsvc.cli.options import AsJson, DryRunOfReading

if TYPE_CHECKING:
    from policies.model import ArchiveCopy, CopyTarget, Operation

OnlyTargets = Annotated[
    list[str] | None, typer.Option("--to", help="Only copies at this target; may be repeated.")
]
GuestsCopies = Annotated[
    list[int] | None,
    typer.Option(
        "--vmid",
        help="Only copies of this guest's archives; may be repeated.",
        autocompletion=vmids,
    ),
]
Everything = Annotated[
    bool, typer.Option("--all", help="Every copy, whenever it was read last, however many bytes.")
]


def recheck(
    to: OnlyTargets = None,
    vmid: GuestsCopies = None,
    everything: Everything = False,
    enqueue: EnqueueOption = False,
    follow: FollowOption = False,
    dry_run: DryRunOfReading = False,
    as_json: AsJson = False,
) -> None:
    """Read copies whole at their targets of kind sftp and directory, and say which are still what
    was verified there: those whose turn it is by the policy (`integrity`), or --all.

    Exit 1 if one is damaged, 3 if one could not be reached. What is damaged counts for nothing from
    then on, and is made anew.
    """
    from backupsvc.cli.driving import Driven, check_options, drive_each
    from backupsvc.cli.output import emit_json
    from backupsvc.cli.readings import show_readings
    from backupsvc.cli.session import open_service
    from backupsvc.cli.targets import chosen
    from backupsvc.operations.copy_recheck import opening
    from backupsvc.operations.copy_recheck.result import outcome, planned, refused

    check_options(enqueue, follow, dry_run)
    driven: Driven[tuple[ArchiveCopy, CopyTarget]] = Driven()
    with open_service(enqueue=enqueue) as service:
        targets = chosen(service.policy, to or [])
        wanted = opening.choose(service, targets, vmid or [], everything=everything)
        if dry_run:
            found = [planned(copy) for copy, _ in wanted]
        else:
            # each target is knocked at once, and not for each of its copies
            silent = opening.out_of_reach(service, (target for _, target in wanted))

            def open_one(one: tuple[ArchiveCopy, CopyTarget]) -> Operation | None:
                copy, target = one
                if target.name in silent:
                    raise silent[target.name]
                return opening.open_copy_recheck(service, copy, target)

            driven = drive_each(
                service,
                wanted,
                open_one,
                lambda one: one[0].route.vmid,
                enqueue=enqueue,
                follow=follow,
                as_json=as_json,
            )
            found = [refused(copy, error) for (copy, _), error in driven.refused]
            found += [outcome(copy, end) for (copy, _), end in driven.ended]
    if as_json:
        emit_json({"copies": found, "dry_run": dry_run} | driven.workers)
    else:
        show_readings(found, "copy", "target", dry_run=dry_run)
    raise typer.Exit(driven.code)
