"""Laws 1 and 2, at the moment of each effect, against a PVE that answers and counts what it was
told to do.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from backupsvc.errors import LawRefused, PveError, PveUnreachable
from backupsvc.pve import Pve
from backupsvc.pve.scratch import ScratchGuests, gone
from policies import ownership
from policies.model import Scratch
from tests.fakes.cluster import VirtualCluster
from tests.fakes.made import ISOLATED, OPERATION, copy_of
from tests.fakes.pve_server import FakePve, Reply, refuse
from tests.fakes.state import TOKEN_ID

RANGE = Scratch(9000, 9099, bridge="vmbr9")
BROKEN = "command 'set -o pipefail && zstd -q -d -c x | vma extract' failed: exit code 133"


@pytest.fixture
def world(cluster: VirtualCluster) -> VirtualCluster:
    return cluster


@pytest.fixture
def leases() -> dict[int, str]:
    return {9001: OPERATION}


@pytest.fixture
def copies(pve: Pve, leases: dict[int, str]) -> ScratchGuests:
    return pve.scratch(RANGE, leases.get)


Effect = Callable[[ScratchGuests, int], object]
EFFECTS: dict[str, Effect] = {
    "apply_strip": lambda copies, vmid: copies.apply_strip("pve", vmid, OPERATION, ["onboot"]),
    "start": lambda copies, vmid: copies.start("pve", vmid, OPERATION, network="isolated"),
    "stop": lambda copies, vmid: copies.stop("pve", vmid, OPERATION),
    "destroy": lambda copies, vmid: copies.destroy("pve", vmid, OPERATION),
}
every_effect = pytest.mark.parametrize("effect", EFFECTS.values(), ids=EFFECTS.keys())


@every_effect
def test_law_1_a_guest_outside_the_scratch_range_is_never_touched(
    world: VirtualCluster, fake: FakePve, pve: Pve, leases: dict[int, str], effect: Effect
) -> None:
    world.add(108, copy_of(108), running=True)  # even with our marker, and a lease by mistake
    leases[108] = OPERATION
    with pytest.raises(LawRefused) as caught:
        effect(pve.scratch(RANGE, leases.get), 108)
    assert caught.value.law == 1 and fake.changes() == [] and world.running_guests() == {108}


@every_effect
def test_law_1_a_guest_without_this_operations_marker_is_never_touched(
    world: VirtualCluster, fake: FakePve, copies: ScratchGuests, effect: Effect
) -> None:
    world.add(9001, copy_of(9001, "01JOTHER"), running=True)
    with pytest.raises(LawRefused, match="marker") as caught:
        effect(copies, 9001)
    assert caught.value.law == 1 and caught.value.hint and fake.changes() == []


@every_effect
@pytest.mark.parametrize("holder", [None, "01JOTHER"])
def test_law_1_a_guest_whose_vmid_is_not_leased_to_us_is_never_touched(
    world: VirtualCluster, fake: FakePve, pve: Pve, effect: Effect, holder: str | None
) -> None:
    world.add(9001, copy_of(9001), running=True)
    with pytest.raises(LawRefused, match="lease") as caught:
        effect(pve.scratch(RANGE, lambda vmid: holder), 9001)
    assert caught.value.law == 1 and fake.changes() == []


def test_law_1_a_guest_that_becomes_another_while_it_is_stopped_is_not_destroyed(
    world: VirtualCluster, fake: FakePve, copies: ScratchGuests
) -> None:
    world.add(9001, copy_of(9001), running=True)
    reads = count(1)

    def become_another(vmid: int) -> None:
        if next(reads) == 2:
            theirs = {"name": "somebody-elses", "scsi0": "local-lvm:vm-9001-disk-0"}
            world.guests[vmid].config = theirs

    world.on_read = become_another
    copies.stop("pve", 9001, OPERATION)
    with pytest.raises(LawRefused):
        copies.destroy("pve", 9001, OPERATION)
    assert fake.changes() == [("POST", "/nodes/pve/qemu/9001/status/stop")]
    assert 9001 in world.guests


def test_law_1_the_lease_is_asked_for_at_each_effect_and_not_remembered(
    world: VirtualCluster, pve: Pve
) -> None:
    world.add(9001, copy_of(9001), running=True)
    holders = iter([OPERATION, "01JOTHER"])
    ours = pve.scratch(RANGE, lambda vmid: next(holders))
    ours.stop("pve", 9001, OPERATION)
    with pytest.raises(LawRefused, match="01JOTHER"):
        ours.destroy("pve", 9001, OPERATION)
    assert 9001 in world.guests


def test_our_copy_is_stopped_and_destroyed_with_all_its_disks(
    world: VirtualCluster, fake: FakePve, copies: ScratchGuests
) -> None:
    world.add(9001, copy_of(9001), running=True)
    copies.stop("pve", 9001, OPERATION)
    upid = copies.destroy("pve", 9001, OPERATION)
    assert upid is not None and ":qmdestroy:9001:" in upid
    assert fake.changes() == [
        ("POST", "/nodes/pve/qemu/9001/status/stop"),
        ("DELETE", "/nodes/pve/qemu/9001"),
    ]
    assert fake.sent("DELETE", "/nodes/pve/qemu/9001") == [
        {"purge": "1", "destroy-unreferenced-disks": "1"}
    ]
    assert world.guests == {}


def test_a_copy_that_does_not_run_is_destroyed_without_a_stop(
    world: VirtualCluster, fake: FakePve, copies: ScratchGuests
) -> None:
    world.add(9001, copy_of(9001))
    assert copies.stop("pve", 9001, OPERATION) is None
    assert copies.destroy("pve", 9001, OPERATION)
    assert fake.changes() == [("DELETE", "/nodes/pve/qemu/9001")]


def test_a_copy_that_is_gone_is_done(
    world: VirtualCluster, fake: FakePve, copies: ScratchGuests
) -> None:
    world.add(9001, copy_of(9001))
    world.guests.clear()
    assert copies.stop("pve", 9001, OPERATION) is None
    assert copies.destroy("pve", 9001, OPERATION) is None
    assert fake.changes() == []


@pytest.mark.parametrize(
    "reply",
    [
        refuse(500, "storage 'nas' does not exist"),
        refuse(
            500,
            "hostname lookup 'pve' failed - failed to get address info for: pve: Name or service "
            "not known",
        ),
        Reply(status=595, reason="No route to host", raw=""),
    ],
)
def test_only_pves_word_that_the_guest_is_gone_counts_as_gone(
    fake: FakePve, copies: ScratchGuests, reply: Reply
) -> None:
    fake.on("GET", "/nodes/pve/qemu/9001/config", reply)
    with pytest.raises((PveError, PveUnreachable)):
        copies.destroy("pve", 9001, OPERATION)


def test_a_copy_that_runs_is_not_destroyed_by_pve_itself(
    world: VirtualCluster, copies: ScratchGuests
) -> None:
    world.add(9001, copy_of(9001), running=True)
    with pytest.raises(PveError, match="is running - destroy failed"):
        copies.destroy("pve", 9001, OPERATION)


def test_a_task_that_found_no_guest_to_destroy_is_told_from_one_that_failed() -> None:
    assert gone("Configuration file 'nodes/pve/qemu-server/9001.conf' does not exist")
    assert not gone("lvremove 'pve/vm-9001-disk-0' error: in use")
    assert not gone("storage 'nas' does not exist")


def test_law_2_a_copy_that_meets_nobody_is_started(
    world: VirtualCluster, copies: ScratchGuests
) -> None:
    world.add(9001, copy_of(9001))
    assert ":qmstart:9001:" in copies.start("pve", 9001, OPERATION, network="isolated")
    assert world.running_guests() == {9001}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"net0": "virtio=BC:24:11:00:00:08,bridge=vmbr0"}, "net0"),
        ({"net1": "virtio=BC:24:11:00:01:08,bridge=vmbr0,tag=20"}, "net1"),
        ({"net7": "e1000=BC:24:11:00:01:08,bridge=vmbr0"}, "net7"),
        ({"onboot": "1"}, "onboot"),
        ({"hostpci0": "0000:01:00.0"}, "passthrough"),
        ({"usb0": "host=1234:5678"}, "passthrough"),
        ({"hookscript": "local:snippets/x.pl"}, "hookscript"),
        ({"args": "-netdev tap"}, "args"),
        ({"ide2": "local:iso/prod.iso,media=cdrom"}, "media"),
        ({"scsi1": "local-lvm:vm-108-disk-1,size=2G"}, "disks"),
        ({"lock": "backup"}, "lock"),
        ({"template": "1"}, "template"),
    ],
)
def test_law_2_a_copy_that_could_meet_production_is_not_started(
    world: VirtualCluster, fake: FakePve, copies: ScratchGuests, changes: dict[str, str], named: str
) -> None:
    world.add(9001, copy_of(9001, **changes))
    with pytest.raises(LawRefused, match=named) as caught:
        copies.start("pve", 9001, OPERATION, network="isolated")
    assert caught.value.law == 2 and fake.changes() == [] and world.running_guests() == set()


@pytest.mark.parametrize(
    ("bridge", "said"),
    [
        ({"bridge_ports": "eno1"}, "ports eno1"),
        ({"type": "OVSBridge", "ovs_ports": "eno1"}, "ports eno1"),
        ({"cidr": "10.0.0.1/24", "address": "10.0.0.1", "method": "static"}, "address"),
        ({"address6": "fd00::1", "method6": "static"}, "fd00::1"),
        ({"method": "dhcp"}, "dhcp"),
        ({"active": 0}, "not active"),
        ({"iface": "vmbr8"}, "no bridge vmbr9"),
        ({"type": "vnet"}, "vnet"),
    ],
)
def test_law_2_no_copy_is_started_on_a_bridge_that_its_node_does_not_call_isolated(
    world: VirtualCluster, fake: FakePve, copies: ScratchGuests, bridge: dict[str, Any], said: str
) -> None:
    world.add(9001, copy_of(9001))
    world.network[0] |= bridge
    with pytest.raises(LawRefused, match=said) as caught:
        copies.start("pve", 9001, OPERATION, network="isolated")
    assert (caught.value.law, caught.value.exit_code) == (2, 4)
    assert fake.changes() == [] and world.running_guests() == set()


@pytest.mark.parametrize(
    "other",
    [
        {"iface": "vmbr9.10", "type": "vlan", "vlan-raw-device": "vmbr9"},
        {"iface": "lab", "type": "vlan", "vlan-raw-device": "vmbr9"},
        {"iface": "bond0", "type": "bond", "slaves": "eno1 vmbr9"},
        {"iface": "vmbr0", "type": "bridge", "bridge_ports": "eno1 vmbr9.10"},
        {"iface": "leg", "type": "OVSIntPort", "ovs_bridge": "vmbr9"},
    ],
)
def test_law_2_no_copy_is_started_on_a_bridge_that_something_is_stacked_on(
    world: VirtualCluster, copies: ScratchGuests, other: dict[str, Any]
) -> None:
    world.add(9001, copy_of(9001))
    world.network.append(other)
    with pytest.raises(LawRefused, match=rf"stacked.*{other['iface']}"):
        copies.start("pve", 9001, OPERATION, network="isolated")
    assert world.running_guests() == set()


def test_law_2_a_network_with_pending_changes_is_not_believed(
    world: VirtualCluster, copies: ScratchGuests
) -> None:
    world.add(9001, copy_of(9001))
    world.network_changes = (
        "--- /etc/network/interfaces\n+++ /etc/network/interfaces.new\n-\tbridge-ports eno1\n"
    )
    with pytest.raises(LawRefused, match="pending changes"):
        copies.start("pve", 9001, OPERATION, network="isolated")
    assert world.running_guests() == set()


def test_law_2_what_a_token_without_sys_audit_sees_of_a_network_is_not_believed(
    world: VirtualCluster, copies: ScratchGuests
) -> None:
    world.add(9001, copy_of(9001))
    world.permissions = {"/vms": {"VM.Audit": 1}}
    with pytest.raises(LawRefused, match=r"Sys\.Audit"):
        copies.start("pve", 9001, OPERATION, network="isolated")
    assert world.running_guests() == set()


def test_law_2_the_bridge_is_asked_at_each_start_and_not_remembered(
    world: VirtualCluster, copies: ScratchGuests
) -> None:
    world.add(9001, copy_of(9001))
    copies.require_bridge("pve", "isolated")
    world.network[0]["bridge_ports"] = "eno1"
    with pytest.raises(LawRefused, match="eno1"):
        copies.start("pve", 9001, OPERATION, network="isolated")
    assert world.running_guests() == set()


def test_copies_whose_links_are_down_need_no_isolated_bridge(
    world: VirtualCluster, copies: ScratchGuests
) -> None:
    world.add(9001, copy_of(9001, net0=f"{ISOLATED},link_down=1"))
    world.network[0] |= {"bridge_ports": "eno1"}
    assert copies.start("pve", 9001, OPERATION, network="link-down")


def test_law_2_link_down_means_every_link_down(
    world: VirtualCluster, copies: ScratchGuests
) -> None:
    world.add(9001, copy_of(9001))
    with pytest.raises(LawRefused, match="link down"):
        copies.start("pve", 9001, OPERATION, network="link-down")
    world.guests[9001].config["net0"] += ",link_down=1"
    assert copies.start("pve", 9001, OPERATION, network="link-down")


@pytest.mark.parametrize("hidden", [False, True])
def test_law_2_a_copy_that_ha_manages_is_not_started_however_pve_tells_it(
    world: VirtualCluster, copies: ScratchGuests, hidden: bool
) -> None:
    world.add(9001, copy_of(9001))
    world.ha, world.tells_ha = {9001}, not hidden
    with pytest.raises(LawRefused, match="HA"):
        copies.start("pve", 9001, OPERATION, network="isolated")
    assert world.running_guests() == set()


def test_law_2_what_counts_is_the_config_at_that_moment(
    world: VirtualCluster, copies: ScratchGuests
) -> None:
    world.add(9001, copy_of(9001, onboot="1"))
    with pytest.raises(LawRefused):
        copies.start("pve", 9001, OPERATION, network="isolated")
    copies.apply_strip("pve", 9001, OPERATION, ["onboot"])
    assert copies.start("pve", 9001, OPERATION, network="isolated")


def test_stripping_deletes_the_keys_of_the_config_that_was_read(
    world: VirtualCluster, fake: FakePve, copies: ScratchGuests
) -> None:
    world.add(9001, copy_of(9001, hostpci0="0000:01:00.0", ide2="local:iso/x.iso,media=cdrom"))
    digest = world.digest(9001)
    copies.apply_strip("pve", 9001, OPERATION, ["hostpci0", "ide2"])
    assert fake.sent("PUT", "/nodes/pve/qemu/9001/config") == [
        {"delete": "hostpci0,ide2", "digest": digest}
    ]
    assert not {"hostpci0", "ide2"} & world.guests[9001].config.keys()


def test_stripping_nothing_changes_nothing(
    world: VirtualCluster, fake: FakePve, copies: ScratchGuests
) -> None:
    world.add(9001, copy_of(9001))
    copies.apply_strip("pve", 9001, OPERATION, [])
    assert fake.changes() == []


@pytest.mark.parametrize("stub", [{}, {"memory": "128"}, {"memory": "128", "lock": "create"}])
def test_what_a_failed_restore_of_ours_left_is_marked_and_can_then_be_destroyed(
    world: VirtualCluster, fake: FakePve, copies: ScratchGuests, stub: dict[str, str]
) -> None:
    world.add(9001, stub)
    upid = world.task_of("qmrestore", 9001, BROKEN)
    with pytest.raises(LawRefused):
        copies.destroy("pve", 9001, OPERATION)
    digest = world.digest(9001)
    copies.mark_stub("pve", 9001, OPERATION, upid)
    assert fake.sent("PUT", "/nodes/pve/qemu/9001/config") == [
        {"description": ownership.marker(OPERATION), "digest": digest}
    ]
    assert copies.destroy("pve", 9001, OPERATION)
    assert world.guests == {}


@pytest.mark.parametrize(
    ("kind", "vmid", "user", "exitstatus"),
    [
        ("qmrestore", 9001, "root@pam", BROKEN),
        ("qmrestore", 9001, "svc@pve!other", BROKEN),
        ("qmrestore", 9002, TOKEN_ID, BROKEN),
        ("qmcreate", 9001, TOKEN_ID, BROKEN),
        ("qmrestore", 9001, TOKEN_ID, "OK"),
        ("qmrestore", 9001, TOKEN_ID, "WARNINGS: 1"),
        ("qmrestore", 9001, TOKEN_ID, None),
    ],
)
def test_law_1_a_stub_counts_as_ours_only_after_our_own_failed_restore_into_it(
    world: VirtualCluster,
    fake: FakePve,
    copies: ScratchGuests,
    kind: str,
    vmid: int,
    user: str,
    exitstatus: str | None,
) -> None:
    world.add(9001, {"memory": "128"})
    upid = world.task_of(kind, vmid, exitstatus, user)
    with pytest.raises(LawRefused) as caught:
        copies.mark_stub("pve", 9001, OPERATION, upid)
    assert caught.value.law == 1 and fake.changes() == []


@pytest.mark.parametrize(
    "config",
    [
        {"memory": "128", "net0": "virtio=BC:24:11:00:00:08,bridge=vmbr0"},
        {"memory": "128", "scsi0": "local-lvm:vm-9001-disk-0"},
        {"memory": "128", "name": "somebodys"},
        {"memory": "128", "description": "somebody's note"},
    ],
)
def test_law_1_a_config_that_holds_anything_is_not_taken_for_a_stub(
    world: VirtualCluster, fake: FakePve, copies: ScratchGuests, config: dict[str, str]
) -> None:
    world.add(9001, config)
    upid = world.task_of("qmrestore", 9001, BROKEN)
    with pytest.raises(LawRefused, match="more than a failed restore leaves"):
        copies.mark_stub("pve", 9001, OPERATION, upid)
    assert fake.changes() == []


def test_law_1_a_stub_outside_the_range_or_leased_to_another_is_not_taken_over(
    world: VirtualCluster, fake: FakePve, pve: Pve
) -> None:
    world.add(9001, {"memory": "128"})
    world.add(108, {"memory": "128"})
    for vmid, holder in ((9001, "01JOTHER"), (9001, None), (108, OPERATION)):
        upid = world.task_of("qmrestore", vmid, BROKEN)
        with pytest.raises(LawRefused):
            pve.scratch(RANGE, {vmid: holder}.get).mark_stub("pve", vmid, OPERATION, upid)
    assert fake.changes() == []


def test_a_stub_that_changes_between_reading_and_marking_is_left_alone(
    world: VirtualCluster, fake: FakePve, copies: ScratchGuests
) -> None:
    world.add(9001, {"memory": "128"})
    upid = world.task_of("qmrestore", 9001, BROKEN)

    def somebody_else(request: object) -> object:
        world.guests[9001].config["name"] = "somebodys"
        return {"status": "stopped", "exitstatus": BROKEN}

    fake.on("GET", f"/nodes/pve/tasks/{upid}/status", somebody_else)
    with pytest.raises(PveError, match="checksum mismatch"):
        copies.mark_stub("pve", 9001, OPERATION, upid)
    assert "description" not in world.guests[9001].config
