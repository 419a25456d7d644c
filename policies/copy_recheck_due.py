"""Decide which copies are read anew tonight at their targets, by the same rules as archives
(``policies/recheck_due.py``) and within what these left of the night's bytes.

That a copy was verified is a reading, too: of a disk that rots afterwards only another one tells.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from policies.copy_folders import folder_of
from policies.model import ArchiveCopy, CopyTarget, IntegrityRules, PveStorage
from policies.recheck_due import within


def readable(
    copies: Iterable[ArchiveCopy], targets: Iterable[CopyTarget]
) -> list[tuple[ArchiveCopy, CopyTarget]]:
    """Given copies and targets, return those copies that lie at one of them, with it: not those in
    storages of PVE, which are archives there and are read as such.
    """
    by_folder = {
        folder_of(target): target for target in targets if not isinstance(target.place, PveStorage)
    }
    return [
        (copy, by_folder[copy.route.folder]) for copy in copies if copy.route.folder in by_folder
    ]


def last_read(copy: ArchiveCopy) -> int:
    """Given a copy, return when its bytes were last read at its target (epoch seconds)."""
    return copy.verified_at if copy.checked_at is None else copy.checked_at


def is_due(copy: ArchiveCopy, rules: IntegrityRules, now: int, only: Collection[int] = ()) -> bool:
    """Given a copy and the guests whose copies count (() all), return whether it was not read for
    as long as the rules say, at ``now`` (epoch seconds).
    """
    if only and copy.route.vmid not in only:
        return False
    # a date in the future is no reading that anybody made: a clock was wrong then
    return not now - rules.every < last_read(copy) <= now


def due(
    copies: Iterable[ArchiveCopy],
    rules: IntegrityRules,
    now: int,
    *,
    left: int | None = None,
    only: Collection[int] = (),
    everything: bool = False,
) -> tuple[ArchiveCopy, ...]:
    """Given copies, return those whose turn it is at ``now`` (epoch seconds): the longest unread
    first, as many as fit into ``left`` bytes (None: the rules' whole budget) and ``MAX_A_NIGHT``,
    and one at least, so that no night of many archives keeps all copies from being read.

    ``only`` are the guests whose copies count, () all. ``everything``: all of them, whenever they
    were read, and whatever that takes.
    """
    wanted = [
        one
        for one in copies
        if is_due(one, rules, now, only) or (everything and (not only or one.route.vmid in only))
    ]
    wanted.sort(key=lambda one: (last_read(one), one.route.folder, one.file, one.route.archive))
    if everything:
        return tuple(wanted)
    return within(wanted, rules.budget if left is None else left)
