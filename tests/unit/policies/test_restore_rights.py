"""What a restore will ask of the token, path by path, before it begins."""

from __future__ import annotations

import pytest

from policies import restore_rights
from policies.pve.guest_config import parse_config

ARCHIVED = parse_config(
    "\n".join(
        [
            "name: glpi",
            "net0: virtio=BC:24:11:00:00:08,bridge=vmbr0,firewall=1",
            "net1: virtio=BC:24:11:00:00:09,bridge=vmbr1,tag=20",
            "scsi0: local-lvm:vm-108-disk-0,size=1G",
            "scsi1: fast:vm-108-disk-1,size=1G",
            "ide2: iso:iso/tools.iso,media=cdrom",
            "#qmdump#map:scsi0:drive-scsi0:local-lvm:raw:",
            "#qmdump#map:scsi1:drive-scsi1:fast:raw:",
        ]
    )
)
ZONE = "/sdn/zones/localnetwork"


def asked(
    config: dict[str, str], storage: str | None = None, start: bool = True, **more: list[str]
) -> set[tuple[str, str]]:
    needs = restore_rights.needed(108, config, storage=storage, start=start, **more)
    return {(need.path, need.privilege) for need in needs}


def test_a_restore_as_it_was_asks_for_the_guest_its_storages_and_its_networks() -> None:
    assert asked(ARCHIVED) == {
        ("/vms/108", "VM.Allocate"),
        ("/vms/108", "VM.Audit"),
        ("/vms/108", "VM.PowerMgmt"),
        ("/storage/local-lvm", "Datastore.AllocateSpace"),
        ("/storage/fast", "Datastore.AllocateSpace"),
        (f"{ZONE}/vmbr0", "SDN.Use"),
        (f"{ZONE}/vmbr1/20", "SDN.Use"),
    }


def test_a_named_storage_takes_every_disk_and_who_does_not_start_needs_no_right_to() -> None:
    found = asked(ARCHIVED, storage="thin", start=False)
    assert {path for path, _ in found if path.startswith("/storage")} == {"/storage/thin"}
    assert ("/vms/108", "VM.PowerMgmt") not in found


def test_a_bridge_that_the_node_does_not_have_may_be_of_any_zone_and_is_left_to_pve() -> None:
    assert {path for path, _ in asked(ARCHIVED, bridges=["vmbr1"]) if path.startswith("/sdn")} == {
        f"{ZONE}/vmbr1/20"
    }


def test_a_disk_without_a_storage_goes_to_local_and_a_trunk_asks_for_each_vlan() -> None:
    config = {
        "#qmdump#map:scsi0": "drive-scsi0::raw",
        "net0": "virtio=BC:24:11:00:00:08,bridge=vmbr0,trunks=10;20",
    }
    assert restore_rights.disk_storages(config) == ["local"]
    assert [network for _, network in restore_rights.networks(config)] == ["vmbr0/10", "vmbr0/20"]


def test_the_storages_of_a_living_guest_are_those_of_its_drives_but_not_of_its_iso() -> None:
    living = {key: value for key, value in ARCHIVED.items() if not key.startswith("#")}
    assert restore_rights.disk_storages(living) == ["fast", "local-lvm"]


@pytest.mark.parametrize(
    ("line", "real", "mapped"),
    [
        ("hostpci0: 0000:01:00.0", ["hostpci0"], set()),
        ("usb0: host=046d:c52b", ["usb0"], set()),
        ("usb0: spice", [], set()),
        ("hostpci0: mapping=gpu,pcie=1", [], {("/mapping/pci/gpu", "Mapping.Use")}),
        ("usb1: mapping=dongle", [], {("/mapping/usb/dongle", "Mapping.Use")}),
    ],
)
def test_a_real_device_is_roots_and_a_mapped_one_asks_for_its_mapping(
    line: str, real: list[str], mapped: set[tuple[str, str]]
) -> None:
    config = parse_config(line)
    assert restore_rights.real_devices(config) == real
    assert {item for item in asked(config) if item[0].startswith("/mapping")} == mapped


def test_a_nic_that_cannot_be_read_is_left_to_pve() -> None:
    assert not [path for path, _ in asked({"net0": "???"}) if path.startswith("/sdn")]


def test_what_cannot_be_read_hides_nothing_that_comes_after_it() -> None:
    config = {
        "net0": "???",
        "net1": "virtio=BC:24:11:00:00:09,bridge=vmbr1",
        "hostpci0": "a=1,a=2",
        "usb0": "host=046d:c52b",
    }
    assert list(restore_rights.networks(config)) == [("net1", "vmbr1")]
    assert restore_rights.real_devices(config) == ["usb0"]


def test_vzdumps_list_of_disks_is_read_also_where_it_breaks_off() -> None:
    config = {"#qmdump#map:scsi0": "drive-scsi0", "#qmdump#map:scsi1": "drive-scsi1:fast"}
    assert restore_rights.disk_storages(config) == ["fast", "local"]


def test_only_volumes_lie_on_a_storage() -> None:
    config = {
        "hookscript": "snippets:snippets/x.pl",
        "scsi0": "/dev/sdb",
        "scsi1": "none",
        "unused0": "slow:vm-108-disk-1",
    }
    assert restore_rights.disk_storages(config) == ["slow"]


def test_a_nic_on_no_bridge_asks_for_no_network_and_hides_none_behind_it() -> None:
    config = {
        "net0": "virtio=BC:24:11:00:00:08,tag=10",
        "net1": "virtio=BC:24:11:00:00:09,bridge=vmbr1",
    }
    assert {path for path, _ in asked(config) if path.startswith("/sdn")} == {f"{ZONE}/vmbr1"}
