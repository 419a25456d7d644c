"""``backupsvc ha failovers``: what HA took over without being asked, and for how long it was away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backupsvc.cli.options import AsJson
from backupsvc.errors import UsageError

if TYPE_CHECKING:
    from policies.ha.failovers import Failover, Failovers

DAYS = 30
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="DATE", help=f"Since that day; {DAYS} days if not given."),
]
_ANSWERS = {
    "seen": "HA took guests over without being asked",
    "none": "HA took nothing over: its log was read on every node, for the whole of the time",
    "not-known": "whether HA took anything over is not known",
}


def failovers(since: Since = None, as_json: AsJson = False) -> None:
    """Say what HA took over without being asked: when a node was found gone, when HA had fenced it,
    when the guest was started again elsewhere, and for how long it was away.

    Read in the log of HA's manager on each node (Sys.Syslog) and in the lists of tasks. Exit 0 only
    if it surely took nothing over.
    """
    from backupsvc.cli.output import emit_json
    from backupsvc.cli.session import open_service
    from backupsvc.report.failovers import as_dict, ask

    with open_service() as service:
        first = _first(since, service.policy.timezone, int(service.clock.now()))
        found = ask(service, first)
    if as_json:
        emit_json(as_dict(found))
    else:
        show(found, service.policy.timezone)
    raise typer.Exit(0 if found.answer == "none" else 1)


def show(found: Failovers, timezone: str) -> None:
    """Given what is said, and the site's time zone, print it for a person."""
    from backupsvc.cli.output import say
    from backupsvc.report.failovers import not_read
    from policies.i18n import moment

    say(f"since {moment(found.since, timezone, 'en')}: {_ANSWERS[found.answer]}")
    for one in (*found.found, *found.doubtful):
        for line in lines(one, timezone):
            say(line)
    if found.found and not found.whole:
        say("not all was read: there may have been others")
    for gap in found.unread:
        say(f"not known: {not_read(gap, 'en', timezone)}")


def lines(one: Failover, timezone: str) -> list[str]:
    """Given a failover and the site's time zone, return the lines that tell it."""
    from backupsvc.report.failovers import length
    from backupsvc.report.words import chrome
    from policies.i18n import moment

    def when(epoch: int | None) -> str:
        return "not known" if epoch is None else moment(epoch, timezone, "en")

    told = [
        f"{one.sid} from {one.source or 'a node that is not known'} to "
        f"{one.target or 'no other node'}: away {length(one, 'en')}"
    ]
    if one.certain:
        told.append(
            f"  its node lived last {when(one.alive)}, was found gone {when(one.missed)}, fenced "
            f"{when(one.fenced)}; started again {when(one.started)}"
            + (f" on {one.started_on}" if one.started_on else "")
            + (f" {chrome('over.helped', 'en', who=one.helped)}" if one.helped else "")
        )
    else:
        told.append(f"  {chrome('over.odd', 'en')} ({when(one.started)})")
    return [*told, *(f"  read in {source}" for source in one.sources)]


def _first(since: str | None, timezone: str, now: int) -> int:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    if since is None:
        return now - DAYS * 86400
    try:
        day = datetime.strptime(since, "%Y-%m-%d").replace(tzinfo=ZoneInfo(timezone))
        first = int(day.timestamp())
    except (ValueError, OverflowError):
        raise UsageError(
            f"{since!r} is not a date", "write year, month and day, such as --since 2026-03-01"
        ) from None
    if not 0 <= first <= now:
        raise UsageError(f"{since} is not in the past", "give the day from which on to look")
    return first
