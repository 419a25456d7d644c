"""vzdump archives, and what retention says of each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from policies.model.cluster import GuestType
from policies.model.proofs import Rung
from policies.model.signs import Suspicion


@dataclass(frozen=True, slots=True)
class Decided:
    """What people said of the machine in an archive (`catalog lineage`).

    Archives with one ``label`` are of one machine; those of the labels ``apart`` are of another
    one. ``cut``: from when on, in epoch seconds, a split made it another machine than its config
    tells, 0: none did. ``joined_at`` is when its chain was joined of several, None: it was not.
    """

    label: str
    apart: tuple[str, ...] = ()
    cut: int = 0
    joined_at: int | None = None


@dataclass(frozen=True, slots=True)
class Archive:
    """A vzdump archive. ``ctime`` is read by PVE from the file name in the node's local time.

    ``name`` is the guest's name when known (from the catalog or the notes), ``rung`` how far it has
    been proven. ``proven_at`` is when that proof ended, or None. ``holds_disk``: whether a VM's
    archive holds any disk, None while nobody has looked into it. ``uuid`` and ``born`` (epoch
    seconds) tell the machine in it, None where nothing does. ``changed``: what differs from what
    was recorded of it, "" if nothing does. ``damaged``: what was wrong with its bytes when they
    were last read whole, "" if nothing was; ``checked_at`` is when that was (epoch seconds), None
    if never. ``suspicious``: what was unusual of its disks beside the guest's earlier archives,
    until somebody acknowledges it. ``macs``: the MAC addresses in its config, in lower case and
    sorted, with blanks between; ``decided``: what people said of its machine, None if nobody said
    anything.
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
    damaged: str = ""
    checked_at: int | None = None
    suspicious: tuple[Suspicion, ...] = ()
    macs: str = ""
    decided: Decided | None = None

    @property
    def unfit(self) -> str:
        """Why it must not stand for a good one: what was changed in it, or what is damaged; "" if
        nothing is known against it.
        """
        return self.changed or self.damaged


class Mark(StrEnum):
    """What retention says of an archive; the words are those of PVE's prunebackups call."""

    KEEP = "keep"
    REMOVE = "remove"
    PROTECTED = "protected"
    RENAMED = "renamed"


@dataclass(frozen=True, slots=True)
class Marked:
    """An archive with what retention decided and why, in the order in which the reasons applied."""

    archive: Archive
    mark: Mark
    reasons: tuple[str, ...]
