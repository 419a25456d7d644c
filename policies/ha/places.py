"""Whether a node could take a guest over: its disks, its media, its bridges, memory, and HA's own
part there.

HA itself looks at none of that: it moves the configuration and starts the guest (pve-facts 9.6).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from policies import reach
from policies.amounts import apart
from policies.ha import allowed
from policies.ha.answers import Doubt, without
from policies.ha.facts import HaFacts, Replica, Resource
from policies.ha.lrm import lrm_doubt
from policies.i18n import duration
from policies.needs import Needs, Volume, needs

_FUTURE = 60  # seconds that a replication may seem to lie ahead, so that no clock is blamed for it
_UNTIE = "take what its node alone has out of its configuration, or its guest out of HA"


@dataclass(frozen=True, slots=True)
class Place:
    """A node, and whether a guest could run there. ``replica_age``: how old the data would be that
    it began with, in seconds; None where no replica is needed, or its age is not known.
    """

    node: str
    doubts: tuple[Doubt, ...] = ()
    replica_age: int | None = None

    @property
    def fits(self) -> bool | None:
        """Whether it could, None where that cannot be told."""
        return without(self.doubts)

    @property
    def reasons(self) -> tuple[str, ...]:
        """What speaks against it; what is sure goes first."""
        ordered = sorted(self.doubts, key=lambda one: not one.surely)
        return tuple(dict.fromkeys(one.why for one in ordered))


def places(facts: HaFacts, resource: Resource) -> tuple[Place, ...]:
    """Given a resource, return each node other than its own, by name."""
    home = facts.home_of(resource.sid)
    others = sorted(node.name for node in facts.nodes if node.name != home)
    return tuple(_place(facts, resource, home, node) for node in others)


def _place(facts: HaFacts, resource: Resource, home: str | None, node: str) -> Place:
    if node in facts.down:
        why = facts.down[node]
        return Place(node, (Doubt(f"it is {why}", surely=why == reach.OFFLINE),))
    doubts = [*allowed.doubts(facts, resource, node)]
    if one := lrm_doubt(facts, node):
        doubts.append(one)
    doubts += _of_guest(facts, resource, home, node)
    # a guest moves together with those that a rule binds to it, so all of them must fit there
    bound = allowed.companions(facts, resource.sid)
    moving = [resource]
    for other in sorted(facts.resources, key=lambda one: one.sid):
        where = facts.home_of(other.sid)
        if other.sid not in bound or where == node:
            continue
        moving.append(other)
        doubts += (
            Doubt(f"it must stay with {other.sid}: {one.why}", one.surely, one.action)
            for one in (*allowed.doubts(facts, other, node), *_of_guest(facts, other, where, node))
        )
    memory, free = [memory_of(facts, one) for one in moving], spare(facts, node)
    total = sum(one for one in memory if one)
    if free is not None and total > free:
        wanted, there = apart(total, free)
        doubts.append(Doubt(f"{wanted} of memory are needed, {there} are to spare"))
    elif free is None or None in memory:
        doubts.append(Doubt("whether its memory is enough is not known", surely=False))
    # the replication that it would begin with there, if any of its disks needs one
    job, needed = _job(facts, resource, home, node), needs_of(facts, resource)
    local = (facts.by_place.get((node, disk.storage)) for disk in (needed.disks if needed else ()))
    age = None
    if job and any(found is not None and not found.shared for found in local):
        age = _age(facts, job, home)
    return Place(node, tuple(dict.fromkeys(doubts)), None if age is None else max(0, age))


def needs_of(facts: HaFacts, resource: Resource) -> Needs | None:
    """Given a resource, return what its guest needs, None if its configuration was not read."""
    guest = facts.guest_of(resource)
    config = facts.configs.get(guest.vmid) if guest else None
    return needs(config, guest.type) if guest and config is not None else None


def memory_of(facts: HaFacts, resource: Resource) -> int | None:
    """Given a resource, return the memory that its guest takes when it runs, in bytes; 0 if it is
    not to run, None if that is not known.
    """
    if resource.wanted not in ("started", "enabled"):
        return 0
    guest = facts.guest_of(resource)
    return guest.max_memory if guest and guest.max_memory else None


def spare(facts: HaFacts, node: str) -> int | None:
    """Given a node, return its free memory in bytes, None if that is not known."""
    found = next((one for one in facts.nodes if one.name == node), None)
    # 0 is unknown: a token without Sys.Audit sees none
    if found is None or not found.max_memory or not found.memory:
        return None
    return max(0, found.max_memory - found.memory)


def _of_guest(facts: HaFacts, resource: Resource, home: str | None, node: str) -> Iterator[Doubt]:
    needed = needs_of(facts, resource)
    if needed is None:
        yield Doubt("its configuration could not be read, so what it needs is not known", False)
        return
    yield from (Doubt(why, action=_UNTIE) for why in needed.local)
    yield from (Doubt(why, surely=False) for why in needed.unsure)
    for disk in needed.disks:
        yield from _disk(facts, resource, disk, home, node)
    for file in needed.files:
        if doubt := storage_doubt(facts, file.storage, node):
            yield Doubt(f"{file.key} ({file.volid}): {doubt.why}", doubt.surely)
            continue
        what, listed = f"{file.key} names {file.volid}", facts.files.get((node, file.storage))
        if facts.by_place[node, file.storage].shared:
            continue
        if listed is None:
            yield Doubt(f"{what}, and its storage was not listed there", False)
        elif file.volid not in listed:
            action = f"take {file.volid} out of it, or put it on a storage that both nodes share"
            yield Doubt(f"{what}, which is not there", action=action)
    for bridge in needed.bridges:
        yield from _bridge(facts, bridge, home, node)
    cpus = next((one.max_cpu for one in facts.nodes if one.name == node), 0)
    if needed.cpus and not cpus:
        yield Doubt("how many CPUs it has is not known", surely=False)
    elif needed.cpus > cpus:
        yield Doubt(f"PVE starts no VM of {needed.cpus} CPUs there: it has {cpus}")


def storage_doubt(facts: HaFacts, storage: str, node: str) -> Doubt | None:
    """Given a storage and a node, return why it cannot be used there, None if it can."""
    found = facts.by_place.get((node, storage))
    if found is not None:
        if not found.enabled:
            return Doubt(f"storage {storage} is disabled")
        return None if found.active else Doubt(f"storage {storage} is not active there")
    # that a list is empty does not say that the storage is not there
    if node in facts.untold or not any(one.node == node for one in facts.storages):
        why = facts.untold.get(node, "it listed none")
        return Doubt(f"it did not say which storages it has ({why})", surely=False)
    if any(one.name == storage for one in facts.storages):
        return Doubt(f"storage {storage} is not there")
    return Doubt(
        f"no node shows storage {storage}: there is none, or the token lacks Datastore.Audit on "
        f"/storage/{storage}",
        surely=False,
    )


def _disk(
    facts: HaFacts, resource: Resource, disk: Volume, home: str | None, node: str
) -> Iterator[Doubt]:
    if doubt := storage_doubt(facts, disk.storage, node):
        yield Doubt(f"{disk.key}: {doubt.why}", doubt.surely)
        return
    # a cloud-init drive is made anew where it is missing (pve-facts 9.7)
    if facts.by_place[node, disk.storage].shared or disk.made:
        return
    if home is None or home not in facts.replicas:
        yield Doubt(
            f"{disk.key} lies on {disk.storage}, which is not shared, and its node does not say "
            "whether it is replicated",
            surely=False,
        )
        return
    job = _job(facts, resource, home, node)
    alone = f"{disk.key} lies on {disk.storage} of {home} alone"
    shared = "move its disks to a storage that both nodes share"
    if job is None:
        yield Doubt(
            f"{alone}: it is neither shared nor replicated there",
            action=f"{shared}, or replicate them (ZFS only): pvesr create-local-job "
            f"{resource.vmid}-0 {node}",
        )
    elif not disk.replicated:
        yield Doubt(f"{alone}: replication leaves it out (replicate=0)", action=shared)
    elif not job.enabled:
        enable = f"pvesr enable {job.job}"
        yield Doubt(f"{alone}: its replication {job.job} is disabled", action=enable)
    elif job.last_sync is None:
        now = f"pvesr schedule-now {job.job}"
        yield Doubt(f"{alone}: its replication {job.job} was never done yet", action=now)
    elif job.failures:
        age = _age(facts, job, home)
        told = "of an unknown time" if age is None else f"of {duration(max(0, age), 'en')} ago"
        yield Doubt(
            f"its replication {job.job} fails ({job.failures} times, {job.error or 'no reason'}): "
            f"what lies there is {told}",
            action=f"mend it: pvesr status on {home} tells more",
        )
    elif (age := _age(facts, job, home)) is not None and age < -_FUTURE:
        yield Doubt(
            f"its replication {job.job} is dated in the future: a clock is wrong", surely=False
        )


def _job(facts: HaFacts, resource: Resource, home: str | None, node: str) -> Replica | None:
    jobs = facts.replicas.get(home or "", ())
    return next((one for one in jobs if one.vmid == resource.vmid and one.target == node), None)


def _age(facts: HaFacts, job: Replica, home: str | None) -> int | None:
    now = facts.node_time(home or "")
    return None if now is None or job.last_sync is None else now - job.last_sync


def _bridge(facts: HaFacts, bridge: str, home: str | None, node: str) -> Iterator[Doubt]:
    there, here = facts.bridges.get(node), facts.bridges.get(home or "")
    if there is not None and bridge in there:
        return
    # PVE leaves out, without a word, a bridge that the token may not see, and every VNet
    if there is not None and here is not None and bridge in here:
        yield Doubt(f"bridge {bridge} is not there", action=f"make bridge {bridge} on {node}")
    elif there is None:
        yield Doubt(
            f"whether bridge {bridge} is there is not known: its network was not read", False
        )
    else:
        path = f"/sdn/zones/localnetwork/{bridge}"
        yield Doubt(
            f"whether bridge {bridge} is there is not seen: it is a VNet, or the token lacks "
            f"SDN.Audit on {path}",
            surely=False,
            # law 2: a right to look, and none to use
            action=f"let the token see it, and not use it: SDN.Audit on {path}",
        )
