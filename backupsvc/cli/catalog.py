"""``backupsvc catalog``: what archives exist, and how far each is proven."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupsvc.cli import catalog_config, lineage, tombstones
from backupsvc.cli.catalog_backup import backup
from backupsvc.cli.groups import Named
from backupsvc.cli.options import AsJson, OneGuest
from backupsvc.cli.rebuild import rebuild
from backupsvc.cli.recheck import recheck

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupsvc.inventory.accepting import Synced
    from backupsvc.inventory.paging import Page
    from policies.gaps import GuestNights

DEFAULT_NIGHTS, MAX_NIGHTS = 30, 800
OfGuest = Annotated[int | None, typer.Option("--vmid", help="Only this guest's archives.")]
Limit = Annotated[
    int,
    typer.Option("--limit", min=1, help="The newest so many; how many more there are is said."),
]
Since = Annotated[
    str | None, typer.Option("--since", metavar="DATE", help="None older, such as 2026-03-01.")
]
OfflineStorages = Annotated[
    bool,
    typer.Option("--offline", help="What the catalog remembers, without asking the storages."),
]
Accept = Annotated[
    bool,
    typer.Option(
        "--accept",
        help="Let guests be pruned again that this catalog knows too little of; say who did.",
    ),
]
AcceptedGuest = Annotated[
    int | None, typer.Option("--vmid", help="With --accept: only this guest.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be recorded as gone and accepted.")
]
FirstNight = Annotated[
    str | None,
    typer.Option("--from", metavar="DATE", help="The first night; default: 30 nights ago."),
]
LastNight = Annotated[
    str | None, typer.Option("--to", metavar="DATE", help="The last night; default: today.")
]
app = typer.Typer(no_args_is_help=True)
app.command()(backup)
app.command()(rebuild)
app.command()(recheck)
app.add_typer(
    catalog_config.app,
    name="config",
    help="The cluster's configuration, kept each night as text.",
    short_help="The cluster's configuration, kept each night as text.",
)
app.add_typer(lineage.app, name="lineage", cls=Named)
app.add_typer(tombstones.app, name="tombstones", cls=Named)


@app.callback()
def _group() -> None:
    pass


@app.command("list")
def list_archives(
    vmid: OfGuest = None,
    limit: Limit = 1000,
    since: Since = None,
    offline: OfflineStorages = False,
    as_json: AsJson = False,
) -> None:
    """List the archives, newest first.

    One that is remembered and no longer listed is marked missing; one whose storage could not be
    listed, out of reach.
    """
    from backupsvc.cli.session import open_service
    from backupsvc.errors import UsageError
    from backupsvc.inventory.paging import page
    from policies.pve.calendar_event import zone

    with open_service() as service:
        first = None
        if since is not None:
            timezone = service.policy.timezone
            try:
                day = datetime.strptime(since, "%Y-%m-%d")
                first = int(day.replace(tzinfo=zone(timezone)).timestamp())
            except (ValueError, OverflowError):
                raise UsageError(
                    f"{since!r} is not a date",
                    "write year, month and day, such as --since 2026-03-01",
                ) from None
        found = page(service, vmid, limit=limit, since=first, offline=offline)
    _print(found, as_json)


@app.command()
def sync(
    accept: Accept = False,
    vmid: AcceptedGuest = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """List every storage, and record what is found: archives that are no longer there are recorded
    as gone.

    Only a storage that was listed can have lost one. Exit 3 if some could not be: what is known
    there is out of reach, not gone.

    Prune touches no guest with archives from before this catalog until a restore test has proven
    it, or until --accept.
    """
    from backupsvc.cli.output import emit_json
    from backupsvc.cli.session import open_service
    from backupsvc.errors import UsageError
    from backupsvc.inventory import accepting, departed
    from backupsvc.inventory.listing import as_dict

    if vmid is not None and not accept:
        raise UsageError(
            "--vmid says whose archives are accepted", "add --accept, or leave --vmid out"
        )
    with open_service() as service:
        found = accepting.sync(service, accept=accept, vmid=vmid, dry_run=dry_run)
        if not dry_run:
            departed.look(service)
    if not as_json:
        _show(found, dry_run)
        raise typer.Exit(3 if found.blind else 0)
    accepted = [
        {"vmid": one.vmid, "who": one.who, "why": one.why, "archives": list(one.archives)}
        for one in found.accepted
    ]
    emit_json(
        {
            "archives": found.archives,
            "new": [as_dict(archive) for archive in found.new],
            "gone": [as_dict(archive) for archive in found.gone],
            "unreachable": [as_dict(archive) for archive in found.unreachable],
            "not_listed": list(found.blind),
            "accepted": accepted,
            "stopped": [{"vmid": guest, "why": why} for guest, why in found.stopped.items()],
            "dry_run": dry_run,
        }
    )
    raise typer.Exit(3 if found.blind else 0)


@app.command()
def show(
    what: Annotated[str, typer.Argument(metavar="VMID|VOLID", help="A guest, or one archive.")],
    offline: Annotated[
        bool,
        typer.Option("--offline", help="What the catalog remembers, without asking the cluster."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show which machine a guest is, which of its archives are of that machine, and what was
    recorded of an archive.

    Exit 1 if one that is shown was changed since it was recorded, or is of another machine.
    """
    from backupsvc.cli.output import emit_json, say, size, table
    from backupsvc.cli.session import open_service
    from backupsvc.cli.values import in_words
    from backupsvc.operations import identity

    with open_service() as service:
        found = identity.show(service, what, offline=offline)
    if as_json:
        emit_json(found)
    else:
        lineage = found["lineage"]
        known = (
            f"SMBIOS UUID {lineage['uuid'] or 'unknown'}, created "
            f"{lineage['created'] or 'at a time unknown'} (by {lineage['source']})"
        )
        say(f"guest {found['vmid']}: {known if lineage['source'] else 'unknown'}")
        if what.isdigit():
            keys = ("volid", "node", "size", "rung", "machine", "uuid", "changed")
            rows = [
                [size(item[key]) if key == "size" else item[key] for key in keys]
                for item in found["archives"]
            ]
            table(("archive", "node", "size", "rung", "machine", "SMBIOS UUID", "changed"), rows)
        else:
            for key, value in (pair for item in found["archives"] for pair in item.items()):
                say(f"  {key:<12} {'' if value in (None, []) else in_words(value)}".rstrip())
    bad = any(item["changed"] or item["machine"] == "another" for item in found["archives"])
    raise typer.Exit(1 if bad else 0)


@app.command()
def gaps(
    begin: FirstNight = None,
    end: LastNight = None,
    vmid: OneGuest = None,
    as_json: AsJson = False,
) -> None:
    """Show which nights left each guest an archive, as a calendar: what is missing is seen before
    it is needed.

    By the catalog alone: an archive that PVE or somebody else made counts once `backupsvc catalog
    sync` has seen it.

    Exit 1 if a night that was due failed or was missed.
    """
    from backupsvc.cli.output import emit_json
    from backupsvc.cli.session import open_service
    from backupsvc.errors import UsageError
    from backupsvc.operations import nights
    from policies.gaps import NightState

    with open_service() as service:
        usual = nights.last(service, DEFAULT_NIGHTS)
        try:
            last = date.fromisoformat(end) if end else usual[-1]
            # a --to alone may lie before the usual first night
            first = date.fromisoformat(begin) if begin else min(usual[0], last)
        except ValueError as error:
            raise UsageError(f"that is no date: {error}", "write it like 2026-03-08") from None
        count = (last - first).days + 1
        if not 1 <= count <= MAX_NIGHTS:
            raise UsageError(
                f"from {first} to {last} are {count} nights",
                f"choose from 1 to {MAX_NIGHTS} of them",
            )
        dates = [first + timedelta(days=number) for number in range(count)]
        found = nights.look(service, dates, vmid)
    if as_json:
        guests: list[dict[str, Any]] = []
        for one in found:
            kept = [
                {"date": str(night.date), "state": str(night.state), "volid": night.volid}
                for night in one.nights
            ]
            guests.append({"vmid": one.vmid, "lineage": one.lineage, "nights": kept})
        emit_json({"guests": guests})
    else:
        _calendar(dates, found)
    bad = (NightState.FAILED, NightState.MISSED)
    raise typer.Exit(1 if any(night.state in bad for one in found for night in one.nights) else 0)


def _calendar(dates: list[date], found: Sequence[GuestNights]) -> None:
    """A line a guest and a letter a night, a week at a time; below it each night that somebody
    should look at.
    """
    from backupsvc.cli.output import say
    from policies.gaps import NightState

    if not found:
        say("the catalog knows no archive and no backup, and no job names a guest")
        return
    letters = dict(zip(NightState, "#!x- ", strict=True))
    # one VMID may have been two machines (law 10): each has a line, told apart by its UUID
    twice = {one.vmid for one in found if sum(other.vmid == one.vmid for other in found) > 1}
    names = [
        f"{one.vmid}" + (f" ({one.lineage[:8]})" if one.vmid in twice else "") for one in found
    ]
    width = max(map(len, names))
    say(
        f"{'':<{width}}  nights from {dates[0]} to {dates[-1]}, a week a word: # archived, ! look "
        "at it, x failed, - missed"
    )
    for name, one in zip(names, found, strict=True):
        line = "".join(
            letters[night.state]
            + ("|" if night.date.isoweekday() == 7 and night is not one.nights[-1] else "")
            for night in one.nights
        )
        say(f"{name:<{width}}  {line}")
    for name, one in zip(names, found, strict=True):
        for night in one.nights:
            if night.state in (NightState.FAILED, NightState.MISSED, NightState.WARNED):
                said = {NightState.WARNED: "archived with a warning"}.get(
                    night.state, str(night.state)
                )
                say(
                    f"guest {name}, {night.date}: "
                    f"{said}{f' ({night.volid})' if night.volid else ''}"
                )


def _show(found: Synced, dry_run: bool) -> None:
    from backupsvc.cli.output import say

    say(
        f"{found.archives} archives listed, {len(found.new)} new, {len(found.gone)} gone"
        + (f", {len(found.unreachable)} out of reach" if found.unreachable else "")
    )
    for sentence in found.blind:
        say(f"not listed: {sentence}")
    if found.blind:
        say(
            "  -> bring it back, then run `backupsvc catalog sync` again; `backupsvc pra status` "
            "says what can be done meanwhile"
        )
    for archive in found.gone:
        say(f"gone: {archive.volid} on {archive.node}")
    for one in found.accepted:
        said = f"would be accepted by {one.who}" if dry_run else f"accepted by {one.who}"
        say(f"guest {one.vmid}, {len(one.archives)} archives: {said} ({one.why})")
    for why in found.stopped.values():
        say(f"not pruned: {why}")
    if found.stopped:
        say(
            "  -> look whether this is the right catalog, then prove these guests or run "
            "`backupsvc catalog sync --accept`"
        )


def _print(page: Page, as_json: bool) -> None:
    from backupsvc.cli.output import emit_json, say, size, table
    from backupsvc.inventory.listing import as_dict
    from policies.gaps import UNREAD

    found: list[dict[str, Any]] = [
        as_dict(one.archive)
        | {
            "missing": one.missing,
            "unreachable": one.unreachable,
            "lineage": one.archive.uuid or UNREAD,
            "copies": list(one.copies),
        }
        for one in page.archives
    ]
    blind = list(page.blind)
    if as_json:
        emit_json({"archives": found, "more": page.more} | ({"not_listed": blind} if blind else {}))
        return
    rows = []
    for item in found:
        # what a reader of the list must not miss about an archive
        remarks = ["DAMAGED"] if item["integrity"]["state"] == "damaged" else []
        remarks += ["SUSPICIOUS"] if item["suspicious"] else []
        remarks += [word for word in ("unreachable", "protected", "changed") if item[word]]
        remarks += [f"copy at {target}" for target in item["copies"]]
        told = [item[key] for key in ("vmid", "name", "time", "node", "volid")]
        rung = "MISSING" if item["missing"] else item["rung"]
        rows.append((*told, size(item["size"]), rung, ", ".join(remarks)))
    table(("VMID", "name", "time", "node", "archive", "size", "rung", "note"), rows)
    if page.more:
        say(f"{page.more} more, older than these: --limit N shows more, --vmid N only one guest's")
    for sentence in blind:
        say(f"not listed: {sentence}")
    if blind:
        say("  -> `backupsvc pra status` says what is within reach, and the way on")
