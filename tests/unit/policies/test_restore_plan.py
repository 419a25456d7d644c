"""What a restore will come to, said before anything happens."""

from __future__ import annotations

from typing import Any

import pytest

from policies.model import Proof, Rung, Stage, Verdict
from policies.pve.guest_config import parse_config
from policies.restore_plan import (
    Measured,
    NicAhead,
    Place,
    differs,
    expected,
    media_storages,
    missing_bridges,
    nics_ahead,
)

CONFIG = parse_config(
    "net0: virtio=BC:24:11:00:00:08,bridge=vmbr0\n"
    "net1: virtio=BC:24:11:00:00:09,bridge=vmbr7,link_down=1\n"
    "net2: virtio\n"
    "net3: ,,\n"
    "scsi0: local-lvm:vm-108-disk-0,size=64M\n"
    "#qmdump#map:scsi0:drive-scsi0:local-lvm:raw:\n"
)


def told(text: str, **place: Any) -> tuple[str, ...]:
    return differs(parse_config(text), Place(**({"node": "clovis"} | place)))


def test_each_nic_is_told_with_its_bridge_and_whether_that_is_there() -> None:
    assert nics_ahead(CONFIG, {"vmbr0"}) == (
        NicAhead("net0", "vmbr0", there=True),
        NicAhead("net1", "vmbr7", there=False),
        NicAhead("net2", "", there=None),
        NicAhead("net3", "", there=None),
    )
    assert {one.there for one in nics_ahead(CONFIG, None)} == {None}


def test_only_a_bridge_that_is_surely_not_there_is_missing() -> None:
    assert missing_bridges(nics_ahead(CONFIG, {"vmbr0"})) == "net1 on vmbr7"
    assert missing_bridges(nics_ahead(CONFIG, None)) == ""


def test_a_guest_that_comes_back_where_it_was_differs_in_nothing() -> None:
    assert differs(CONFIG, Place("clovis", origin="clovis", bridges={"vmbr0", "vmbr7"})) == ()
    assert differs(CONFIG, Place("clovis", "local-lvm")) == ()


def test_another_node_another_storage_and_a_missing_bridge_are_said() -> None:
    assert differs(CONFIG, Place("lge", "tank", origin="clovis", bridges={"vmbr0"})) == (
        "it was backed up on clovis, and comes back on lge",
        "scsi0 was on storage local-lvm, and comes back on tank",
        "net1 was on bridge vmbr7, which lge does not have, or the token may not see",
    )


def test_a_disk_that_the_archive_does_not_hold_is_said_with_the_reason() -> None:
    two = "scsi0: a:vm-1-disk-0\nscsi1: a:vm-1-disk-1,backup=0\nsata0: a:vm-1-disk-2\n"
    found = told(f"{two}#qmdump#map:scsi0:drive-scsi0:a:raw:")
    assert [line.split("(")[1].split(")")[0] for line in found] == [
        "it was not dumped",
        "excluded from the backup: backup=0",
    ]


@pytest.mark.parametrize(
    ("media", "said"),
    [
        ({}, False),
        ({"local": ["local:iso/debian.iso"]}, False),
        ({"local": []}, True),
        ({"other": []}, False),
    ],
)
def test_a_medium_is_missing_only_where_the_storage_was_listed_without_it(
    media: Any, said: bool
) -> None:
    text = "ide2: local:iso/debian.iso,media=cdrom\nide3: none,media=cdrom\nide0: x:iso/y.iso\n"
    assert media_storages(parse_config(text)) == ["local"]
    found = [line for line in told(text, media=media) if "medium" in line]
    assert bool(found) == said
    if said:
        assert found == [
            "ide2 held the medium local:iso/debian.iso, which is not on clovis: the guest may not "
            "start until it is taken out"
        ]


def test_mapped_devices_and_a_new_generation_are_said_and_what_is_no_device_is_not() -> None:
    text = "hostpci0: mapping=gpu,pcie=1\nusb1: spice\nusb2: host=,,\nusbx: mapping=a\n"
    found = told(f"{text}vmgenid: 1234")
    assert found == (
        "hostpci0 is whatever device the mapping gpu names on clovis; if it names none there, the "
        "guest does not start",
        "its vmgenid is a new one, by which a guest sees that it was set back",
    )
    assert told("vmgenid: 0") == ()


def test_of(ended: int, verdict: Verdict = Verdict.PROVEN, **seconds: float) -> Proof:
    stages = tuple(Stage(name, value) for name, value in seconds.items())
    return Proof(
        f"op{ended}", 108, "v", "n", 1, verdict, Rung.HEALTHY, 1, ended, stages=stages
    )  # fmt: skip


test_of.__test__ = False  # type: ignore[attr-defined]


def test_how_long_it_takes_was_measured_in_the_archives_own_test_or_the_latest_good_one() -> None:
    own, late = test_of(5, restore=60.0, boot=9.04), test_of(9, restore=70.0, boot=8.0)
    failed, bare = test_of(20, Verdict.FAILED, restore=1.0, boot=1.0), test_of(10, restore=3.0)
    assert expected([late, own, failed], own, start=True) == Measured(69.0, 5, "op5")
    assert expected([own, late, failed, bare], None, start=True) == Measured(78.0, 9, "op9")
    assert expected([own, late, failed, bare], None, start=False) == Measured(3.0, 10, "op10")
    assert expected([failed], None, start=True) is None
    assert expected([], None, start=True) is None
