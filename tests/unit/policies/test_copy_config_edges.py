"""The table of what may stand in a copy, key by key where a slip would show nowhere else (law
2).
"""

from __future__ import annotations

import pytest

from policies import copy_config, isolation
from policies.model import Scratch

SCRATCH = Scratch(9000, 9099, bridge="vmbr9")
HARDWARE = frozenset({"VM.Config.HWType"})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hostpci0", "0000:01:00.0"),
        ("usb0", "host=1:2"),
        ("serial0", "/dev/ttyS0"),
        ("parallel0", "/dev/parport0"),
        ("virtiofs0", "share"),
        ("ivshmem", "size=1,name=x"),
    ],
)
def test_law_2_a_device_of_the_node_is_asserted_as_one(key: str, value: str) -> None:
    found = isolation.assertions(
        {key: value},
        scratch=SCRATCH,
        vmid=9000,
        operation="01",
        network="isolated",
        ha_managed=False,
    )
    by_name = {one.name: one for one in found}
    assert not by_name["passthrough"].holds and key in by_name["passthrough"].detail
    assert by_name["options"].holds  # named once


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("vlan3", "virtio", "an old NIC line"),
        ("vmstate", "l:s", "resumes a saved state"),
        ("runningmachine", "pc", "belongs to a saved state"),
        ("runningcpu", "host", "belongs to a saved state"),
        ("running-nets-host-mtu", "net0=1500", "belongs to a saved state"),
        ("usb0", "spice,mapping=dongle", "USB device of the node"),
        ("usb0", "host=a,host=b", "USB device of the node"),
        ("usb0", "", "USB device of the node"),
        ("rng0", "source=/dev/urandom,source=/dev/hwrng", "random number generator"),
        ("scsi0", "l:d,zz=1", "its options zz are not known"),
        ("scsi0", "l:d,bps_zz=1", "its options bps_zz are not known"),
    ],
)
def test_law_2_what_a_key_would_do_is_said_of_that_key(key: str, value: str, why: str) -> None:
    said = copy_config.harm(key, value)
    assert said is not None and why in said


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rng0", "source=/dev/random"),
        ("rng0", "/dev/urandom,max_bytes=1"),
        ("scsi0", "l:d,mbps_rd_max=10,iops_wr_max_length=3,bps=1"),
        ("usb3", "spice,usb3=1"),
    ],
)
def test_law_2_what_reaches_nothing_outside_may_stay(key: str, value: str) -> None:
    assert copy_config.harm(key, value) is None


def test_law_2_a_device_that_cannot_be_understood_is_no_mapped_one() -> None:
    assert copy_config.mapped_pci("hostpci0", "mapping=gpu,mapping=gpu") is None
    assert copy_config.mapped_pci("hostpci0", "mapping=gpu,pcie=1") == "gpu"


def test_law_2_a_raw_device_is_refused_also_to_a_token_that_may_use_every_mapping() -> None:
    permissions = {
        "/vms": HARDWARE,
        "/mapping": frozenset({"Mapping.Use"}),
        "/mapping/pci": frozenset({"Mapping.Use"}),
    }
    assert copy_config.blockers({"hostpci0": "0000:01:00.0"}, permissions, None)
    assert copy_config.blockers({"hostpci0": "mapping=gpu"}, permissions, None) == ()


def test_law_2_only_a_drive_can_be_a_cloud_init_drive() -> None:
    assert (
        copy_config.cloud_init({"cicustom": "local:vm-108-cloudinit", "scsi0": "media=cdrom"})
        is None
    )
    assert copy_config.cloud_init({"ide2": "local:vm-108-cloudinit,media=cdrom"}) == ("ide2", 108)


@pytest.mark.parametrize(
    ("volume", "freed"),
    [
        ("local-lvm:vm-108-cloudinit", True),
        ("l:108/vm-108-cloudinit.qcow2", True),
        ("l:cloudinit", True),
        ("l:iso/cloudinit.iso", False),
    ],
)
def test_law_2_which_volumes_pve_frees_when_their_key_is_deleted(volume: str, freed: bool) -> None:
    assert copy_config.freed_when_deleted(volume) is freed


def test_law_2_a_copy_is_neither_protected_nor_tagged_as_production() -> None:
    sent = copy_config.replacements({"protection": "1", "tags": "gold;web"})
    assert sent == {"protection": "0", "tags": "backupsvc-scratch"}


def test_law_2_an_efi_disk_that_was_not_dumped_beside_others_that_were_would_be_productions() -> (
    None
):
    efi = {"efidisk0": "l:vm-108-disk-1"}
    # nothing says what was dumped
    assert copy_config.blockers(efi | {"memory": "512"}, {}, None) == ()
    assert copy_config.blockers(efi | {"#qmdump#map:scsi0": "drive-scsi0:l:raw"}, {}, None) != ()
    assert (
        copy_config.blockers(efi | {"#qmdump#map:efidisk0": "drive-efidisk0:l:raw"}, {}, None) == ()
    )
