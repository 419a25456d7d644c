"""The words of the service: frozen values that every room shares.

Times are whole epoch seconds in UTC, durations are seconds, sizes are bytes, unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType


class PolicyError(ValueError):
    """A policy, or a value written like one, is wrong.

    Args:
        message: what is wrong and what is allowed, one sentence.
        source: file name as the user gave it, or None when the value came from an option.
        line: 1-based line in that file.
    """

    def __init__(self, message: str, source: str | None = None, line: int | None = None) -> None:
        self.message, self.source, self.line = message, source, line
        where = f"{source}:{line}: " if source and line else f"{source}: " if source else ""
        super().__init__(where + message)


class GuestType(StrEnum):
    """What PVE calls the two kinds of guest."""

    QEMU = "qemu"
    LXC = "lxc"


class Mark(StrEnum):
    """What retention says of an archive; the words are those of PVE's prunebackups call."""

    KEEP = "keep"
    REMOVE = "remove"
    PROTECTED = "protected"
    RENAMED = "renamed"


class Rung(StrEnum):
    """How far an archive has been proven. A rung is reached only through all below it (law 5)."""

    RECORDED = "recorded"
    INTACT = "intact"
    RESTORED = "restored"
    BOOTED = "booted"
    HEALTHY = "healthy"
    CURRENT = "current"

    @property
    def height(self) -> int:
        """Position from 0 (recorded) to 5 (current)."""
        return list(Rung).index(self)


class Verdict(StrEnum):
    """The outcome of a restore test. Only PROVEN moves the date of last proof (law 5)."""

    PROVEN = "proven"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    SKIPPED = "skipped"
    SIMULATED = "simulated"


class Outcome(StrEnum):
    """The outcome of one health check: INCONCLUSIVE means that the question could not be asked."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


class Severity(StrEnum):
    """How loudly a finding speaks."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


# --- what the cluster holds ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Guest:
    """A VM or container as /cluster/resources lists it; memory and disk are its configured maxima in bytes."""

    vmid: int
    name: str
    node: str
    type: GuestType = GuestType.QEMU
    status: str = "unknown"
    template: bool = False
    tags: tuple[str, ...] = ()
    max_memory: int = 0
    max_disk: int = 0
    ha_state: str | None = None
    pool: str | None = None
    lock: str | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A cluster node; memory in bytes, 0 if not known. ``online`` is what the answering node believes.

    ``unknown``: PVE's own status of it is ``unknown``, because its pvestatd reports nothing; ``online`` is then whether the node
    itself answered when it was asked.
    """

    name: str
    online: bool
    max_memory: int = 0
    memory: int = 0
    max_cpu: int = 0
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class Storage:
    """A storage as one node sees it. ``prune`` is the retention that PVE itself applies there ("" when none is set)."""

    name: str
    node: str
    type: str
    content: frozenset[str]
    shared: bool = False
    active: bool = True
    enabled: bool = True
    total: int = 0
    used: int = 0
    available: int = 0
    prune: str = ""


@dataclass(frozen=True, slots=True)
class SeenStorages:
    """The storages as every node that could be asked sees them.

    ``silent`` are the nodes that are called online and did not say theirs, each with why: what those hold is not known, which is
    not the same as nothing (law 4). Of those ``refused`` PVE itself said that it failed, which may pass.
    """

    storages: tuple[Storage, ...]
    silent: Mapping[str, str] = field(default_factory=dict)
    refused: frozenset[str] = frozenset()

    @property
    def passing(self) -> str:
        """What PVE said where it failed itself, "" if nowhere."""
        return "; ".join(self.silent[node] for node in sorted(self.refused))


@dataclass(frozen=True, slots=True)
class Archive:
    """A vzdump archive. ``ctime`` is read by PVE from the file name in the node's local time.

    ``name`` is the guest's name when known (from the catalog or the notes), ``rung`` how far it has been proven.
    ``proven_at`` is when that proof ended, or None. ``holds_disk``: whether a VM's archive holds any disk, None while nobody has
    looked into it. ``uuid`` and ``born`` (epoch seconds) tell the machine in it, None where nothing does. ``changed``: what
    differs from what was recorded of it, "" if nothing does.
    """

    volid: str
    node: str
    storage: str
    vmid: int | None
    type: GuestType | None
    ctime: int
    size: int
    format: str = ""
    protected: bool = False
    notes: str = ""
    name: str = ""
    rung: Rung = Rung.RECORDED
    proven_at: int | None = None
    sha256: str | None = None
    shared: bool = False
    operation: str | None = None
    holds_disk: bool | None = None
    uuid: str | None = None
    born: int | None = None
    changed: str = ""


# --- what is wanted (policies/site/ reads these from YAML) ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CheckSpec:
    """One health check of a guest. ``options`` are the words of its kind (port, url, status, contains ...)."""

    kind: str
    name: str
    options: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    timeout: int = 10


@dataclass(frozen=True, slots=True)
class Tier:
    """Objectives that a group of guests shares. ``rpo``, ``rto``, ``proof_age`` in seconds; ``depth`` in days of history.

    ``proof_rung`` is the rung at which a restore test proves: HEALTHY, or BOOTED where a sign of life is all that is wanted.
    """

    name: str
    rpo: int
    rto: int
    proof_age: int
    copies: int = 1
    depth: int = 0
    proof_rung: Rung = Rung.HEALTHY


@dataclass(frozen=True, slots=True)
class GuestPolicy:
    """What is wanted of one guest.

    ``network`` is where its restored copy's NICs go: ``isolated`` (the scratch bridge, link up) or ``link-down``.
    ``address`` is its production address, which the copy keeps on the isolated bridge.
    ``boot_timeout`` and ``check_timeout`` in seconds: how long a sign of life, and the first good check, may take.
    ``thaw``: whether it is thawed if a dump left it frozen; None: as its job says.
    ``settle`` in seconds: how long its copy must live on after its checks (None: as long as the site's copies).
    """

    vmid: int
    name: str
    tier: str
    role: str = ""
    network: str = "link-down"
    address: str | None = None
    checks: tuple[CheckSpec, ...] = ()
    boot_timeout: int = 600
    check_timeout: int = 300
    memory: int | None = None
    thaw: bool | None = None
    settle: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A backup job in PVE's own terms. ``guests`` None: every guest. ``window``: seconds after which an occurrence is missed.

    ``thaw``: a guest that its dump left frozen is thawed.
    """

    id: str
    schedule: str
    storage: str
    guests: tuple[int, ...] | None = None
    exclude: tuple[int, ...] = ()
    mode: str = "snapshot"
    compress: str = "zstd"
    keep: str = "keep-all=1"
    window: int = 4 * 3600
    bandwidth: int | None = None
    timeout: int = 12 * 3600
    thaw: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """A daily local time range. ``opens`` and ``closes`` in minutes after midnight; it passes midnight if it closes first.

    ``days`` are the weekdays (0 is Monday) on which it opens, ``spec`` is how the user wrote it.
    """

    opens: int
    closes: int
    days: tuple[int, ...]
    spec: str


@dataclass(frozen=True, slots=True)
class Scratch:
    """Where restored copies live. ``first``..``last`` is the reserved VMID range, both included (law 1).

    ``bridge`` is the isolated bridge (law 2) or None; ``memory`` caps a copy's memory in MiB; ``bandwidth`` in KiB/s;
    ``window`` is when scheduled restore tests may run (None: at any time); ``settle`` in seconds how long a copy must live on
    after its checks (0: not at all, which the verdict says).
    """

    first: int
    last: int
    bridge: str | None = None
    storage: str | None = None
    node: str | None = None
    pool: str | None = None
    memory: int | None = None
    bandwidth: int | None = None
    restore_timeout: int = 4 * 3600
    window: Window | None = None
    settle: int = 30

    def __contains__(self, vmid: object) -> bool:
        return isinstance(vmid, int) and self.first <= vmid <= self.last


@dataclass(frozen=True, slots=True)
class PruneRules:
    """Law 3's brakes. ``max_share`` is the part (0..1) of all archives that one run may remove."""

    max_share: float = 0.5


@dataclass(frozen=True, slots=True)
class Exemption:
    """An accepted finding (derogation): it has an owner, a reason and a last day (ISO date), and turns red after it."""

    finding: str
    vmid: int | None
    owner: str
    reason: str
    until: str


@dataclass(frozen=True, slots=True)
class Policy:
    """A site's whole policy. ``source`` is the file it came from, ``digest`` the SHA-256 of its text in hex."""

    site: str
    timezone: str
    language: str
    jobs: tuple[Job, ...]
    tiers: Mapping[str, Tier]
    guests: Mapping[int, GuestPolicy]
    scratch: Scratch
    default_tier: str
    prune: PruneRules = PruneRules()
    exemptions: tuple[Exemption, ...] = ()
    max_clock_drift: int = 30
    source: str = ""
    digest: str = ""


# --- what was seen ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One health check's answer; ``seconds`` is how long the good or last attempt took."""

    name: str
    outcome: Outcome
    detail: str
    seconds: float = 0.0
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that the facts show to be wrong. ``id`` is stable; ``action`` is the reader's next step.

    ``under``: the node whose silence it follows from; it then has no action of its own.
    """

    id: str
    severity: Severity
    subject: str
    detail: str
    action: str
    vmid: int | None = None
    under: str = ""


@dataclass(frozen=True, slots=True)
class Marked:
    """An archive with what retention decided and why, in the order in which the reasons applied."""

    archive: Archive
    mark: Mark
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """One measured stage of an operation."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Proof:
    """What one restore test found. ``rto`` is seconds from the start of the restore to the first good check, or None.

    ``stripped`` and ``asserted`` are the isolation evidence (law 2), one sentence each; ``reasons`` explain the verdict, and
    ``cause`` is who is to blame for it (a policies.causes.Cause), None if nobody is.
    """

    operation: str
    vmid: int
    volid: str
    node: str
    archive_ctime: int
    verdict: Verdict
    rung: Rung
    started: int
    ended: int
    rto: float | None = None
    stages: tuple[Stage, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    stripped: tuple[str, ...] = ()
    asserted: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    scratch_vmid: int | None = None
    scratch_node: str | None = None
    cause: str | None = None


class OperationState(StrEnum):
    """Where an operation stands: OPEN until its last step, then exactly one of the others, for ever.

    MISSED is an occurrence whose window passed while no scheduler ran: it was never opened at all.
    """

    OPEN = "open"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    MISSED = "missed"


@dataclass(frozen=True, slots=True)
class Operation:
    """One durable piece of long work. ``id`` is a ULID, ``subject`` the VMID it is about (None: the site).

    ``step`` is the step to do next, ``data`` what the steps done so far have recorded (JSON values only), ``occurrence`` the
    key that makes a scheduled occurrence unique (law 9), ``error`` the sentence it failed with. ``attempts`` counts the drivers
    that were lost at this step, ``due`` is when it must be looked at again, ``rank`` its place among those who wait for the same
    node (less is earlier), ``cancel`` why it shall end, if somebody asked for that.
    """

    id: str
    kind: str
    subject: int | None
    state: OperationState
    step: str
    data: Mapping[str, object]
    created: int
    updated: int
    finished: int | None = None
    occurrence: str | None = None
    lease_owner: str | None = None
    lease_until: int | None = None
    attempts: int = 0
    error: str | None = None
    due: int = 0
    rank: int = 0
    cancel: str | None = None


@dataclass(frozen=True, slots=True)
class Transition:
    """One row of an operation's history: ``event`` is started (written before the effect), finished, failed or noted."""

    operation: str
    seq: int
    step: str
    event: str
    at: int
    upid: str | None = None
    detail: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
