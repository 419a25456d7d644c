"""An archive's own account of its disks, and what tells one archive from another."""

from __future__ import annotations

import pytest

from policies import whole
from policies.model import Archive, GuestType

MAP = "#qmdump#map:{0}:drive-{0}:local-lvm:raw:\n"
SCSI0 = "scsi0: local-lvm:vm-108-disk-0,size=1G\n"


@pytest.mark.parametrize(
    ("text", "devices", "said"),
    [
        (SCSI0 + MAP.format("scsi0"), {"drive-scsi0"}, []),
        (
            SCSI0,
            {"drive-scsi0"},
            ["the config names the disk scsi0, which", "which disk the device drive-scsi0 is"],
        ),
        (
            SCSI0 + MAP.format("scsi0"),
            set(),
            ["disk scsi0 was dumped as drive-scsi0, which the header lacks"],
        ),
        (MAP.format("scsi0"), {"drive-scsi0", "drive-x"}, ["which disk the device drive-x is"]),
        (
            "net0: virtio=x,bridge=vmbr0\nscsihw: virtio\n" + MAP.format("scsi0"),
            {"drive-scsi0"},
            [],
        ),
        ("efidisk0: l:e\n", set(), []),
        ("bios: seabios\nefidisk0: l:e\n", set(), []),
        ("bios: ovmf\nefidisk0: l:e\n", set(), ["the config names the disk efidisk0"]),
        ("scsi1: l:d,backup=0\nide2: none,media=cdrom\n", set(), []),
        (
            "#qmdump#map:scsi0:drive-x:l:raw:\n#qmdump#map:scsi1:drive-x:l:raw:\n",
            {"drive-x"},
            ["the config says of scsi0 and scsi1 alike that they were dumped as drive-x"],
        ),
    ],
)
def test_law_5_where_config_and_header_disagree_is_told_disk_by_disk(
    text: str, devices: set[str], said: list[str]
) -> None:
    found = whole.contradictions(text, devices)
    assert len(found) == len(said)
    assert all(part in sentence for part, sentence in zip(said, found, strict=True)), found


def test_an_archive_of_a_shared_storage_is_one_from_whichever_node_it_is_listed() -> None:
    def on(node: str, shared: bool) -> Archive:
        return Archive("nas:backup/x", node, "nas", 108, GuestType.QEMU, 1, 1, shared=shared)

    assert whole.key(on("a", True)) == whole.key(on("b", True)) == ("", "nas:backup/x")
    assert whole.key(on("a", False)) == ("a", "nas:backup/x") != whole.key(on("b", False))


def test_four_mebibytes_are_more_than_any_config() -> None:
    assert whole.MAX_DISKLESS_BYTES == 4 * 1024 * 1024
