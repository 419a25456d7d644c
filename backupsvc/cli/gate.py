"""``backupsvc gate``: may something be done to guests that only their backups would mend?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupsvc.cli.options import AsJson, Guests

if TYPE_CHECKING:
    from policies.gate import Gate

NodeNames = Annotated[
    list[str] | None, typer.Option("--node", help="All guests on this node; may be repeated.")
]
Within = Annotated[
    str | None,
    typer.Option(
        "--proven-within",
        metavar="TIME",
        help="How old a proof, and what it proved, may be, such as 7d or 36h; else what each "
        "guest's tier says.",
    ),
]


def gate(
    node: NodeNames = None, vmid: Guests = None, within: Within = None, as_json: AsJson = False
) -> None:
    """Say whether the backups of guests are proven right now, for use before an upgrade, a
    migration or a deletion: `backupsvc gate --node NODE && ...`. Without options: of all guests.

    Exit 0 only if a restore of each of them was proven that lately, of a backup no older, and
    nothing works on them. What cannot be told keeps the gate shut.
    """
    from backupsvc.cli.output import emit_json
    from backupsvc.cli.session import open_service
    from backupsvc.errors import UsageError
    from backupsvc.report.gate import ask
    from policies import amounts
    from policies.gate import Asked

    seconds = None if within is None else amounts.seconds(within)
    if within is not None and not seconds:
        raise UsageError(
            f"{within!r} is no span of time", "give it with a unit (s, m, h, d, w), such as 7d"
        )
    with open_service() as service:
        found = ask(service, Asked(tuple(vmid or ()), tuple(node or ()), seconds))
    if as_json:
        emit_json(as_dict(found))
    else:
        _show(found)
    raise typer.Exit(0 if found.open else 1)


def as_dict(found: Gate) -> dict[str, Any]:
    """Given the answer, return it as ``--json`` prints it; ages in seconds."""
    return {
        "open": found.open,
        "guests": [
            {
                "vmid": one.vmid,
                "name": one.name,
                "node": one.node,
                "proven_ago_seconds": one.proven_ago,
                "data_age_seconds": one.data,
                "ok": one.ok,
                "reasons": list(one.reasons),
                "notes": list(one.notes),
            }
            for one in found.guests
        ],
        "at_work": [
            {"what": one.what, "vmid": one.vmid, "node": one.node} for one in found.at_work
        ],
        "unseen": list(found.unseen),
    }


def _show(found: Gate) -> None:
    from backupsvc.cli.output import say, table
    from policies.i18n import duration

    def ago(seconds: int | None) -> str:
        return "-" if seconds is None else duration(seconds, "en")

    rows = [
        (
            one.vmid,
            one.name,
            one.node or "-",
            ago(one.proven_ago),
            ago(one.data),
            "yes" if one.ok else "no",
            "; ".join(one.reasons or one.notes),
        )
        for one in found.guests
    ]
    if rows:
        table(("VMID", "name", "node", "proven ago", "its data", "ok", "why"), rows)
    else:
        say("there is no guest there: nothing is proven")
    # what works on a guest stands among its reasons already
    said = {why for one in found.guests for why in one.reasons}
    for work in found.at_work:
        if work.what not in said:
            say(f"{work.what}{f' on {work.node}' if work.node else ''}")
    for why in found.unseen:
        say(why)
    say(f"the gate is {'open' if found.open else 'shut'}")
    if not found.open and any(one.proven_ago is None for one in found.guests):
        say("prove what is not: backupsvc restore-test VMID")
