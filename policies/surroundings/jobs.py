"""The jobs that a guest was in: PVE's own backups, and its replication."""

from __future__ import annotations

from collections.abc import Iterator

from policies.cluster_config import words
from policies.surroundings.asked import NOTHING, Asked, exists, missing
from policies.surroundings.model import (
    Call,
    Kind,
    Surrounding,
    for_hands,
    nameable,
    plain,
    right,
    said,
    unknown,
)
from policies.surroundings.sections import Section, named, take, values

JOBS, REPLICATION, NODES = "jobs.cfg", "replication.cfg", "corosync-nodes.cfg"
RIGHT = right("Sys.Modify", "/")
_REPLICATION_RIGHT = right("Datastore.Allocate", "/storage")
# what only root may set (tmpdir, dumpdir, script) is for hands, as are lists of paths
_JOB = words(
    "bwlimit comment compress enabled fleecing ionice lockwait mailnotification mailto mode node "
    "notes-template notification-mode pbs-change-detection-mode performance pigz protected "
    "prune-backups quiet remove repeat-missed schedule stdexcludes stop stopwait storage zstd"
)
_JOB_FREE = words("comment mailto notes-template")
_CHOICE = words("all exclude pool vmid")
_REPLICATED = words("comment disable rate schedule")


def backups(asked: Asked) -> Iterator[Surrounding]:
    """Say which of PVE's backup jobs do not name it any more."""
    old = str(asked.vmid)
    rows = asked.before(JOBS)
    # a job names the guests that it saves, else those that it leaves out
    found = [
        row
        for row in rows
        if row.word == "vzdump" and old in (row.listed("vmid") or row.listed("exclude"))
    ]
    yield from asked.untold(Kind.BACKUP, JOBS, found=bool(found))
    for row in found:
        there = named(asked.after(JOBS), row.name)
        if there is None and (unseen := asked.unseen(Kind.BACKUP, row.name, JOBS)):
            yield unseen
        elif there:
            yield from _changed(asked, row, there)
        # a job that left guests out does not go with the last of them (pve-facts 8.7)
        elif row.get("vmid"):
            yield _gone(asked, row)


def _changed(asked: Asked, row: Section, there: Section) -> Iterator[Surrounding]:
    """The job is there. What chose its guests may have been changed since."""
    field = "vmid" if row.get("vmid") else "exclude"
    new = str(asked.as_vmid)
    chosen = there.get("vmid")
    if field == "exclude":
        # who is not among those that a job names is left out anyway
        if chosen or new in there.listed("exclude"):
            return
        detail = "the job leaves it out no longer"
    else:
        if new in there.listed("vmid"):
            return
        if not chosen:
            how = there.get("pool")
            all_but = "all guests but those excluded"
            now = f"those of pool {how}" if how else all_but
            if how or new in there.listed("exclude"):
                yield said(Kind.BACKUP, row.name, f"it named the guest, and saves {now} now")
            return
        detail = "the job does not name it any more"
    listed = there.get(field)
    if not nameable(row.name) or not plain(listed):
        yield for_hands(Kind.BACKUP, row.name, f"{detail}; add {new} to its {field} by hand")
        return
    if (node := row.get("node") or there.get("node")) and asked.node not in (None, node):
        detail += f"; it saves guests on {node} alone, and this one lies on {asked.node}"
    joined = ",".join((*there.listed(field), new))
    call = Call("PUT", f"cluster/backup/{row.name}", ((field, joined),))
    yield missing(Kind.BACKUP, row.name, detail, (call,), NOTHING, RIGHT)


def _gone(asked: Asked, row: Section) -> Surrounding:
    """The job is gone. A deletion takes only those that named nothing else."""
    others = [int(one) for one in row.listed("vmid") if one.isdecimal() and int(one) != asked.vmid]
    left = {vmid: exists(asked.now, vmid) for vmid in others}
    if here := [vmid for vmid, found in left.items() if found]:
        named_too = ", ".join(map(str, here))
        return said(
            Kind.BACKUP,
            row.name,
            f"it is gone, though it named {named_too} too: somebody deleted it",
        )
    if None in left.values():
        return unknown(
            Kind.BACKUP, row.name, "it is gone; which of its other guests are there is not known"
        )
    if not nameable(row.name) or not row.get("schedule"):
        return for_hands(
            Kind.BACKUP, row.name, "it is gone, the guest was its only one; create it by hand"
        )
    taken = take(values(row), _JOB, _JOB_FREE, ignored=_CHOICE)
    params = (("id", row.name), ("vmid", str(asked.as_vmid)), *taken.params)
    return missing(
        Kind.BACKUP,
        row.name,
        "it is gone, the guest was its only one",
        (Call("POST", "cluster/backup", params),),
        taken,
        RIGHT,
        # PVE takes local for a job that names none
        right("Datastore.Allocate", f"/storage/{row.get('storage') or 'local'}"),
    )


def replication(asked: Asked) -> Iterator[Surrounding]:
    """Say which of its replication jobs are missing."""
    rows = [row for row in asked.before(REPLICATION) if _guest(row) == str(asked.vmid)]
    yield from asked.untold(Kind.REPLICATION, REPLICATION, found=bool(rows))
    there = [row for row in asked.after(REPLICATION) if _guest(row) == str(asked.as_vmid)]
    targets = {row.get("target") for row in there}
    taken_names = {row.name for row in there}
    for row in rows:
        # one that was about to be removed is nothing that was lost
        if row.get("target") in targets or row.get("remove_job"):
            continue
        if unseen := asked.unseen(Kind.REPLICATION, row.name, REPLICATION):
            yield unseen
            continue
        # the job's own number, or the first that no job of the guest has
        numbers = [row.name.partition("-")[2], *range(len(taken_names) + 1)]
        names = (f"{asked.as_vmid}-{number}" for number in numbers)
        name = next(one for one in names if one not in taken_names)
        taken_names.add(name)
        yield _replicated(asked, row, name)


def _guest(row: Section) -> str:
    return row.name.partition("-")[0]


def _replicated(asked: Asked, row: Section, name: str) -> Surrounding:
    target, nodes = row.get("target"), asked.after(NODES)
    # a job needs its guest on another node than its target (pve-facts 8.8)
    if target == asked.node:
        return for_hands(
            Kind.REPLICATION,
            name,
            f"its target was {target}, where the guest lies now: choose another node for it",
        )
    if nodes and not named(nodes, target):
        return for_hands(
            Kind.REPLICATION, name, f"its target was {target}, of which the cluster has no node"
        )
    if not nameable(name) or not nameable(target) or row.word != "local":
        return for_hands(Kind.REPLICATION, name, "it is gone; create it by hand")
    taken = take(values(row), _REPLICATED, words("comment"), words("guest jobnum source target"))
    params = (("id", name), ("type", "local"), ("target", target), *taken.params)
    return missing(
        Kind.REPLICATION,
        name,
        "it is gone; to be created once the guest is there, and its first run copies all of it",
        (Call("POST", "cluster/replication", params),),
        taken,
        _REPLICATION_RIGHT,
    )
