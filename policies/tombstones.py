"""Say what remains of machines that are gone from the cluster (tombstones), and what may go of it.

Of a guest that disappears everything stays, until a person lets go of it: that a guest is missing
may be the very accident that its archives are for, and no time that passes tells it from a guest
that was retired. ``tombstone`` in the policy says what even that word does not let go of before
its time is over: the newest proven backups. After that only law 3 keeps something: the newest proven
archive, and the last one.

Missing is what a cluster that answered whole does not have: every node online, quorate, and the VMID
called free by the cluster itself. A node that is down makes nobody a tombstone (law 4).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from policies import chains, lineage, whole
from policies.chains import Chain, Piece, Relation, piece_of, relation
from policies.lineage import Identity
from policies.model import (
    Archive,
    ArchiveCopy,
    Guest,
    Mark,
    Node,
    Rung,
    Tombstone,
    TombstoneRules,
)

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Listed:
    """A tombstone as it is shown: with its chain's archives that are there, how many copies they
    have, when the newest proven one was made (epoch seconds, None: none is), and until when it
    keeps what it keeps. ``over``: that time has passed, and nobody has let go of it wholly.
    """

    tombstone: Tombstone
    chain: str
    archives: tuple[Archive, ...]
    copies: int
    newest_proven: int | None
    until: int
    over: bool


# --- who is gone ----------------------------------------------------------------------------------


def not_whole(
    nodes: Sequence[Node], quorate: bool | None, guests: Collection[Guest], seen: Collection[int]
) -> str | None:
    """Given the cluster's nodes, whether it is quorate (None: a node alone), its guests and the
    VMIDs that were seen last time, return why nobody can be called missing by this answer, None if
    it is whole.
    """
    if not nodes:
        return "the cluster named no node"
    if down := [node.name for node in nodes if not node.online or node.unknown]:
        return f"{', '.join(sorted(down))} cannot be asked, and a guest there is not gone"
    if quorate is False:
        return "the cluster is not quorate"
    if len(seen) > 1 and not {guest.vmid for guest in guests} & set(seen):
        return (
            f"it lists none of the {len(seen)} guests that it had before: it may be another "
            "cluster, or the token may see nothing"
        )
    return None


def missing(
    found: Iterable[Chain], guest: Guest | None, machine: Identity | None
) -> tuple[Chain, ...]:
    """Given a VMID's chains, the guest there now (None: the VMID is free) and what its config says
    (None: not to be read), return those whose machine is surely not there.
    """
    told = list(found)
    doubtful = {
        name
        for one in chains.questions([a for c in told for a in c.archives])
        for name in (one.older, one.newer)
    }
    return tuple(
        chain
        for chain in told
        if chain.name not in doubtful
        and (
            guest is None
            or chain.type not in (None, guest.type)
            # of a config that cannot be read nothing is sure
            or (
                machine is not None
                and all(relation(one, machine) is Relation.ANOTHER for one in _members(chain))
            )
        )
    )


def returned(chain: Chain, guest: Guest, machine: Identity | None) -> bool:
    """Given a chain, the guest at its VMID and what its config says, return whether it surely is
    the chain's machine.
    """
    return chain.type in (None, guest.type) and (
        machine is not None
        and any(relation(one, machine) is Relation.SAME for one in _members(chain))
    )


def _members(chain: Chain) -> list[Identity]:
    return [lineage.of_archive(one) for one in chain.archives]


def of_chain(
    vmid: int, chain: Chain, *, now: int, name: str = "", seen_last: int | None = None
) -> Tombstone:
    """Given a chain whose machine is gone, return its tombstone."""
    last = chain.archives[-1]
    # what a UUID or a creation time tells is no other machine's, as a NIC may come to be
    strong = [one for one in chain.archives if one.uuid or one.born]
    piece = piece_of((strong or chain.archives)[-1])
    return Tombstone(
        vmid,
        chain.type,
        now,
        last.ctime,
        piece.uuid,
        piece.born,
        piece.macs,
        piece.cut,
        name or last.name,
        seen_last,
    )


def chain_of(tombstone: Tombstone, found: Iterable[Chain]) -> Chain | None:
    """Given a tombstone and all chains of its VMID, return the one that it is of; None if there is
    none any more, or it may be of several.
    """
    mine = Piece(tombstone.uuid, tombstone.born, tombstone.macs, tombstone.cut)
    alike = [chain for chain in found if chain.type is tombstone.type]
    fitting = [chain for chain in alike if mine in chain.pieces]
    # else one that goes on with it: a part of it says the same of its machine, and none another
    for chain in () if fitting else alike:
        how = {
            (piece.cut == mine.cut, relation(piece.identity, mine.identity))
            for piece in chain.pieces
        }
        against = {Relation.ANOTHER, Relation.ASKED} & {said for _, said in how}
        if (True, Relation.SAME) in how and not against:
            fitting.append(chain)
    return fitting[0] if len(fitting) == 1 else None


def stones_of(
    chain: Chain, found: Collection[Chain], standing: Iterable[Tombstone]
) -> tuple[Tombstone, ...]:
    """Given one of a VMID's chains, all of them and the VMID's tombstones, return those that are
    the chain's: several where chains were joined that are all gone.
    """
    return tuple(one for one in standing if chain_of(one, found) is chain)


# --- what stays -----------------------------------------------------------------------------------


def may_be(listed: Listed, guest: Guest) -> bool:
    """Given a tombstone and the guest at its VMID, return whether that guest may be its machine:
    where its chain tells a machine by UUID, whoever looks at the cluster ends the tombstone, or
    knows better.
    """
    return listed.tombstone.uuid is None and listed.tombstone.type in (None, guest.type)


def kept_until(tombstone: Tombstone, rules: TombstoneRules) -> int:
    """Given a tombstone, return until when it keeps its newest proven backups, in epoch seconds.

    Counted from the latest of all that is known: a clock that was behind when the guest was missed
    does not shorten it.
    """
    known = tombstone.missing_since, tombstone.newest, tombstone.seen_last or 0
    return max(known) + rules.span


def doubted(
    tombstone: Tombstone,
    archives: Iterable[Archive],
    guest: Guest | None,
    machine: Identity | None,
    now: int,
) -> Tombstone:
    """Given a tombstone, all archives of its VMID, the guest there (None: it is surely free), what
    its config says (None: not to be read) and the time (epoch seconds), return it with why nothing
    goes by its release at this moment.
    """
    if (released := tombstone.released) is None:
        return tombstone  # it keeps everything, whatever is there
    found = chains.chains(archives)
    mine = chain_of(tombstone, found)
    stands = guest is not None and mine not in missing(found, guest, machine)
    # a person let go of what there was: who was backed up since was there again
    later = [one for one in mine.archives if one.ctime > released.at] if mine else []
    if released.at > now:
        why = (
            f"the release is dated {_moment(released.at)}, which is still to come: a clock was or "
            "is wrong, and until then it is no release"
        )
    elif later:
        why = (
            f"its archive {later[0].volid} was made after the release of {_moment(released.at)}: "
            "see whether it was back, and release it once more"
        )
    elif released.beside and not stands:
        why = (
            "a guest that may be the same stood there when it was released, and is gone by now: "
            "release it once more"
        )
    elif mine is None:
        why = "none of its archives is known"
    elif not stands:
        return tombstone
    else:
        why = f"a guest stands at VMID {tombstone.vmid} again, and nothing tells whether it is the same"
        return replace(tombstone, doubt=why, standing=True)
    return replace(tombstone, doubt=why)


def fates(
    archives: Iterable[Archive], tombstones: Collection[Tombstone], rules: TombstoneRules
) -> dict[Key, tuple[Mark, str]]:
    """Given archives, the tombstones and the rules, return for each archive of a machine that is
    gone what becomes of it before law 3, and why, by its key.
    """
    of_guest: dict[Hashable, list[Tombstone]] = defaultdict(list)
    for one in tombstones:
        of_guest[one.vmid, one.type].append(one)
    groups: dict[Hashable, list[Archive]] = defaultdict(list)
    # what was renamed is left alone, as PVE does
    for archive in archives if of_guest else ():
        if archive.type is not None and (archive.vmid, archive.type) in of_guest:
            groups[archive.vmid, archive.type].append(archive)
    found: dict[Key, tuple[Mark, str]] = {}
    for whose, group in groups.items():
        known = chains.chains(group)
        for chain in known:
            if mine := stones_of(chain, known, of_guest[whose]):
                found |= _fates(chain, mine, rules)
    return found


def _fates(
    chain: Chain, stones: Sequence[Tombstone], rules: TombstoneRules
) -> dict[Key, tuple[Mark, str]]:
    if all(one.released is not None and one.standing for one in stones):
        return {}  # the guest's own by that word: its job's rules judge them
    # of chains that were joined each was let go of, or none
    if unsure := next((one for one in stones if one.released is None or one.doubt), None):
        said = (
            f"{_who(unsure)} is gone (missing since {_day(unsure.missing_since)}): its archives "
            f"are kept until {_day(kept_until(unsure, rules))}, and then until somebody lets go of "
            f"them (`backupsvc catalog tombstones release {unsure.vmid}`)"
        )
        if unsure.released is not None:
            said += f"; it was released, but whether that counts is not sure: {unsure.doubt}"
        kept = Mark.KEEP, said
        return {whole.key(one): kept for one in chain.archives}
    tombstone = max(stones, key=lambda one: kept_until(one, rules))
    released = [one.released for one in stones if one.released is not None]
    gone = "; ".join(
        f"its tombstone was released by {one.who} on {_day(one.at)} ({one.why})" for one in released
    )
    found = {whole.key(one): (Mark.REMOVE, gone) for one in chain.archives}
    if all(one.wholly for one in released):
        # here, too: what cannot be told from another machine is one guest with it to law 3
        (start,) = held_backups(chain.archives, replace(rules, keep_proven=1))
        last = next(one for one in chain.archives if one.ctime == start)
        what = f"law 3: newest {_good(last)} archive of {_who(tombstone)}, which is gone"
        return found | {whole.key(last): (Mark.KEEP, what)}
    held = held_backups(chain.archives, rules)
    return found | {
        whole.key(one): (
            Mark.KEEP,
            f"{_who(tombstone)} is gone: it is among its newest {rules.keep_proven} {_good(one)} "
            f"backups, which its tombstone keeps until {_day(kept_until(tombstone, rules))}, and "
            "then until it is released once more",
        )
        for one in chain.archives
        if one.ctime in held
    }


def _good(archive: Archive) -> str:
    return "proven" if archive.proven_at else "good"


def held_backups(archives: Sequence[Archive], rules: TombstoneRules) -> set[int]:
    """Given the archives of a machine that is gone, return the starts (epoch seconds) of the
    backups that its tombstone keeps: the newest proven ones; where none is proven, the newest
    intact ones; where none is intact, the newest. What is put aside is none of them, unless there
    is nothing else.
    """
    hollow, collapsed = whole.hollow(archives), whole.collapsed(archives)
    fit = [one for one in archives if whole.key(one) not in hollow]
    usual = [one for one in fit if not one.suspicious and whole.key(one) not in collapsed]
    good = usual or fit
    proven = [one for one in good if one.proven_at is not None]
    intact = [one for one in good if one.rung.height >= Rung.INTACT.height]
    # a backup may lie in several places, each time under its start
    starts = sorted({one.ctime for one in proven or intact or good})
    return set(starts[-rules.keep_proven :])


def _who(tombstone: Tombstone) -> str:
    return f"guest {tombstone.vmid}" + (f" ({tombstone.name})" if tombstone.name else "")


def _moment(epoch: int) -> str:
    return f"{datetime.fromtimestamp(epoch, UTC):%Y-%m-%d %H:%M} UTC"


def _day(epoch: int) -> str:
    return f"{datetime.fromtimestamp(epoch, UTC):%Y-%m-%d}"


# --- shown ----------------------------------------------------------------------------------------


def listed(
    tombstones: Iterable[Tombstone],
    archives: Iterable[Archive],
    copies: Iterable[ArchiveCopy],
    rules: TombstoneRules,
    now: int,
) -> tuple[Listed, ...]:
    """Given the tombstones, the archives and the copies of their VMIDs, return them as they are
    shown at ``now`` (epoch seconds).
    """
    groups: dict[int | None, list[Archive]] = defaultdict(list)
    for one in archives:
        groups[one.vmid].append(one)
    copied: dict[Key, int] = defaultdict(int)
    for copy in copies:
        copied[copy.route.archive] += 1
    found = []
    for tombstone in tombstones:
        chain = chain_of(tombstone, chains.chains(groups[tombstone.vmid]))
        theirs = chain.archives if chain else ()
        until = kept_until(tombstone, rules)
        released = tombstone.released
        wholly = released is not None and released.wholly and released.at <= now
        found.append(
            Listed(
                tombstone,
                chain.name if chain else chains.UNREAD,
                theirs,
                sum(copied[whole.key(one)] for one in theirs),
                max((one.ctime for one in theirs if one.proven_at is not None), default=None),
                until,
                bool(theirs) and until <= now and not wholly,
            )
        )
    return tuple(found)
