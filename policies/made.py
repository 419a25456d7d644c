"""Find the archive that our dump made: PVE's own task log names it; an archive's notes may have
been written by anybody.

Whoever may edit notes can copy those of our archive to another one, or empty ours; and beside our
dump PVE's job, a person or a copying tool may put archives of the same guest there. So notes are
asked only where the log is lost (its node died, say).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from policies.external_backups import OURS
from policies.model import Archive
from policies.pve.volid import file_of


def made(
    listed: Iterable[Archive],
    *,
    before: Collection[str],
    begun: Collection[str],
    since: int,
    operation: str,
) -> Archive | None:
    """Given a guest's archives, return the one that our task made, None if it is not there with a
    size.

    ``before`` are the volids that were listed before the task, ``begun`` the names that its log
    gives, ``since`` when it began (epoch seconds, by the node's clock, as the time in an archive's
    name). Where no log names it, it is the first that was made
    since then and names this operation, or none: a node dumps one guest at a time, so others come
    later.
    """
    fresh = [one for one in listed if one.volid not in before and one.size > 0]
    if begun:
        return next((one for one in fresh if file_of(one.volid) in begun), None)
    later = [one for one in fresh if one.ctime >= since]
    # a note of another operation's tells whose it is; one without any may have lost it
    ours = [one for one in later if one.notes.rpartition(" ")[2] == operation]
    unnamed = [one for one in later if OURS not in one.notes]
    return min(ours or unnamed, key=lambda one: one.ctime, default=None)
