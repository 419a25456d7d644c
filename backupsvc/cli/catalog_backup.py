"""``backupsvc catalog backup``: a snapshot of the catalog at the copy targets, or in a folder."""

from __future__ import annotations

from typing import Annotated

import typer

from backupsvc.cli.options import AsJson, OutputFolder, Targets

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say where it would go; take no snapshot.")]


def backup(
    to: Targets = None,
    output: OutputFolder = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Take a consistent snapshot of the catalog, bring it to the copy targets, and read it back
    there. The workers do so every night.

    Exit 1 if it does not lie at one of them.
    """
    from backupsvc.cli.output import emit_json, say
    from backupsvc.cli.session import open_service
    from backupsvc.cli.targets import as_rows, places, show_places
    from backupsvc.operations.copy.catalogs import save

    with open_service() as service:
        targets = places(service.policy, to or [], output)
        results = [] if dry_run else save(service, targets)
    found = as_rows(targets, results, dry_run=dry_run)
    if as_json:
        emit_json({"snapshots": found, "dry_run": dry_run})
    else:
        show_places(found, "target")
        if all(one["state"] == "planned" for one in found):
            say("no snapshot was taken")
    raise typer.Exit(1 if any(one["state"] == "failed" for one in found) else 0)
