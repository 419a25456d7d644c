"""``backupsvc catalog recheck``: read archives anew where they lie."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from backupsvc.cli.driving import EnqueueOption, FollowOption
from backupsvc.cli.options import AsJson, DryRunOfReading, GuestsArchives

if TYPE_CHECKING:
    from policies.model import Archive

Everything = Annotated[
    bool,
    typer.Option("--all", help="Every archive, whenever it was read last, however many bytes."),
]


def recheck(
    vmid: GuestsArchives = None,
    everything: Everything = False,
    enqueue: EnqueueOption = False,
    follow: FollowOption = False,
    dry_run: DryRunOfReading = False,
    as_json: AsJson = False,
) -> None:
    """Read archives whole on their nodes, and say which are still good: those whose turn it is by
    the policy (`integrity`), or --all.

    Exit 1 if one is damaged, 3 if one could not be reached. What is damaged counts for nothing from
    then on.
    """
    from backupsvc.cli.driving import Driven, check_options, drive_each
    from backupsvc.cli.output import emit_json
    from backupsvc.cli.readings import show_readings
    from backupsvc.cli.session import open_service
    from backupsvc.operations.recheck.opening import choose, open_recheck
    from backupsvc.operations.recheck.result import outcome, planned, refused

    check_options(enqueue, follow, dry_run)
    driven: Driven[Archive] = Driven()
    with open_service(enqueue=enqueue) as service:
        wanted, unreadable = choose(service, vmid or [], everything=everything)
        if dry_run:
            found = [planned(one) for one in wanted]
        else:
            driven = drive_each(
                service,
                wanted,
                partial(open_recheck, service),
                lambda one: one.vmid,
                enqueue=enqueue,
                follow=follow,
                as_json=as_json,
            )
            found = [refused(one, error) for one, error in driven.refused]
            found += [outcome(one, end) for one, end in driven.ended]
    if as_json:
        told = {"archives": found, "unreadable": unreadable, "dry_run": dry_run}
        emit_json(told | driven.workers)
    else:
        show_readings(found, "archive", "node", unreadable=unreadable, dry_run=dry_run)
    raise typer.Exit(driven.code)
