"""What was seen of a site at one moment, as frozen values: the input of the findings and of the
objectives.

None always means "could not be read", never "there is none": every fact that is missing has a Gap
that says why, so that ignorance never looks like health.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from operator import attrgetter
from types import MappingProxyType

from policies import lineage, whole
from policies.freezing import LeftFrozen
from policies.ha.failovers import Failovers
from policies.model import (
    Archive,
    ArchiveCopy,
    Canary,
    Guest,
    GuestType,
    Node,
    OperationState,
    Proof,
    Rehearsal,
    Rung,
    SnapshotTrial,
    Storage,
    Verdict,
)
from policies.needs import Needs
from policies.orphans import Orphan
from policies.tombstones import Listed
from policies.valid_proofs import good, valid_proofs


@dataclass(frozen=True, slots=True)
class BackupOutcome:
    """How a backup operation of a guest ended; ``detail`` is the sentence it failed with, as it was
    recorded.

    ``at`` is when it was opened, ``until`` when it ended: an archive that is no younger is not of a
    later backup.
    """

    at: int
    succeeded: bool
    detail: str = ""
    until: int = 0


@dataclass(frozen=True)
class GuestFacts:
    """All that is known of one guest. ``guest`` None: expected, but the cluster does not list it
    (law 4).

    ``agent`` says whether its QEMU guest agent is configured, ``excluded`` which disks no backup
    holds (``backup=0``). ``archives`` are those that storages list now, ``unreachable`` those that
    the catalog knows on storages that could not be listed now, ``removed`` those that it remembers
    and that are gone. ``proofs`` are its restore tests and ``backups`` its ended backup operations,
    in any order. ``left_frozen`` if a dump left its file systems frozen, and no later look showed
    them thawed. ``copies`` are the verified copies of its archives at targets that
    PVE does not list: one that it lists is an archive. ``damaged_copies`` are those of them that
    were found damaged since: they count for nothing. ``machine`` is whose config the guest has now,
    ``needs`` what it needs of a node by that, None where it could not be read.
    """

    vmid: int
    name: str
    guest: Guest | None
    agent: bool | None = None
    excluded: tuple[str, ...] = ()
    archives: tuple[Archive, ...] = ()
    removed: tuple[Archive, ...] = ()
    proofs: tuple[Proof, ...] = ()
    backups: tuple[BackupOutcome, ...] = ()
    ha_managed: bool = False
    left_frozen: LeftFrozen | None = None
    unreachable: tuple[Archive, ...] = ()
    copies: tuple[ArchiveCopy, ...] = ()
    damaged_copies: tuple[ArchiveCopy, ...] = ()
    machine: lineage.Identity | None = None
    needs: Needs | None = None

    @cached_property
    def own(self) -> tuple[Archive, ...]:
        """Its archives within reach, without those of another machine that had its VMID before."""
        return self._own(self.archives)

    @cached_property
    def held(self) -> tuple[Archive, ...]:
        """What it could be restored from within reach, oldest first. Found once: a dozen findings
        and objectives ask for it.
        """
        return usable(self.own)

    @cached_property
    def known(self) -> tuple[Archive, ...]:
        """What it could be restored from, within reach or out of it, oldest first."""
        if not self.unreachable:
            return self.held
        return usable(self._own(self.archives + self.unreachable))

    def _own(self, archives: tuple[Archive, ...]) -> tuple[Archive, ...]:
        others = lineage.strangers(archives, self.machine)
        return (
            tuple(one for one in archives if whole.key(one) not in others) if others else archives
        )

    def places(self, archives: Iterable[Archive]) -> dict[int, set[str]]:
        """Given some of its archives, return the places that each of their backups lies in, by its
        start (epoch seconds): a copy of a backup has the same start, by its name.

        A copy counts only while it is of that archive's very bytes, by their number.
        """
        copied: dict[tuple[str, str], list[ArchiveCopy]] = {}
        for copy in self.copies:
            copied.setdefault(copy.route.archive, []).append(copy)
        found: dict[int, set[str]] = {}
        for archive in archives:
            held = found.setdefault(archive.ctime, set())
            held.add(place(archive))
            if copied:
                held |= {
                    copy.route.place
                    for copy in copied.get(whole.key(archive), ())
                    if copy.size == archive.size
                }
        return found

    def anywhere(self, archives: Collection[Archive]) -> set[str]:
        """Given some of its archives, return all places that their backups lie in."""
        apart = {(one.shared, one.storage, one.node): one for one in archives}
        found = {place(one) for one in apart.values()}
        return found.union(*self.places(archives).values()) if self.copies else found

    @property
    def last_backup(self) -> BackupOutcome | None:
        """The latest backup operation, whatever came of it."""
        return max(self.backups, key=lambda backup: backup.at, default=None)

    @property
    def agent_matters(self) -> bool:
        """Whether an agent could be configured at all: containers have none, and templates never
        run.
        """
        return (
            self.guest is not None and self.guest.type is GuestType.QEMU and not self.guest.template
        )


@dataclass(frozen=True, slots=True)
class Quorum:
    """The cluster's votes. ``qdevice`` None: PVE's API does not tell (/cluster/status lists nodes
    only).

    ``clustered`` is False for a node that stands alone: it has no quorum to lose.
    """

    clustered: bool
    votes: int
    quorate: bool | None = None
    qdevice: bool | None = None


@dataclass(frozen=True, slots=True)
class Clocks:
    """Each node's clock against the service's own: ``offsets`` in seconds, positive = the node is
    ahead.

    ``drift_texts`` are the HA manager's lines that say ``detected time drift!``: it says so of a
    node whose time stamp lies more than 2 s in the future (pve-facts 9.2).
    """

    offsets: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    drift_texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClusterJob:
    """A backup job of PVE's own (/cluster/backup). ``guests`` None: all of them, but for
    ``exclude``; ``node`` None: any node.
    """

    id: str
    enabled: bool
    node: str | None
    storage: str
    guests: tuple[int, ...] | None
    exclude: tuple[int, ...] = ()
    schedule: str = ""

    def covers(self, vmid: int) -> bool:
        """Whether the job names this guest."""
        return vmid not in self.exclude and (self.guests is None or vmid in self.guests)


@dataclass(frozen=True, slots=True)
class BridgeFacts:
    """A bridge of a node. ``ports`` are the devices that join it to the outside, ``address`` the
    node's own address on it.
    """

    name: str
    node: str
    ports: tuple[str, ...] = ()
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """How many archives a storage lists now, and how many of those that the catalog knows there it
    does not list any more.
    """

    node: str
    storage: str
    now: int
    lost: int


@dataclass(frozen=True, slots=True)
class JobRun:
    """One occurrence of a job of the policy, due at ``at``: it was run (whatever came of it), or
    ``missed``.
    """

    job: str
    at: int
    missed: bool


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that could not be read. ``kind`` is a key of the GAPS sentences, ``subject`` what
    it is about.
    """

    kind: str
    subject: str
    reason: str


@dataclass(frozen=True, slots=True)
class MovedCopy:
    """That the copy of guest ``vmid`` was moved to another node in the middle of its restore test,
    seen at ``at``.
    """

    vmid: int
    operation: str
    source: str
    target: str
    at: int


class How(StrEnum):
    """How a guest was brought back: restored; restored in place of one that was there; that one put
    back into its place.
    """

    RESTORE = "restore"
    REPLACE = "replace"
    UNDO = "replace-undo"


class Standing(StrEnum):
    """Which of the two guests of a replacement is in place after it ended badly. NOT_KNOWN: the way
    back was not gone to its end either.
    """

    NEW = "new"
    OLD = "old"
    NOT_KNOWN = "not-known"


@dataclass(frozen=True, slots=True)
class TakenBack:
    """The undoing of a replacement that did it, else the newest that began: that operation, its
    state, and when it ended (epoch seconds; None: not yet).
    """

    operation: str
    state: OperationState
    at: int | None = None


@dataclass(frozen=True, slots=True)
class BroughtBack:
    """A restore of guest ``vmid`` onto production that has ended at ``ended`` (epoch seconds), asked
    for by ``by``. ``original`` is the VMID that its archive was under, if another one.

    Of a replacement (``how``) that is the guest in whose place it is, or was to be; ``taken_back``
    says if that was undone. Of an undoing ``vmid`` is the guest that is back, ``original`` the one
    that had replaced it, ``undoes`` that replacement. Both last from their opening to their end.
    ``standing`` is how a replacement that did not end well left the two.

    ``proven``: a restore of its archive had been proven. ``state`` is the operation's, ``verdict`` how
    the guest fared ("": nothing was asked), ``said`` why, or the error. ``seconds`` is until it was
    back and started. ``words`` is what was said of the original being off, with by whom and when
    ("": nothing had to be).
    """

    vmid: int
    name: str
    operation: str
    by: str
    node: str
    volid: str
    archive_ctime: int
    ended: int
    state: OperationState
    proven: bool = False
    started: bool = False
    verdict: str = ""
    said: tuple[str, ...] = ()
    seconds: float = 0.0
    original: int | None = None
    clone: bool = False
    words: str = ""
    words_by: str = ""
    words_at: int | None = None
    how: How = How.RESTORE
    taken_back: TakenBack | None = None
    undoes: str = ""
    standing: Standing | None = None

    @property
    def word(self) -> str:
        """What came of it, in a word: nothing but a verdict is good, and that only while it stands."""
        if self.taken_back is not None:
            # one that was begun and did not end well may have left either of the two in place
            return "undone" if self.taken_back.state is OperationState.DONE else "inconclusive"
        if self.state is not OperationState.DONE and not (self.how is How.RESTORE and self.verdict):
            return "cancelled" if self.state is OperationState.CANCELLED else "error"
        if self.how is How.UNDO:
            return "back"
        if self.verdict:
            return self.verdict
        # a replacement that ended well was judged: without a verdict nothing is known of it
        if self.how is How.REPLACE:
            return "inconclusive"
        return "started" if self.started else "done"


@dataclass(frozen=True, slots=True)
class SiteFacts:
    """A site as it was seen at ``at`` (epoch seconds). ``permissions`` are the token's privileges
    by ACL path.

    ``silent`` are the nodes that were called online and did not answer, each with why.
    ``simulated``: the guests are only modelled, so that nothing here proves anything (law 5).
    ``canaries`` is what was tried last at each immutable copy target, ``rehearsals`` which keys last
    opened an encrypted copy at each target, ``snapshot_trials`` what came of bringing its newest
    snapshots of the catalog back, ``tombstones`` what remains of machines that are gone
    from the cluster. ``failovers`` None: nobody asked.
    """

    cluster: str
    at: int
    guests: tuple[GuestFacts, ...]
    nodes: tuple[Node, ...] = ()
    storages: tuple[Storage, ...] = ()
    quorum: Quorum | None = None
    clocks: Clocks = Clocks()
    jobs: tuple[ClusterJob, ...] | None = None
    permissions: Mapping[str, frozenset[str]] | None = None
    bridges: tuple[BridgeFacts, ...] | None = None
    listings: tuple[Listing, ...] = ()
    job_runs: tuple[JobRun, ...] = ()
    gaps: tuple[Gap, ...] = ()
    simulated: bool = False
    release: str = ""
    orphans: tuple[Orphan, ...] = ()
    moves: tuple[MovedCopy, ...] = ()
    silent: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    canaries: tuple[Canary, ...] = ()
    rehearsals: tuple[Rehearsal, ...] = ()
    snapshot_trials: tuple[SnapshotTrial, ...] = ()
    tombstones: tuple[Listed, ...] = ()
    restores: tuple[BroughtBack, ...] = ()
    failovers: Failovers | None = None


def proven(facts: SiteFacts, guest: GuestFacts, wanted: Rung = Rung.HEALTHY) -> tuple[Proof, ...]:
    """Given a guest and the rung that its tier wants, return its proofs that still stand, oldest
    backup first (law 5).

    None on a simulated cluster.
    """
    return () if facts.simulated else valid_proofs(guest.proofs, guest.own, lambda vmid: wanted)


def once_proven(facts: SiteFacts, guest: GuestFacts, wanted: Rung = Rung.HEALTHY) -> bool:
    """Given a guest, return whether a restore test ever proved anything of it, also what is gone or
    withdrawn by now.
    """
    return not facts.simulated and any(good(proof, wanted) for proof in guest.proofs)


def newest_proof(guest: GuestFacts) -> Proof | None:
    """Given a guest, return its latest restore test that was really run, whatever its verdict."""
    # a test that was skipped looked at nothing
    tried = [proof for proof in guest.proofs if proof.verdict is not Verdict.SKIPPED]
    return max(tried, key=lambda proof: proof.ended, default=None)


def failed_since(guest: GuestFacts, good: Proof) -> Proof | None:
    """Given a guest and a proof of it that stands, return the latest restore test that failed after
    it, of a backup at least as new; None if there is none.

    A later failure of an older backup says nothing against the proven one.
    """
    failed = (
        proof
        for proof in guest.proofs
        if proof.verdict is Verdict.FAILED
        and proof.ended > good.ended
        and proof.archive_ctime >= good.archive_ctime
    )
    return max(failed, key=lambda proof: proof.ended, default=None)


def place(archive: Archive) -> str:
    """Given an archive, return what would be lost together with it: its node, or the shared storage
    it lies on.
    """
    return f"storage {archive.storage}" if archive.shared else archive.node


def usable(archives: tuple[Archive, ...]) -> tuple[Archive, ...]:
    """Given archives, return those that could be restored from, oldest first: one without a size is
    only a name (law 4).

    Nor is one without any disk, beside others: it would be restored as an empty machine. One that
    was changed since it was recorded, or is of another machine under a reused VMID, is not this
    guest's (law 10).
    """
    # both need the neighbours: what is hollow, or another's, is told by what lies beside it
    apart = whole.hollow(archives) | lineage.others(archives)
    good = [
        item
        for item in archives
        if item.size > 0
        and not (item.changed or item.damaged)
        and not (apart and whole.key(item) in apart)
    ]
    good.sort(key=attrgetter("ctime", "volid"))
    return tuple(good)
