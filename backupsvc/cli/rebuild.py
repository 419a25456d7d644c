"""``backupsvc catalog rebuild``: fill a catalog from the storages, the archives and their notes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backupsvc.cli.options import AsJson

if TYPE_CHECKING:
    from backupsvc.inventory.rebuild import Rebuilt
    from policies.model import Archive


EVERY = 100  # archives between two lines of progress: PVE reads each one's head in 0.1 s


def rebuild(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is there; look into no archive.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """After the catalog was lost: list every storage, look into each archive, and remember what is
    found. May be done again; what is known stays.

    Proofs that only the lost catalog knew are lost: prune touches no guest until it is proven
    again. Exit 3 if a storage could not be listed.
    """
    from backupsvc.cli.output import emit_json
    from backupsvc.cli.progress import Progress
    from backupsvc.cli.session import open_service
    from backupsvc.inventory.rebuild import rebuild as fill

    with open_service() as service, Progress(quiet=as_json) as progress:

        def looked(count: int, archive: Archive) -> None:
            if count % EVERY == 0:
                progress.line(f"{count} archives looked into; now {archive.volid}")

        found = fill(service, looked, dry_run=dry_run)
        copies = bool(service.policy.copies)
    if as_json:
        emit_json(
            {
                "archives": found.archives,
                "linked": found.linked,
                "machines": found.machines,
                "proofs": found.proofs,
                "from": list(found.places),
                "unread": list(found.unread),
                "not_listed": list(found.blind),
                "dry_run": dry_run,
            }
        )
    else:
        _show(found, copies=copies, dry_run=dry_run)
    raise typer.Exit(3 if found.blind else 0)


def _show(found: Rebuilt, *, copies: bool, dry_run: bool) -> None:
    from backupsvc.cli.output import say

    say(f"{found.archives} archives on {', '.join(found.places) or 'no storage'}")
    if dry_run:
        say("no archive was looked into")
        return
    say(
        f"{found.linked} name the operation that made them; of {found.machines} the machine is known"
    )
    say(
        f"{found.proofs} proofs of restore tests are known; those that only a lost catalog knew are "
        "lost"
    )
    for sentence in found.unread:
        say(f"not looked into: {sentence}")
    for sentence in found.blind:
        say(f"not listed: {sentence}")
    # law 3: a guest whose proofs nobody knows loses nothing
    say(
        "  -> prove each guest again with `backupsvc restore-test VMID`: until then prune leaves it"
    )
    if copies:
        say("  -> `backupsvc copy run` finds the copies at their targets again by their manifests")
