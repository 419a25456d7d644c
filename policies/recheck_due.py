"""Decide which archives are read anew tonight, so that a disk that rots is found before it is needed.

A file that was good when it was made may be damaged a month later, and only reading it whole tells.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from policies.model import Archive, IntegrityRules
from policies.whole import key

MAX_A_NIGHT = 3000  # archives: each is an operation, and small ones would fit by the ten thousand


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
    found: list[Archive] = []
    left = rules.budget
    for one in wanted:
        # a single archive above the budget would never be read else
        if found and (one.size > left or len(found) == MAX_A_NIGHT):
            break
        found.append(one)
        left -= one.size
    return tuple(found)
