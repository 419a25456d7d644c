"""vzdump archives, and what retention says of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import overload

from policies.model.cluster import GuestType
from policies.model.proofs import Rung
from policies.model.quick import quick
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


@quick
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


# what retention says of an archive, and why; archives of which the same is said may share one
Said = tuple[Mark, tuple[str, ...]]


class Marks(Sequence[Marked]):
    """A decision over a listing, in its order: of each of ``archives`` what is ``said``.

    As values of their own a million ``Marked`` would take 64 MB beside the listing: each is made
    when it is asked for.
    """

    __slots__ = ("archives", "said")

    def __init__(self, archives: Sequence[Archive], said: Sequence[Said]) -> None:
        """Given a listing and what is said of each of it. Neither may change any more."""
        if len(archives) != len(said):
            raise ValueError(f"{len(said)} marks for {len(archives)} archives")
        self.archives, self.said = archives, said

    @classmethod
    def of(cls, marked: Iterable[Marked]) -> Marks:
        """Given a decision in any form, return it in this one."""
        if isinstance(marked, Marks):
            return marked
        # marked may be a generator, and is gone through twice
        found = list(marked)
        return cls([one.archive for one in found], [(one.mark, one.reasons) for one in found])

    def __len__(self) -> int:
        return len(self.said)

    @overload
    def __getitem__(self, index: int) -> Marked: ...

    @overload
    def __getitem__(self, index: slice) -> Marks: ...

    def __getitem__(self, index: int | slice) -> Marked | Marks:
        if isinstance(index, slice):
            return Marks(self.archives[index], self.said[index])
        return Marked(self.archives[index], *self.said[index])

    def __iter__(self) -> Iterator[Marked]:
        for archive, (mark, reasons) in zip(self.archives, self.said, strict=True):
            yield Marked(archive, mark, reasons)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as a list: its parts may be long
