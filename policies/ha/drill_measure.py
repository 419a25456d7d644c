"""How long a service was away, from what somebody heard who asked it ten times a second.

A time in which nobody asked says nothing: neither that the service was away nor that it was there.
It is counted by itself, and what borders on it is a lower bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

EVERY = 0.1  # seconds between two questions
STALL = 0.5  # seconds without a question after which nobody watched


@dataclass(frozen=True, slots=True)
class Sample:
    """One question: ``at`` seconds after the watch began, answered well (``good``) or given up
    after ``took`` seconds.
    """

    at: float
    took: float
    good: bool


@dataclass(frozen=True, slots=True)
class Measured:
    """What was heard in ``seconds`` of watching. ``interruption`` is the sum of all times in which
    questions failed, ``longest_gap`` the longest time between two good answers, ``slowest`` the
    longest that a good one took, all in seconds. ``unwatched``: seconds in which nobody asked.

    ``at_least``: an interruption began or ended while nobody watched, so that it may have been
    longer.
    """

    seconds: float = 0.0
    samples: int = 0
    failed: int = 0
    interruption: float = 0.0
    longest_gap: float = 0.0
    slowest: float = 0.0
    unwatched: float = 0.0
    at_least: bool = False


def measure(samples: Sequence[Sample], lasted: float) -> Measured:
    """Given the questions that were asked, in any order, and how many seconds the watch lasted,
    return what they say.
    """
    ordered = sorted(samples, key=lambda one: one.at)
    if not ordered:
        return Measured(unwatched=lasted)
    found = Measured(seconds=lasted)
    for stretch in _stretches(ordered):
        found = _joined(found, _of(stretch))
    edges = (ordered[0].at, max(0.0, lasted - ordered[-1].at))
    holes = [later.at - one.at for one, later in pairwise(ordered)]
    unwatched = sum(hole - EVERY for hole in (*edges, *holes) if hole > STALL)
    return _with(found, seconds=max(0.0, lasted - unwatched), unwatched=unwatched)


def plus(earlier: Measured, later: Measured, between: float = 0.0) -> Measured:
    """Given what two watches heard, one after the other, and the seconds in between in which nobody
    watched, return both as one.
    """
    joined = _joined(earlier, later)
    hole = max(0.0, between)
    return _with(
        joined,
        seconds=earlier.seconds + later.seconds,
        unwatched=earlier.unwatched + later.unwatched + hole,
    )


def answers_now(samples: Sequence[Sample], last: int) -> bool:
    """Given the questions that were asked and have ended, return whether there are so many and the
    last of them were all answered well.
    """
    newest = sorted(samples, key=lambda one: one.at)[-last:]
    return len(newest) == last and all(one.good for one in newest)


def _stretches(ordered: Sequence[Sample]) -> Iterator[list[Sample]]:
    """The times in which somebody watched without a break."""
    stretch = [ordered[0]]
    for one, later in pairwise(ordered):
        if later.at - one.at > STALL:
            yield stretch
            stretch = []
        stretch.append(later)
    yield stretch


def _of(stretch: Sequence[Sample]) -> Measured:
    away, at_least = list[float](), False
    began: float | None = None  # of the interruption that goes on
    last_good: float | None = None
    for one in stretch:
        if not one.good and began is None:
            began = stretch[0].at if last_good is None else last_good
            at_least = at_least or last_good is None
        elif one.good:
            if began is not None:
                away.append(one.at + one.took - began)
            began, last_good = None, one.at
    if began is not None:
        away.append(stretch[-1].at + stretch[-1].took - began)
        at_least = True
    good = [one for one in stretch if one.good]
    heard = sorted(one.at + one.took for one in good)
    return Measured(
        samples=len(stretch),
        failed=len(stretch) - len(good),
        interruption=sum(away),
        # one that borders on the unwatched lies between no two good answers
        longest_gap=max([later - one for one, later in pairwise(heard)] + away, default=0.0),
        slowest=max((one.took for one in good), default=0.0),
        at_least=at_least,
    )


def _joined(one: Measured, other: Measured) -> Measured:
    return Measured(
        one.seconds,
        one.samples + other.samples,
        one.failed + other.failed,
        one.interruption + other.interruption,
        max(one.longest_gap, other.longest_gap),
        max(one.slowest, other.slowest),
        one.unwatched,
        one.at_least or other.at_least,
    )


def _with(found: Measured, *, seconds: float, unwatched: float) -> Measured:
    return Measured(
        round(seconds, 3),
        found.samples,
        found.failed,
        round(found.interruption, 3),
        round(found.longest_gap, 3),
        round(found.slowest, 3),
        round(unwatched, 3),
        found.at_least,
    )
