"""Key kits: when somebody last showed that the encrypted copies at a target can be read again.

A key that nobody has used since it was made may be lost, mistyped on its sheet of paper, or another
target's: copies that cannot be decrypted are none.
"""

from __future__ import annotations

from collections.abc import Iterable

from policies.age_keys import fingerprint
from policies.copy_folders import folder_of
from policies.model import CopyTarget, Rehearsal

QUARTER = 92 * 86400  # seconds for which a rehearsal counts


def last_rehearsal(target: CopyTarget, rehearsals: Iterable[Rehearsal]) -> Rehearsal | None:
    """Given a target and what was rehearsed, return its newest rehearsal with a key that copies
    there are encrypted to now, None if there is none.
    """
    keys = {fingerprint(one) for one in target.recipients}
    mine = [one for one in rehearsals if one.folder == folder_of(target) and one.key in keys]
    return max(mine, key=lambda one: one.at, default=None)


def is_current(rehearsal: Rehearsal | None, now: int) -> bool:
    """Given a target's last rehearsal and the time (epoch seconds), return whether it still
    counts.
    """
    return rehearsal is not None and 0 <= now - rehearsal.at < QUARTER
