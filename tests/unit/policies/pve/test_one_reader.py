"""Each format of PVE's has one reader, in policies/pve: what is taken apart elsewhere is read in a
second way sooner or later.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from policies.pve import guest_config, property_string

ROOT = Path(__file__).resolve().parents[4]
SOURCES = [
    path
    for room in ("policies", "backupsvc", "workers")
    for path in sorted((ROOT / room).glob("**/*.py"))
]
# what may not be done outside policies/pve -> where it is done to something else that looks like it
FORMATS = {
    r"""\.split\(","\)""": {  # a property string
        "policies/windows.py",  # the days of a window, in a site's policy
        "backupsvc/pve/client.py",  # hosts and fingerprints, in the settings
        "backupsvc/pve/trust.py",
        "backupsvc/settings.py",
        "backupsvc/catalog/snapshot_opening.py",  # a table's columns, in a dump of PostgreSQL
    },
    r"""#qmdump""": set(),  # vzdump's list of disks
    r"""vol(?:id|ume)\w*\.r?(?:partition|split)\(""": set(),  # a volume id
    r"""vzdump-\(""": set(),  # an archive's name
    # whether a retention removes anything: it applies the rules
    r"""(?<!memory)\.keep_all\b""": {"policies/retention.py"},
    r"""net\\d""": set(),  # which options are NICs
}


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_but_policies_pve_takes_apart_what_pve_wrote(form: str) -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for path in SOURCES
        if path.parent != ROOT / "policies" / "pve"
        and re.search(form, path.read_text(encoding="utf-8"))
    }
    assert found <= FORMATS[form]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("virtio=BC:24:11:00:00:08,bridge=vmbr9", ["vmbr9"]),
        ("bridge=vmbr0,bridge=vmbr9", ["vmbr0", "vmbr9"]),
        ("virtio, bridge = vmbr9 ", ["vmbr9"]),
        ("virtio,bridges=vmbr9,xbridge=vmbr9", []),
        ("bridge=", [""]),
        ("", []),
    ],
)
def test_the_careful_reading_finds_whatever_may_be_meant(text: str, values: list[str]) -> None:
    assert property_string.every(text, "bridge") == values


def test_the_disks_of_an_archive_are_those_that_vzdump_wrote_down() -> None:
    config = guest_config.parse_config(
        "#qmdump#map:scsi0:drive-scsi0:local-lvm:raw:\n#qmdump#map:scsi1:drive-scsi1:::\nscsi2: "
        "x:vm-1-disk-2\n"
    )
    assert {
        key: (disk.device, disk.storage) for key, disk in guest_config.dumped_disks(config).items()
    } == {
        "scsi0": ("drive-scsi0", "local-lvm"),
        "scsi1": ("drive-scsi1", "local"),
    }


def test_the_volumes_that_a_config_names_are_those_on_storages() -> None:
    config = {
        "scsi0": "local-lvm:vm-9001-disk-0,size=8G",
        "unused0": "nas:9001/vm-9001-disk-3.raw",
        "ide2": "local:iso/debian.iso,media=cdrom",
        "ide3": "none,media=cdrom",
        "scsi1": "/dev/sdb",
        "net0": "virtio=BC:24:11:00:00:08,bridge=vmbr9",
    }
    assert guest_config.volids(config) == {
        "local-lvm:vm-9001-disk-0",
        "nas:9001/vm-9001-disk-3.raw",
        "local:iso/debian.iso",
    }
