"""Guests that come up well and then die, or are reset again and again; restored copies of them
too.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from pvelab.errors import UsageError
from pvelab.faults import effects
from pvelab.kernel import Lab
from tests.unit.pvelab.faults.conftest import Break, struck
from tests.unit.pvelab.faults.test_sick_guests import copy_of
from tests.unit.pvelab.guests.conftest import HOME, Api
from tests.waiting import wait_until


def becomes(holds: Callable[[], bool]) -> bool:
    return bool(wait_until(holds))


def boot_id(api: Api, vmid: int) -> str:
    return str(
        api("GET", f"{HOME}/qemu/{vmid}/agent/file-read", file="/proc/sys/kernel/random/boot_id")[
            "content"
        ]
    )


def test_a_guest_that_dies_does_so_after_it_came_up_and_its_copy_as_well(
    api: Api, lab: Lab, broken: Break
) -> None:
    fault = broken("guest-dies", vmid=104, after=0.5)
    copy_of(api, 104)
    assert struck(lab, fault) == 1
    assert becomes(lambda: lab.machine_status(9000) == "stopped")
    assert api("GET", f"{HOME}/qemu/9000/status/current")["status"] == "stopped"


def test_a_guest_that_is_reset_keeps_its_process_and_has_one_boot_after_the_other(
    api: Api, lab: Lab, broken: Break
) -> None:
    fault = broken("guest-resets", vmid=104, every=0.3)
    copy_of(api, 104)
    assert struck(lab, fault) == 1
    pid, first = lab.machines[9000].pid, boot_id(api, 9000)
    seen = {first}
    assert becomes(lambda: len(seen | {boot_id(api, 9000)}) > 1)
    seen.add(boot_id(api, 9000))
    assert becomes(lambda: boot_id(api, 9000) not in seen)
    assert lab.machines[9000].pid == pid


def test_a_cleared_fault_leaves_the_running_guest_alone(api: Api, lab: Lab, broken: Break) -> None:
    broken("guest-resets", vmid=104, every=0.5)
    copy_of(api, 104)
    effects.clear(lab)
    time.sleep(0.2)  # the last look of its thread
    now = boot_id(api, 9000)
    time.sleep(1.2)
    assert boot_id(api, 9000) == now


def test_other_guests_are_left_alone(api: Api, lab: Lab, broken: Break) -> None:
    fault = broken("guest-dies", vmid=104, after=0.0)
    api.start(105)
    time.sleep(0.5)
    assert lab.machine_status(105) == "running" and struck(lab, fault) == 0


@pytest.mark.parametrize(
    ("kind", "options"), [("guest-dies", {"after": -1}), ("guest-resets", {"every": 0})]
)
def test_times_that_make_no_sense_are_refused(
    broken: Break, kind: str, options: dict[str, float]
) -> None:
    with pytest.raises(UsageError, match="out of range"):
        broken(kind, vmid=104, **options)
