"""Plan the copy that a restore test makes: its place, its options, what it must lose, or why there
can be none.

One planner for the test itself and for ``restore-test --dry-run``, so that the two cannot differ.
It asks nobody: the caller still leases the VMID, and asks PVE whether it is free and whether the
bridge is isolated on that node at this moment.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from policies import bridges, copy_config, isolation, placement
from policies.model import Archive, Guest, GuestPolicy, Node, PolicyError, Scratch, Storage
from policies.placement import NoPlace
from policies.pve import guest_config

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Facts:
    """What the cluster says, read once: its guests, nodes and storages, and the token's privileges
    by path.

    ``avoided`` is the node on which the guest's last test could not be decided; ``network_nodes``
    are those on which its checks can be asked, None if they need no probe; ``silent`` those that
    did not say which storages they have, and why.
    """

    guests: Sequence[Guest]
    nodes: Sequence[Node]
    storages: Sequence[Storage]
    permissions: Mapping[str, frozenset[str]]
    avoided: str | None = None
    network_nodes: Collection[str] | None = None
    silent: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """A copy as it is to be made. ``memory`` in MiB; ``overrides`` are sent with the restore call,
    ``changes`` say what they do.

    ``bridge`` is the one that its NICs hang on (None: the archive's own, with links down).
    ``stripped`` is what it must lose after its restore, as far as the archive tells; ``missing``
    are disks of the guest that the archive does not hold; ``reasons`` say why it goes where it
    goes.
    """

    vmid: int
    node: str
    storage: str
    network: str
    bridge: str | None
    memory: int
    overrides: Mapping[str, str]
    changes: tuple[str, ...]
    stripped: tuple[str, ...]
    missing: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NoBridge:
    """There is no bridge that the token may put the copy's NICs on, link down; ``wanted`` are the
    archive's own (law 2).
    """

    wanted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Harmful:
    """No copy of this archive could be made harmless (law 2), and why: one sentence a key."""

    reasons: tuple[str, ...]


def plan(
    archive: Archive,
    config: Mapping[str, str],
    *,
    guest: GuestPolicy,
    scratch: Scratch,
    facts: Facts,
    taken: Collection[int],
    operation: str,
    service: str,
) -> CopyPlan | Harmful | NoBridge | NoPlace:
    """Given an archive, the config in it, what is wanted of its guest and what the cluster says,
    return the copy to make.

    ``taken`` are VMIDs that are leased, or were found to be in use. The copy's marker names
    ``operation``, whose copy it is, and ``service``, the identity of who makes it.
    """
    # what no option of the restore can make harmless is refused before anything is made (law 2)
    if refused := copy_config.blockers(config, facts.permissions, scratch.pool):
        return Harmful(refused)
    cap = memory_cap(guest, scratch)
    try:
        # PVE asks for SDN.Use on every bridge, links down or not (pve-facts 7.3)
        if forbidden := bridges.lacking(config, scratch, facts.permissions):
            return NoBridge(forbidden)
        usable = bridges.usable(config, scratch, facts.permissions)
        sent = overrides(
            config,
            guest=guest,
            scratch=scratch,
            bridge=usable.bridge,
            operation=operation,
            service=service,
        )
    except PolicyError as error:
        return Harmful((error.message,))
    # a cap never gives a copy more than its original has
    memory = min(guest_config.memory_of(config), cap or guest_config.memory_of(config))
    # asked last: where there is room is of no use for what must not be made
    place = _place(archive, config, scratch, facts, taken, memory)
    if isinstance(place, NoPlace):
        return place
    return CopyPlan(
        place.vmid,
        place.node,
        place.storage,
        guest.network,
        usable.bridge,
        memory,
        sent,
        isolation.changes(config, sent),
        isolation.strip({**config, **sent}, sent).stripped,
        guest_config.missing_disks(config, config),
        place.reasons,
    )


def _place(
    archive: Archive,
    config: Mapping[str, str],
    scratch: Scratch,
    facts: Facts,
    taken: Collection[int],
    memory: int,
) -> placement.Placement | NoPlace:
    """Given the memory in MiB that the copy will have, return where the cluster has room for it."""
    return placement.choose(
        archive=archive,
        config=config,
        guests=facts.guests,
        nodes=facts.nodes,
        storages=facts.storages,
        taken=taken,
        scratch=scratch,
        disks_total=guest_config.disks_total(config),
        memory=memory * MIB,
        avoided=facts.avoided,
        network_nodes=facts.network_nodes,
        silent=facts.silent,
    )


def overrides(
    config: Mapping[str, str],
    *,
    guest: GuestPolicy,
    scratch: Scratch,
    bridge: str | None,
    operation: str,
    service: str,
) -> dict[str, str]:
    """Given an archived config and the bridge to use, return the options of its restore call. Raise
    PolicyError if none fits.
    """
    return isolation.overrides(
        config,
        scratch=replace(scratch, bridge=bridge),
        network=guest.network,
        operation=operation,
        memory=memory_cap(guest, scratch),
        service=service,
    )


def memory_cap(guest: GuestPolicy, scratch: Scratch) -> int | None:
    """The smallest cap (MiB) that the guest's policy or the site's scratch policy puts on a copy's
    memory, or None.
    """
    return min((cap for cap in (guest.memory, scratch.memory) if cap), default=None)
