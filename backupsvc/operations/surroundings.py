"""What a guest had around it when the cluster's configuration was kept last with it in it, and what
is missing of that now. Reads only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from backupsvc.clock import iso
from backupsvc.copies.config_sets import kept_in
from backupsvc.copies.config_sets import read as read_set
from backupsvc.errors import ArchiveError
from backupsvc.inventory.cluster_config import Part, read
from backupsvc.services import Cluster, Nodes
from policies import surroundings
from policies.cluster_config import ConfigSet
from policies.surroundings import Kind, Surrounding, putting_back, whose

NOTHING_KEPT = "no configuration of the cluster is kept here (`backupsvc catalog config keep`)"


@dataclass(frozen=True, slots=True)
class Found:
    """What was found: ``items`` in the order in which they are put back, and the time of the kept
    set that they come from (epoch seconds). ``why_none`` says why nothing can be told, and then
    there are no items; None if it can. ``notes`` are what was passed over on the way to that set.
    """

    items: tuple[Surrounding, ...] = ()
    kept_at: int | None = None
    why_none: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether it is known that nothing is missing."""
        if self.why_none is not None:
            return False
        return not any(one.open for one in self.items)


def of(
    service: Nodes,
    vmid: int,
    archive_config_text: str | None = None,
    node: str | None = None,
    as_vmid: int | None = None,
    at: int | None = None,
) -> Found:
    """Given a VMID, return what of its surroundings is missing now, by the newest kept set in which
    the guest is.

    ``archive_config_text``: the configuration in the archive that it comes from: sets in which
    another machine was under the VMID are passed over (law 10). ``node``: where it lies or is to
    lie. ``as_vmid``: the VMID that it has or gets, if another one. ``at``: the time of the only set
    to be looked at (epoch seconds). Raise Unreachable or Refused if the cluster tells nothing,
    CopyError if the folder of the kept sets cannot be listed.
    """
    now_vmid = vmid if as_vmid is None else as_vmid
    chosen: tuple[int, ConfigSet] | None = None
    notes: list[str] = []
    kept = kept_in(service.settings.state_dir)
    for time in sorted(kept if at is None else kept.keys() & {at}, reverse=True):
        try:
            config = read_set(kept[time])
        except ArchiveError as error:
            # an older set may tell as much: that this one was passed over is said
            notes.append(error.message)
            continue
        other = whose.in_set(config, vmid, archive_config_text)
        if other is None:
            chosen = time, config
            break
        notes += [f"{iso(time)}: {other}"] if other else []
    if chosen is None:
        where = "in no configuration that is kept here"
        if at is not None:
            where = f"not in the configuration that was kept at {iso(at)}"
        why = f"guest {vmid} is {where}" + (f"; passed over: {notes[0]}" if notes else "")
        return Found(why_none=why if kept else NOTHING_KEPT, notes=tuple(notes))
    time, then = chosen
    # of guests only this one's own files: each of the others would be a call
    part = Part(surroundings.FILES, frozenset({now_vmid}))
    now = read(service, part=part)
    if stranger := whose.another_now(then, vmid, now, now_vmid):
        return Found((), time, stranger, tuple(notes))
    items = surroundings.find(
        then, now, vmid, as_vmid=as_vmid, node=node, archive=archive_config_text
    )
    return Found(items, time, notes=tuple(notes))


@dataclass(frozen=True, slots=True)
class Now:
    """What is missing of one kind of thing at this moment: ``items``, as found in ``config``, which
    was read for that kind alone. ``who`` is under the VMID, and ``why`` that is not the guest.
    """

    who: whose.Who
    why: str
    items: tuple[Surrounding, ...] = ()
    config: ConfigSet = field(default_factory=ConfigSet)


def anew(
    service: Nodes,
    kind: Kind,
    vmid: int,
    as_vmid: int,
    kept_at: int,
    *,
    restored: bool = False,
) -> Now:
    """Given a kind of thing, a guest's VMID in the set that was kept at a time (epoch seconds), and
    the one that it has now, return what is missing of that kind at this moment.

    ``restored``: it came out of an archive. Raise Unreachable or Refused if the cluster tells
    nothing, ArchiveError if that set is not to be read any more.
    """
    path = kept_in(service.settings.state_dir).get(kept_at)
    if path is None:
        raise ArchiveError(
            f"the configuration that was kept at {iso(kept_at)} is not here any more"
        )
    # the set that a person was shown the plan by, not the newest: that may be of tonight, without it
    then, archive = read_set(path), "" if restored else None
    return anew_since(
        service,
        kind,
        then,
        vmid,
        as_vmid,
        lambda now: surroundings.find(then, now, vmid, as_vmid=as_vmid, archive=archive),
    )


def anew_since(
    service: Cluster,
    kind: Kind,
    then: ConfigSet,
    vmid: int,
    as_vmid: int,
    find: Callable[[ConfigSet], tuple[Surrounding, ...]],
) -> Now:
    """Given a configuration of before in which the guest is, and what finds in the one of now what is
    missing, return what of that kind is missing at this moment.
    """
    firewall = kind in putting_back.FIREWALL
    part = Part(putting_back.files_of(kind), frozenset({as_vmid}), firewall)
    now = read(service, part=part)
    who, why = whose.is_there(then, vmid, now, as_vmid)
    if who is not whose.Who.SAME:
        return Now(who, why, config=now)
    found = find(now)
    # of all other kinds nothing was read
    wanted = putting_back.FIREWALL if firewall else {kind}
    return Now(who, why, tuple(one for one in found if one.kind in wanted), now)


def as_dict(one: Surrounding) -> dict[str, Any]:
    """Given one thing that a guest had around it, return it as the commands' JSON tells it."""
    return {
        "kind": str(one.kind),
        "name": one.name,
        "what": one.what,
        "action": str(one.action),
        "known": one.known,
        "detail": one.detail,
        "commands": list(one.commands),
        "calls": [
            {
                "method": call.method,
                "path": call.path,
                "params": [{"name": name, "value": value} for name, value in call.params],
            }
            for call in one.calls
        ],
        "privileges": list(one.privileges),
        "by_hand": list(one.by_hand),
    }
