"""Collects what there is to know of failovers that nobody asked for: each node's log of HA's
manager, and its starts and moves of guests. What cannot be read is said, and never counts as none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backupsvc import garbage
from backupsvc.clock import iso
from backupsvc.errors import PvePermissionDenied
from backupsvc.report.gaps import FAILS
from backupsvc.report.words import chrome
from policies import i18n
from policies.ha.failovers import (
    REACH,
    Failover,
    Failovers,
    Line,
    Seen,
    Task,
    Unread,
    Why,
    decide,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from backupsvc.catalog import Catalog
    from backupsvc.operations.services import Cluster
    from backupsvc.pve.ha_history import NodeClock
    from policies.compliance.facts import SiteFacts


def ask(service: Cluster, since: int) -> Failovers:
    """Given since when (epoch seconds), return what HA took over without being asked. Raise
    Unreachable or Refused if the cluster does not tell its nodes, or the catalog cannot be read.
    """
    with garbage.kept_out():
        return decide(collect(service, since, members_since(service.catalog, since)))


def of_site(service: Cluster, facts: SiteFacts, since: int) -> Failovers | None:
    """Given a site's facts and since when, return what HA took over; None for a site that has no
    guest under HA now: it is asked nothing.
    """
    unread = any(gap.kind == "ha" for gap in facts.gaps)
    if not unread and not any(guest.ha_managed for guest in facts.guests):
        return None
    return decide(collect(service, since, members_since(service.catalog, since)))


def members_since(catalog: Catalog, since: int) -> set[str]:
    """Given since when, return the nodes that are known to have been members then: an archive was
    made there, or an operation was on them.
    """
    found: set[object] = {
        one.node for gone in (False, True) for one in catalog.archives.find(since=since, gone=gone)
    }
    # those about an archive name its node, which may be gone for years
    for kind in ("backup", "restore", "recover"):
        found |= {one.memory.get("node") for one in catalog.operations.find(kind=kind, since=since)}
    return {name for name in found if name and isinstance(name, str)}


def collect(service: Cluster, since: int, known: Collection[str] = ()) -> Seen:
    """Given since when, and the nodes that are known to have been members since, return what was
    read; raises what the cluster raises that does not tell its nodes.
    """
    pve, nodes = service.pve, service.pve.cluster.nodes()
    now = int(service.clock.now())
    first = max(since, now - REACH)
    unread: list[Unread] = []
    clocks: dict[str, NodeClock] = {}
    logs: dict[str, tuple[Line, ...]] = {}
    held: dict[str, int] = {}
    tasks: dict[str, tuple[Task, ...]] = {}
    for node in sorted(nodes, key=lambda one: one.name):
        name = node.name
        if not node.online:
            unread.append(Unread(name, Why.OFFLINE))
            continue
        try:
            clocks[name] = clock = pve.ha_history.clock(name)
            tasks[name] = pve.ha_history.tasks(name, clock, first)
            lines, oldest = pve.ha_history.manager_log(name, clock, first)
        except PvePermissionDenied as error:
            unread.append(Unread(name, Why.RIGHT, detail=error.message))
        except FAILS as error:
            unread.append(Unread(name, Why.FAILED, detail=error.message))
        else:
            logs[name] = lines
            if oldest is None:
                unread.append(Unread(name, Why.SHORT))
            else:
                held[name] = oldest if first == since else max(oldest, first)
    signs = {
        name: {at for one in many for at in (one.started, one.ended) if at is not None}
        for name, many in tasks.items()
    }
    members = {node.name for node in nodes}
    gone = set(known) - members
    try:
        for name, times in pve.ha_history.signs().items():
            if name not in members and times[-1] >= since:
                gone.add(name)
            if name in clocks:  # else nobody says how wrong its clock was
                signs.setdefault(name, set()).update(at - clocks[name].ahead for at in times)
    except FAILS:
        pass  # a sign of life less: the length is then known from one side only
    return Seen(
        since,
        now,
        tuple(sorted(members | gone)),
        logs,
        held,
        tasks,
        {name: tuple(sorted(times)) for name, times in signs.items()},
        (*unread, *(Unread(name, Why.GONE) for name in sorted(gone))),
    )


def as_dict(found: Failovers) -> dict[str, Any]:
    """Given what is said, return it as ``--json`` prints it: null is what is not known, times are in
    UTC, spans in seconds.
    """
    return {
        "answer": str(found.answer),
        "since": iso(found.since),
        "until": iso(found.now),
        "known_since": _time(found.known_since),
        "failovers": [failover_as_dict(one) for one in found.found],
        "unexplained": [failover_as_dict(one) for one in found.doubtful],
        "not_read": [
            {
                "node": one.node,
                "why": str(one.why),
                "goes_back_to": _time(one.since),
                "detail": one.detail or None,
            }
            for one in found.unread
        ],
    }


def not_read(one: Unread, language: str, timezone: str) -> str:
    """Given what was not read, return the sentence that says so, in a language."""
    key = "empty" if one.why is Why.SHORT and one.since is None else str(one.why)
    back = "" if one.since is None else i18n.moment(one.since, timezone, language)
    return chrome(f"over.{key}", language, node=one.node, back=back, detail=one.detail)


def length(one: Failover, language: str) -> str:
    """Given a failover, return how long the guest was away, as far as that is known, in words."""
    least, most = (
        None if seconds is None else i18n.duration(seconds, language)
        for seconds in (one.least, one.most)
    )
    if one.started is None:
        return chrome("over.not-back", language)
    if least is not None and most is not None:
        return chrome("over.between", language, least=least, most=most)
    if least is not None:
        return chrome("over.least", language, least=least)
    if most is not None:
        return chrome("over.most", language, most=most)
    return chrome("over.no-length", language)


def failover_as_dict(one: Failover) -> dict[str, Any]:
    """Given a failover, return it as ``--json`` prints it."""
    return {
        "sid": one.sid,
        "vmid": one.vmid,
        "source": one.source or None,
        "target": one.target or None,
        "last_sign": _time(one.alive),
        "missed": _time(one.missed),
        "fenced": _time(one.fenced),
        "taken": _time(one.taken),
        "started": _time(one.started),
        "started_on": one.started_on or None,
        "started_by": one.started_by or None,
        "at_least_seconds": one.least,
        "at_most_seconds": one.most,
        "read_in": list(one.sources),
    }


def _time(epoch: int | None) -> str | None:
    return None if epoch is None else iso(epoch)
