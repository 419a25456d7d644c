"""Choose the archive that a lost guest is brought back from: the newest of which a restore was proven,
else the newest.

Whoever restores is under stress, and the newest archive is what nobody has tried yet. So the proof
decides, and what is newer is named, with its age, and never taken in silence. What was changed, is
damaged or holds no disk is taken only by name (law 5), and so is what is of another machine under a
reused VMID (law 10).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from policies import lineage, reach, whole
from policies.archive_signs import in_words
from policies.compliance.facts import GuestFacts, failed_since
from policies.i18n import duration
from policies.lineage import Identity
from policies.model import Archive, Proof, Rung, Verdict
from policies.valid_proofs import valid_proofs

SUSPICIOUS = (
    "{} is suspicious ({}): see whether its data are right; `backupsvc catalog list --vmid {}` names "
    "older ones"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for. ``latest``: of that moment or before (epoch seconds); ``volid``: that one
    and no other; ``newest``: proven or not; ``node``: one that this node can read.
    """

    latest: int | None = None
    volid: str | None = None
    newest: bool = False
    node: str | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the archives under one VMID. ``listed`` are within reach, ``beyond`` out of it,
    ``why`` says of each place what keeps it so.

    ``proofs`` are the restore tests, ``rung`` the one at which the guest's tier takes a test for a
    proof, ``machine`` the one that the guest is (None: nothing tells). ``simulated``: the guests are
    only modelled, so that no test proves anything. ``now`` in epoch seconds.
    """

    vmid: int
    listed: tuple[Archive, ...]
    now: int
    beyond: tuple[Archive, ...] = ()
    why: Mapping[reach.Place, str] = field(default_factory=lambda: MappingProxyType({}))
    proofs: tuple[Proof, ...] = ()
    rung: Rung = Rung.HEALTHY
    machine: Identity | None = None
    simulated: bool = False


class Bar(StrEnum):
    """What keeps an archive from being taken unless it is named."""

    BEYOND = "beyond"
    EMPTY = "empty"
    LATER = "later"
    CHANGED = "changed"
    DAMAGED = "damaged"
    DISKLESS = "diskless"
    FOREIGN = "foreign"
    ELSEWHERE = "elsewhere"


_AGAINST = {
    Bar.BEYOND: "is out of reach ({where})",
    Bar.EMPTY: "is an empty file",
    Bar.LATER: "is of later than the moment that was asked for",
    Bar.CHANGED: "was changed since it was recorded ({one.changed})",
    Bar.DAMAGED: "is damaged ({one.damaged})",
    Bar.DISKLESS: "holds no disk",
    Bar.FOREIGN: "is of another machine that had this VMID",
    Bar.ELSEWHERE: "lies on {one.node}, in a storage that {asked.node} does not share",
}


@dataclass(frozen=True, slots=True)
class Alternative:
    """An archive under the VMID. ``proof`` is the latest that stands, ``bar`` what keeps it from
    being taken (None: nothing does) and ``against`` that in words; ``state`` says how far its restore
    was tested.
    """

    archive: Archive
    proof: Proof | None
    bar: Bar | None
    against: str
    state: str
    chosen: bool = False

    @property
    def why(self) -> str:
        """What speaks for it, and against it."""
        return "; ".join(filter(None, (self.against, self.state)))


@dataclass(frozen=True, slots=True)
class Choice:
    """What is taken, None if nothing fits, and all that is under the VMID, newest first.

    ``newest`` is the newest that could be restored, whatever machine it is of: where that is another
    one than the guest's, nobody can tell which of the two is meant (law 10). ``passed_over`` are
    sentences about what is newer than what is taken, ``cautions`` about that itself.
    """

    chosen: Alternative | None
    alternatives: tuple[Alternative, ...]
    newest: Alternative | None
    passed_over: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()

    @property
    def contested(self) -> bool:
        """Whether another machine's archive is newer than what is taken, or a container's than a
        VM's.
        """
        newest, chosen = self.newest, self.chosen
        if newest is None or chosen is None:
            return False
        return newest.bar is Bar.FOREIGN or newest.archive.type is not chosen.archive.type


def decide(known: Known, asked: Asked) -> Choice:
    """Given what is known of the archives under a VMID and what is asked for, return the choice.

    A moment (``latest``) means the state of that moment: the newest until then is taken, proven or
    not, and the proven one nearest to it is named.
    """
    every = _alternatives(known, asked)
    able = (None, Bar.FOREIGN, Bar.ELSEWHERE)
    newest = next((one for one in every if one.bar in able), None)
    if asked.volid is not None:
        # what was named is taken whatever speaks against it, if it is there, and of that time
        never = (Bar.BEYOND, Bar.EMPTY, Bar.LATER)
        named = [one for one in every if one.archive.volid == asked.volid and one.bar not in never]
        fit = sorted(named, key=lambda one: one.bar is Bar.ELSEWHERE)
    else:
        fit = [one for one in every if one.bar is None]
        # that the node cannot read it is better said of an archive than that there is none
        fit = fit or [one for one in every if one.bar is Bar.ELSEWHERE]
    # whoever names an archive or a moment has decided: proven counts only where nobody did
    tried = asked.volid is None and asked.latest is None and not asked.newest
    proven = [one for one in fit if one.proof] if tried else []
    taken = next(iter(proven or fit), None)
    over = () if asked.volid is not None else tuple(_over(known, every, taken))
    if taken is None:
        return Choice(None, every, newest, over)
    chosen = replace(taken, chosen=True)
    return Choice(
        chosen,
        tuple(chosen if one is taken else one for one in every),
        newest,
        over,
        tuple(_cautions(known, asked, every, taken)),
    )


def _alternatives(known: Known, asked: Asked) -> tuple[Alternative, ...]:
    """Newest first; of one moment in the order in which they are listed."""
    both, beyond = (*known.listed, *known.beyond), set(known.beyond)
    machine = known.machine
    foreign = (
        lineage.strangers(both, machine) if machine and machine.known else lineage.others(both)
    )
    # a proof of another machine's archive proves nothing of this guest (law 10)
    own = [one for one in both if whole.key(one) not in foreign]
    standing = () if known.simulated else valid_proofs(known.proofs, own, lambda _: known.rung)
    found = []
    for archive in sorted(both, key=lambda one: -one.ctime):
        proofs = (one for one in standing if _of(one, archive))
        proof = max(proofs, key=lambda one: one.ended, default=None)
        # the first that holds is told: what can be seen of the archive itself before what was asked
        bars = {
            Bar.BEYOND: archive in beyond,
            Bar.EMPTY: archive.size <= 0,
            Bar.LATER: asked.latest is not None and archive.ctime > asked.latest,
            Bar.CHANGED: archive.changed,
            Bar.DAMAGED: archive.damaged,
            Bar.DISKLESS: archive.holds_disk is False,
            Bar.FOREIGN: whole.key(archive) in foreign,
            Bar.ELSEWHERE: asked.node and not archive.shared and archive.node != asked.node,
        }
        bar = next((bar for bar, holds in bars.items() if holds), None)
        against = ""
        if bar:
            where = known.why.get(reach.place(archive), "its storage is not listed")
            against = _AGAINST[bar].format(one=archive, where=where, asked=asked)
        found.append(Alternative(archive, proof, bar, against, _state(known, archive, proof)))
    return tuple(found)


def _of(proof: Proof, archive: Archive) -> bool:
    """A shared archive is the same one from whichever node it was restored."""
    return (
        proof.volid == archive.volid
        and proof.archive_ctime == archive.ctime
        and (archive.shared or proof.node == archive.node)
    )


def _state(known: Known, archive: Archive, proof: Proof | None) -> str:
    """How far its restore was tested, in words that go on after a comma."""
    if proof:
        ago = duration(max(0, known.now - proof.ended), "en")
        return f"proven {ago} ago (rung {proof.rung})"
    if known.simulated:
        return "not proven: the cluster is simulated, and nothing there proves anything"
    tests = [
        one for one in known.proofs if _of(one, archive) and one.verdict is not Verdict.SKIPPED
    ]
    last = max(tests, key=lambda one: one.ended, default=None)
    if last is None:
        return "not proven: no restore of it was tested"
    ago = duration(max(0, known.now - last.ended), "en")
    if last.verdict is Verdict.PROVEN:
        short = last.rung.height < known.rung.height
        return f"not proven: its test of {ago} ago " + (
            f"reached rung {last.rung}, and {known.rung} is wanted"
            if short
            else "counts no more, for it was changed or replaced since"
        )
    why = f": {last.reasons[0]}" if last.reasons else ""
    return f"not proven: its restore test of {ago} ago ended {last.verdict}{why}"


def _over(known: Known, every: tuple[Alternative, ...], taken: Alternative | None) -> Iterator[str]:
    """A sentence for each archive that is newer than the one that is taken."""
    first = next((one for one in every if one.bar is None), None)
    for one in every:
        archive = one.archive
        if one is taken:
            return
        # an empty file that is out of reach is no loss
        if one.bar is Bar.BEYOND and archive.size > 0:
            where = one.against.removeprefix("is ")
            proven = ", proven" if one.proof else ""
            yield f"{archive.volid} is newer{proven} and {where}, so it was passed over"
        elif one.bar is Bar.FOREIGN:
            yield f"{archive.volid} {one.against}: only --archive {archive.volid} takes it"
        elif one.bar is None:
            ways = ("--newest or " if one is first else "") + f"--archive {archive.volid}"
            odd = f" and suspicious ({in_words(archive.suspicious)})" if archive.suspicious else ""
            yield f"{_dated(known, archive)}, is newer{odd}, and {one.state}: take it with {ways}"
        elif one.bar not in (Bar.EMPTY, Bar.LATER, Bar.BEYOND):
            yield f"{archive.volid} {one.against}, so it was passed over"


def _cautions(
    known: Known, asked: Asked, every: tuple[Alternative, ...], taken: Alternative
) -> Iterator[str]:
    archive = taken.archive
    if taken.proof is None:
        yield f"{_dated(known, archive)}, is {taken.state}"
        moment = archive.ctime if asked.latest is None else asked.latest
        # what is out of reach comes last, and it is better to know of it than of none
        proven = sorted(
            (one for one in every if one.proof and one is not taken),
            key=lambda one: (one.bar is Bar.BEYOND, abs(one.archive.ctime - moment)),
        )
        if not proven and not known.simulated:
            yield f"no restore of any archive of guest {known.vmid} is proven"
        for one in proven[:1]:
            way = f"take it with --archive {one.archive.volid}"
            if one.bar is Bar.BEYOND:
                way = f"which {one.against}"
            yield f"the proven archive nearest to it is {_dated(known, one.archive)}: {way}"
    else:
        failed = failed_since(GuestFacts(known.vmid, "", None, proofs=known.proofs), taken.proof)
        # of what is still there its own state tells; what failed and is gone speaks against it, too
        if failed and not any(_of(failed, one.archive) for one in every):
            why = f": {failed.reasons[0]}" if failed.reasons else ""
            ago = duration(max(0, known.now - failed.ended), "en")
            yield f"a restore test of a backup at least as new failed {ago} ago{why}"
    if archive.suspicious:
        yield SUSPICIOUS.format(archive.volid, in_words(archive.suspicious), known.vmid)
        clean = (
            one.archive
            for one in every
            if one.proof and one.bar is None and not one.archive.suspicious
        )
        if asked.volid is None and (other := next(clean, None)):
            yield (
                f"the newest proven one that is not suspicious is {_dated(known, other)}: take it "
                f"with --archive {other.volid}"
            )


def _dated(known: Known, archive: Archive) -> str:
    ago = duration(max(0, known.now - archive.ctime), "en")
    return f"{archive.volid}, backed up {ago} ago"
