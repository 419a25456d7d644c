"""Decide which archives are read anew tonight, so that a disk that rots is found before it is needed.

A file that was good when it was made may be damaged a month later, and only reading it whole tells.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TypeVar

from policies.model import Archive, ArchiveCopy, IntegrityRules
from policies.whole import key

MAX_A_NIGHT = 3000  # readings: each is an operation, and small ones would fit by the ten thousand
S = TypeVar("S", Archive, ArchiveCopy)


def due(
    archives: Iterable[Archive],
    rules: IntegrityRules,
    now: int,
    *,
    only: Collection[int] = (),
    everything: bool = False,
) -> tuple[Archive, ...]:
    """Given archives that can be read, return those whose turn it is at ``now`` (epoch seconds):
    the longest unread first, as many as the night's budget of bytes (and ``MAX_A_NIGHT``) allows,
    and one at least.

    ``only`` are the guests whose archives count, () all. ``everything``: all of them, whenever they
    were read, and whatever that takes. One that was changed is told of already, and is not read.
    """
    wanted = [
        one
        for one in archives
        if one.vmid is not None
        and (not only or one.vmid in only)
        and one.size > 0
        and not one.changed
        # a date in the future is no reading that anybody made: a clock was wrong then
        and (everything or one.checked_at is None or not now - rules.every < one.checked_at <= now)
    ]
    wanted.sort(key=lambda one: (one.checked_at or 0, one.ctime, key(one)))
    if everything:
        return tuple(wanted)
    return within(wanted, rules.budget)


def within(wanted: Iterable[S], room: int) -> tuple[S, ...]:
    """Given what is to be read, the most urgent first, and the bytes that a night may read, return
    what is read tonight: no more than ``MAX_A_NIGHT`` of them, and one at least.
    """
    found: list[S] = []
    for one in wanted:
        # a single one above the budget would never be read else
        if found and (one.size > room or len(found) == MAX_A_NIGHT):
            break
        found.append(one)
        room -= one.size
    return tuple(found)
