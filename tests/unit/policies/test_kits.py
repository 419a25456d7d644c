"""When a key was last shown to open the copies of a target, and for how long that counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policies.age_keys import fingerprint
from policies.kits import QUARTER, is_current, last_rehearsal
from policies.model import CopyTarget, Directory, Rehearsal

TARGET = CopyTarget("usb", Directory("/mnt/usb"), recipients=("age1a", "age1b"))
DONE = Rehearsal(
    "usb", "/mnt/usb", 1000, 108, "local:backup/x", "x", 1, "ab", fingerprint("age1a"), 1.5
)


def test_the_newest_with_a_key_of_the_policy_at_that_folder_counts() -> None:
    newer = replace(DONE, at=2000, key=fingerprint("age1b"))
    assert last_rehearsal(TARGET, [newer, DONE]) == newer
    assert last_rehearsal(TARGET, []) is None
    assert last_rehearsal(TARGET, [replace(DONE, folder="/elsewhere")]) is None
    # a key that was taken out of the policy opens nothing that is copied from now on
    assert last_rehearsal(TARGET, [replace(DONE, key=fingerprint("age1gone"))]) is None
    assert last_rehearsal(replace(TARGET, recipients=()), [DONE]) is None


@pytest.mark.parametrize(
    ("now", "counts"),
    [(999, False), (1000, True), (999 + QUARTER, True), (1000 + QUARTER, False)],
)
def test_it_counts_for_a_quarter_and_not_from_the_future(now: int, counts: bool) -> None:
    assert is_current(DONE, now) is counts and not is_current(None, now)
