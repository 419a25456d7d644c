"""What a site wants, as policies/site reads it from YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from policies.model.proofs import Rung


@dataclass(frozen=True, slots=True)
class CheckSpec:
    """One health check of a guest. ``options`` are the words of its kind (port, url, status,
    contains ...).
    """

    kind: str
    name: str
    options: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    timeout: int = 10


@dataclass(frozen=True, slots=True)
class Tier:
    """Objectives that a group of guests shares. ``rpo``, ``rto``, ``proof_age`` in seconds;
    ``depth`` in days of history.

    ``proof_rung`` is the rung at which a restore test proves: HEALTHY, or BOOTED where a sign of
    life is all that is wanted.
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

    ``network`` is where its restored copy's NICs go: ``isolated`` (the scratch bridge, link up) or
    ``link-down``. ``address`` is its production address, which the copy keeps on the isolated
    bridge. ``boot_timeout`` and ``check_timeout`` in seconds: how long a sign of life, and the
    first good check, may take. ``thaw``: whether it is thawed if a dump left it frozen; None: as
    its job says. ``settle`` in seconds: how long its copy must live on after its checks (None: as
    long as the site's copies).
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
    """A backup job in PVE's own terms. ``guests`` None: every guest. ``window``: seconds after
    which an occurrence is missed.

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
    """A daily local time range. ``opens`` and ``closes`` in minutes after midnight; it passes
    midnight if it closes first.

    ``days`` are the weekdays (0 is Monday) on which it opens, ``spec`` is how the user wrote it.
    """

    opens: int
    closes: int
    days: tuple[int, ...]
    spec: str


@dataclass(frozen=True, slots=True)
class Scratch:
    """Where restored copies live. ``first``..``last`` is the reserved VMID range, both included
    (law 1).

    ``bridge`` is the isolated bridge (law 2) or None; ``memory`` caps a copy's memory in MiB;
    ``bandwidth`` in KiB/s; ``window`` is when scheduled restore tests may run (None: at any time);
    ``settle`` in seconds how long a copy must live on after its checks (0: not at all, which the
    verdict says).
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
class TombstoneRules:
    """What stays of a guest that is gone from the cluster: its newest ``keep_proven`` proven backups
    (where none is proven, intact ones), ``span`` seconds long at least.
    """

    keep_proven: int = 2
    span: int = 180 * 86400


@dataclass(frozen=True, slots=True)
class IntegrityRules:
    """How often an archive's bytes are read anew: ``every`` so many seconds, up to ``budget`` bytes
    a night.
    """

    every: int = 30 * 86400
    budget: int = 500 << 30


@dataclass(frozen=True, slots=True)
class HaRules:
    """High availability. ``drill_window`` is when a guest may be moved for an exercise (None:
    never).
    """

    drill_window: Window | None = None


@dataclass(frozen=True, slots=True)
class PveStorage:
    """A place for copies: the dump folder ``path`` of a node's storage, which PVE there lists and
    restores.
    """

    node: str
    storage: str
    path: str


@dataclass(frozen=True, slots=True)
class SftpFolder:
    """A place for copies: a folder that an SSH server gives by SFTP. ``host_keys`` are the only
    ones that are believed.
    """

    host: str
    port: int
    user: str
    path: str
    host_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Directory:
    """A place for copies: a folder of this machine. ``mounted``: it must be a mount point, so that
    its disk is really there.
    """

    path: str
    mounted: bool = False


@dataclass(frozen=True, slots=True)
class CopyTarget:
    """Where archives are copied to. ``bandwidth`` in KiB/s.

    ``immutable``: what lies there can be neither renamed nor removed by us. ``allow_root``: a login
    as root is put up with. ``keep``: the keep rules of the copies there, "" if all stay.
    ``recipients``: the public keys of age that copies there are encrypted to, () if they are plain.
    """

    name: str
    place: PveStorage | SftpFolder | Directory
    bandwidth: int | None = None
    immutable: bool = False
    allow_root: bool = False
    keep: str = ""
    recipients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Exemption:
    """An accepted finding (derogation): it has an owner, a reason and a last day (ISO date), and
    turns red after it.
    """

    finding: str
    vmid: int | None
    owner: str
    reason: str
    until: str


@dataclass(frozen=True, slots=True)
class Policy:
    """A site's whole policy. ``source`` is the file it came from, ``digest`` the SHA-256 of its
    text in hex. ``integrity`` None: no archive is read anew by night.
    """

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
    copies: tuple[CopyTarget, ...] = ()
    max_clock_drift: int = 30
    integrity: IntegrityRules | None = IntegrityRules()
    tombstone: TombstoneRules = TombstoneRules()
    ha: HaRules = HaRules()
    source: str = ""
    digest: str = ""
