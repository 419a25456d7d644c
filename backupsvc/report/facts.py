"""Collects a site's facts from the cluster, the catalog and the policy: one listing a storage, one
call for all guests.

A call that is refused or fails becomes a gap with PVE's own words; only the two calls without which
there is nothing to say (the guests and the nodes) end the collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, TypeVar

from backupsvc.clock import Clock
from backupsvc.engine.memory import MemoryUnreadable
from backupsvc.errors import PveError, PvePermissionDenied, PveUnreachable
from backupsvc.operations.backup.memory import recall as recall_backup
from backupsvc.operations.job_run.memory import recall as recall_night
from backupsvc.operations.restore_test.memory import recall as recall_test
from backupsvc.pve import leftovers
from policies import freezing, lineage, reach
from policies.compliance.facts import (
    BackupOutcome,
    BridgeFacts,
    Clocks,
    Gap,
    GuestFacts,
    JobRun,
    Listing,
    MovedCopy,
    Quorum,
    SiteFacts,
)
from policies.copy_folders import folder_of
from policies.freezing import LeftFrozen, Thaw
from policies.model import (
    Archive,
    ArchiveCopy,
    Guest,
    GuestType,
    Node,
    Operation,
    OperationState,
    Policy,
    Proof,
    SeenStorages,
    Storage,
)
from policies.orphans import Orphan, orphans
from policies.pve import guest_config

if TYPE_CHECKING:
    from backupsvc.catalog import Catalog
    from backupsvc.pve import Pve

T = TypeVar("T")
_FAILS = (PveError, PvePermissionDenied, PveUnreachable)
MAX_JOB_RUNS = 500  # of an hourly job, three weeks
_OFFLINE = "the node is offline"
_MUTE = "its status is unknown, and it does not answer"
_NO_STORAGE = "the node listed no storage"
_INACTIVE = "the storage is not active"
_listed = attrgetter(
    "volid",
    "node",
    "storage",
    "vmid",
    "type",
    "ctime",
    "size",
    "format",
    "protected",
    "notes",
    "shared",
)
_CONTAINER = "the configuration of containers is not read"


class Gaps:
    """Asks, and remembers what could not be answered. ``silent``: nodes that are called online and
    did not answer, and why.
    """

    def __init__(self, answers: Callable[[str], bool]) -> None:
        """Given the question whether a node answers at all, which is put once to a node that left
        another one unanswered.
        """
        self.found: list[Gap] = []
        self.silent: dict[str, str] = {}
        self._answers = answers

    def ask(self, kind: str, subject: str, question: Callable[[], T], node: str = "") -> T | None:
        """Given a question to the cluster, return its answer, or None after noting why there is
        none.

        ``node`` is who must answer it: one that answers nothing is not asked again, and is one gap,
        whatever is asked.
        """
        if node in self.silent:
            return None
        try:
            return question()
        except _FAILS as error:
            if not (
                node and isinstance(error, PveUnreachable) and self.is_silent(node, error.message)
            ):
                self.note(kind, subject, error.message)
            return None

    def is_silent(self, node: str, why: str) -> bool:
        """Given a node that left a question unanswered, and why, return whether it answers nothing
        at all; remember that.
        """
        if self._answers(node):
            return False
        self.silent[node] = why
        self.note("node", node, why)
        return True

    def note(self, kind: str, subject: str, reason: str) -> None:
        """Remember that something is not known."""
        self.found.append(Gap(kind, subject, reason))


def collect(pve: Pve, catalog: Catalog, policy: Policy, clock: Clock) -> SiteFacts:
    """Given cluster, catalog, policy and clock, return what is known now. Raise Unreachable or
    Refused if the cluster says nothing at all.
    """
    gaps = Gaps(lambda node: pve.cluster.answers(node))
    version = pve.cluster.version()
    guests, nodes = pve.cluster.guests(), pve.cluster.nodes()
    for node in nodes:
        if not node.online:
            gaps.note("node", node.name, _MUTE if node.unknown else _OFFLINE)
    asked = {node.name for node in nodes if node.online}
    seen = gaps.ask("storages", "", pve.storage.seen) or SeenStorages(())
    archives = _archives(pve, catalog, seen, nodes, gaps)
    status = gaps.ask("quorum", "", pve.cluster.status)
    quorum = None
    if status:
        votes, clustered = len(status.nodes), status.quorate is not None or len(status.nodes) > 1
        quorum = Quorum(clustered=clustered, votes=votes, quorate=status.quorate)
    managed = gaps.ask("ha", "", pve.cluster.ha_resources) or set()
    now = int(clock.now())
    # in the order in which the gaps are told
    known = _guests(pve, catalog, policy, guests, asked, archives, managed, now, gaps)
    clocks = _clocks(pve, nodes, gaps)
    jobs = gaps.ask("jobs", "", pve.cluster.jobs)
    facts = SiteFacts(
        cluster=(status.name if status else "") or policy.site,
        at=now,
        guests=known,
        nodes=tuple(nodes),
        storages=seen.storages,
        quorum=quorum,
        clocks=clocks,
        jobs=None if jobs is None else tuple(job.seen(guests) for job in jobs),
        permissions=gaps.ask("permissions", "", pve.cluster.permissions),
        bridges=_bridges(pve, nodes, gaps),
        listings=archives.listings,
        job_runs=_job_runs(catalog, gaps),
        gaps=(),
        simulated=version.simulated,
        release=version.version,
        orphans=_orphans(pve, catalog, policy, guests, asked, gaps),
        moves=_moves(catalog, gaps),
        canaries=tuple(catalog.copies.canaries()),
    )
    # all has been asked by now
    return replace(facts, gaps=tuple(gaps.found), silent=dict(gaps.silent))


# --- the cluster ----------------------------------------------------------------------------------


def _clocks(pve: Pve, nodes: Sequence[Node], gaps: Gaps) -> Clocks:
    offsets = gaps.ask("clocks", "", pve.cluster.clock_offsets)
    for node in nodes if offsets is not None else ():
        if node.online and node.name not in (offsets or {}):
            gaps.note("clock", node.name, "the node did not answer")
    ha = gaps.ask("ha", "", pve.cluster.ha)
    drifting = [f"{node}: {ha.lrm[node]}" for node in ha.drifting] if ha else []
    return Clocks(
        {node: round(offset) for node, offset in (offsets or {}).items()}, tuple(drifting)
    )


def _bridges(pve: Pve, nodes: Sequence[Node], gaps: Gaps) -> tuple[BridgeFacts, ...] | None:
    found: list[BridgeFacts] = []
    answered = False
    for node in nodes:
        question = _bound(pve.cluster.bridges, node.name)
        bridges = gaps.ask("bridges", node.name, question, node.name) if node.online else None
        answered = answered or bridges is not None
        found += [
            BridgeFacts(item.name, item.node, tuple(item.ports), item.address or None)
            for item in bridges or ()
        ]
    return tuple(found) if answered else None


def _bound(call: Callable[..., T], *arguments: object) -> Callable[[], T]:
    return lambda: call(*arguments)


# --- the archives ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Archives:
    """What the storages list, and what the catalog knows on those that could not be listed."""

    listed: tuple[Archive, ...]
    unreachable: tuple[Archive, ...]
    listings: tuple[Listing, ...]


def _archives(
    pve: Pve, catalog: Catalog, seen: SeenStorages, nodes: Sequence[Node], gaps: Gaps
) -> _Archives:
    """Every storage with archives, listed once (a shared one from the first node that can), and
    what the catalog knows.
    """
    storages = seen.storages
    for node in nodes:
        named = any(storage.node == node.name for storage in storages)
        why = seen.silent.get(node.name, _NO_STORAGE)
        if node.online and not named and not gaps.is_silent(node.name, why):
            gaps.note("listing", node.name, why)
    known = {_key(archive): archive for archive in catalog.archives.find()}
    expected: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for key, archive in known.items():
        expected[key[0], archive.storage].append(key)
    online = {node.name for node in nodes if node.online}
    found: dict[tuple[str, str], Archive] = {}
    listings: list[Listing] = []
    listed: set[tuple[str, str]] = set()
    done: set[str] = set()
    for storage in storages:
        if (
            "backup" not in storage.content
            or not storage.enabled
            or storage.node not in online
            or storage.name in done
        ):
            continue
        rows = _listing(pve, storage, gaps)
        if rows is None:
            continue
        if storage.shared:
            done.add(storage.name)
        there = {_key(archive): archive for archive in rows}
        found |= {key: _joined(archive, known.get(key)) for key, archive in there.items()}
        listed.add((storage.node, storage.name))
        lost = sum(key not in there for key in expected.get((_place(storage), storage.name), ()))
        listings.append(Listing(storage.node, storage.name, len(there), lost))
    looked = {
        (_place(storage), storage.name)
        for storage in storages
        if (storage.node, storage.name) in listed
    }
    return _Archives(tuple(found.values()), reach.unlisted(known.values(), looked), tuple(listings))


def _listing(pve: Pve, storage: Storage, gaps: Gaps) -> list[Archive] | None:
    subject = f"{storage.name} ({storage.node})"
    if not storage.active:
        gaps.note("listing", subject, _INACTIVE)
        return None
    return gaps.ask(
        "listing", subject, _bound(pve.storage.archives, storage.node, storage.name), storage.node
    )


def _key(archive: Archive) -> tuple[str, str]:
    """An archive on a shared storage is the same one from every node."""
    return ("" if archive.shared else archive.node, archive.volid)


def _place(storage: Storage) -> str:
    return "" if storage.shared else storage.node


def _joined(archive: Archive, known: Archive | None) -> Archive:
    """What the storage says, with what the catalog has learnt; no proof if it is not the file that
    was recorded.
    """
    if known is None:
        return archive
    if _listed(archive) == _listed(known):  # nearly every one: it is what the catalog has
        return known
    learnt = replace(
        archive,
        name=known.name,
        sha256=known.sha256,
        operation=known.operation,
        uuid=known.uuid,
        born=known.born,
    )
    if differs := lineage.resized(known.size, archive.size):
        return replace(learnt, changed="; ".join(filter(None, (known.changed, *differs))))
    learnt = replace(
        learnt,
        changed=known.changed,
        damaged=known.damaged,
        checked_at=known.checked_at,
        holds_disk=known.holds_disk,
    )
    return (
        learnt
        if known.ctime != archive.ctime
        else replace(learnt, rung=known.rung, proven_at=known.proven_at)
    )


# --- the guests -----------------------------------------------------------------------------------


def _guests(
    pve: Pve,
    catalog: Catalog,
    policy: Policy,
    guests: Sequence[Guest],
    asked: Collection[str],
    held: _Archives,
    resources: Collection[str],
    now: int,
    gaps: Gaps,
) -> tuple[GuestFacts, ...]:
    """The guests that are there, and those that the policy expects, by VMID; scratch copies are no
    guests of the site.
    """
    present = {guest.vmid: guest for guest in guests if guest.vmid not in policy.scratch}
    archives, removed, unreachable = (
        _by_vmid(held.listed),
        _by_vmid(catalog.archives.find(gone=True)),
        _by_vmid(held.unreachable),
    )
    proofs: dict[int, list[Proof]] = defaultdict(list)
    for proof in catalog.proofs.find():
        proofs[proof.vmid].append(proof)
    copies: dict[int | None, list[ArchiveCopy]] = defaultdict(list)
    folders = {folder_of(target) for target in policy.copies}
    for copy in catalog.copies.find(archives=False):
        if copy.route.folder in folders:
            copies[copy.route.vmid].append(copy)
    operations = catalog.operations.find(kind="backup")
    backups = _backups(operations)
    frozen = _left_frozen(operations, gaps)
    found = []
    for vmid in sorted(present.keys() | _expected(policy)):
        guest = present.get(vmid)
        askable = guest is not None and guest.node in asked and guest.node not in gaps.silent
        agent, excluded = _config(pve, guest, gaps) if guest and askable else (None, ())
        found.append(
            GuestFacts(
                vmid=vmid,
                name=_name(
                    vmid, guest, policy, [*archives.get(vmid, ()), *unreachable.get(vmid, ())]
                ),
                guest=guest,
                agent=agent,
                excluded=excluded,
                archives=tuple(archives.get(vmid, ())),
                removed=tuple(removed.get(vmid, ())),
                proofs=tuple(proofs.get(vmid, ())),
                backups=tuple(backups.get(vmid, ())),
                ha_managed=bool({f"vm:{vmid}", f"ct:{vmid}"} & set(resources)),
                left_frozen=_still_frozen(pve, guest, frozen.get(vmid), now)
                if askable
                else frozen.get(vmid),
                unreachable=tuple(unreachable.get(vmid, ())),
                copies=tuple(copies.get(vmid, ())),
            )
        )
    return tuple(found)


def _recalled(
    operations: Iterable[Operation], recall: Callable[[Operation], T], gaps: Gaps
) -> Iterator[tuple[Operation, T]]:
    """Each operation with what it remembers. One that another version wrote, or that was damaged,
    is a gap: it must not hide what the others know.
    """
    for operation in operations:
        try:
            yield operation, recall(operation)
        except MemoryUnreadable as error:
            gaps.note("operation", operation.id, error.message)


def _job_runs(catalog: Catalog, gaps: Gaps) -> tuple[JobRun, ...]:
    """The occurrences of jobs that the catalog knows, the newest opened first."""
    found = catalog.operations.find(kind="night", limit=MAX_JOB_RUNS)
    known = _recalled(found, recall_night, gaps)
    return tuple(
        JobRun(memory.job, memory.at or item.created, item.state is OperationState.MISSED)
        for item, memory in known
    )


def _orphans(
    pve: Pve,
    catalog: Catalog,
    policy: Policy,
    guests: Sequence[Guest],
    asked: Collection[str],
    gaps: Gaps,
) -> tuple[Orphan, ...]:
    """Copies that the catalog has forgotten: the cluster is asked before the catalog, so what ends
    in between is none.
    """
    there = [guest for guest in guests if guest.node in asked and guest.node not in gaps.silent]
    found = gaps.ask("copies", "", _bound(leftovers.copies, pve, policy.scratch, there)) or []
    known = {copy.operation: catalog.operations.get(copy.operation) for copy in found}
    forgotten = orphans(
        found,
        open_operations={
            id
            for id, operation in known.items()
            if operation and operation.state is OperationState.OPEN
        },
        cleaned={copy.vmid for copy in found if catalog.leases.holder(copy.vmid) is not None},
        service=catalog.identity.get() if found else "",
    )
    confirmed = gaps.ask("copies", "", _bound(leftovers.confirmed, pve, forgotten))
    return tuple(replace(one, ours=False) for one in forgotten) if confirmed is None else confirmed


def _moves(catalog: Catalog, gaps: Gaps) -> tuple[MovedCopy, ...]:
    """The copies that were moved in mid-test, of the latest restore tests."""
    tests = catalog.operations.find(kind="restore-test", limit=MAX_JOB_RUNS)
    return tuple(
        MovedCopy(test.subject, test.id, move.from_node, move.to_node, move.at)
        for test, memory in _recalled(tests, recall_test, gaps)
        if test.subject is not None and (move := memory.moved) is not None
    )


def _expected(policy: Policy) -> set[int]:
    named = {vmid for job in policy.jobs for vmid in job.guests or () if vmid not in job.exclude}
    return {vmid for vmid in named | set(policy.guests) if vmid not in policy.scratch}


def _name(vmid: int, guest: Guest | None, policy: Policy, archives: Sequence[Archive]) -> str:
    written = policy.guests.get(vmid)
    if guest and guest.name:
        return guest.name
    return (
        written.name
        if written
        else next((archive.name for archive in archives if archive.name), "")
    )


def _by_vmid(archives: Iterable[Archive]) -> Mapping[int, list[Archive]]:
    found: dict[int, list[Archive]] = defaultdict(list)
    for archive in archives:
        if archive.vmid is not None:
            found[archive.vmid].append(archive)
    return found


def _backups(operations: Iterable[Operation]) -> Mapping[int, list[BackupOutcome]]:
    found: dict[int, list[BackupOutcome]] = defaultdict(list)
    for operation in operations:
        if operation.subject is not None and operation.state in (
            OperationState.DONE,
            OperationState.FAILED,
        ):
            succeeded = operation.state is OperationState.DONE
            found[operation.subject].append(
                BackupOutcome(
                    operation.created, succeeded, operation.error or "", operation.finished or 0
                )
            )
    return found


def _left_frozen(operations: Iterable[Operation], gaps: Gaps) -> Mapping[int, LeftFrozen]:
    """The guests that their dumps left frozen, as far as the operations know."""
    looks: dict[int, list[Thaw | None]] = defaultdict(list)
    for operation, memory in _recalled(operations, recall_backup, gaps):
        if operation.subject is not None:
            looks[operation.subject].append(memory.thaw)
    return {vmid: left for vmid, found in looks.items() if (left := freezing.latest(found))}


def _still_frozen(
    pve: Pve, guest: Guest | None, left: LeftFrozen | None, now: int
) -> LeftFrozen | None:
    """Look again at a guest that was left frozen: somebody may have thawed it since. Who cannot be
    asked is not thawed.
    """
    if guest is None or left is None:
        return left
    try:
        status = pve.agent.state(guest.node, guest.vmid)
        if not status.running or status.uptime < now - left.at:  # it has booted since
            return None
        return left if pve.agent.frozen(guest.node, guest.vmid) else None
    except _FAILS:
        return left


def _config(pve: Pve, guest: Guest, gaps: Gaps) -> tuple[bool | None, tuple[str, ...]]:
    """Whether the agent is configured, and the disks that no backup holds."""
    if guest.template:
        return None, ()
    if guest.type is GuestType.LXC:
        gaps.note("config", str(guest.vmid), _CONTAINER)
        return None, ()
    config = gaps.ask(
        "config", str(guest.vmid), _bound(pve.guests.config, guest.node, guest.vmid), guest.node
    )
    if config is None:
        return None, ()
    return guest_config.agent_configured(config), guest_config.missing_disks(config, config)
