"""Law 1, exception (a): what may be destroyed under a production VMID."""

from __future__ import annotations

import itertools

import pytest

from policies.stubs import refusal

STUB = {"memory": "128", "digest": "d80c"}


@pytest.mark.parametrize(
    "left", [STUB, {"digest": "da39"}, {"memory": "128", "lock": "create", "digest": "d80c"}]
)
def test_law_1_the_rest_of_our_own_failed_restore_may_go(left: dict[str, str]) -> None:
    assert refusal(105, left, ours=True, failed=True, running=False, volumes=()) is None


@pytest.mark.parametrize("key", ["scsi0", "net0", "name", "description", "unused0", "vmgenid"])
def test_law_1_a_config_with_anything_of_its_own_stays(key: str) -> None:
    why = refusal(
        105, STUB | {"lock": "create", key: "x"}, ours=True, failed=True, running=False, volumes=()
    )
    assert why and why.endswith(f"leaves: {key}")


@pytest.mark.parametrize(
    ("ours", "failed", "running", "empty"), itertools.product([True, False], repeat=4)
)
def test_law_1_every_condition_is_needed(
    ours: bool, failed: bool, running: bool, empty: bool
) -> None:
    volumes = () if empty else ("local-lvm:vm-105-disk-0",)
    allowed = refusal(105, STUB, ours=ours, failed=failed, running=running, volumes=volumes) is None
    assert allowed == (ours and failed and not running and empty)
