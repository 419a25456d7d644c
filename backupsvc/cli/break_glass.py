"""``backupsvc break-glass``: a bundle with all that is needed where nothing else is left, and a service
that works again from one.
"""

from __future__ import annotations

import sys
from getpass import getpass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupsvc.cli.options import AsJson, IdentityFile, OutputFolder, Targets

if TYPE_CHECKING:
    from backupsvc.copies.bundle_opening import Opened

app = typer.Typer(
    no_args_is_help=True,
    help="A bundle with all that is needed where nothing else is left: runbook, catalog, policy.",
)
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say where it would go; make no bundle.")]
WithSecrets = Annotated[
    bool,
    typer.Option(
        "--with-secrets",
        help="Tokens and SSH keys too, encrypted to the recipients that the policy names.",
    ),
]
Bundle = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="backupsvc-break-glass-TIME.tar.zst, or .age.")
]
NewFolder = Annotated[
    Path,
    typer.Argument(metavar="FOLDER", help="The new state directory; it must not be there yet."),
]
Sha256 = Annotated[
    str | None,
    typer.Option("--sha256", help="What the bundle's SHA-256 must be, from another source."),
]
DryOpen = Annotated[
    bool,
    typer.Option("--dry-run", help="See whether it is whole and can be opened; leave nothing."),
]
DryRehearse = Annotated[
    bool,
    typer.Option("--dry-run", help="Say what would be brought back, and what came of it last."),
]


@app.command()
def export(
    to: Targets = None,
    output: OutputFolder = None,
    with_secrets: WithSecrets = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make a bundle and bring it to the copy targets: a runbook with a page for each guest that can
    be read without this service, the catalog, the policy, the cluster's configuration. The workers do
    so every night, without secrets.

    Exit 1 if it does not lie at one of them.
    """
    from backupsvc.cli.output import emit_json, say
    from backupsvc.cli.session import open_service
    from backupsvc.cli.targets import as_rows, places, show_places
    from backupsvc.inventory.cluster_config import read
    from backupsvc.operations.copy.break_glass import save

    with open_service() as service:
        targets = places(service.policy, to or [], output)
        results = [] if dry_run else save(service, targets, read(service), secrets=with_secrets)
    found = as_rows(targets, results, dry_run=dry_run)
    if as_json:
        emit_json({"bundles": found, "secrets": with_secrets, "dry_run": dry_run})
    else:
        show_places(found, "target")
        if dry_run:
            say("no bundle was made")
    raise typer.Exit(1 if any(one["state"] == "failed" for one in found) else 0)


@app.command()
def rehearse(
    to: Targets = None,
    identity: IdentityFile = None,
    dry_run: DryRehearse = False,
    as_json: AsJson = False,
) -> None:
    """Bring the newest bundle and the newest catalog snapshot back from each copy target, open them in
    a folder of their own, hold the catalog in them against the one that is, and keep what came of it
    as evidence. The workers do so once a month.

    Without --identity what is encrypted is held against the SHA-256 that was written: only its
    recipients can open it. Exit 1 if one is not good, 3 if a target was not reached.
    """
    from backupsvc.cli.kit import identities
    from backupsvc.cli.output import emit_json
    from backupsvc.cli.session import open_service
    from backupsvc.cli.targets import chosen
    from backupsvc.errors import Unreachable
    from backupsvc.operations.copy import break_glass_rehearsing as rehearsing
    from backupsvc.operations.copy.result import snapshot_tried
    from policies.copy_folders import folder_of
    from policies.snapshot_trial import KINDS

    found: list[dict[str, Any]] = []
    silent: list[dict[str, Any]] = []
    code = 0
    # a key is asked for only where somebody named one: nothing here needs it
    keys = None if identity is None or dry_run else identities(identity)
    with open_service() as service:
        for target in chosen(service.policy, to or []):
            try:
                names = rehearsing.newest(service, target)
                if not dry_run:
                    rehearsing.try_target(service, target, keys)
            except Unreachable as error:
                told = {"reason": error.message, "hint": error.hint}
                silent.append({"target": target.name} | told)
                code = max(code, error.exit_code)
                continue
            last = {
                one.what: one
                for one in service.catalog.snapshot_trials.last()
                if one.folder == folder_of(target)
            }
            found += [
                snapshot_tried(target, what, names.get(what), last.get(what)) for what in KINDS
            ]
    if as_json:
        emit_json({"trials": found, "not_reached": silent, "dry_run": dry_run})
    else:
        _show_trials(found, silent, dry_run)
    # of a dry run the last results are shown, and were their own runs' exit codes
    bad = not dry_run and any(one["good"] is False for one in found)
    raise typer.Exit(1 if bad else code)


def _show_trials(found: list[dict[str, Any]], silent: list[dict[str, Any]], dry_run: bool) -> None:
    from backupsvc.cli.output import say, table, tell

    rows = [
        (
            one["target"],
            one["file"] or f"no {one['what']}",
            one["tried"] or "never",
            one["state"] or "",
        )
        for one in found
    ]
    if rows:
        table(("target", "newest", "last tried" if dry_run else "tried", "result"), rows)
    for one in found:
        if one["said"]:
            say(f"{one['target']}, {one['tried_file'] or one['what']}: {one['said']}")
    for one in silent:
        tell(f"backupsvc: {one['target']} was not looked at: {one['reason']}")
        tell(f"  -> {one['hint']}")
    if dry_run:
        say("nothing was brought back")


@app.command("open")
def open_(
    bundle: Bundle,
    folder: NewFolder,
    identity: IdentityFile = None,
    sha256: Sha256 = None,
    dry_run: DryOpen = False,
    as_json: AsJson = False,
) -> None:
    """Make a new machine's state directory of a bundle: the catalog, the policy, the cluster's kept
    configuration and a file of settings, each file held against its checksum. Needs neither cluster
    nor policy nor settings.

    Secrets come from the bundle if they are in it and an identity opens them; else the token is asked
    for on a terminal. What is still missing is said.
    """
    from backupsvc.cli.kit import identities
    from backupsvc.cli.output import emit_json, interactive
    from backupsvc.copies.bundle_opening import open_bundle

    keys = None
    if identity is not None or bundle.name.endswith(".age"):
        keys = identities(identity)
    token = ""
    # only where a person sits, and never as a word of the command line (law 7)
    if keys is None and not (as_json or dry_run) and interactive(sys.stdin):
        token = getpass("PVE token (user@realm!name=secret; empty: later): ").strip()
    place = folder.absolute()
    if dry_run:
        place.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".bundle-", dir=place.parent) as there:
            found = open_bundle(bundle, Path(there) / folder.name, keys, sha256=sha256)
    else:
        found = open_bundle(bundle, folder, keys, sha256=sha256, token=token)
    if not as_json:
        _show(found, place, dry_run)
        return
    emit_json(
        {
            "dry_run": dry_run,
            "folder": str(place),
            "files": found.files,
            "sha256": found.sha256,
            "environment": str(place / found.environment.name),
            "host": found.host,
            "missing": list(found.missing),
            "dump": None if found.dump is None else str(place / found.dump.name),
        }
    )


def _show(found: Opened, folder: Path, dry_run: bool) -> None:
    from backupsvc.cli.output import say

    where = f"{folder}, which was not made" if dry_run else folder
    say(f"{found.files} files in {where}, each as its checksum says")
    say(f"  SHA-256 of the bundle {found.sha256}: hold it against one that was kept elsewhere")
    say(f"  the runbook begins with {folder / 'ORDER.txt'}")
    if found.dump is not None:
        say("  the catalog is a dump of PostgreSQL: pg_restore --dbname URL")
        say(f"  {folder / found.dump.name}, then set BACKUPSVC_CATALOG__URL")
    say(f"  it will speak to {found.host or 'no cluster yet'}: is that yours?")
    if found.missing:
        say(f"  to be filled in: {', '.join(found.missing)}")
    say(f"  then: set -a; . {folder / found.environment.name}; set +a; backupsvc doctor")
