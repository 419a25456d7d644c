"""Choose VMID, node and storage for a restored copy, with the reasons, or say why there is no
place.

Pure, and only a proposal: the caller still leases the VMID and asks PVE whether it is free
(pve-facts 8.3).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from policies.amounts import apart
from policies.model import Archive, Guest, Node, Scratch, Storage
from policies.pve import guest_config
from policies.pve.volid import storage_of

# percent of the disks' sizes: a thin disk may land on a thick storage (pve-facts 7.8)
_HEADROOM = 110


@dataclass(frozen=True, slots=True)
class Placement:
    """A place for a copy. ``reasons`` also say why other nodes and storages were passed over."""

    vmid: int
    node: str
    storage: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NoPlace:
    """There is none, and why, node by node."""

    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Site:
    """The facts, so that each question takes one argument more and not eight."""

    archive: Archive
    config: Mapping[str, str]
    home: str | None
    storages: Sequence[Storage]
    scratch: Scratch
    disks_total: int
    memory: int
    avoided: str | None
    network_nodes: Collection[str] | None
    silent: Mapping[str, str]


def choose(
    *,
    archive: Archive,
    config: Mapping[str, str],
    guests: Sequence[Guest],
    nodes: Sequence[Node],
    storages: Sequence[Storage],
    taken: Collection[int],
    scratch: Scratch,
    disks_total: int,
    memory: int,
    avoided: str | None = None,
    network_nodes: Collection[str] | None = None,
    silent: Mapping[str, str] = MappingProxyType({}),
) -> Placement | NoPlace:
    """Given an archive, its config and the cluster, return where to restore a copy. ``disks_total``
    and ``memory`` in bytes.

    The node must be online, able to read the archive, and have the memory to spare; another node
    than the guest's own is preferred, then the one with the most spare memory; the node
    ``avoided``, on which the last test could not be decided, comes last of all. The storage is the
    policy's scratch storage, else one that the archived disks came from, else the roomiest. The
    VMID is the lowest of the scratch range that is no guest's and not ``taken``: leased, or carried
    by a volume or an archive. ``network_nodes`` are those whose isolated bridge a probe reaches,
    where the copy must be asked over the network; None where it need not be. ``silent`` are those
    that did not say which storages they have, and why.
    """
    home = next((guest.node for guest in guests if guest.vmid == archive.vmid), None)
    site = _Site(
        archive, config, home, storages, scratch, disks_total, memory, avoided, network_nodes,
        silent,
    )  # fmt: skip
    used = {guest.vmid for guest in guests} | set(taken)
    vmid = next((vmid for vmid in range(scratch.first, scratch.last + 1) if vmid not in used), None)
    if vmid is None:
        return NoPlace(
            (f"every VMID of the scratch range {scratch.first}-{scratch.last} is taken",)
        )
    passed: list[str] = []
    by_preference = sorted(
        nodes,
        key=lambda node: (
            node.name == avoided,
            node.name == site.home,
            -(node.max_memory - node.memory),
            node.name,
        ),
    )
    for node in by_preference:
        if problem := _node_problem(node, site):
            passed.append(f"{node.name}: {problem}")
            continue
        storage, notes = _storage(node.name, site)
        passed += notes
        if storage:
            return Placement(vmid, node.name, storage.name, (*_why(node, storage, site), *passed))
    return NoPlace(tuple(passed) or ("the cluster shows no node",))


def _node_problem(node: Node, site: _Site) -> str | None:
    if not node.online:
        return "the node is offline"
    if site.scratch.node and node.name != site.scratch.node:
        return f"the policy wants copies on {site.scratch.node}"
    if site.network_nodes is not None and node.name not in site.network_nodes:
        return "no probe is on its isolated bridge, and the checks need the network"
    if node.name in site.silent:
        return f"it did not say which storages it has ({site.silent[node.name]})"
    readable = (
        any(found.name == site.archive.storage and found.active for found in _on(node.name, site))
        if site.archive.shared
        else node.name == site.archive.node
    )
    if not readable:
        return (
            "the node cannot read storage "
            f"{site.archive.storage}{'' if site.archive.shared else f' of {site.archive.node}'}"
        )
    spare = node.max_memory - node.memory
    # 0 is unknown: a token without Sys.Audit sees none
    if node.max_memory and node.memory and spare < site.memory:
        needed, to_spare = apart(site.memory, max(spare, 0))
        return f"{needed} of memory are needed, {to_spare} are to spare"
    return None


def _on(node: str, site: _Site) -> Iterator[Storage]:
    return (storage for storage in site.storages if storage.node == node and storage.enabled)


def _storage(node: str, site: _Site) -> tuple[Storage | None, list[str]]:
    """The first fitting storage of a node in order of preference, and what was wrong with those
    before it.
    """
    passed: list[str] = []
    named = site.scratch.storage
    # Storages that the archived disks came from first, then the roomiest.
    homes = {storage_of(volid) for volid in guest_config.volids(site.config)}
    ranked = sorted(
        _on(node, site),
        key=lambda storage: (storage.name not in homes, -storage.available, storage.name),
    )
    candidates = [storage for storage in ranked if storage.name == named] if named else ranked
    for storage in candidates:
        if "images" not in storage.content:
            problem = "holds no disk images"
        elif not storage.active:
            problem = "is not active"
        elif storage.total and storage.available < _needed(site):
            free, needed = apart(storage.available, _needed(site))
            problem = f"has {free} free, {needed} are needed"
        else:
            return storage, passed
        passed.append(f"{node}: storage {storage.name} {problem}")
    if candidates:
        return None, passed
    elsewhere = sorted({storage.node for storage in site.storages if storage.name == named})
    if any(storage.node == node and named in (None, storage.name) for storage in site.storages):
        problem = f"storage {named} is disabled" if named else "every storage is disabled"
    elif elsewhere:
        problem = f"storage {named} is not there, only on {', '.join(elsewhere)}"
    else:
        # PVE leaves out in silence what the token has no right to see: absence proves little
        problem = (
            f"no storage{f' {named}' if named else ''} is shown to this token: there is none, or "
            f"the token lacks Datastore.Audit on /storage{f'/{named}' if named else ''}"
        )
    return None, [f"{node}: {problem}"]


def _needed(site: _Site) -> int:
    return site.disks_total * _HEADROOM // 100


def _why(node: Node, storage: Storage, site: _Site) -> tuple[str, ...]:
    if node.name == site.home and not site.archive.shared:
        place = f"{node.name} alone can read the archive, and it is the guest's own node"
    elif node.name == site.home:
        place = f"{node.name} is the guest's own node: no other can take the copy"
    else:
        place = f"{node.name} can read the archive, and is not the guest's node"
    if node.name == site.avoided:
        place += (
            ", and the last test could not be decided there, but no other node can take the copy"
        )
    free, needed = apart(storage.available, _needed(site))
    room = f"{free} free" if storage.total else "of unknown room"
    return (place, f"storage {storage.name}: {room}, {needed} needed")
