"""A cluster whose time is moved by hand, and its fixtures."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from pvelab import simulated
from pvelab.clock import ClusterClock
from pvelab.guests import power
from pvelab.images.site import GUESTS
from pvelab.kernel import Lab
from pvelab.seed import disk_path
from tests.unit.pvelab.server.conftest import Client, client, lab, nobody, service

__all__ = ["Client", "client", "lab", "nobody", "service"]


@dataclass
class Hand:
    """The hand on the clock."""

    at: float = 0.0
    clock: ClusterClock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = ClusterClock(source=lambda: self.at)


@pytest.fixture
def hand(lab: Lab) -> Hand:
    moved = Hand()
    lab.clock = moved.clock
    return moved


@pytest.fixture
def running(lab: Lab, hand: Hand) -> Lab:
    """The site with guests 100 and 108 switched on, and the disks of both."""
    for guest in GUESTS:
        if guest.vmid in (100, 108):
            for key in guest.disks:
                simulated.make_disk(disk_path(lab, guest, key), 1024 * 1024, guest.name)
            switch_on(lab, guest.vmid)
    return lab


def switch_on(lab: Lab, vmid: int, node: str = "clovis") -> None:
    """Start a guest as PVE does."""
    upid = lab.tasks.spawn(
        node, "qmstart", str(vmid), "root@pam", lambda log: power.start(lab, node, vmid, log)
    )
    assert lab.tasks.wait(upid) == "OK"
