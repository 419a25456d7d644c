"""What a guest needs of a node, read from its configuration."""

from __future__ import annotations

from policies import needs
from policies.pve.guest_config import parse_config
from policies.room import DiskNeed

GIB = 1 << 30

WHOLE = """\
boot: order=scsi0
hostpci0: 0000:01:00.0
ide2: local:iso/debian-12.iso,media=cdrom
ide3: none,media=cdrom
memory: 2048
net0: virtio=BC:24:11:00:00:08,bridge=vmbr0,tag=10
net1: virtio=BC:24:11:00:00:09,bridge=vmbr0
net2: virtio=BC:24:11:00:00:0A,bridge=vmbr1
scsi0: local-lvm:vm-108-disk-0,size=16G
scsi1: local-lvm:vm-108-disk-1,size=4G
scsi2: nas:108/vm-108-disk-0.qcow2,size=8G,backup=0
scsi3: tank:vm-108-disk-2
scsi4: /dev/sdb,size=1T
startup: order=3,up=30
"""


def test_disks_bridges_media_devices_memory_and_the_start_order_are_read() -> None:
    found = needs.of(parse_config(WHOLE))
    assert found.disks == (
        DiskNeed("local-lvm", 20 * GIB),
        DiskNeed("tank", 0, ("scsi3",)),
    )
    # what is not backed up is lost with its storage all the same
    assert found.storages == {"local-lvm", "nas", "tank"}
    assert found.bridges == ("vmbr0", "vmbr1")
    assert found.media == ("local:iso/debian-12.iso",)
    assert found.devices == ("hostpci0",)
    assert (found.memory, found.order, found.size) == (2 * GIB, 3, 20 * GIB)


def test_a_bare_config_needs_what_pve_assumes() -> None:
    found = needs.of({})
    assert (found.disks, found.bridges, found.media, found.order) == ((), (), (), None)
    assert found.memory == 512 << 20


def test_a_start_order_that_pve_would_not_read_is_none() -> None:
    for written in ("order=first", "order=1,order=2", "up=30", "order=" + "9" * 30, "order=²"):
        assert needs.of({"startup": written}).order is None
    assert needs.of({"startup": "7"}).order == 7
