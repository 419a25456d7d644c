"""Tell the archives of one VMID apart by machine, into chains, and say where a person must be asked
(law 10).

A machine is told strongly by its SMBIOS UUID and the time of its creation (policies/lineage.py). A
container, and a VM without a UUID, is told weakly: by its MAC addresses, and its creation time where
there is one. Where the two contradict each other (another UUID on the same NIC, or other NICs and
nothing else to go by) nothing is guessed: both chains are kept, and a person says whether they are
one machine (join) or two (split). What was said last counts; a join is undone by a split, a split by
a join.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import combinations, islice, product
from operator import attrgetter

from policies import lineage, whole
from policies.lineage import Identity
from policies.model import Archive, Decided, GuestType

UNREAD = "unread"
ASKED = "lineage-asked"
UUID, BORN, MACS = "SMBIOS UUID", "creation time", "MAC addresses"


class Relation(StrEnum):
    """What two configs say of their machines: one, two, that a person must be asked, or nothing."""

    SAME = "same"
    ANOTHER = "another"
    ASKED = "asked"
    UNTOLD = "untold"


class DecisionKind(StrEnum):
    """What was said: chains are one machine, or from an archive on it is another."""

    JOIN = "join"
    SPLIT = "split"


@dataclass(frozen=True, slots=True)
class Piece:
    """All archives of one VMID whose configs say the same of their machine, from ``cut`` (epoch
    seconds) on where a split divided them, and until the next cut.
    """

    uuid: str | None = None
    born: int | None = None
    macs: str = ""
    cut: int = 0

    @property
    def identity(self) -> Identity:
        """What its configs say, without what people said."""
        return Identity(self.uuid, self.born, macs=tuple(self.macs.split()))

    @property
    def told(self) -> bool:
        """Whether anything tells its machine."""
        return bool(self.uuid or self.born or self.macs)


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person said of a VMID's archives. ``one`` and ``other`` are the two sides: of a split
    what is before, and what is from then on. ``who`` names the person and the host.
    """

    vmid: int
    type: GuestType | None
    kind: DecisionKind
    at: int
    who: str
    why: str
    one: tuple[Piece, ...]
    other: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """The archives of one machine under one VMID, oldest first. ``weak``: no SMBIOS UUID tells it.

    ``name`` is what people call it by: unlike that of any other chain of the VMID.
    """

    name: str
    type: GuestType | None
    weak: bool
    archives: tuple[Archive, ...]

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """What it consists of, the oldest first."""
        return tuple(dict.fromkeys(piece_of(one) for one in self.archives))


@dataclass(frozen=True, slots=True)
class Question:
    """Two chains of which only a person can say whether they are one machine. ``volid`` is the
    first archive of the ``newer`` one; ``same`` is what speaks for one machine, ``differs`` against.
    """

    vmid: int
    type: GuestType | None
    older: str
    newer: str
    volid: str
    same: tuple[str, ...]
    differs: tuple[str, ...]


# --- what the configs say -------------------------------------------------------------------------


def relation(one: Identity, two: Identity) -> Relation:
    """Given two identities under one VMID, return what they are to each other: as people said, else
    as their configs do.
    """
    if (mine := one.decided) and (theirs := two.decided):
        if mine.label == theirs.label:
            return Relation.SAME
        if theirs.label in mine.apart:
            return Relation.ANOTHER
    return _by_config(one, two)


def _by_config(one: Identity, two: Identity) -> Relation:
    common = bool(set(one.macs) & set(two.macs))
    if (one.uuid and two.uuid and one.uuid != two.uuid) or (
        one.born and two.born and one.born != two.born
    ):
        tied = common or (one.born and one.born == two.born)
        return Relation.ASKED if tied else Relation.ANOTHER
    if (one.uuid and two.uuid) or (one.born and two.born):
        return Relation.SAME
    if one.macs and two.macs:
        return Relation.SAME if common else Relation.ASKED
    return Relation.UNTOLD


def piece_of(archive: Archive) -> Piece:
    """Given an archive, return the piece that it belongs to."""
    cut = archive.decided.cut if archive.decided else 0
    return Piece(archive.uuid, archive.born, archive.macs, cut)


# --- what people said -----------------------------------------------------------------------------


class Settled:
    """What all that was said of one VMID and kind of guest comes to."""

    def __init__(self, decisions: Sequence[Decision]) -> None:
        """Given the decisions in the order in which they were made, work out what holds now."""
        self._labels: dict[Piece, int] = {}
        self._joined: dict[int, int] = {}
        self._apart: set[frozenset[Piece]] = set()
        # what tells nothing is known by having been there when it was spoken of, and by that alone
        self._until: dict[Piece, int] = {}
        for number, decision in enumerate(decisions):
            label = 2 * number  # of a split the other side has the next one
            named = {*decision.one, *decision.other}
            had = {self._labels[piece] for piece in named if piece in self._labels}
            if decision.kind is DecisionKind.JOIN:
                every = named | {piece for piece, one in self._labels.items() if one in had}
                self._labels |= dict.fromkeys(every, label)
                self._apart = {pair for pair in self._apart if not pair <= every}
                self._joined[label] = decision.at
            else:
                # what was joined and not yet proven as one stays held as it was, on both sides
                if joined := [self._joined[one] for one in had if one in self._joined]:
                    self._joined |= dict.fromkeys((label, label + 1), max(joined))
                # what was another machine than the whole is another one than either part
                others = self._apart_from(had) - named
                self._apart |= {frozenset((piece, other)) for piece in named for other in others}
                self._labels |= dict.fromkeys(decision.one, label)
                self._labels |= dict.fromkeys(decision.other, label + 1)
                self._apart |= {
                    frozenset((before, after))
                    for before in decision.one
                    for after in decision.other
                }
            self._until |= dict.fromkeys(named, decision.at)

    def _apart_from(self, labels: Collection[int]) -> set[Piece]:
        return {
            other
            for pair in self._apart
            for mine in pair
            if self._labels[mine] in labels
            for other in pair - {mine}
        }

    def of(self, identity: Identity, ctime: int) -> Decided | None:
        """Given what an archive's config says and when the archive was made (epoch seconds), return
        what people said of it, None if nothing.
        """
        mine = Piece(identity.uuid, identity.born, " ".join(identity.macs))
        # exactly, else by what its config has in common with a piece: a NIC more, or a creation
        # time that was not there before
        fitting = [
            piece
            for piece in self._labels
            if piece.cut <= ctime
            and (piece.told or ctime <= self._until[piece])
            and (
                replace(piece, cut=0) == mine
                or _by_config(piece.identity, identity) is Relation.SAME
            )
        ]
        if not fitting:
            return None
        piece = max(
            fitting, key=lambda one: (one.cut, replace(one, cut=0) == mine, self._labels[one])
        )
        label = self._labels[piece]
        apart = {self._labels[other] for other in self._apart_from({label})}
        return Decided(
            str(label),
            tuple(str(one) for one in sorted(apart - {label})),
            piece.cut,
            self._joined.get(label),
        )


def settle(archives: Iterable[Archive], decisions: Sequence[Decision]) -> list[Archive]:
    """Given archives and all that was said of lineages, oldest first, return the archives with what
    was said of each.
    """
    grouped: dict[Hashable, list[Decision]] = defaultdict(list)
    for one in decisions:
        grouped[one.vmid, one.type].append(one)
    settled = {whose: Settled(theirs) for whose, theirs in grouped.items()}
    found = []
    for archive in archives:
        said = settled.get((archive.vmid, archive.type))
        decided = said.of(lineage.of_archive(archive), archive.ctime) if said else None
        found.append(archive if decided == archive.decided else replace(archive, decided=decided))
    return found


# --- chains ---------------------------------------------------------------------------------------


def chains(archives: Iterable[Archive]) -> tuple[Chain, ...]:
    """Given one VMID's archives, return its chains, the one with the oldest archive first.

    What nobody has read, or what tells nothing, is a chain of its own.
    """
    groups: dict[GuestType | None, list[Archive]] = defaultdict(list)
    for one in sorted(archives, key=lambda one: (one.ctime, one.volid)):
        groups[one.type].append(one)
    bare = [(type, tuple(chain)) for type, group in groups.items() for chain in _of_one_kind(group)]
    bare.sort(key=lambda pair: pair[1][0].ctime)
    taken: set[str] = set()
    found = []
    for type, chain in bare:
        told = (piece for one in chain if (piece := piece_of(one)).told)
        piece = next(told, piece_of(chain[0]))
        name = piece.uuid or (
            f"created-{piece.born}"
            if piece.born
            else f"mac-{piece.macs.split()[0]}"
            if piece.macs
            else UNREAD
        )
        if piece.cut:
            name += f"@{piece.cut}"
        # people call a chain by its name, so no two of a VMID may have the same
        for more in (f"+{(piece.uuid and piece.born) or type}", f"+{chain[0].volid}"):
            if name in taken:
                name += more
        taken.add(name)
        found.append(Chain(name, type, not any(one.uuid for one in chain), chain))
    return tuple(found)


def _of_one_kind(archives: Iterable[Archive]) -> list[list[Archive]]:
    """Archives of one VMID and kind, oldest first, by machine: an archive joins a chain that it is
    the same as in one, and contradicts in none.
    """
    pieces: dict[tuple[Piece, Decided | None], list[Archive]] = defaultdict(list)
    for one in archives:
        pieces[piece_of(one), one.decided].append(one)
    grown: list[list[Identity]] = []
    held: list[list[Archive]] = []
    for (piece, decided), theirs in pieces.items():
        mine = replace(piece.identity, decided=decided)
        for members, chain in zip(grown, held, strict=True):
            found = {relation(mine, other) for other in members}
            if not piece.told and decided is None:
                fits = not members[0].known and not members[0].macs and members[0].decided is None
            else:
                fits = Relation.SAME in found and not found & {Relation.ANOTHER, Relation.ASKED}
            if fits:
                members.append(mine)
                chain += theirs
                break
        else:
            grown.append([mine])
            held.append(list(theirs))
    return [sorted(chain, key=lambda one: (one.ctime, one.volid)) for chain in held]


def questions(archives: Collection[Archive]) -> tuple[Question, ...]:
    """Given archives of any guests, return where a person must say whether two chains are one
    machine.
    """
    told = attrgetter("uuid", "born", "macs", "decided")
    found = []
    pairs = (
        pair
        for group in lineage.differing(archives, told)
        for pair in combinations(chains(group), 2)
    )
    for older, newer in pairs:
        asked = (
            (before, after)
            for before, after in product(_identities(older), _identities(newer))
            if relation(before, after) is Relation.ASKED
        )
        # one question about two chains is enough: its answer is about all of both
        for before, after in islice(asked, 1):
            # what only one of the two tells speaks neither for one machine nor against it
            alike: dict[str, bool] = {}
            if before.uuid and after.uuid:
                alike[UUID] = before.uuid == after.uuid
            if before.born and after.born:
                alike[BORN] = before.born == after.born
            if before.macs and after.macs:
                alike[MACS] = bool(set(before.macs) & set(after.macs))
            first = newer.archives[0]
            same = tuple(what for what, stayed in alike.items() if stayed)
            differs = tuple(what for what, stayed in alike.items() if not stayed)
            whose = first.vmid or 0, first.type
            found.append(Question(*whose, older.name, newer.name, first.volid, same, differs))
    return tuple(found)


def _identities(chain: Chain) -> list[Identity]:
    return [lineage.of_archive(one) for one in {piece_of(a): a for a in chain.archives}.values()]


def asked(archives: Collection[Archive]) -> dict[tuple[int, GuestType | None], str]:
    """Given archives of any guests, return for each guest with an open question why none of its
    archives goes, by VMID and kind.
    """
    return {(one.vmid, one.type): in_words(one) for one in reversed(questions(archives))}


def in_words(question: Question) -> str:
    """Given a question, return it as a sentence with the command that answers it."""
    vmid = question.vmid
    return (
        f"{ASKED}: whether {question.older} and {question.newer} are one machine is not known "
        f"({', '.join(question.same) or 'nothing'} stayed, {', '.join(question.differs)} changed), "
        "so neither goes, and neither is why another goes: `backupsvc catalog lineage join "
        f"{vmid} {question.older} {question.newer}` or `backupsvc catalog lineage split {vmid} "
        f"{question.volid}`"
    )


# --- law 3 ----------------------------------------------------------------------------------------


def law_groups(archives: Collection[Archive]) -> Mapping[tuple[str, str], tuple[int, object]]:
    """Given archives of any guests, return by key which are one guest to law 3 where that is not
    their VMID and kind alone: those of another machine than the guest is now are each chain for
    itself, with what is told by its NICs alone to be of it, too; and so are the parts of a chain
    that was joined, until it has a newer proof than any of them: of a backup that was made and
    proven after the join.
    """
    found: dict[tuple[str, str], tuple[int, object]] = {}
    groups: dict[Hashable, list[Archive]] = defaultdict(list)
    others = lineage.others(archives)
    joined = {one.vmid for one in archives if one.decided and one.decided.joined_at is not None}
    apart = {one.vmid for one in archives if others and whole.key(one) in others} | joined
    for one in archives if apart else ():
        if one.vmid in apart:
            groups[one.vmid, one.type].append(one)
    for group in groups.values():
        for number, chain in enumerate(chains(group)):
            foreign = [whole.key(one) in others for one in chain.archives]
            said = [one.decided for one in chain.archives if one.decided]
            joins = [one.joined_at for one in said if one.joined_at is not None]
            proven = [one for one in chain.archives if one.proven_at is not None and not one.unfit]
            # of both times, so that one clock that was wrong does not let go of what the other holds
            since = min(proven[-1].ctime, proven[-1].proven_at or 0) if proven else None
            # both finer than need be: at worst one more archive stays
            if joins and (since is None or since <= max(joins)):
                found |= {whole.key(one): (number, piece_of(one)) for one in chain.archives}
            elif any(foreign):
                for one, another in zip(chain.archives, foreign, strict=True):
                    found[whole.key(one)] = number, another
    return found


# --- deciding -------------------------------------------------------------------------------------


def find(found: Collection[Chain], name: str) -> Chain | None:
    """Given chains and what a person called one, its name or the beginning of that alone, return
    it; None if no chain, or more than one, is called so.
    """
    exact = [one for one in found if one.name == name]
    like = exact or [one for one in found if name and one.name.startswith(name)]
    return like[0] if len(like) == 1 else None


def join(vmid: int, one: Chain, other: Chain, *, at: int, who: str, why: str) -> Decision:
    """Given two chains of a VMID, return the decision that they are one machine.

    It is dated no earlier than anything that is known of them, so that no clock that was behind
    makes an old proof one of the joined chain.
    """
    known = [
        moment for a in (*one.archives, *other.archives) for moment in (a.ctime, a.proven_at or 0)
    ]
    return Decision(
        vmid, one.type, DecisionKind.JOIN, max(at, *known), who, why, one.pieces, other.pieces
    )


def split(
    vmid: int,
    chain: Chain,
    volid: str,
    before: Iterable[Chain],
    *,
    at: int,
    who: str,
    why: str,
) -> tuple[Decision, ...]:
    """Given a chain and an archive in it, return what is to be remembered: that from that archive
    on it is another machine than before. Nothing, where nothing comes before it.

    Where the archive is the first of its chain, that is said of the chain against each of those
    ``before`` it that a question asks about.
    """
    start = next(one.ctime for one in chain.archives if one.volid == volid)
    old = dict.fromkeys(piece_of(one) for one in chain.archives if one.ctime < start)
    new = tuple(
        dict.fromkeys(
            replace(piece, cut=start) if piece in old else piece
            for piece in (piece_of(one) for one in chain.archives if one.ctime >= start)
        )
    )
    sides = [tuple(old)] if old else [one.pieces for one in before]
    at = max(at, *(one.ctime for one in chain.archives))
    return tuple(
        Decision(vmid, chain.type, DecisionKind.SPLIT, at, who, why, side, new) for side in sides
    )
