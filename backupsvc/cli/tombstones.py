"""``backupsvc catalog tombstones``: what remains of guests that are gone from the cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from backupsvc.cli.lineage import DryRun, Reason, Vmid
from backupsvc.cli.options import AsJson

WhichChain = Annotated[
    str | None,
    typer.Option("--chain", metavar="NAME", help="Which machine, where several were there."),
]
Undo = Annotated[bool, typer.Option("--undo", help="Take the release back.")]
_KEYS = ("vmid", "name", "lineage", "seen_last", "missing_since", "kept_until", "archives")
_HEAD = ("VMID", "name", "machine", "seen last", "missing since", "kept until", "archives")
app = typer.Typer(no_args_is_help=True, help="What remains of guests that are gone.")


@app.command("list")
def list_tombstones(as_json: AsJson = False) -> None:
    """List the machines that are gone from the cluster, and until when what is kept of them.

    Exit 1 if the time of one is over and nobody has decided what becomes of its archives.
    """
    from backupsvc.cli.output import emit_json, say, table
    from backupsvc.cli.session import open_service
    from backupsvc.inventory import departed

    with open_service() as service:
        # first: it sets and ends tombstones by what the cluster lists now
        looked = departed.look(service)
        now = int(service.clock.now())
        found = departed.listed(service.catalog, service.policy.tombstone, now)
    shown = [departed.as_dict(one) for one in found]
    if as_json:
        emit_json({"tombstones": shown, "not_looked": looked.why or None})
    else:
        rows = [
            (
                *(one[key] if one[key] is not None else "not known" for key in _KEYS),
                one["copies"],
                one["newest_proven"] or "none",
                "over" if one["over"] else "released" if one["released"] else "",
            )
            for one in shown
        ]
        if rows:
            table((*_HEAD, "copies", "newest proven", "note"), rows)
        else:
            say("no guest with archives is gone from the cluster")
        for vmid in (one.tombstone.vmid for one in found if one.over):
            say(
                f"guest {vmid}: its time is over; everything stays until somebody lets go of it: "
                f"`backupsvc catalog tombstones release {vmid}`"
            )
        if looked.why:
            say(f"nobody can be called missing now: {looked.why}")
    raise typer.Exit(1 if any(one.over for one in found) else 0)


@app.command()
def release(
    vmid: Vmid,
    reason: Reason,
    chain: WhichChain = None,
    undo: Undo = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Let the next prune remove what is left of a guest that is gone: while its tombstone's time
    runs, all but its newest proven backups; after that, all but what law 3 keeps.
    """
    from backupsvc.cli.lineage import print_effects
    from backupsvc.cli.output import emit_json, say
    from backupsvc.cli.session import open_service
    from backupsvc.operations import lineages

    with open_service() as service:
        done = lineages.release(service, vmid, reason, chain=chain, undo=undo, dry_run=dry_run)
    if as_json:
        emit_json(
            {
                "vmid": vmid,
                "dry_run": dry_run,
                "undone": done.undone,
                "wholly": done.release.wholly,
                "who": done.release.who,
                "why": done.release.why,
                "archives": [lineages.effect_as_dict(one) for one in done.effects],
                "refusal": done.refusal or None,
            }
        )
        return
    what = "taken back" if undo else "released"
    say(
        f"tombstone of guest {vmid} ({done.listed.chain}): {'would be ' if dry_run else ''}{what} "
        f"by {done.release.who} ({reason})"
    )
    print_effects(done.effects, done.refusal)
