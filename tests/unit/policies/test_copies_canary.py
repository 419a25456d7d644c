"""What was tried at an immutable target: it held only if it withstood both."""

from __future__ import annotations

import pytest

from policies.model import Canary


@pytest.mark.parametrize(
    ("overwritten", "deleted", "held"),
    [(False, False, True), (True, False, False), (False, True, False), (True, True, False)],
)
def test_a_target_held_if_nothing_was_overwritten_and_nothing_deleted(
    overwritten: bool, deleted: bool, held: bool
) -> None:
    assert Canary("usb", "/usb", 1, overwritten, deleted, "refused").held is held
