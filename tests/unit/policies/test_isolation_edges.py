"""Configs at their edges: what is read, what is said of it, and what must hold before a copy may
start (law 2).
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from policies import isolation, ownership
from policies.isolation import Assertion
from policies.model import PolicyError, Scratch
from policies.pve import guest_config

SCRATCH = Scratch(9000, 9099, bridge="vmbr9")
MAC = "BC:24:11:00:00:08"
UP, DOWN = f"virtio={MAC},bridge=vmbr9", f"virtio={MAC},bridge=vmbr9,link_down=1"


def sent(
    config: dict[str, str], *, network: str = "isolated", memory: int | None = None
) -> dict[str, str]:
    return isolation.overrides(
        config, scratch=SCRATCH, network=network, operation="01JZ", memory=memory
    )


def asserted(
    config: dict[str, str],
    *,
    network: str = "isolated",
    scratch: Scratch = SCRATCH,
    ha: bool = False,
) -> dict[str, Assertion]:
    marked = {"description": ownership.marker("01JZ")} | config
    found = isolation.assertions(
        marked, scratch=scratch, vmid=9000, operation="01JZ", network=network, ha_managed=ha
    )
    return {one.name: one for one in found}


# --- reading --------------------------------------------------------------------------------------


def test_only_the_description_is_percent_decoded() -> None:
    assert guest_config.parse_config("description: x%3Ay\nname: a%3Ab\n") == {
        "description": "x:y",
        "name": "a%3Ab",
    }
    assert guest_config.parse_config("#first\ndescription: x\n") == {"description": "xfirst\n"}


@pytest.mark.parametrize(
    "option", ["firewall", "mtu", "queues", "rate", "tag", "trunks", "host-tunnel"]
)
def test_an_option_before_the_model_of_a_nic_is_no_model(option: str) -> None:
    nic = guest_config.parse_nic(f"{option}=1,virtio={MAC},bridge=vmbr0")
    assert (nic.model, nic.mac, nic.bridge, dict(nic.others)) == (
        "virtio",
        MAC,
        "vmbr0",
        {option: "1"},
    )


def test_the_mac_and_the_link_may_come_before_the_model_too() -> None:
    nic = guest_config.parse_nic(f"link_down=1,macaddr={MAC},virtio,bridge=vmbr0")
    assert (nic.model, nic.mac, nic.link_down, dict(nic.others)) == ("virtio", MAC, True, {})
    assert guest_config.parse_nic(f"macaddr={MAC},virtio").mac == MAC
    assert not guest_config.parse_nic(f"virtio={MAC}").link_down


def test_a_nic_without_a_model_is_refused() -> None:
    with pytest.raises(PolicyError, match="names no model"):
        guest_config.parse_nic("bridge=vmbr0")


@pytest.mark.parametrize(
    ("text", "memory"),
    [
        (None, 512),
        ("2048", 2048),
        ("current=1024", 1024),
        ("much", 512),
        ("１０２４", 512),
        ("a=1,a=2", 512),
    ],
)
def test_memory_is_what_pve_reads_and_512_where_it_reads_nothing(
    text: str | None, memory: int
) -> None:
    assert guest_config.memory_of({} if text is None else {"memory": text}) == memory


def test_law_1_a_copy_of_no_named_service_bears_no_services_marker() -> None:
    assert ownership.operation_of(sent({})) == "01JZ" and ownership.service_of(sent({})) is None


# --- what is sent ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("", "restore-test-01JZ"),
        ("boX", "restore-test-boX"),
        ("x" * 49 + "-tail", f"restore-test-{'x' * 49}"),
        ("a b", "restore-test-a-b"),
    ],
)
def test_the_copys_name_keeps_what_a_label_can_hold(name: str, label: str) -> None:
    assert sent({"name": name} if name else {})["name"] == label


@pytest.mark.parametrize(
    ("config", "cap", "lowered"),
    [
        ({"memory": "1024"}, 1024, {}),
        ({"memory": "1025"}, 1024, {"memory": "1024"}),
        ({"memory": "2048", "balloon": "1024"}, 1024, {"memory": "1024"}),
        ({"memory": "2048", "balloon": "1025"}, 1024, {"memory": "1024", "balloon": "1024"}),
        ({"memory": "2048", "balloon": "all"}, 1024, {"memory": "1024"}),
        ({"memory": "2048"}, None, {}),
    ],
)
def test_memory_is_only_ever_lowered(
    config: dict[str, str], cap: int | None, lowered: dict[str, str]
) -> None:
    found = sent(config, memory=cap)
    assert {key: found[key] for key in ("memory", "balloon") if key in found} == lowered


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (UP, UP, []),
        (DOWN, DOWN, []),
        (UP, DOWN, ["net0: link taken down"]),
        (DOWN, UP, ["net0: link brought up, on the isolated bridge"]),
        (f"virtio={MAC}", UP, ["net0: bridge not set became vmbr9"]),
        (UP + ",tag=5,rate=1", UP, ["net0: rate=1 dropped", "net0: tag=5 dropped"]),
    ],
)
def test_what_became_of_a_nic_is_said_and_nothing_else(
    before: str, after: str, said: list[str]
) -> None:
    assert list(isolation.changes({"net0": before}, {"net0": after})) == said


def test_start_at_boot_is_said_only_where_it_was_on() -> None:
    assert (
        isolation.changes({}, {"onboot": "0"})
        == isolation.changes({"onboot": "0"}, {"onboot": "0"})
        == ()
    )
    assert isolation.changes({"onboot": "1"}, {"onboot": "0"}) == ("onboot: 1 became 0",)
    assert isolation.changes({}, {"reboot": "1", "description": "x"}) == (
        "reboot: not set became 1",
    )


def test_law_2_a_usb_device_that_no_override_replaced_is_not_deleted_but_blocks() -> None:
    replaced = isolation.strip({"usb0": "spice"}, {"usb0": "spice"})
    assert (replaced.delete, replaced.blockers) == (("usb0",), ())
    kept = isolation.strip({"usb0": "host=1:2"}, {"usb0": "spice"})
    assert kept.delete == () and kept.blockers[0].startswith("usb0: ")
    assert isolation.strip({"usb0": "spice"}).delete == ()


def test_law_2_a_device_of_the_node_as_a_disk_blocks() -> None:
    assert isolation.strip({"scsi0": "/dev/sdb,size=1G"}).blockers == (
        "scsi0 is the node's own device /dev/sdb",
    )
    assert isolation.strip({"scsi0": "size=1G"}).blockers == ()


# --- what must hold -------------------------------------------------------------------------------


def test_law_2_every_condition_has_its_name_and_they_all_hold_of_a_harmless_copy() -> None:
    found = asserted({"net0": UP, "scsi0": "l:vm-9000-disk-0"})
    names = "range marker nics passthrough media disks onboot template hookscript args lock options"
    assert set(names.split()) < set(found) and len(found) == len(names.split()) + 1
    assert all(one.holds for one in found.values())
    (ha,) = set(found) - set(names.split())
    assert found[ha].detail.endswith("not managed by HA")
    assert not asserted({}, ha=True)[ha].holds and not asserted({}, ha=True)[ha].detail.endswith(
        "not managed by HA"
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [("template", "1"), ("hookscript", "l:snippets/x"), ("args", "-x"), ("lock", "backup")],
)
def test_law_2_what_has_a_condition_of_its_own_is_named_there_alone(key: str, value: str) -> None:
    found = asserted({key: value})
    assert not found[key].holds
    assert found["options"].holds and found["passthrough"].holds


def test_law_2_any_other_harmful_option_is_named() -> None:
    found = asserted({"hugepages": "2", "teleport": "1"})
    assert (
        not found["options"].holds
        and "hugepages" in found["options"].detail
        and "teleport" in found["options"].detail
    )


def test_law_2_a_medium_that_is_still_in_is_named() -> None:
    found = asserted({"ide2": "local:iso/x.iso,media=cdrom"})["media"]
    assert not found.holds and "ide2" in found.detail and "no CD-ROM" not in found.detail
    assert asserted({})["media"].detail == "no CD-ROM medium is inserted"


def test_law_2_where_the_nics_are_is_said() -> None:
    assert asserted({})["nics"].detail == "there is no NIC"
    isolated, down = (
        asserted({"net0": UP})["nics"],
        asserted({"net0": DOWN}, network="link-down")["nics"],
    )
    assert (
        isolated.holds and isolated.detail.startswith("every NIC is ") and "net0" in isolated.detail
    )
    assert (
        down.holds
        and down.detail.startswith("every NIC is ")
        and "vmbr9" in isolated.detail
        and isolated.detail != down.detail
    )
    wrong = asserted({"net0": f"virtio={MAC},bridge=vmbr0"})["nics"]
    assert (
        not wrong.holds
        and "net0 is on bridge vmbr0 with its link up, wanted bridge vmbr9" in wrong.detail
    )
    up = asserted({"net0": UP}, network="link-down")["nics"]
    assert not up.holds and "wanted link down" in up.detail


def test_law_2_a_nic_on_no_bridge_is_on_no_isolated_one() -> None:
    assert not asserted({"net0": f"virtio={MAC}"}, scratch=replace(SCRATCH, bridge=None))[
        "nics"
    ].holds


def test_law_2_whose_volumes_they_are_is_said() -> None:
    good, bad = (
        asserted({"scsi0": "l:vm-9000-disk-0"})["disks"],
        asserted({"scsi0": "l:vm-108-disk-0"})["disks"],
    )
    assert (
        good.holds and good.detail == "every volume belongs to VM 9000: l:vm-9000-disk-0"
    ) or "scsi0" in good.detail
    assert not bad.holds and bad.detail == "not of VM 9000: scsi0: l:vm-108-disk-0"
    assert asserted({})["disks"].detail.endswith("there is none")


# --- disks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "total"),
    [
        ("7", 7),
        ("3K", 3 << 10),
        ("3M", 3 << 20),
        ("2G", 2 << 30),
        ("2T", 2 << 40),
        ("1.5K", 1536),
        ("big", 0),
    ],
)
def test_sizes_are_read_in_pves_units(size: str, total: int) -> None:
    assert guest_config.disks_total({"scsi0": f"l:d,size={size}", "scsi1": "l:e"}) == total


def test_an_empty_drive_is_no_disk() -> None:
    assert guest_config.disks_to_dump(
        {"scsi3": "none", "scsi0": "l:d", "ide2": "none,media=cdrom"}
    ) == ("scsi0",)


def test_law_5_a_disk_that_is_never_dumped_is_missing_whatever_the_copy_has() -> None:
    assert guest_config.missing_disks({"scsi1": "l:d,backup=0"}, {"scsi1": "l:d"}) == ("scsi1",)
    assert guest_config.missing_disks({"scsi1": "l:d,backup=1"}, {"scsi1": "l:d"}) == ()
