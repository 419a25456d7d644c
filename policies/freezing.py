"""Find out whether a dump left its guest's file systems frozen: whom to ask and when, and what the
answers mean.

vzdump freezes the file systems through the guest's agent and thaws them a moment later. A thaw that
fails does not fail PVE's
task, and whatever writes in a guest that stands frozen hangs: so the agent is asked once the dump
is over, and never before, because a question between freeze and thaw may upset both. Nothing here
knows an API; times are seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from policies.model import Job, Policy
from policies.pve.guest_config import agent_configured, freeze_switched_off
from policies.pve.vzdump_log import Consistency, Freeze

FINDING = "guest-left-frozen"
# how long a guest's lock is waited for; a dump that runs longer than that is not ours
HELD_FOR = 60.0
SILENT_FOR = 20.0  # how long an agent that was asked to freeze may take to answer again
# a freeze of somebody else's backup lasts a moment; what is frozen for so long was left so
SURE_AFTER = 4.0
MAX_THAWS = 2


class State(StrEnum):
    """What is known of a guest's file systems after a dump. OFF: there is nobody to ask, and
    nothing that could be frozen.
    """

    THAWED = "thawed"
    FROZEN = "frozen"
    UNKNOWN = "unknown"
    OFF = "not-asked"


@dataclass(frozen=True, slots=True)
class Guest:
    """A guest at the moment of the question: does it run, is its agent configured, who has locked
    it.
    """

    running: bool
    agent: bool
    lock: str | None


class Trouble(StrEnum):
    """Why a question got no answer. PASSING may pass, SILENT is the agent's, DENIED stays so."""

    PASSING = "passing"
    SILENT = "silent"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the agent said: ``frozen`` None with why not, in ``text``."""

    frozen: bool | None
    trouble: Trouble | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class ThawProgress:
    """How far the asking is: ``since`` it began, ``frozen_for`` since it was first seen frozen
    (None: it was not).

    ``tried``: the dump asked this guest to freeze. ``may_thaw``: the policy says so. ``thaws`` were
    sent so far.
    """

    since: float
    tried: bool
    frozen_for: float | None = None
    may_thaw: bool = False
    thaws: int = 0


@dataclass(frozen=True, slots=True)
class Ask:
    """Decision: put the question now."""


@dataclass(frozen=True, slots=True)
class Later:
    """Decision: look again in a moment."""

    why: str


@dataclass(frozen=True, slots=True)
class ThawNow:
    """Decision: thaw the file systems, and ask again."""


@dataclass(frozen=True, slots=True)
class Settled:
    """Decision: this is what is known, and why."""

    state: State
    why: str


def before_asking(guest: Guest, so_far: ThawProgress) -> Ask | Later | Settled:
    """Given a guest as it is now, return whether its agent may be asked: never while a lock says
    that it is being dumped.
    """
    if not guest.running:
        return Settled(State.OFF, "it does not run")
    if not guest.agent:
        return Settled(State.OFF, "it has no agent configured")
    if guest.lock is None:
        return Ask()
    if so_far.since < HELD_FOR:
        return Later(f"the guest is locked ({guest.lock}), so its agent is not asked now")
    return Settled(
        State.UNKNOWN,
        f"it is locked ({guest.lock}), and its agent is not asked while another dump may run",
    )


def after_asking(answer: Answer, so_far: ThawProgress) -> Later | ThawNow | Settled:
    """Given the agent's answer, return what follows. Only an answer makes a guest thawed."""
    if answer.frozen is False:
        by_us = (
            "it was left frozen, and was thawed as the policy says"
            if so_far.thaws
            else "its agent says so"
        )
        return Settled(State.THAWED, by_us)
    if answer.frozen:
        if so_far.frozen_for is None or so_far.frozen_for < SURE_AFTER:
            return Later("the guest's file systems are frozen: its agent is asked once more")
        if so_far.may_thaw and so_far.thaws < MAX_THAWS:
            return ThawNow()
        tried = f", also after {so_far.thaws} attempts to thaw them" if so_far.thaws else ""
        return Settled(State.FROZEN, f"its agent says so{tried}")
    waits = answer.trouble is Trouble.PASSING or (answer.trouble is Trouble.SILENT and so_far.tried)
    if waits and so_far.since < SILENT_FOR:
        return Later(f"whether the guest is thawed is not known yet: {answer.text}")
    return Settled(State.UNKNOWN, answer.text)


def may_thaw(policy: Policy, vmid: int, job: Job | None) -> bool:
    """Given a guest and the job that dumped it, return whether the policy wants it thawed: the
    guest's own word goes first.
    """
    written = policy.guests[vmid].thaw if vmid in policy.guests else None
    return (job is not None and job.thaw) if written is None else written


def asks_for_thaw(policy: Policy) -> bool:
    """Given a policy, return whether any guest may be thawed by it, which needs a right of its
    own.
    """
    return any(job.thaw for job in policy.jobs) or any(
        guest.thaw for guest in policy.guests.values()
    )


# --- what an operation remembers of it ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Thaw:
    """What a backup found out about its guest's file systems once the dump was over, at ``at``
    (epoch seconds).

    ``tried``: the dump asked the guest to freeze. ``thaws`` were sent by us; ``thaw_failed`` is
    what PVE said if its own failed.
    """

    state: State
    why: str = ""
    at: int = 0
    tried: bool = False
    thaws: int = 0
    thaw_failed: str | None = None


@dataclass(frozen=True, slots=True)
class LeftFrozen:
    """A guest that a dump left frozen, seen at ``at`` (epoch seconds). Not ``certain``: its thaw
    failed, and nobody could ask.
    """

    at: int
    certain: bool
    why: str


def sentences(vmid: int, thaw: Thaw | None) -> tuple[str, ...]:
    """Given a guest and what its backup found out (None: nothing yet), return what is wrong with
    its file systems, one sentence each; () if all is well.
    """
    if thaw is None:
        return ()
    if thaw.state is State.FROZEN:
        return (
            f"{FINDING}: the dump left its file systems frozen ({thaw.why}): what writes to them "
            f"hangs. {_thaw_by_hand(vmid)}",
        )
    if thaw.state is State.UNKNOWN and thaw.thaw_failed:
        said = f"PVE's thaw failed, and whether it stands frozen is not known: {thaw.why}"
        return (f"{FINDING}: {said}. {_thaw_by_hand(vmid)}",)
    if thaw.state is State.UNKNOWN and thaw.tried:
        return (f"whether its file systems are thawed is not known: {thaw.why}",)
    return (
        (f"the dump left its file systems frozen: {thaw.why}",)
        if thaw.state is State.THAWED and thaw.thaws
        else ()
    )


def _thaw_by_hand(vmid: int) -> str:
    return f"Thaw them on its node: qm guest cmd {vmid} fsfreeze-thaw"


def left(thaw: Thaw | None) -> LeftFrozen | None:
    """Given what a backup found out (None: nothing yet), return that it left its guest frozen, None
    if not or if nothing can be said.
    """
    if thaw is None:
        return None
    if thaw.state is State.FROZEN:
        return LeftFrozen(thaw.at, True, thaw.why)
    return (
        LeftFrozen(thaw.at, False, thaw.thaw_failed)
        if thaw.state is State.UNKNOWN and thaw.thaw_failed
        else None
    )


def latest(looks: Iterable[Thaw | None]) -> LeftFrozen | None:
    """Given what the backups of one guest found out, return what the newest that says anything did;
    None: not frozen.
    """
    told = [
        thaw for thaw in looks if thaw and (thaw.state in (State.THAWED, State.OFF) or left(thaw))
    ]
    return left(max(told, key=lambda thaw: thaw.at, default=None))


# --- why an archive is not frozen -----------------------------------------------------------------


def why_not_frozen(consistency: str, freeze: str, config: Mapping[str, str]) -> str:
    """Given what a dump's log says and the config in the archive, return why it is only
    crash-consistent, "" if it is not.
    """
    if consistency != Consistency.CRASH:
        return ""
    # since qemu-server 9.1.10 vzdump calls that "disabled in VM options", too
    if freeze in (Freeze.NONE, Freeze.OFF) and not agent_configured(config):
        return "it has no agent configured"
    if freeze == Freeze.NONE and freeze_switched_off(config):
        freeze = Freeze.OFF
    return {
        Freeze.FAILED: "its agent could not freeze the file systems",
        Freeze.SILENT: "its agent did not answer",
        Freeze.OFF: "the freeze is switched off in its options (agent: freeze-fs=0)",
        Freeze.BY_OTHERS: "somebody else held its file systems frozen",
    }.get(Freeze(freeze), "nothing froze its file systems")
