"""Law 2 at each look: who else hangs on the bridge, by the guests' configs and by the node's own
kernel.
"""

from __future__ import annotations

import pytest

from backupsvc.errors import LawRefused
from backupsvc.pve import Pve
from backupsvc.pve.scratch import ScratchGuests
from policies.attached import Kernel
from policies.model import Scratch
from tests.fakes.clock import SteppingClock
from tests.fakes.cluster import VirtualCluster
from tests.fakes.made import OPERATION, copy_of
from tests.fakes.pve_server import FakePve, refuse

RANGE = Scratch(9000, 9099, bridge="vmbr9")
FIREWALL = {"name": "pfsense", "net0": "virtio,bridge=vmbr0", "net1": "virtio,bridge=vmbr9"}


@pytest.fixture
def world(cluster: VirtualCluster) -> VirtualCluster:
    cluster.add(9001, copy_of(9001))
    return cluster


@pytest.fixture
def copies(pve: Pve) -> ScratchGuests:
    return pve.scratch(RANGE, {9001: OPERATION}.get)


def test_law_2_no_copy_starts_beside_a_guest_of_somebody_else(
    world: VirtualCluster, fake: FakePve, copies: ScratchGuests
) -> None:
    world.add(105, FIREWALL, running=True)
    with pytest.raises(
        LawRefused, match=r"guest 105 \(pfsense\) on pve is on bridge vmbr9 too, by its net1"
    ) as caught:
        copies.start("pve", 9001, OPERATION, network="isolated")
    assert caught.value.law == 2 and caught.value.exit_code == 4 and fake.changes() == []


def test_law_2_a_guest_that_will_be_on_the_bridge_at_its_next_start_is_there_already(
    world: VirtualCluster, copies: ScratchGuests
) -> None:
    world.add(105, {"name": "x", "net0": "virtio,bridge=vmbr0"}, running=True)
    world.guests[105].later = {"net0": "virtio,bridge=vmbr9"}
    with pytest.raises(LawRefused, match="guest 105"):
        copies.require_bridge("pve", "isolated")


def test_law_2_before_the_start_every_config_is_read_anew(
    world: VirtualCluster, copies: ScratchGuests
) -> None:
    world.add(105, {"name": "x", "net0": "virtio,bridge=vmbr0"})
    copies.require_bridge("pve", "isolated")
    world.guests[105].config["net0"] = "virtio,bridge=vmbr9"
    with pytest.raises(LawRefused, match="guest 105"):
        copies.start("pve", 9001, OPERATION, network="isolated")


def test_law_2_a_guest_that_came_is_read_at_once_and_one_that_was_there_not_again(
    world: VirtualCluster, fake: FakePve, copies: ScratchGuests
) -> None:
    world.add(105, {"name": "x", "net0": "virtio,bridge=vmbr0"})
    copies.require_bridge("pve", "isolated")
    copies.require_bridge("pve", "isolated")
    assert len(fake.sent("GET", "/nodes/pve/qemu/105/pending")) == 1
    world.add(106, FIREWALL)
    with pytest.raises(LawRefused, match="guest 106"):
        copies.require_bridge("pve", "isolated")


def test_an_answer_grows_old(
    world: VirtualCluster, fake: FakePve, copies: ScratchGuests, clock: SteppingClock
) -> None:
    copies.require_bridge("pve", "isolated")
    clock.sleep(301)
    copies.require_bridge("pve", "isolated")
    assert len(fake.sent("GET", "/nodes/pve/qemu/9001/pending")) == 2


def test_law_2_a_container_counts_by_what_it_is_and_by_what_it_will_be(
    world: VirtualCluster, fake: FakePve, copies: ScratchGuests
) -> None:
    rows = [{"type": "lxc", "vmid": 200, "node": "pve", "name": "router"}]
    fake.on("GET", "/cluster/resources", rows)
    fake.on(
        "GET",
        "/nodes/pve/lxc/200/config",
        lambda request: {"net0": f"name=e,bridge=vmbr{9 if request.params else 0}"},
    )
    with pytest.raises(LawRefused, match="guest 200"):
        copies.require_bridge("pve", "isolated")


def test_a_guest_that_goes_in_between_is_nobody(
    world: VirtualCluster, fake: FakePve, copies: ScratchGuests
) -> None:
    fake.on("GET", "/cluster/resources", [{"type": "qemu", "vmid": 7, "node": "pve"}])
    fake.on(
        "GET",
        "/nodes/pve/qemu/7/pending",
        refuse(500, "Configuration file 'nodes/pve/qemu-server/7.conf' does not exist"),
    )
    assert copies.require_bridge("pve", "isolated") == ()


def test_law_2_a_probe_may_be_there_if_the_settings_name_it(
    world: VirtualCluster, pve: Pve, copies: ScratchGuests
) -> None:
    world.add(700, {"name": "probe", "net0": "virtio,bridge=vmbr9"}, running=True)
    with pytest.raises(LawRefused, match="guest 700"):
        copies.require_bridge("pve", "isolated")
    pve.probes = {700}
    assert copies.require_bridge("pve", "isolated") == ()


@pytest.mark.parametrize(
    "kernel", [Kernel(("tap9001i0", "eno2")), Kernel(("tap105i0",)), Kernel((), missing=True)]
)
def test_law_2_where_the_kernel_was_asked_its_word_decides(
    world: VirtualCluster, fake: FakePve, pve: Pve, copies: ScratchGuests, kernel: Kernel
) -> None:
    pve.kernel = lambda node, bridge: kernel
    with pytest.raises(LawRefused, match="kernel of pve"):
        copies.start("pve", 9001, OPERATION, network="isolated")
    assert fake.changes() == []


def test_a_kernel_that_cannot_be_asked_leaves_pves_word_and_says_so(
    world: VirtualCluster, pve: Pve, copies: ScratchGuests
) -> None:
    pve.kernel = lambda node, bridge: Kernel(None, "the kernel of pve could not be asked")
    assert copies.require_bridge("pve", "isolated") == ("the kernel of pve could not be asked",)


def test_law_2_without_the_right_to_see_every_guest_nothing_starts(
    world: VirtualCluster, copies: ScratchGuests
) -> None:
    world.permissions = {"/": {"Sys.Audit": 1}}
    with pytest.raises(LawRefused, match=r"VM\.Audit on /vms"):
        copies.start("pve", 9001, OPERATION, network="isolated")
