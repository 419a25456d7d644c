"""Random histories of one VMID: machines come, go, come back and are copied, people answer what is
asked and let go of what is gone, prunes run. Whatever happens, the newest proven unharmed archive of
each machine stays (law 3), and nothing of a machine that is gone goes that nobody let go of (law 10).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from policies import chains, prune_marks, tombstones
from policies.chains import Chain, Decision
from policies.lineage import Identity
from policies.model import (
    Archive,
    Guest,
    GuestType,
    Job,
    Mark,
    PruneRules,
    Release,
    Rung,
    Tombstone,
    TombstoneRules,
)
from policies.retention import guard
from policies.site import load_policy

DAY = 86_400
AHEAD = 1000 * DAY
RULES = TombstoneRules(2, 30 * DAY)
POLICY = replace(
    load_policy("site: s\njobs: {nightly: {guests: all, keep: keep-last=1}}", "s"),
    jobs=(Job("n", "21:00", "local", keep="keep-last=1"),),
    tombstone=RULES,
)
WHO, WHY = "alice@desk", "she knows"


@dataclass(frozen=True)
class Machine:
    """A machine as it truly is: no config tells its number."""

    number: int
    config: Identity


@dataclass(frozen=True)
class Word:
    """That a person let go of what there was of some machines at a time."""

    at: int
    machines: frozenset[int]
    number: int


class Histories(RuleBasedStateMachine):
    """What happens to a VMID. ``whose`` tells the true machine of each archive, by volid."""

    type = GuestType.QEMU

    @initialize(type=st.sampled_from(GuestType))
    def begin(self, type: GuestType) -> None:
        self.type = type
        self.now = 100 * DAY
        self.made = self.macs = 0
        self.machines: dict[int, Machine] = {}
        self.present: Machine | None = None
        self.listing: list[Archive] = []
        self.whose: dict[str, int] = {}
        self.decisions: list[Decision] = []
        self.stones: list[Tombstone] = []
        self.words: list[Word] = []
        self.come(weak=True)
        self.backup()

    # --- machines ---------------------------------------------------------------------------------

    @precondition(lambda self: self.present is None)
    @rule(weak=st.booleans(), copied=st.booleans())
    def come(self, weak: bool, copied: bool = False) -> None:
        """Another machine is made under the VMID; with ``copied``, under the MAC of an older one."""
        number = len(self.machines)
        weak = weak or self.type is GuestType.LXC
        older = [one.config.macs for one in self.machines.values() if one.config.known]
        macs = older[-1] if copied and older and not weak else (self._mac(),)
        config = Identity(None if weak else f"u{number}", None if weak else number + 1, macs=macs)
        self._stands(Machine(number, config))

    @precondition(lambda self: self.present is None)
    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        """A machine that was there is restored."""
        self._stands(data.draw(st.sampled_from(list(self.machines.values()))))
        self.backup()

    @precondition(lambda self: self.present is None)
    @rule(data=st.data())
    def come_as_a_copy(self, data: st.DataObject) -> None:
        """A machine is made whose config says all that an older one's does."""
        older = data.draw(st.sampled_from(list(self.machines.values())))
        self._stands(Machine(len(self.machines), older.config))
        self.backup()

    @precondition(lambda self: self.present is not None)
    @rule(looked=st.booleans())
    def leave(self, looked: bool) -> None:
        self.present = None
        if looked:
            self.look()

    @precondition(lambda self: self.present is not None)
    @rule(replaced=st.booleans())
    def change_nic(self, replaced: bool) -> None:
        assert self.present
        kept = () if replaced else self.present.config.macs
        macs = tuple(sorted((*kept, self._mac())))
        self._stands(replace(self.present, config=replace(self.present.config, macs=macs)))
        self.backup()

    @precondition(lambda self: self.present is not None and self.type is GuestType.QEMU)
    @rule(lost=st.booleans())
    def change_uuid(self, lost: bool) -> None:
        assert self.present
        uuid = None if lost else f"v{self.macs}-{self.now}"
        self._stands(replace(self.present, config=replace(self.present.config, uuid=uuid)))
        self.backup()

    # --- archives ---------------------------------------------------------------------------------

    @precondition(lambda self: self.present is not None)
    @rule(count=st.integers(1, 3), days=st.integers(1, 20))
    def back_up(self, count: int, days: int) -> None:
        for _ in range(count):
            self.backup(days)

    def backup(self, days: int = 1) -> None:
        """The guest is backed up, and where its config says what another's says, a person says
        whose the archive is.
        """
        assert self.present
        self.now += days * DAY
        self.made += 1
        config = self.present.config
        volid = f"local:backup/vzdump-{self.type}-105-2026_01_01-{self.made:06d}.vma.zst"
        self.whose[volid] = self.present.number
        self.listing.append(
            Archive(
                volid,
                "a",
                "local",
                105,
                self.type,
                self.now,
                1 << 30,
                uuid=config.uuid,
                born=config.born,
                macs=" ".join(config.macs),
                operation="op",
            )
        )
        self._set_right(volid)

    @precondition(lambda self: self.listing)
    @rule(data=st.data())
    def prove(self, data: st.DataObject) -> None:
        self.now += 60
        one = data.draw(st.sampled_from(self.listing))
        if not one.unfit:
            self._change(replace(one, proven_at=self.now, rung=Rung.HEALTHY))

    @precondition(lambda self: self.listing)
    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.listing))
        self._change(replace(one, damaged="a checksum"))

    # --- people -----------------------------------------------------------------------------------

    @rule()
    def answer(self) -> None:
        """A person who knows answers all that is asked."""
        for _ in range(20):
            known = self._known()
            if not (asked := chains.questions(known)):
                return
            question = asked[0]
            found = {one.name: one for one in chains.chains(known)}
            older, newer = found[question.older], found[question.newer]
            if self._machines(older) == self._machines(newer):
                self._join(older, newer)
                continue
            before = [found[one.older] for one in asked if one.newer == newer.name]
            theirs = [one for one in before if self._machines(one) == self._machines(newer)]
            if theirs:
                self._join(theirs[0], newer)
            elif not self._split(newer, question.volid, before):
                return
        raise AssertionError("answers bring ever more questions")

    @precondition(lambda self: self.stones or self.present is None)
    @rule(data=st.data(), ahead=st.booleans(), days=st.integers(0, 40))
    def release(self, data: st.DataObject, ahead: bool, days: int) -> None:
        """A person lets go of what is left of a machine; with ``ahead``, the clock is wrong."""
        self.now += days * DAY
        if not self.stones:
            self.look()
        if not self.stones:
            return
        stone = data.draw(st.sampled_from(self.stones))
        at = self.now + AHEAD * ahead
        chain = tombstones.chain_of(stone, chains.chains(self._known()))
        if chain is None:
            return
        said = Release(at, WHO, WHY, tombstones.kept_until(stone, RULES) <= at)
        wanted = tombstones.doubted(
            replace(stone, released=said), self._known(), *self._guest(), self.now
        )
        self._stone(replace(stone, released=replace(said, beside=wanted.standing)))
        self.words = [one for one in self.words if one.number != stone.number]
        if not ahead:
            self.words.append(Word(self.now, self._machines(chain), stone.number))

    @precondition(lambda self: self.stones)
    @rule(data=st.data())
    def take_back(self, data: st.DataObject) -> None:
        stone = data.draw(st.sampled_from(self.stones))
        self._stone(replace(stone, released=None))
        self.words = [one for one in self.words if one.number != stone.number]

    # --- the service ------------------------------------------------------------------------------

    @rule()
    def look(self) -> None:
        """As backupsvc.inventory.departed looks: who is gone, and who is back."""
        found = chains.chains(self._known())
        guest, machine = self._guest()
        standing = []
        for stone in self.stones:
            mine = tombstones.chain_of(stone, found)
            if not (mine and guest and tombstones.returned(mine, guest, machine)):
                standing.append(stone)
        for chain in tombstones.missing(found, guest, machine):
            if not tombstones.stones_of(chain, found, self.stones):
                self.made += 1
                made = tombstones.of_chain(105, chain, now=self.now)
                standing.append(replace(made, number=self.made))
        self.stones = standing

    @rule(look=st.booleans())
    def prune(self, look: bool) -> None:
        if look:
            self.look()
        known = self._known()
        guest, machine = self._guest()
        gone = [tombstones.doubted(one, known, guest, machine, self.now) for one in self.stones]
        marked = prune_marks.decide_all(known, [guest] if guest else [], POLICY, gone=gone)
        after = guard(marked, in_use=(), listed_before=None, now=self.now, rules=PruneRules(1.0))
        went = {one.archive.volid for one in after.marked if one.mark is Mark.REMOVE}
        self._must_stay(went)
        self.listing = [one for one in self.listing if one.volid not in went]

    # --- what holds -------------------------------------------------------------------------------

    def _must_stay(self, went: set[str]) -> None:
        for number in self.machines:
            theirs = [one for one in self.listing if self.whose[one.volid] == number]
            proven = [one for one in theirs if one.proven_at is not None and not one.unfit]
            if proven:
                newest = max(proven, key=lambda one: one.ctime)
                assert newest.volid not in went, f"law 3: the newest proven of machine {number}"
            if self.present and self.present.number == number:
                continue
            for one in theirs:
                assert one.volid not in went or any(
                    number in word.machines and one.ctime <= word.at for word in self.words
                ), f"law 10: nobody let go of machine {number}"

    # --- inner ------------------------------------------------------------------------------------

    def _mac(self) -> str:
        self.macs += 1
        return f"bc:24:11:00:00:{self.macs:02x}"

    def _stands(self, machine: Machine) -> None:
        self.present = self.machines[machine.number] = machine

    def _known(self) -> list[Archive]:
        return chains.settle(self.listing, self.decisions)

    def _guest(self) -> tuple[Guest | None, Identity | None]:
        if self.present is None:
            return None, None
        config = self.present.config
        told = replace(config, decided=chains.Settled(self.decisions).of(config, self.now))
        return Guest(105, "web", "a", type=self.type), told

    def _machines(self, chain: Chain) -> frozenset[int]:
        return frozenset(self.whose[one.volid] for one in chain.archives)

    def _change(self, archive: Archive) -> None:
        self.listing = [archive if one.volid == archive.volid else one for one in self.listing]

    def _stone(self, stone: Tombstone) -> None:
        self.stones = [stone if one.number == stone.number else one for one in self.stones]

    def _join(self, one: Chain, other: Chain) -> None:
        self.decisions.append(chains.join(105, one, other, at=self.now, who=WHO, why=WHY))

    def _split(self, chain: Chain, volid: str, before: Iterable[Chain]) -> bool:
        made = chains.split(105, chain, volid, before, at=self.now, who=WHO, why=WHY)
        self.decisions += made
        return bool(made)

    def _set_right(self, volid: str) -> None:
        """A person who knows says of a new archive that it is not of the machine whose chain it is
        in, and of which it is.
        """
        chain = self._chain(volid)
        mine = self.whose[volid]
        if self._machines(chain) == {mine}:
            return
        asked = chains.questions(self._known())
        if chain.archives[0].volid != volid:
            self._split(chain, volid, ())
        chain = self._chain(volid)
        assert asked or self._machines(chain) == {mine}
        for other in chains.chains(self._known()):
            if other.name != chain.name and self._machines(other) == {mine}:
                self._join(other, self._chain(volid))
                break

    def _chain(self, volid: str) -> Chain:
        found = chains.chains(self._known())
        return next(one for one in found if any(a.volid == volid for a in one.archives))


Histories.TestCase.settings = settings(max_examples=300, stateful_step_count=30, deadline=None)
TestHistories = pytest.mark.slow(Histories.TestCase)
