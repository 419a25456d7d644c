"""What the recovery of a node, or of a storage, remembers: the plan that a person saw, who said that
it is lost, the restores that it opened, and how each guest ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from backupsvc.engine.memory import MemoryForm
from policies.model import Operation
from policies.outcomes import Facts
from policies.recover import turns
from policies.recover.plan import Planned
from policies.recover.turns import Ended, Outcome
from policies.restore_guard import Confirmation


@dataclass(frozen=True, slots=True)
class RecoverMemory:
    """``node`` is the one that is lost ("": it is the ``storage``), ``plan`` what the person saw of
    each of its guests, in order; ``confirmed`` is who said in words that it is.

    ``step``: it stops after each guest; ``wait``: what only a person can do is waited for.
    ``children`` are the ids of the restores that it opened, by VMID, ``kept`` of those the guests
    that an earlier recovery brought back. ``around`` are the lines on what each guest lacks around
    it. ``to_do`` is what a person was asked to do, and is waited for. ``hidden`` says why there may
    be guests of the node that nobody sees.
    """

    node: str
    plan: tuple[Planned, ...]
    confirmed: Confirmation
    step: bool = False
    wait: bool = True
    children: Mapping[int, str] = field(default_factory=dict)
    kept: tuple[int, ...] = ()
    ended: tuple[Ended, ...] = ()
    around: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    to_do: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    storage: str = ""

    @property
    def lost(self) -> str:
        """What is lost, in words."""
        return named(self.node, self.storage)

    def home(self, one: Planned) -> str:
        """Given a guest of the plan, return the node that has its configuration."""
        return one.home or self.node

    @property
    def ends(self) -> dict[int, Ended]:
        """How the guests ended, by VMID."""
        return {one.vmid: one for one in self.ended}

    @property
    def running(self) -> tuple[Planned, ...]:
        """The guests whose restore was opened and has not ended."""
        ends = self.ends
        return tuple(one for one in self.plan if one.vmid in self.children and one.vmid not in ends)

    @property
    def well(self) -> bool:
        """Whether every guest of the most urgent tiers is back and well; what nobody sees may be one."""
        return not self.hidden and turns.well(self.plan, self.ends)

    def back(self) -> tuple[Planned, ...]:
        """The guests that are back."""
        ends = self.ends
        return tuple(
            one for one in self.plan if one.vmid in ends and ends[one.vmid].outcome is Outcome.BACK
        )


# a release that knows no version 2 knows of no storage, and would take its recovery for a node's
FORM = MemoryForm(RecoverMemory, (dict, dict))


def recall(operation: Operation) -> RecoverMemory:
    """Given a recovery, return what it remembers."""
    return FORM.read(operation.memory)


def facts(operation: Operation) -> Facts:
    """Given a recovery, return what is known of it for its outcome."""
    return Facts(node=recall(operation).node)


def exclusive_key(memory: RecoverMemory) -> str:
    """What only one open recovery may be about."""
    return key_of(memory.lost)


def named(node: str, storage: str) -> str:
    """Given what is lost, a node or ("") a storage, return it in words."""
    return node or f"storage {storage}"


def key_of(lost: str) -> str:
    """Given what is lost in words, return the exclusive key of its recovery."""
    return f"the recovery of {lost}"
