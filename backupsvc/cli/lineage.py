"""``backupsvc catalog lineage``: which machines were under a VMID, and which of them are one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backupsvc.cli.options import AsJson, OneGuest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupsvc.operations.lineages import Effect, Told

Reason = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; kept with who said so and when.")
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Say what would change for retention and restore; keep nothing."
    ),
]
Vmid = Annotated[int, typer.Argument(metavar="VMID", help="Whose archives they are.")]
Offline = Annotated[
    bool, typer.Option("--offline", help="What the catalog knows, without asking the cluster.")
]
app = typer.Typer(no_args_is_help=True, help="Which machines were under a VMID, and which are one.")


@app.command("list")
def list_chains(vmid: OneGuest = None, offline: Offline = False, as_json: AsJson = False) -> None:
    """List the machines that were under each VMID, each with its archives, and where a person must
    say whether two of them are one.

    Exit 1 if a question is open.
    """
    from backupsvc.cli.output import emit_json, say, table
    from backupsvc.cli.session import open_service
    from backupsvc.operations import lineages

    with open_service() as service:
        found = [lineages.as_dict(one) for one in lineages.show(service, vmid, offline=offline)]
    code = 1 if any(one["questions"] for one in found) else 0
    if as_json:
        emit_json({"guests": found})
        raise typer.Exit(code)
    today = {True: "yes", False: "no", None: "not known"}
    rows = [
        (
            one["vmid"],
            chain["name"],
            chain["type"] or "",
            *(chain[key] for key in ("told", "first", "last", "archives")),
            chain["newest_proven"] or "none",
            today[chain["today"]],
        )
        for one in found
        for chain in one["chains"]
    ]
    if rows:
        head = ("VMID", "machine", "kind", "told", "first", "last", "archives")
        table((*head, "newest proven", "today"), rows)
    else:
        say("the catalog knows no archive")
    for one in found:
        for question in one["questions"]:
            say(f"guest {one['vmid']}: {question['said']}")
        for decision in one["decisions"]:
            by = f"{decision['kind']} of {decision['at']} by {decision['who']}"
            say(f"guest {one['vmid']}: {by}: {decision['why']}")
    raise typer.Exit(code)


@app.command()
def join(
    vmid: Vmid,
    one: Annotated[str, typer.Argument(metavar="A", help="A machine, as `list` names it.")],
    other: Annotated[str, typer.Argument(metavar="B", help="The other one.")],
    reason: Reason,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Say that two machines of a VMID are one, whose archives rotate together from then on.

    Law 3 keeps the newest proven archive of each until a later backup of the joined one is proven.
    `catalog lineage split` undoes it.
    """
    from backupsvc.cli.session import open_service
    from backupsvc.operations import lineages

    with open_service() as service:
        told = lineages.join(service, vmid, one, other, reason, dry_run=dry_run)
    _said(vmid, told, dry_run=dry_run, as_json=as_json)


@app.command()
def split(
    vmid: Vmid,
    volid: Annotated[
        str, typer.Argument(metavar="VOLID", help="The first archive of the other machine.")
    ],
    reason: Reason,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Say that from an archive on a VMID is another machine than before. `catalog lineage join`
    undoes it.
    """
    from backupsvc.cli.session import open_service
    from backupsvc.operations import lineages

    with open_service() as service:
        told = lineages.split(service, vmid, volid, reason, dry_run=dry_run)
    _said(vmid, told, dry_run=dry_run, as_json=as_json)


def _said(vmid: int, told: Told, *, dry_run: bool, as_json: bool) -> None:
    from backupsvc.cli.output import emit_json, say
    from backupsvc.operations.lineages import told_as_dict

    if as_json:
        emit_json({"vmid": vmid, "dry_run": dry_run} | told_as_dict(told))
        return
    for one in told.decisions:
        said = "would be kept" if dry_run else "kept"
        say(f"guest {vmid}: {one.kind} {said} as said by {one.who} ({one.why})")
    print_effects(told.effects, told.refusal)


def print_effects(effects: Sequence[Effect], refusal: str) -> None:
    """Say what changes at the next prune, and for restores."""
    from backupsvc.cli.output import say

    for one in effects:
        where = f"{one.archive.volid} on {one.archive.node}"
        if one.before is not one.after:
            say(f"at the next prune {where}: {one.after}, until now {one.before} ({one.why})")
        # an archive may stay, and still be of another machine than the guest that is there now
        if one.own_before is not one.own_after:
            own = "the guest's own" if one.own_after else "of another machine"
            say(f"for restores {where} counts as {own}")
    if refusal:
        say(f"the next prune would remove nothing at all: {refusal}")
    elif all(one.before is one.after for one in effects):
        say("nothing more and nothing less goes at the next prune")
