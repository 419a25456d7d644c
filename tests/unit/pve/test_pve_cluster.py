"""Questions to the cluster, answered by a real one."""

from __future__ import annotations

import json

import pytest

from backupsvc.errors import PveError, PvePermissionDenied
from backupsvc.pve import Pve
from policies.model import GuestType
from tests.fakes.clock import SteppingClock
from tests.fakes.pve_server import FakePve, Reply


def test_the_version_of_a_real_server_is_not_simulated(fake: FakePve, pve: Pve) -> None:
    fake.replay("01", 9)
    version = pve.cluster.version()
    assert (version.release, version.version, version.simulated) == ("9.0", "9.0.11", False)


def test_a_server_that_says_it_is_simulated_is_believed(fake: FakePve, pve: Pve) -> None:
    fake.on("GET", "/version", {"release": "9.2", "version": "9.2.11", "simulated": 1})
    assert pve.cluster.version().simulated


def test_guests_are_read_from_a_listing_that_holds_other_things_too(
    fake: FakePve, pve: Pve
) -> None:
    fake.replay("02", 12)
    first, second = pve.cluster.guests()
    assert (first.vmid, first.name, first.node, first.type, first.status) == (
        100,
        "vm-one",
        "pve",
        GuestType.QEMU,
        "stopped",
    )
    assert (second.vmid, second.tags, second.max_memory, second.max_disk) == (
        200,
        ("lab",),
        268435456,
        1073741824,
    )
    assert fake.requests[0].params == {"type": "vm"}


def test_a_guest_of_a_dead_node_has_no_name_and_is_still_listed(fake: FakePve, pve: Pve) -> None:
    row = {"id": "qemu/300", "type": "qemu", "vmid": "300", "node": "pve2", "status": "unknown"}
    fake.on("GET", "/cluster/resources", [row])
    (guest,) = pve.cluster.guests()
    assert (guest.vmid, guest.name, guest.status, guest.max_memory) == (300, "", "unknown", 0)


def test_nodes_tell_their_memory_only_to_an_auditor(fake: FakePve, pve: Pve) -> None:
    fake.replay("02", 2)
    (node,) = pve.cluster.nodes()
    assert (node.name, node.online, node.max_memory, node.memory, node.max_cpu) == (
        "pve",
        True,
        25276502016,
        1365815296,
        2,
    )
    fake.on("GET", "/nodes", [{"node": "pve", "status": "offline"}])
    (node,) = pve.cluster.nodes()
    assert (node.online, node.max_memory) == (False, 0)


def test_a_single_node_has_no_quorum_to_speak_of(fake: FakePve, pve: Pve) -> None:
    fake.replay("02", 10)
    status = pve.cluster.status()
    assert (status.name, status.quorate) == ("pve", None)
    assert [(node.name, node.ip, node.online) for node in status.nodes] == [
        ("pve", "10.99.0.1", True)
    ]


def test_a_cluster_tells_quorum_and_members(fake: FakePve, pve: Pve) -> None:
    fake.on(
        "GET",
        "/cluster/status",
        [
            {
                "type": "cluster",
                "id": "cluster",
                "name": "langeo",
                "nodes": 2,
                "quorate": 0,
                "version": 2,
            },
            {
                "type": "node",
                "id": "node/clovis",
                "name": "clovis",
                "nodeid": 1,
                "ip": "192.168.3.221",
                "online": 1,
            },
            {
                "type": "node",
                "id": "node/lge-pve02",
                "name": "lge-pve02",
                "nodeid": "2",
                "ip": "192.168.3.225",
                "online": 0,
            },
        ],
    )
    status = pve.cluster.status()
    assert (status.name, status.quorate) == ("langeo", False)
    assert [(node.id, node.online) for node in status.nodes] == [(1, True), (2, False)]


def test_status_without_the_right_to_it_is_a_missing_permission(fake: FakePve, pve: Pve) -> None:
    fake.replay("02", 101)
    with pytest.raises(PvePermissionDenied, match=r"Sys\.Audit"):
        pve.cluster.status()


def test_a_vmid_is_free_or_taken_or_wrong(fake: FakePve, pve: Pve) -> None:
    fake.replay("02", 46, 45, 47)
    assert pve.cluster.vmid_free(9555)
    assert not pve.cluster.vmid_free(100)
    with pytest.raises(PveError, match="does not look like a valid VM ID"):
        pve.cluster.vmid_free(99)


def test_permissions_are_the_privileges_by_path_whether_or_not_they_propagate(
    fake: FakePve, pve: Pve
) -> None:
    fake.on(
        "GET",
        "/access/permissions",
        {"/": {"Sys.Audit": 0}, "/vms": {"VM.Audit": 1, "VM.Backup": 1}},
    )
    assert pve.cluster.permissions() == {
        "/": frozenset({"Sys.Audit"}),
        "/vms": frozenset({"VM.Audit", "VM.Backup"}),
    }


def test_permissions_of_a_limited_token(fake: FakePve, pve: Pve) -> None:
    fake.replay("02", 86)
    assert pve.cluster.permissions() == {
        "/storage/local": frozenset({"Datastore.Audit", "Datastore.AllocateSpace"})
    }


def test_jobs_are_read_as_pve_stores_them(fake: FakePve, pve: Pve) -> None:
    fake.replay("09", 7)
    first, nightly, disabled = pve.cluster.jobs()
    assert (first.guests, first.prune, first.enabled) == ((200,), "keep-last=3", True)
    assert (nightly.node, nightly.guests, nightly.schedule) == ("pve", (200, 100), "21:00")
    assert (
        nightly.prune == "keep-daily=7,keep-monthly=3,keep-weekly=4"
        and nightly.comment == "nightly"
    )
    assert (disabled.enabled, disabled.all, disabled.exclude, disabled.schedule) == (
        False,
        True,
        (100,),
        "mon..fri 22:30",
    )


def test_a_jobs_guests_are_read_however_they_were_typed(fake: FakePve, pve: Pve) -> None:
    fake.on(
        "GET",
        "/cluster/backup",
        [{"id": "a", "vmid": "100;200,,300 400", "prune-backups": "keep-last=1"}],
    )
    (job,) = pve.cluster.jobs()
    assert job.guests == (100, 200, 300, 400) and job.prune == "keep-last=1" and job.enabled


def test_each_nodes_clock_is_compared_with_ours(
    fake: FakePve, pve: Pve, clock: SteppingClock
) -> None:
    fake.on(
        "GET",
        "/nodes",
        [{"node": name, "status": "online"} for name in ("a", "b")]
        + [{"node": "c", "status": "offline"}],
    )
    fake.on("GET", "/nodes/a/time", {"time": int(clock.now()), "timezone": None})
    fake.on("GET", "/nodes/b/time", {"time": int(clock.now()) + 3644})
    assert pve.cluster.clock_offsets() == {"a": 0.0, "b": 3644.0}


def test_a_node_that_dies_meanwhile_has_no_clock(fake: FakePve, pve: Pve) -> None:
    fake.on("GET", "/nodes", [{"node": "a", "status": "online"}])
    fake.on("GET", "/nodes/a/time", Reply(status=595, reason="No route to host", raw=""))
    assert pve.cluster.clock_offsets() == {}


def test_bridges_tell_what_they_are_tied_to(fake: FakePve, pve: Pve) -> None:
    fake.replay("02", 8)
    first, second = pve.cluster.bridges("pve")
    assert (first.name, first.node, first.ports, first.address) == (
        "vmbr0",
        "pve",
        (),
        "10.99.0.1/24",
    )
    assert (second.name, second.ports, second.address) == ("vmbr1", (), "")
    fake.on(
        "GET",
        "/nodes/b/network",
        [
            {"iface": "vmbr0", "type": "bridge", "bridge_ports": "eno1 eno2"},
            {"iface": "eno1", "type": "eth"},
        ],
    )
    assert [(bridge.name, bridge.ports) for bridge in pve.cluster.bridges("b")] == [
        ("vmbr0", ("eno1", "eno2"))
    ]


def test_a_nodes_network_tells_what_is_stacked_and_what_is_pending(fake: FakePve, pve: Pve) -> None:
    fake.replay("02", 8)
    recorded = pve.cluster.network("pve")
    first, second = recorded.interfaces
    assert (first.name, first.active, first.ports, first.addresses) == (
        "vmbr0",
        True,
        (),
        ("10.99.0.1/24",),
    )
    assert (second.name, second.type, second.addresses, recorded.pending) == (
        "vmbr1",
        "bridge",
        (),
        False,
    )
    rows = [
        {"iface": "b0", "type": "bond", "slaves": "eno1 eno2"},
        {"iface": "x", "type": "vlan", "vlan-raw-device": "vmbr9"},
    ]
    fake.on("GET", "/nodes/b/network", Reply(raw=json.dumps({"data": rows, "changes": "+auto x"})))
    edited = pve.cluster.network("b")
    assert edited.pending and [item.below for item in edited.interfaces] == [
        ("eno1", "eno2"),
        ("vmbr9",),
    ]
    assert not pve.cluster.network("pve").pending  # each answer speaks for itself


def test_ha_of_a_server_without_manager_is_its_quorum_alone(fake: FakePve, pve: Pve) -> None:
    fake.replay("11", 3)
    ha = pve.ha.status()
    assert (ha.quorate, ha.master, ha.lrm, ha.services, ha.drifting) == (True, None, {}, {}, ())


def test_ha_tells_the_drifting_node(fake: FakePve, pve: Pve) -> None:
    fake.on(
        "GET",
        "/cluster/ha/status/current",
        [
            {"id": "quorum", "type": "quorum", "quorate": 1, "status": "OK", "node": "clovis"},
            {
                "id": "master",
                "type": "master",
                "node": "clovis",
                "status": "clovis (active, Mon Mar  9 21:41:02 2026)",
            },
            {
                "id": "lrm:clovis",
                "type": "lrm",
                "node": "clovis",
                "status": "clovis (active, Mon Mar  9 21:41:02 2026)",
            },
            {
                "id": "lrm:b",
                "type": "lrm",
                "node": "b",
                "status": "b (detected time drift!, Mon Mar  9 22:41:46 2026)",
            },
            {
                "id": "service:vm:108",
                "type": "service",
                "sid": "vm:108",
                "state": "started",
                "node": "clovis",
            },
        ],
    )
    ha = pve.ha.status()
    assert (ha.master, ha.drifting, ha.services) == ("clovis", ("b",), {"vm:108": "started"})


def test_ha_resources_are_their_ids(fake: FakePve, pve: Pve) -> None:
    fake.replay("11", 19)
    assert pve.cluster.ha_resources() == {"vm:100"}


def test_pves_jobs_are_asked_for_once_while_an_answer_is_young(fake: FakePve, pve: Pve) -> None:
    fake.on(
        "GET",
        "/cluster/backup",
        [{"id": "a", "all": 1, "exclude": "101", "schedule": "21:00", "storage": "local"}],
    )
    (job,) = [item.seen(()) for item in [*pve.cluster.jobs(), *pve.cluster.jobs(max_age=60.0)][1:]]
    assert len(fake.sent("GET", "/cluster/backup")) == 1
    assert job.enabled and job.covers(100) and not job.covers(101)
