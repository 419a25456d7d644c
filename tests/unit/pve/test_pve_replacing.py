"""Law 1, exception (b), against a PVE that answers: only the two guests of one replacement, and only
while what is seen of both allows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from backupsvc.errors import LawRefused, LeaseLost, PveError
from backupsvc.pve import Pve
from backupsvc.pve.replacing import Replacing
from policies.lineage import Identity
from policies.model import Scratch
from policies.pve.guest_config import pulled
from policies.replace_guard import Links, Power, Wiring
from tests.fakes.clock import SteppingClock
from tests.fakes.cluster import VirtualCluster
from tests.fakes.pve_server import FakePve
from tests.fakes.state import Said

UUID = "290b1b65-becf-51df-890a-91fbc016d743"
MAC = "bc:24:11:00:00:05"
NIC = f"virtio={MAC.upper()},bridge=vmbr0"
CONFIG = {"name": "web", "smbios1": f"uuid={UUID}", "net0": NIC, "onboot": "1"}
OLD, NEW, OTHER = 105, 205, 110
MACHINE, SCRATCH = Identity(UUID, macs=(MAC,)), Scratch(9000, 9099)
ACTS: list[Callable[[Replacing], object]] = [
    lambda one: one.start_new(),
    lambda one: one.shut_down_old(60),
    lambda one: one.stop_old(),
    lambda one: one.pull_old(),
    lambda one: one.connect_new(Wiring({"net0": NIC}, "1")),
    lambda one: one.pull_new(),
    lambda one: one.shut_down_new(60),
    lambda one: one.stop_new(),
    lambda one: one.return_old(Wiring({"net0": NIC}, "1")),
    lambda one: one.start_old(),
    lambda one: one.hold_old(),
    lambda one: one.hold_new(),
    lambda one: one.arm_old("started"),
]


def apart() -> dict[str, str]:
    return CONFIG | {"net0": pulled(NIC), "onboot": "0"}


class HaCluster(VirtualCluster):
    """A cluster whose HA may be told to leave a guest alone."""

    def answer(self, method: str, path: str, asked: Mapping[str, Any]) -> Said:
        if method == "PUT" and path.startswith("cluster/ha/resources/vm:"):
            assert set(asked) == {"state"}
            vmid = int(path.rpartition(":")[2])
            (self.ha_ignored.add if asked["state"] == "ignored" else self.ha_ignored.discard)(vmid)
            return Said(None, {})
        return super().answer(method, path, asked)


@pytest.fixture
def cluster(fake: FakePve, clock: SteppingClock) -> VirtualCluster:
    fake.cluster = HaCluster(clock, ("pve",), usual=0.0)
    return fake.cluster


@pytest.fixture
def world(cluster: VirtualCluster) -> VirtualCluster:
    cluster.add(OLD, CONFIG, running=True)
    cluster.add(NEW, apart())
    cluster.add(OTHER, CONFIG | {"name": "other"}, running=True)
    return cluster


def pair(pve: Pve, holds: Callable[[], None] = lambda: None) -> Replacing:
    return pve.replacing(SCRATCH, OLD, NEW, MACHINE, holds)


def test_law_2_the_switch_and_its_way_back_in_their_order(world: VirtualCluster, pve: Pve) -> None:
    both, was = pair(pve), Wiring({"net0": NIC}, "1")
    both.start_new()
    both.shut_down_old(60)
    both.pull_old()
    assert both.old().side.links is Links.DOWN
    both.connect_new(was)
    assert world.running_guests() == {NEW, OTHER}
    assert world.guests[NEW].config == CONFIG and world.guests[OLD].config == apart()
    both.pull_new()
    both.shut_down_new(60)
    both.return_old(was)
    both.start_old()
    assert world.running_guests() == {OLD, OTHER}
    assert world.guests[OLD].config == CONFIG and world.guests[NEW].config == apart()


def test_law_2_while_the_old_guest_runs_the_new_one_gets_no_link(
    world: VirtualCluster, pve: Pve, fake: FakePve
) -> None:
    both = pair(pve)
    for act in (ACTS[4], ACTS[3]):
        with pytest.raises(LawRefused):
            act(both)
    world.guests[OLD].running = False
    with pytest.raises(LawRefused, match="its links are up"):
        ACTS[4](both)
    assert fake.changes() == []


def test_law_2_a_link_that_waits_for_the_next_start_counts_as_it_is_now(
    world: VirtualCluster, pve: Pve
) -> None:
    new = world.guests[NEW]
    new.running, new.config, new.later = True, CONFIG, {"net0": pulled(NIC)}
    assert pair(pve).new().side.links is Links.UP


@pytest.mark.parametrize("act", ACTS)
def test_law_9_nothing_is_done_once_another_process_drives_the_operation(
    world: VirtualCluster, pve: Pve, fake: FakePve, act: Callable[[Replacing], object]
) -> None:
    def lost() -> None:
        raise LeaseLost("another drives it", "")

    for running in (True, False):
        world.guests[OLD].running, world.guests[NEW].running = running, not running
        for old, new in ((CONFIG, apart()), (apart(), CONFIG), (apart(), apart())):
            world.guests[OLD].config, world.guests[NEW].config = dict(old), dict(new)
            with pytest.raises((LeaseLost, LawRefused)):
                act(pair(pve, lost))
    assert fake.changes() == []


@pytest.mark.parametrize("act", ACTS)
def test_law_10_what_is_another_machine_by_now_or_gone_is_left_alone(
    world: VirtualCluster, pve: Pve, fake: FakePve, act: Callable[[Replacing], object]
) -> None:
    another = CONFIG | {"smbios1": "uuid=11111111-1111-4111-8111-111111111111"}
    for config in (another, another | {"net0": NIC.replace("05", "06")}, {"memory": "128"}):
        for vmid in (OLD, NEW):
            world.guests[vmid].config = dict(config)
        with pytest.raises(LawRefused):
            act(pair(pve))
    del world.guests[OLD], world.guests[NEW]
    with pytest.raises(LawRefused):
        act(pair(pve))
    assert fake.changes() == []


def test_law_1_one_that_ha_manages_is_not_switched(
    world: VirtualCluster, pve: Pve, fake: FakePve
) -> None:
    world.guests[NEW].running = True
    world.ha.add(OLD)
    with pytest.raises(LawRefused, match="HA manages it"):
        pair(pve).shut_down_old(60)
    assert fake.changes() == []
    # while HA is disarmed a guest's own state calls it unmanaged: armed again, HA takes it over
    world.tells_ha = False
    with pytest.raises(LawRefused, match="HA manages it"):
        pair(pve).shut_down_old(60)


def test_law_1_ha_is_told_to_leave_the_old_guest_alone_and_gets_it_back(
    world: VirtualCluster, pve: Pve
) -> None:
    both = pair(pve)
    world.ha |= {OLD, OTHER}
    both.start_new()
    both.hold_old()
    assert world.ha_ignored == {OLD} and not both.old().side.managed
    both.shut_down_old(60)
    both.pull_old()
    both.connect_new(Wiring({"net0": NIC}, "1"))
    both.require_arming()
    world.ha.add(NEW)
    with pytest.raises(LawRefused, match="links are up"):
        both.arm_old("started")
    both.pull_new()
    with pytest.raises(LawRefused, match="HA manages the new guest"):
        both.arm_old("started")
    both.hold_new()
    both.arm_old("started")
    assert world.ha_ignored == {NEW} and both.old().ha == "started"


def test_law_2_ha_does_not_get_the_new_guest_while_the_old_one_may_come_onto_the_network(
    world: VirtualCluster, pve: Pve
) -> None:
    world.guests[NEW].running = True
    for running, config in ((True, CONFIG), (True, apart()), (False, CONFIG)):
        world.guests[OLD].running, world.guests[OLD].config = running, dict(config)
        with pytest.raises(LawRefused, match="let HA manage the new guest is refused"):
            pair(pve).require_arming()


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ({"manager_status": {"service_status": {f"vm:{OLD}": {"state": "started"}}}}, True),
        ({"manager_status": {"service_status": {f"vm:{NEW}": {"state": "started"}}}}, False),
        ({"manager_status": {"node_status": {}}}, False),
        ({}, False),
    ],
)
def test_ha_has_let_go_of_a_guest_when_its_manager_names_it_no_more(
    world: VirtualCluster, pve: Pve, fake: FakePve, told: dict[str, Any], found: bool
) -> None:
    fake.on("GET", "/cluster/ha/status/manager_status", told)
    assert pve.ha.in_hand(f"vm:{OLD}") is found


def test_law_1_a_copy_or_one_guest_alone_or_a_machine_that_nothing_tells_is_no_pair(
    pve: Pve,
) -> None:
    for old, new, machine in (
        (OLD, OLD, MACHINE),
        (9001, NEW, MACHINE),
        (OLD, 9001, MACHINE),
        (OLD, NEW, Identity(None, macs=(MAC,))),
    ):
        with pytest.raises(LawRefused):
            pve.replacing(SCRATCH, old, new, machine, lambda: None)


def test_one_that_is_only_switched_off_in_the_list_of_this_token_is_not_taken_for_gone(
    world: VirtualCluster, pve: Pve, fake: FakePve
) -> None:
    fake.on("GET", "/cluster/resources", [])
    with pytest.raises(PveError, match="cannot be seen"):
        pair(pve).look()


def test_what_is_as_it_should_be_is_not_written_again(
    world: VirtualCluster, pve: Pve, fake: FakePve
) -> None:
    pair(pve).pull_new()
    assert pair(pve).look().new.side.power is Power.STOPPED
    assert fake.changes() == []
