"""The step ``boot`` of a copy that will never boot: it ends at once, and blames the archive only
for what the archive did.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from backupsvc.errors import OperationFailed, PveError
from backupsvc.operations.choosing import chosen
from backupsvc.operations.restore_test import proving, standstill
from backupsvc.pve.guests import GuestStatus
from policies import verdict
from policies.causes import Cause
from policies.model import Verdict
from policies.stillness import Reads
from tests.unit.operations.test_restore_test import PLACE, Steps, TestRun, described, site
from tests.unit.operations.worlds import World

__all__ = ["site"]
CONFIG = "boot: order=scsi0\nscsi0: local-lvm:vm-108-disk-0,size=1G\n"
MINUTE = 60
Tell = Callable[[], GuestStatus]


def status(state: str = "running", times: int = 1, each: int = 512) -> GuestStatus:
    return GuestStatus(
        "running", state, True, None, 60, pid=7, reads={"scsi0": Reads(times, times * each)}
    )


def booting(site: World, tell: Tell) -> Steps:
    """A copy that has a minute to boot, whose agent is asked and stays silent, and of which PVE
    tells this.
    """
    guest = replace(site.policy.guests[108], boot_timeout=MINUTE)
    site.policy = replace(site.policy, guests=MappingProxyType({108: guest}))
    site.pve = SimpleNamespace(
        agent=SimpleNamespace(ping=lambda node, vmid: False, port=lambda node, vmid: None),
        guests=SimpleNamespace(status=lambda node, vmid: tell()),
    )
    steps = Steps(site, scratch=PLACE, agent=True, config=CONFIG)
    steps.enter("boot")
    return steps


def waited(site: World, steps: Steps, seconds: int) -> TestRun:
    """Look at it every five seconds, as long as its step goes on."""
    for _ in range(seconds // 5):
        run = steps("boot")
        site.clock.sleep(5)
    return run


def judged(steps: Steps, error: OperationFailed) -> verdict.Judgement:
    """The verdict that follows when the step ends so."""
    steps.book(
        error=described("boot", error), seconds={"restore": 1.0, "isolate": 1.0, "start": 1.0}
    )
    run = steps.run()
    return verdict.decide(
        proving.evidence(run.memory, run.book, chosen(steps.site, run.memory.chosen))
    )


def test_a_copy_without_a_bootable_disk_has_failed_long_before_its_time_is_up(site: World) -> None:
    tries = itertools.count(1)
    steps = booting(site, lambda: status(times=next(tries)))
    with pytest.raises(
        OperationFailed, match="no sign of life: nothing boots from scsi0"
    ) as caught:
        waited(site, steps, MINUTE)
    found = judged(steps, caught.value)
    assert (found.verdict, found.cause) == (Verdict.FAILED, Cause.BOOT)


def test_a_copy_that_reads_on_is_waited_for_until_its_time_is_up_and_what_was_seen_is_said(
    site: World,
) -> None:
    reads = itertools.count(200)
    steps = booting(site, lambda: status(times=next(reads), each=4096))
    waited(site, steps, MINUTE)
    site.clock.sleep(5)
    with pytest.raises(
        OperationFailed, match=r"within 60 s: it has read \d+ bytes from its disks in \d+ reads"
    ):
        steps("boot")


@pytest.mark.parametrize("state", ["io-error", "internal-error"])
def test_law_5_a_machine_halted_from_outside_ends_the_test_and_costs_the_archive_nothing(
    site: World, state: str
) -> None:
    steps = booting(site, lambda: status(state))
    with pytest.raises(
        OperationFailed, match=f"does not run: its processor stands still, QEMU's state .* {state}"
    ) as caught:
        waited(site, steps, 30)
    assert "not to blame" in caught.value.hint
    found = judged(steps, caught.value)
    assert (found.verdict, found.cause) == (Verdict.INCONCLUSIVE, Cause.PLATFORM)


def test_law_5_a_copy_that_somebody_paused_is_waited_for_and_its_silence_is_no_sign_of_death(
    site: World,
) -> None:
    steps = booting(site, lambda: status("paused"))
    waited(site, steps, MINUTE)
    site.clock.sleep(5)
    with pytest.raises(OperationFailed, match="does not run") as caught:
        steps("boot")
    assert judged(steps, caught.value).verdict is Verdict.INCONCLUSIVE


def test_what_pve_does_not_tell_ends_nothing_before_its_time(site: World) -> None:
    def silent() -> Any:
        raise PveError("got timeout", status=500)

    steps = booting(site, silent)
    assert waited(site, steps, MINUTE - 5).memory.machine is None
    assert steps.answer is not None


def test_pve_is_asked_every_few_seconds_and_not_at_every_look(site: World) -> None:
    asked: list[int] = []

    def tell() -> GuestStatus:
        asked.append(1)
        return status(times=200, each=4096)

    steps = booting(site, tell)
    for _ in range(20):
        steps("boot")
        site.clock.sleep(0.5)
    assert len(asked) == 10 / standstill.EVERY
