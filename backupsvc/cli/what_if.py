"""``backupsvc what-if``: what could be brought back tonight if a node, a storage or the site were
lost?
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupsvc.cli.options import AsJson

if TYPE_CHECKING:
    from policies.what_if.decide import GuestAfter, WhatIf

NodeNames = Annotated[
    list[str] | None, typer.Option("--node", help="This node is lost; may be repeated.")
]
StorageNames = Annotated[
    list[str] | None,
    typer.Option("--storage", help="This storage is lost, on every node; may be repeated."),
]
Site = Annotated[
    bool, typer.Option("--site", help="All of the cluster is lost: what lies outside it?")
]


def what_if(
    node: NodeNames = None,
    storage: StorageNames = None,
    site: Site = False,
    as_json: AsJson = False,
) -> None:
    """Say what could be brought back now if a node, a storage or the whole site were lost: from
    what, how old, where to, in which order and how long it would take. Nothing is changed.

    Exit 1 if a guest of the most urgent tiers (those with the shortest RTO) could not be brought
    back, or if that cannot be told; so also where there may be guests that the token does not see.
    """
    from backupsvc.cli.output import emit_json
    from backupsvc.cli.session import open_service
    from backupsvc.errors import UsageError
    from backupsvc.report.what_if import ask
    from policies.what_if.loss import Loss

    if not (node or storage or site):
        raise UsageError(
            "nothing is named that would be lost", "name it: --node NODE, --storage STORAGE, --site"
        )
    with open_service() as service:
        found = ask(service, Loss(frozenset(node or ()), frozenset(storage or ()), site))
    if as_json:
        emit_json(as_dict(found))
    else:
        _show(found)
    raise typer.Exit(0 if found.well else 1)


def as_dict(found: WhatIf) -> dict[str, Any]:
    """Given the answer, return it as ``--json`` prints it; spans in seconds."""
    quorum = found.quorum
    return {
        "lost": {
            "nodes": sorted(found.loss.nodes),
            "storages": sorted(found.loss.storages),
            "site": found.loss.site,
        },
        "quorum": {
            "votes": quorum.votes,
            "left": quorum.left,
            "needed": quorum.needed,
            "quorate": quorum.quorate,
            "said": quorum.said,
        },
        "critical_tiers": list(found.critical),
        "well": found.well,
        "guests": [_guest(one) for one in found.guests],
        "serial_seconds": found.serial,
        "parallel_seconds": found.parallel,
        "unmeasured": list(found.unmeasured),
        "exposed": list(found.exposed),
        "hidden": list(found.hidden),
        "unseen": list(found.unseen),
    }


def _guest(one: GuestAfter) -> dict[str, Any]:
    source = one.source
    archive = source.archive if source else None
    return {
        "vmid": one.vmid,
        "name": one.name,
        "tier": one.tier,
        "node": one.node,
        "source": {
            "kind": source.kind.value if source else "none",
            "volid": archive.volid if archive else None,
            "node": archive.node if archive else None,
            "place": source.place if source else None,
            "age_seconds": one.age,
            "proven": bool(source and source.proof),
        },
        "target": one.target,
        "storage": one.storage,
        "recoverable": one.recoverable,
        "reasons": list(one.reasons),
        "notes": list(one.notes),
        "rto_seconds": one.rto,
    }


def _show(found: WhatIf) -> None:
    from backupsvc.cli.output import say, table
    from policies.i18n import duration

    said = {True: "yes", False: "NO", None: "unknown"}
    rows = [
        (
            one.vmid,
            one.name,
            one.tier,
            f"{one.source.kind}, {one.source.place}" if one.source else "nothing is left",
            "-" if one.age is None else duration(one.age, "en"),
            one.target or "-",
            said[one.recoverable],
            "-" if one.rto is None else duration(one.rto, "en"),
            "; ".join((*one.reasons, *one.notes)),
        )
        for one in found.guests
    ]
    if rows:
        heads = ("VMID", "name", "tier", "from", "data", "to", "back", "takes", "why")
        table(heads, rows)
    else:
        say("no guest is lost with that")
    say(f"quorum: {found.quorum.said}")
    back = [one for one in found.guests if one.recoverable]
    # what is not known counts neither as back nor as lost
    perhaps = [one for one in found.guests if one.recoverable is None]
    if found.guests:
        also = f" ({len(perhaps)} more: not known)" if perhaps else ""
        say(
            f"{len(back)} of {len(found.guests)} guests would come back{also}, all of these in "
            f"{duration(found.serial, 'en')} one after the other, "
            f"{duration(found.parallel, 'en')} with all nodes at work, by measured restore tests"
        )
    if found.unmeasured:
        say(f"never measured, so not in these times: {', '.join(map(str, found.unmeasured))}")
    if found.exposed:
        say(f"live on without any backup: {', '.join(map(str, found.exposed))}")
    for sentence in (*found.hidden, *found.unseen):
        say(f"not seen: {sentence}")
