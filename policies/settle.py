"""Watch a copy for a while after its checks: decide from what was seen whether it lives on.

A service that answers once and dies, or a guest that boots over and over, passes every check at the
right moment. So after the last good check the copy is watched for a while (``settle`` in the
policy). All of it must be one life: the same QEMU process with a growing uptime, the same boot
where its agent lets us read the boot's id (a reset keeps process and uptime), and no moment of more
than a second in which a check was not being asked. A check is being asked from its question to its
answer, so that a slow answer is no gap. But TCP tries again for as long as a guest boots: without
boot ids an answer that took seconds longer than that check's others may hide a reset, and proves
nothing.

What speaks against the copy fails the test. What merely could not be seen never does, and never
passes for seen: it makes the test inconclusive, or it is said where the rest is proof enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from statistics import median

from policies.causes import Cause
from policies.model import Outcome

MAX_GAP = 1.0  # seconds in which a check was not being asked
# seconds that an answer may take longer than usual: TCP's third try comes 3 s after its first (RFC
# 6298)
MAX_SILENCE = 2.5
# seconds by which an uptime, told in whole ones, may have grown less than the time that passed
_LAG = 3.0
RUNNING = "running"
# QEMU's run states of a guest whose processors stand still (qapi/run-state.json), and who is to
# blame for each: all others were brought about from outside
_HALTED = {
    "io-error": Cause.STORAGE,
    "guest-panicked": Cause.SERVICE,
    "internal-error": Cause.SERVICE,
    "shutdown": Cause.SERVICE,
}


@dataclass(frozen=True, slots=True)
class Look:
    """PVE's word on the copy at one moment. ``at`` in monotonic seconds, ``uptime`` in seconds,
    ``state`` is QEMU's own.

    ``unseen``: why there is no answer. ``gone``: PVE has no such guest on that node any more.
    """

    at: float
    status: str = ""
    state: str = ""
    pid: int | None = None
    uptime: int | None = None
    unseen: str = ""
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """One attempt of a check, from its question to its answer (monotonic seconds)."""

    name: str
    began: float
    ended: float
    outcome: Outcome
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Boot:
    """The id of the boot that the copy is in, as its kernel tells it, or why it could not be
    read.
    """

    id: str = ""
    unseen: str = ""


@dataclass(frozen=True, slots=True)
class Watch:
    """All that was seen: from ``began`` on, for ``wanted`` seconds; ``ended`` is when the watcher
    looked away.
    """

    wanted: float
    began: float
    ended: float
    checks: tuple[str, ...] = ()
    looks: tuple[Look, ...] = ()
    answers: tuple[Asked, ...] = ()
    boots: tuple[Boot, ...] = ()


@dataclass(frozen=True, slots=True)
class Settled:
    """What came of it: PASSED lived on, FAILED did not, INCONCLUSIVE cannot be said. ``said`` has
    the sentences for the verdict.

    ``again``: the watcher was at fault, so that watching anew may fare better.
    """

    outcome: Outcome
    said: tuple[str, ...] = ()
    cause: Cause | None = None
    again: bool = False


PASSED = Settled(Outcome.PASSED)
# a check had not passed, so there was nothing to watch: the checks say why
NOT_DUE = Settled(Outcome.INCONCLUSIVE)
NOT_WATCHED = Settled(
    Outcome.INCONCLUSIVE, ("the copy was not watched after its checks",), Cause.OURS
)
NOT_ASKED_FOR = Settled(
    Outcome.PASSED,
    ("the policy says settle: 0s, so nothing tells whether the copy lived on after its checks",),
)


def decide(watch: Watch) -> Settled:
    """Given all that was seen of a copy after its checks, return whether it lived on, and why."""
    if not watch.wanted:
        return NOT_ASKED_FOR
    if not watch.looks:
        return _unknown("PVE was not asked about the copy while it settled", Cause.OURS, again=True)
    last = watch.looks[-1]
    # nothing is held against a copy whose node, or whose PVE, does not answer in the end
    if last.unseen:
        return _unknown(
            f"PVE could not tell how the copy fared {_at(watch, last.at)}: {last.unseen}",
            Cause.PLATFORM,
        )
    # what speaks against it before what was not seen: the one is an answer, the other none
    if found := trouble(watch):
        return found
    if doubt := next(chain(_not_watched(watch), _hidden(watch)), None):
        return doubt
    pids = {look.pid for look in watch.looks if look.pid}
    ids = {boot.id for boot in watch.boots if boot.id}
    shown = [
        "one QEMU process" if pids else "PVE called it running",
        *(["one boot"] if ids else []),
    ]
    if watch.checks:
        shown.append(f"{len(watch.answers)} good answers of {len(watch.checks)} checks")
    said = [f"it lived on for {watch.wanted:g} s after its checks: {', '.join(shown)}"]
    # what could not be seen is said, though the rest is proof enough
    if not pids:
        said.append("not seen: its QEMU process (PVE told no pid)")
    if not ids:
        why = next((boot.unseen for boot in watch.boots if boot.unseen), "nobody asked")
        said.append(f"not seen: whether it was reset meanwhile ({why})")
    if missed := sum(bool(look.unseen) for look in watch.looks):
        said.append(f"not seen: {missed} of {len(watch.looks)} looks, which PVE did not answer")
    return Settled(Outcome.PASSED, tuple(said))


def trouble(watch: Watch) -> Settled | None:
    """Given what was seen so far, return the first thing for which watching on is useless, or
    None.
    """
    for look in watch.looks[-1:]:
        if look.gone:
            return _unknown(
                f"the copy was no longer on its node {_at(watch, look.at)}: somebody moved or "
                "removed it",
                Cause.PLATFORM,
            )
    # a service that does not answer says less than the machine under it
    if found := next(_not_one_life(watch), None):
        return found
    for asked in watch.answers:
        when = _at(watch, asked.ended)
        if asked.outcome is Outcome.FAILED:
            return _failed(f"check {asked.name} passed and then failed {when}: {asked.detail}")
        if asked.outcome is Outcome.INCONCLUSIVE:
            return _unknown(
                f"check {asked.name} passed and then could not be asked {when}: {asked.detail}",
                Cause.NETWORK,
            )
    return None


# --- what speaks against it -----------------------------------------------------------------------


def _not_one_life(watch: Watch) -> Iterator[Settled]:
    """It went off or stood still, or went on as another process or in another boot."""
    seen = [look for look in watch.looks if not (look.unseen or look.gone)]
    for look in seen:
        if look.status != RUNNING:
            yield _failed(
                f"the copy went off: it was {look.status or 'not running'} {_at(watch, look.at)}"
            )
        elif look.state not in ("", RUNNING):
            cause = _HALTED.get(look.state, Cause.PLATFORM)
            sentence = f"the copy stood still, QEMU calls it {look.state} {_at(watch, look.at)}"
            yield _failed(sentence) if cause.against_the_archive else _unknown(sentence, cause)
    for before, look in pairwise(seen):
        if before.pid and look.pid and before.pid != look.pid:
            yield _failed(
                f"the copy's QEMU process was another one {_at(watch, look.at)} (pid {before.pid}, "
                f"then {look.pid}): it was switched off and on"
            )
        elif before.uptime is not None and look.uptime is not None and look.uptime < before.uptime:
            yield _failed(
                f"the copy's uptime fell from {before.uptime} s to {look.uptime} s "
                f"{_at(watch, look.at)}"
            )
    # a reset keeps process and uptime
    if len({boot.id for boot in watch.boots if boot.id}) > 1:
        yield _failed("the copy booted anew while it settled: its boot id changed")


# --- what was not seen ----------------------------------------------------------------------------


def _not_watched(watch: Watch) -> Iterator[Settled]:
    if watch.ended - watch.began < watch.wanted:
        yield _unknown(
            f"the copy was watched for {watch.ended - watch.began:.1f} s after its checks, not "
            f"for {watch.wanted:g} s",
            Cause.OURS,
            again=True,
        )
    for name in watch.checks:
        asked = [attempt for attempt in watch.answers if attempt.name == name]
        covered = watch.began
        questions = sorted((attempt.began, attempt.ended) for attempt in asked)
        for began, ended in (*questions, (watch.ended, watch.ended)):
            if began - covered > MAX_GAP:
                yield _unknown(
                    f"check {name} was not watched between {covered - watch.began:.1f} and "
                    f"{began - watch.began:.1f} s after the checks had passed (more than "
                    f"{MAX_GAP:g} s)",
                    Cause.OURS,
                    again=True,
                )
            covered = max(covered, ended)
        if not any(attempt.began >= watch.began + watch.wanted for attempt in asked):
            yield _unknown(
                f"check {name} was not asked once more in the end", Cause.OURS, again=True
            )


def _hidden(watch: Watch) -> Iterator[Settled]:
    """Time in which it may have been off unseen: PVE repeated an old answer, or a reset hides behind
    an answer of its own, for a guest that is back in time answers what was asked before.
    """
    known = [(look.at, look.uptime) for look in watch.looks if look.uptime is not None]
    if known:
        (began, first), (ended, last) = known[0], known[-1]
        # an uptime that does not grow with the time is no life, and no death either
        if last - first < ended - began - _LAG:
            yield _unknown(
                f"PVE let the copy's uptime grow by {last - first} s while {ended - began:.0f} s "
                "passed",
                Cause.PLATFORM,
            )
    if len(watch.boots) > 1 and all(boot.id for boot in watch.boots):
        return
    for name in watch.checks:
        asked = [attempt for attempt in watch.answers if attempt.name == name]
        usual = median([attempt.ended - attempt.began for attempt in asked] or [0.0])
        for attempt in asked:
            if (lasted := attempt.ended - attempt.began) > usual + MAX_SILENCE:
                yield _unknown(
                    f"check {name} took {lasted:.1f} s to answer {_at(watch, attempt.ended)}, "
                    f"usually {usual:.1f} s: the copy may have been reset meanwhile, and no boot "
                    "id tells",
                    Cause.NETWORK,
                )


def _at(watch: Watch, at: float) -> str:
    return f"{max(0.0, at - watch.began):.1f} s after its checks"


def _failed(sentence: str) -> Settled:
    return Settled(Outcome.FAILED, (sentence,), Cause.SERVICE)


def _unknown(sentence: str, cause: Cause, *, again: bool = False) -> Settled:
    return Settled(Outcome.INCONCLUSIVE, (sentence,), cause, again)
