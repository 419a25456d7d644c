"""What a guest needs of its node, line by line of its configuration."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.model import GuestType
from policies.needs import Needs, Volume, needs
from policies.pve.guest_config import parse_config
from policies.room import DiskNeed

QEMU, LXC = GuestType.QEMU, GuestType.LXC


def test_disks_firmware_and_a_saved_state_are_needed_and_unused_volumes_are_not() -> None:
    found = needs(
        {
            "scsi0": "nas:vm-1-disk-0,size=1G",
            "efidisk0": "nas:vm-1-disk-1,size=4M",
            "tpmstate0": "nas:vm-1-disk-2",
            "sata1": "local-lvm:vm-1-disk-3,replicate=0",
            "unused0": "local-lvm:vm-1-disk-9",
            "vmstate": "nas:vm-1-state",
            "ide2": "none,media=cdrom",
        },
        QEMU,
    )
    assert [one.key for one in found.disks] == [
        "efidisk0",
        "sata1",
        "scsi0",
        "tpmstate0",
        "vmstate",
    ]
    assert [one.key for one in found.disks if not one.replicated] == ["sata1"]
    assert not (found.files or found.local or found.unsure or found.bridges)


def test_a_medium_and_snippets_are_files_and_a_cloud_init_drive_is_made_anew() -> None:
    found = needs(
        {
            "ide2": "local:iso/debian.iso,media=cdrom,size=600M",
            "ide3": "local-lvm:vm-1-cloudinit,media=cdrom",
            "hookscript": "local:snippets/hook.pl",
            "cicustom": "user=nas:snippets/u.yaml,meta=nas:snippets/m.yaml",
        },
        QEMU,
    )
    assert [(one.key, one.storage, one.kind) for one in found.files] == [
        ("ide2", "local", "iso"),
        ("cicustom", "nas", "snippets"),
        ("cicustom", "nas", "snippets"),
        ("hookscript", "local", "snippets"),
    ]
    assert found.disks == (Volume("ide3", "local-lvm:vm-1-cloudinit", made=True),)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scsi1", "/dev/disk/by-path/pci-0000:00:1f.2-ata-1"),
        ("ide2", "cdrom,media=cdrom"),
        ("hostpci0", "0000:01:00.0,pcie=1"),
        ("usb0", "host=1-2"),
        ("serial0", "/dev/ttyS0"),
        ("parallel0", "/dev/parport0"),
        ("hookscript", "/root/hook.pl"),
    ],
)
def test_what_its_node_alone_has_is_named(key: str, value: str) -> None:
    found = needs({key: value}, QEMU)
    (why,) = found.local
    assert why.startswith(f"{key} is ") and not found.disks and not found.files


@pytest.mark.parametrize(
    ("key", "value"),
    [("serial0", "socket"), ("usb1", "spice,usb3=1"), ("usb1", "host=spice"), ("agent", "1")],
)
def test_what_every_node_has_needs_nothing(key: str, value: str) -> None:
    assert needs({key: value}, QEMU) == Needs(cpus=1, memory=512 << 20)


def test_a_vms_cpus_are_sockets_times_cores_and_a_container_has_none_of_its_own() -> None:
    assert needs({"sockets": "2", "cores": "4"}, QEMU).cpus == 8
    assert needs({"cores": "no number"}, QEMU).cpus == 1
    assert needs({"cores": "4"}, LXC).cpus == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hostpci0", "mapping=gpu,pcie=1"),
        ("usb0", "mapping=dongle"),
        ("virtiofs0", "share"),
        ("args", "-device vfio-pci"),
    ],
)
def test_what_no_configuration_tells_is_unsure(key: str, value: str) -> None:
    found = needs({key: value}, QEMU)
    assert len(found.unsure) == 1 and not found.local


def test_every_bridge_is_needed_once_whatever_kind_the_guest_is() -> None:
    nets = {"net0": "virtio,bridge=vmbr0,tag=10", "net1": "virtio,bridge=vmbr0", "net2": "e1000"}
    assert needs(nets, QEMU).bridges == ("vmbr0",)
    assert needs({"net0": "name=eth0,bridge=vmbr1,hwaddr=x"}, LXC).bridges == ("vmbr1",)


def test_a_containers_volumes_are_needed_and_a_folder_of_its_node_is_its_nodes() -> None:
    found = needs(
        {
            "rootfs": "local-zfs:subvol-1-disk-0,size=8G",
            "mp0": "volume=nas:subvol-1-disk-1,mp=/srv",
            "mp1": "/srv/share,mp=/srv/share,shared=1",
            "mp2": "/srv/alone,mp=/srv/alone",
            "mp3": "x=",
            "dev0": "/dev/ttyUSB0",
            "dev1": "path=/dev/net/tun",
            "scsi0": "no disk of a container",
        },
        LXC,
    )
    assert [one.volid for one in found.disks] == [
        "nas:subvol-1-disk-1",
        "local-zfs:subvol-1-disk-0",
    ]
    assert [why.split()[0] for why in found.local] == ["mp2", "mp3", "dev0"]


@given(
    st.dictionaries(
        st.sampled_from(
            ["scsi0", "ide2", "net0", "hostpci0", "usb0", "rootfs", "mp0", "args", "hookscript",
             "cicustom", "vmstate", "virtiofs0", "serial0"]
        ),
        st.text(max_size=40),
    ),
    st.sampled_from(GuestType),
)  # fmt: skip
def test_no_configuration_that_somebody_wrote_is_too_odd_to_be_read(
    config: dict[str, str], kind: GuestType
) -> None:
    needs(config, kind)


WHOLE = """\
cores: 2
ide0: local-lvm:vm-108-cloudinit,media=cdrom,size=4M
memory: 2048
scsi0: local-lvm:vm-108-disk-0,size=16G
scsi1: local-lvm:vm-108-disk-1,size=4G
scsi2: nas:108/vm-108-disk-0.qcow2,size=8G,backup=0
scsi3: tank:vm-108-disk-2
startup: order=3,up=30
vmstate: tank:vm-108-state
"""


def test_what_a_restore_needs_is_what_a_backup_holds_and_what_is_lost_with_a_storage_is_more() -> (
    None
):
    found = needs(parse_config(WHOLE), QEMU)
    assert found.restored == (
        DiskNeed("local-lvm", 20 << 30),
        DiskNeed("tank", 0, ("scsi3",)),
    )
    assert found.storages == {"local-lvm", "nas", "tank"}
    assert (found.memory, found.order, found.size) == (2 << 30, 3, 20 << 30)


def test_of_a_container_a_backup_holds_the_root_and_the_mount_points_that_ask_for_it() -> None:
    found = needs(
        {
            "rootfs": "zfs:subvol-1,size=8G",
            "mp0": "zfs:subvol-2,mp=/srv,size=2G,backup=1",
            "mp1": "zfs:subvol-3,mp=/var,size=4G",
        },
        LXC,
    )
    assert found.restored == (DiskNeed("zfs", 10 << 30),)


def test_a_start_order_that_pve_would_not_read_is_none() -> None:
    for written in ("order=first", "order=1,order=2", "up=30", "order=" + "9" * 30, "order=²"):
        assert needs({"startup": written}, QEMU).order is None
    assert needs({"startup": "7"}, QEMU).order == 7


def test_what_a_cloud_init_drive_is_made_of_is_needed_unless_pve_ignores_it() -> None:
    config = {"cicustom": "user=local:snippets/u.yaml,meta=nas:snippets/m.yaml"}
    assert [one.volid for one in needs(config, QEMU).files] == [
        "local:snippets/u.yaml",
        "nas:snippets/m.yaml",
    ]
    assert needs({"cicustom": "user="}, QEMU).files == ()
