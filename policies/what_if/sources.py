"""Where a guest could come back from after a loss: its own disks, a replica of them, an archive, or
a copy of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from zoneinfo import ZoneInfo

from policies import lineage, whole
from policies.compliance.facts import GuestFacts, SiteFacts, usable
from policies.copy_folders import folder_of
from policies.ha.facts import Replica
from policies.model import Archive, ArchiveCopy, Directory, Policy, Proof, Rung
from policies.pve.volid import file_of, parse_name, storage_of
from policies.reach import down
from policies.valid_proofs import good, valid_proofs
from policies.what_if.loss import Loss


class Kind(StrEnum):
    """What a guest comes back from. SHARED: its own disks, on storages that are not lost."""

    SHARED = "shared"
    REPLICA = "replica"
    ARCHIVE = "archive"
    COPY = "copy"


@dataclass(frozen=True, slots=True)
class Source:
    """One way back. ``at``: how new its data are (epoch seconds). ``nodes`` are those that can use
    it, None: any, once it was brought there; ``place`` says in words where it lies.

    ``archive`` is what it is, or is what ``copy`` is of; ``proof`` the restore test that proved those
    bytes. ``notes`` is what to know of it.
    """

    kind: Kind
    at: int
    place: str
    nodes: frozenset[str] | None = None
    archive: Archive | None = None
    copy: ArchiveCopy | None = None
    proof: Proof | None = None
    notes: tuple[str, ...] = ()


def sources(
    facts: SiteFacts,
    policy: Policy,
    item: GuestFacts,
    replicas: Iterable[Replica],
    loss: Loss,
    wanted: Rung,
) -> tuple[Source, ...]:
    """Given a guest of the site, the replicas of its disks, what is lost and the rung that its tier
    wants, return what is left to bring it back from, best first.

    First what loses least: its own disks. Then what was proven, the newest first, and before it a
    replica that is newer. What was not proven comes last.
    """
    # also those that are gone, of which copies may be left; none of another machine (law 10)
    known = item.archives + item.unreachable + item.removed
    others = lineage.strangers(known, item.machine)
    own = tuple(one for one in known if whole.key(one) not in others)
    proofs = _by_bytes(facts, item, own, wanted)
    found = [
        *_archives(facts, item, own, proofs, loss),
        *_copies(facts, policy, item, own, proofs, loss),
    ]
    found.sort(key=lambda one: (one.proof is None, -one.at, one.kind is Kind.COPY, one.place))
    proven_at = max((one.at for one in found if one.proof), default=0)
    copies = [*_replicas(facts, item, replicas, loss)]
    newer = [one for one in copies if one.at > proven_at]
    older = [one for one in copies if one.at <= proven_at]
    return (*_own_disks(facts, item, loss), *newer, *found, *older)


def _own_disks(facts: SiteFacts, item: GuestFacts, loss: Loss) -> Iterator[Source]:
    """Its disks lie on shared storages that live on: only its node is gone."""
    needs = item.needs
    if not (needs and needs.storages and item.guest):
        return
    usable_by: set[str] | None = None
    for name in needs.storages:
        seen = [
            one
            for one in facts.storages
            if one.name == name and one.shared and one.active and one.enabled
        ]
        there = {
            one.node
            for one in seen
            if not loss.node(one.node) and not loss.storage(name, one.node, shared=True)
        }
        # a node must see every one of its storages to start it
        usable_by = there if usable_by is None else usable_by & there
    if usable_by:
        where = f"shared storage {', '.join(sorted(needs.storages))}"
        yield Source(Kind.SHARED, facts.at, where, frozenset(usable_by))


def _replicas(
    facts: SiteFacts, item: GuestFacts, replicas: Iterable[Replica], loss: Loss
) -> Iterator[Source]:
    silent = down(facts.nodes, facts.silent)
    shared = {one.name for one in facts.storages if one.shared}
    disks = [one for one in item.needs.disks if not one.made] if item.needs else []
    # of a guest with a disk that is not copied a replica is a part
    if any(not (one.replicated or one.storage in shared) for one in disks):
        return
    for one in sorted(replicas, key=lambda one: (-(one.last_sync or 0), one.target)):
        # what was never sent is no replica yet
        if loss.node(one.target) or one.target in silent or one.last_sync is None:
            continue
        # a replica lies on the storage of that name there, and beside it what is shared
        if any(
            loss.storage(disk.storage, one.target, shared=disk.storage in shared) for disk in disks
        ):
            continue
        notes = ["nobody has tested it: a replica is the disks as they were, damage included"]
        if one.error:
            notes.append(f"its replication fails: {one.error}")
        if not one.enabled:
            notes.append("its replication is switched off")
        place = f"replica on {one.target}"
        nodes = frozenset({one.target})
        yield Source(Kind.REPLICA, one.last_sync, place, nodes, notes=tuple(notes))


def _archives(
    facts: SiteFacts,
    item: GuestFacts,
    own: tuple[Archive, ...],
    proofs: Sequence[tuple[Archive, Proof]],
    loss: Loss,
) -> Iterator[Source]:
    """The archives that are left. One that cannot be listed now is of no use tonight."""
    within_reach = {whole.key(one) for one in item.archives}
    for one in usable(own):
        if whole.key(one) in within_reach and not loss.archive(one):
            readers = (
                {
                    place.node
                    for place in facts.storages
                    if place.name == one.storage and place.active and not loss.node(place.node)
                }
                if one.shared
                else {one.node}
            )
            where = f"storage {one.storage}" if one.shared else one.node
            notes = ("it is suspicious: see whether its data are right",) if one.suspicious else ()
            yield Source(
                Kind.ARCHIVE,
                one.ctime,
                where,
                frozenset(readers),
                one,
                proof=_proof_of(one, proofs),
                notes=notes,
            )


def _copies(
    facts: SiteFacts,
    policy: Policy,
    item: GuestFacts,
    own: Sequence[Archive],
    proofs: Sequence[tuple[Archive, Proof]],
    loss: Loss,
) -> Iterator[Source]:
    # by its folder: a target may have another name since the copy was made
    targets = {folder_of(target): target for target in policy.copies}
    silent = down(facts.nodes, facts.silent)
    known = {whole.key(one): one for one in own}
    strange = {whole.key(one) for one in item.archives + item.unreachable + item.removed}
    strange -= known.keys()
    nodes = {node.name for node in facts.nodes}
    for copy in item.copies:
        route, archive = copy.route, known.get(copy.route.archive)
        if route.archive in strange or route.place in silent:
            continue
        # a place that is no node outlives the loss of the site
        if route.place in nodes and loss.node(route.place):
            continue
        # the catalog may have forgotten the archive: then the name of its copy tells when it began
        name = parse_name(file_of(route.volid))
        standard = name.ctime(ZoneInfo(policy.timezone)) if name and name.standard else None
        began = archive.ctime if archive else standard
        # of other bytes, or without a time: nobody knows what it is a copy of
        if began is None or (archive and (archive.size != copy.size or archive.changed)):
            continue
        notes = []
        if copy.encrypted:
            notes.append("it is encrypted: who restores it needs a private key of its recipients")
        target = targets.get(route.folder)
        if target and isinstance(target.place, Directory):
            # whoever loses the site may lose this machine with it
            notes.append("it lies on the machine of this service")
        storage, proof = storage_of(route.volid), _proof_of(archive, proofs) if archive else None
        of = archive or Archive(
            route.volid, route.node, storage, route.vmid, None, began, copy.size
        )
        place = f"{route.target} ({route.folder})"
        yield Source(Kind.COPY, began, place, None, of, copy, proof, tuple(notes))


def _by_bytes(
    facts: SiteFacts, item: GuestFacts, own: Sequence[Archive], wanted: Rung
) -> list[tuple[Archive, Proof]]:
    """Each proof that stands, with its archive, newest test first. One that is out of reach or gone
    may have a copy with the same bytes.
    """
    # on a simulated cluster nothing proves anything (law 5)
    if facts.simulated or not any(good(proof, wanted) for proof in item.proofs):
        return []
    found = valid_proofs(item.proofs, own, lambda vmid: wanted)
    by_archive = {(one.volid, one.ctime, "" if one.shared else one.node): one for one in own}
    pairs = []
    for proof in sorted(found, key=lambda proof: -proof.ended):
        # a proof names a node also where its archive lies on a shared storage
        for node in ("", proof.node):
            if archive := by_archive.get((proof.volid, proof.archive_ctime, node)):
                pairs.append((archive, proof))
    return pairs


def _proof_of(archive: Archive, proofs: Sequence[tuple[Archive, Proof]]) -> Proof | None:
    """The latest test that proved that archive, or one of the same bytes elsewhere."""
    for proven, proof in proofs:
        # the same bytes are the same archive, wherever a copy of them lies
        same = whole.key(proven) == whole.key(archive) or (
            archive.sha256 is not None
            and (archive.sha256, archive.size, archive.ctime)
            == (proven.sha256, proven.size, proven.ctime)
        )
        if same:
            return proof
    return None
