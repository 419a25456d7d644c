"""``backupsvc catalog recheck``: read archives anew where they lie."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupsvc.cli.driving import EnqueueOption, FollowOption
from backupsvc.cli.options import AsJson, GuestsArchives

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupsvc.bootstrap import Service
    from policies.model import Archive

Everything = Annotated[
    bool,
    typer.Option("--all", help="Every archive, whenever it was read last, however many bytes."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be read; read nothing.")]


def recheck(
    vmid: GuestsArchives = None,
    everything: Everything = False,
    enqueue: EnqueueOption = False,
    follow: FollowOption = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Read archives whole on their nodes, and say which are still good: those whose turn it is by
    the policy (`integrity`), or --all.

    Exit 1 if one is damaged, 3 if one could not be reached. What is damaged counts for nothing from
    then on.
    """
    from backupsvc.cli.driving import Driven, check_options, drive_each
    from backupsvc.cli.output import emit_json
    from backupsvc.cli.session import open_service
    from backupsvc.operations.recheck.opening import open_recheck
    from backupsvc.operations.recheck.result import outcome, planned, refused

    check_options(enqueue, follow, dry_run)
    driven: Driven[Archive] = Driven()
    with open_service(enqueue=enqueue) as service:
        wanted, unreadable = _wanted(service, vmid or [], everything=everything)
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
        _show(found, unreadable, dry_run=dry_run)
    raise typer.Exit(driven.code)


def _wanted(
    service: Service, only: Sequence[int], *, everything: bool
) -> tuple[tuple[Archive, ...], int]:
    """What is to be read, and how many archives nothing here can read."""
    from backupsvc.operations.recheck.opening import readable
    from policies.model import IntegrityRules
    from policies.recheck_due import due

    known = [
        one
        for one in service.catalog.archives.find()
        if one.vmid is not None and (not only or one.vmid in only)
    ]
    there = readable(service, known)
    rules = service.policy.integrity or IntegrityRules()
    now = int(service.clock.now())
    return due(there, rules, now, only=only, everything=everything), len(known) - len(there)


def _show(found: Sequence[dict[str, Any]], unreadable: int, *, dry_run: bool) -> None:
    from backupsvc.cli.output import say, size, table, tell

    rows = [
        (
            one["vmid"],
            one["volid"],
            one["node"],
            size(one["bytes"]),
            one["checked_at"] or "never",
            (one["state"].upper() if one["state"] == "damaged" else one["state"])
            + (f", {one['how']}" if one["how"] else ""),
        )
        for one in found
    ]
    if rows:
        table(("VMID", "archive", "node", "size", "read last", "state"), rows)
    else:
        say("no archive is due to be read: --all reads every one")
    for one in found:
        if one["reason"]:
            tell(f"backupsvc: {one['volid']}: {one['reason']}")
            tell(f"  -> {one['hint'] or 'see `backupsvc operations show`'}")
    if unreadable:
        say(
            f"{unreadable} archives cannot be read from here: their node is down, no SSH to it is "
            "configured (BACKUPSVC_SSH__NODES), or nothing here decodes their format"
        )
    if dry_run:
        say("nothing was read")
