"""What came of archives, or of copies, that were read anew, as the terminal shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backupsvc.cli.output import say, size, table, tell_error


def show_readings(
    found: Sequence[Mapping[str, Any]],
    what: str,
    place: str,
    *,
    unreadable: int = 0,
    dry_run: bool,
) -> None:
    """Given what came of each (``vmid``, ``volid``, ``bytes``, ``checked_at``, ``state``, ``how``,
    ``reason``, ``hint``), what they are called, which of its keys says where it lies and how many
    more nothing here can read, show them, and why one is not good.
    """
    rows = [
        (
            one["vmid"],
            one["volid"],
            one[place],
            size(one["bytes"]),
            one["checked_at"] or "never",
            (one["state"].upper() if one["state"] == "damaged" else one["state"])
            + (f", {one['how']}" if one["how"] else ""),
        )
        for one in found
    ]
    if rows:
        table(("VMID", "archive", place, "size", "read last", "state"), rows)
    else:
        say(f"no {what} is due to be read: --all reads every one")
    for one in found:
        if one["reason"]:
            # an archive's node is no part of its name, and a copy's target is
            at = f" at {one['target']}" if place == "target" else ""
            hint = one["hint"] or "see `backupsvc operations show`"
            tell_error(f"{one['volid']}{at}: {one['reason']}", hint)
    if unreadable:
        say(
            f"{unreadable} archives cannot be read from here: their node is down, no SSH to it is "
            "configured (BACKUPSVC_SSH__NODES), or nothing here decodes their format"
        )
    if dry_run:
        say("nothing was read")
