"""Guests that come up well and do not stay so: their process ends, or somebody presses the reset
button again and again.

Both are counted from the moment at which the guest's console says that it is up, so that they do
not depend on how long it boots.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pvelab.faults.model import Fault
from pvelab.vmm.accel import READY
from pvelab.vmm.qmp import QemuError

if TYPE_CHECKING:
    from pvelab.kernel import Lab, Machine

_LOOK = 0.1  # seconds between two looks at a console


def haunt(lab: Lab, machine: Machine) -> None:
    """Given a machine that was just switched on, let the faults have it that strike after its
    boot.
    """
    for kind in ("guest-dies", "guest-resets"):
        if fault := lab.faults.strike(kind, uuid=machine.spec.uuid, vmid=machine.spec.vmid):
            thread = threading.Thread(
                target=_strike,
                args=(lab, machine, fault),
                name=f"{kind} {machine.spec.vmid}",
                daemon=True,
            )
            thread.start()


def _strike(lab: Lab, machine: Machine, fault: Fault) -> None:
    """Wait until the guest is up, then end its process once, or press its reset button again and
    again.
    """
    if not _until(lab, machine, fault, lambda: READY in machine.console()):
        return
    if fault.kind == "guest-dies":
        if _goes_on(lab, machine, fault, float(fault["after"])):
            machine.stop()
        return
    with contextlib.suppress(QemuError):  # it was switched off in this moment
        while _goes_on(lab, machine, fault, float(fault["every"])):
            machine.reset()


def _goes_on(lab: Lab, machine: Machine, fault: Fault, seconds: float) -> bool:
    end = time.monotonic() + seconds
    return _until(lab, machine, fault, lambda: time.monotonic() >= end)


def _until(lab: Lab, machine: Machine, fault: Fault, holds: Callable[[], bool]) -> bool:
    """Wait for something; return False when the machine went off, or the fault was cleared,
    before.
    """
    while lab.faults.is_set(fault) and machine.pid is not None:
        if holds():
            return True
        time.sleep(_LOOK)
    return False
