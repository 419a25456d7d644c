"""Law 2: how a copy is made harmless, and what must hold before it starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import isolation, ownership
from policies.model import PolicyError, Scratch
from policies.pve import guest_config

GOLDEN = Path(__file__).parents[2] / "golden"
OPERATION = "01JZ0000000000000000000001"
SCRATCH = Scratch(9000, 9099, bridge="vmbr9")
NO_BRIDGE = Scratch(9000, 9099)

PFSENSE = """\
#Firewall between the VLANs
#see the wiki%3A https%3A//wiki/pfsense 100%25
agent: 1
balloon: 1024
boot: order=scsi0;ide2;net0
hostpci0: 0000:01:00.0,pcie=1
ide2: local:iso/pfSense-2.7.iso,media=cdrom,size=800M
memory: 2048
name: PfSense
net0: virtio=BC:24:11:00:00:00,bridge=vmbr0,firewall=1,tag=10
net1: virtio=BC:24:11:00:01:00,bridge=vmbr0,tag=20,queues=2
net2: e1000=BC:24:11:00:02:00,bridge=vmbr0,link_down=1,trunks=30;31
onboot: 1
protection: 1
scsi0: local-lvm:vm-100-disk-0,iothread=1,size=16G
scsi1: local-lvm:vm-100-disk-1,backup=0,size=8G
serial0: socket
serial1: /dev/ttyS0
smbios1: uuid=3b0b8a7e-6a3e-4a1f-9a3c-6f2a6d2d0108
startup: order=1
tags: a;b
usb0: host=046d:c52b
usb1: spice,usb3=1
usb2: mapping=dongle
#qmdump#map:scsi0:drive-scsi0:local-lvm:raw:

[before-upgrade]
net7: virtio=BC:24:11:00:07:00,bridge=vmbr0
onboot: 1
"""


def archived() -> dict[str, str]:
    return guest_config.parse_config(PFSENSE)


def sent(
    network: str = "isolated", scratch: Scratch = SCRATCH, memory: int | None = None
) -> dict[str, str]:
    return isolation.overrides(
        archived(), scratch=scratch, network=network, operation=OPERATION, memory=memory
    )


def restored(vmid: int = 9001, network: str = "isolated") -> dict[str, str]:
    """What PVE makes of the archive: new volumes, no excluded disk, our overrides on top, and then
    stripped.
    """
    config = {
        key: value.replace("vm-100-", f"vm-{vmid}-")
        for key, value in archived().items()
        if not key.startswith("#")
    }
    config = {
        key: value for key, value in (config | sent(network)).items() if "backup=0" not in value
    }
    for key in isolation.strip(config, sent(network)).delete:
        del config[key]
    # refused before it is restored
    return {key: value for key, value in config.items() if not key.startswith("hostpci")}


def broken(
    config: dict[str, str],
    *,
    vmid: int = 9001,
    network: str = "isolated",
    ha: bool = False,
    scratch: Scratch = SCRATCH,
) -> set[str]:
    asserted = isolation.assertions(
        config, scratch=scratch, vmid=vmid, operation=OPERATION, network=network, ha_managed=ha
    )
    assert all(item.detail for item in asserted)
    return {item.name for item in asserted if not item.holds}


# --- reading --------------------------------------------------------------------------------------


def test_reading_stops_at_the_first_snapshot() -> None:
    assert "net7" not in archived()


def test_leading_comments_are_the_description_decoded() -> None:
    assert (
        archived()["description"]
        == "Firewall between the VLANs\nsee the wiki: https://wiki/pfsense 100%\n"
    )


def test_vzdumps_map_and_commented_disks_are_kept_apart_from_options_and_description() -> None:
    config = guest_config.parse_config(
        "#scsi1: "
        "local-lvm:vm-9001-disk-1,backup=0\n#qmdump#map:scsi0:drive-scsi0:local:raw:\nmemory: 1\n"
    )
    assert config == {
        "#scsi1": "local-lvm:vm-9001-disk-1,backup=0",
        "#qmdump#map:scsi0": "drive-scsi0:local:raw",
        "memory": "1",
    }


def test_the_config_that_a_real_server_extracted_is_read_whole() -> None:
    exchanges = json.loads((GOLDEN / "recorded_real" / "03_vzdump_ok.json").read_text())
    answers = [
        (exchange.get("response", {}).get("json") or {}).get("data") for exchange in exchanges
    ]
    text = next(data for data in answers if isinstance(data, str) and "#qmdump#" in data)
    config = guest_config.parse_config(text)
    assert config["net0"] == "virtio=BC:24:11:04:03:6D,bridge=vmbr0,firewall=1"
    assert {key for key in config if key.startswith("#qmdump#")} == {
        "#qmdump#map:scsi0",
        "#qmdump#map:scsi1",
    }
    assert guest_config.disks_total(config) == (1 << 30) + 200 * (1 << 20)
    assert guest_config.missing_disks(config, config) == ()


@given(st.text(max_size=200))
def test_any_text_can_be_read_as_a_config(text: str) -> None:
    assert all(isinstance(value, str) for value in guest_config.parse_config(text).values())


@pytest.mark.parametrize(
    "value", ["", "bridge=vmbr0", "virtio=A,bridge=a,bridge=b", "virtio,firewall", "virtio=A,what"]
)
def test_a_nic_that_cannot_be_understood_is_an_error_and_never_a_guess(value: str) -> None:
    with pytest.raises(PolicyError):
        guest_config.parse_nic(value)


def test_a_nic_in_the_long_form_is_understood() -> None:
    nic = guest_config.parse_nic(
        "model=e1000,macaddr=BC:24:11:00:00:01,bridge=vmbr0,newer-option=7"
    )
    assert (nic.model, nic.mac, nic.bridge, nic.others) == (
        "e1000",
        "BC:24:11:00:00:01",
        "vmbr0",
        {"newer-option": "7"},
    )


# --- overrides ------------------------------------------------------------------------------------


def test_law_2_every_nic_goes_to_the_isolated_bridge_with_its_mac_and_nothing_else() -> None:
    nics = {key: value for key, value in sent().items() if key.startswith("net")}
    assert nics == {
        "net0": "virtio=BC:24:11:00:00:00,bridge=vmbr9",
        "net1": "virtio=BC:24:11:00:01:00,bridge=vmbr9",
        "net2": "e1000=BC:24:11:00:02:00,bridge=vmbr9",
    }


def test_law_2_link_down_keeps_the_isolated_bridge_when_there_is_one_and_else_the_guests_own() -> (
    None
):
    assert sent("link-down")["net1"] == "virtio=BC:24:11:00:01:00,bridge=vmbr9,link_down=1"
    assert (
        sent("link-down", NO_BRIDGE)["net1"] == "virtio=BC:24:11:00:01:00,bridge=vmbr0,link_down=1"
    )


def test_law_2_isolated_without_an_isolated_bridge_is_refused() -> None:
    with pytest.raises(PolicyError, match=r"scratch\.bridge"):
        sent("isolated", NO_BRIDGE)


def test_law_2_a_nic_without_a_bridge_needs_the_isolated_one_because_qemu_would_route_it_through_the_node() -> (
    None
):
    config = {"net0": "virtio=BC:24:11:00:00:00"}
    with pytest.raises(PolicyError, match="net0"):
        isolation.overrides(
            config, scratch=NO_BRIDGE, network="link-down", operation=OPERATION, memory=None
        )


def test_an_unknown_network_word_is_refused_with_the_words_allowed() -> None:
    with pytest.raises(PolicyError, match="isolated and link-down"):
        sent("bridged")


def test_law_2_overrides_name_no_drive_and_no_nic_that_the_archive_lacks() -> None:
    replaced = {
        "serial1": "socket",
        "usb0": "spice",
        "usb2": "spice",
        "tags": "backupsvc-scratch",
        "protection": "0",
    }
    assert set(sent()) == {"net0", "net1", "net2", "onboot", "name", "description", *replaced}
    assert {key: sent()[key] for key in replaced} == replaced
    bare = isolation.overrides(
        {}, scratch=SCRATCH, network="isolated", operation=OPERATION, memory=None
    )
    assert set(bare) == {"onboot", "name", "description"}


def test_the_copy_starts_neither_with_the_node_nor_refuses_its_teardown() -> None:
    assert (sent()["onboot"], sent()["protection"]) == ("0", "0")


def test_the_copy_carries_this_operations_marker() -> None:
    assert ownership.marked(sent(), OPERATION)


@pytest.mark.parametrize("name", ["PfSense", "a" * 80, "host.domain.tld", "été_1", "-", ""])
def test_the_copys_name_is_a_dns_label(name: str) -> None:
    made = isolation.overrides(
        {"name": name}, scratch=SCRATCH, network="isolated", operation=OPERATION, memory=None
    )["name"]
    assert made.startswith("restore-test")
    assert (
        len(made) <= 63
        and made.isascii()
        and made.replace("-", "").isalnum()
        and not made.endswith("-")
    )


def test_memory_is_capped_and_the_balloon_with_it() -> None:
    assert {key: sent(memory=512)[key] for key in ("memory", "balloon")} == {
        "memory": "512",
        "balloon": "512",
    }
    assert "balloon" not in sent(memory=1536) and sent(memory=1536)["memory"] == "1536"
    assert "memory" not in sent(memory=4096)


def test_what_the_overrides_change_is_told_sentence_by_sentence() -> None:
    told = isolation.changes(archived(), sent(memory=1024))
    assert "net0: bridge vmbr0 became vmbr9" in told
    assert {
        "net0: tag=10 dropped",
        "net0: firewall=1 dropped",
        "net1: queues=2 dropped",
        "net2: trunks=30;31 dropped",
    } <= set(told)
    assert "net2: link brought up, on the isolated bridge" in told
    assert "onboot: 1 became 0" in told and "memory: 2048 became 1024" in told
    assert not any("description" in sentence for sentence in told)


# --- strip ----------------------------------------------------------------------------------------


def test_law_2_replaced_devices_and_media_are_deleted_and_harmless_things_are_left() -> None:
    found = isolation.strip(archived() | sent() | {"hostpci0": "mapping=gpu"}, sent())
    assert set(found.delete) == {"hostpci0", "usb0", "usb2", "ide2"}
    assert len(found.stripped) == len(found.delete) and found.blockers == ()


def test_law_2_start_at_boot_and_protection_are_deleted_if_no_override_did_it() -> None:
    assert isolation.strip({"onboot": "1", "protection": "yes"}).delete == ("onboot", "protection")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hostpci3", "mapping=gpu"),
        ("sata1", "cdrom,media=cdrom"),
        ("ide0", "media=cdrom,file=local:iso/x.iso"),
        ("ide2", "local:iso/debian-cloudinit.iso,media=cdrom"),
        ("ide2", "local:iso/cloudinit.iso,media=cdrom"),
    ],
)
def test_law_2_what_a_token_may_delete_is_stripped_and_asserted(key: str, value: str) -> None:
    assert isolation.strip({key: value}).delete == (key,)
    assert broken(restored() | {key: value}) & {"passthrough", "media"}


@pytest.mark.parametrize(
    "volume",
    [
        "local-lvm:vm-100-cloudinit",
        "local:100/vm-100-cloudinit.qcow2",
        "local:100/vm-100-cloudinit.raw",
        "local-lvm:cloudinit",
    ],
)
def test_law_2_a_cloud_init_volume_of_production_is_never_deleted_because_pve_would_free_it(
    volume: str,
) -> None:
    found = isolation.strip({"ide2": f"{volume},media=cdrom", "ide0": f"media=cdrom,file={volume}"})
    assert found.delete == ()
    assert broken(restored() | {"ide2": f"{volume},media=cdrom"}) == {"disks"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ide2", "none,media=cdrom"),
        ("usb0", "spice"),
        ("usb1", "host=spice,usb3=1"),
        ("serial0", "socket"),
        ("startup", "order=1"),
        ("rng0", "source=/dev/urandom,max_bytes=1024"),
        ("rng0", "/dev/random"),
        ("ivshmem", "size=32"),
        ("freeze", "0"),
        ("template", "0"),
        ("tags", "a;b"),
        ("scsi5", "local-lvm:vm-9001-disk-5,mbps_rd_max=3,iops_wr_max_length=2,iothread=1,ssd=1"),
        ("efidisk0", "local-lvm:vm-9001-disk-9,efitype=4m,pre-enrolled-keys=1,size=4M"),
    ],
)
def test_what_cannot_meet_production_is_left_alone(key: str, value: str) -> None:
    assert isolation.strip({key: value}) == isolation.Strip((), (), ())
    assert broken(restored() | {key: value}) == set()


def test_a_cloud_init_drive_of_the_copy_is_left_alone() -> None:
    assert broken(restored() | {"ide2": "local-lvm:vm-9001-cloudinit,media=cdrom"}) == set()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hookscript", "local:snippets/x.pl"),
        ("args", "-device x"),
        ("lock", "backup"),
        ("scsi3", "/dev/sdb,size=1G"),
        ("hostpci0", "0000:01:00.0,pcie=1"),
        ("hostpci0", "host=01:00.0,mapping=gpu"),
        ("usb0", "host=1-2"),
        ("usb0", "mapping=dongle"),
        ("usb0", "spice,mapping=dongle"),
        ("serial2", "/dev/ttyS0"),
        ("parallel0", "/dev/parport0"),
        ("virtiofs0", "share"),
        ("ivshmem", "size=32,name=shared"),
        ("ivshmem", "size=32,name="),
        ("rng0", "source=/dev/hwrng"),
        ("rng0", "/dev/hwrng"),
        ("rng0", "max_bytes=1024"),
        ("freeze", "1"),
        ("template", "on"),
        ("hugepages", "1024"),
        ("keephugepages", "1"),
        ("vlan3", "virtio=BC:24:11:00:00:00"),
        ("vmstate", "local-lvm:vm-9001-state-x"),
        ("teleport", "0"),
        ("teleport3", "0"),
        ("scsi7", "local-lvm:vm-9001-disk-7,import-from=local-lvm:vm-100-disk-0"),
        ("scsi7", "local-lvm:vm-9001-disk-7,reach-out=1"),
    ],
)
def test_law_2_what_a_token_may_not_remove_blocks_the_start(key: str, value: str) -> None:
    assert key in isolation.strip({key: value}).blockers[0]
    assert broken(restored() | {key: value})


# --- assertions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["isolated", "link-down"])
def test_law_2_a_copy_that_was_overridden_and_stripped_may_start(network: str) -> None:
    assert broken(restored(network=network), network=network) == set()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"net0": "virtio=BC:24:11:00:00:00,bridge=vmbr0"}, "nics"),
        ({"net3": "virtio=BC:24:11:00:03:00,bridge=vmbr0"}, "nics"),
        ({"net0": "virtio=BC:24:11:00:00:00,bridge=vmbr0,link_down=1"}, "nics"),
        ({"net0": "virtio=BC:24:11:00:00:00"}, "nics"),
        ({"net0": "nonsense"}, "nics"),
        ({"onboot": "1"}, "onboot"),
        ({"onboot": "maybe"}, "onboot"),
        ({"template": "1"}, "template"),
        ({"hookscript": "local:snippets/x"}, "hookscript"),
        ({"args": "-netdev user,id=a"}, "args"),
        ({"lock": "create"}, "lock"),
        ({"hostpci0": "01:00.0"}, "passthrough"),
        ({"ide2": "local:iso/x.iso,media=cdrom"}, "media"),
        ({"description": "nothing"}, "marker"),
        ({"scsi0": "local-lvm:vm-100-disk-0"}, "disks"),
        ({"scsi0": "local:100/vm-100-disk-0.raw"}, "disks"),
        ({"scsi0": "local:100/vm-9001-disk-0.raw"}, "disks"),
        ({"unused0": "local-lvm:vm-100-disk-0"}, "disks"),
        ({"efidisk0": "local-lvm:vm-90010-disk-0"}, "disks"),
        ({"scsi0": "zfs:base-100-disk-0/vm-9001-disk-0"}, "disks"),
        ({"virtio5": "iscsi:0.0.0.scsi-3600"}, "disks"),
    ],
)
def test_law_2_one_thing_wrong_is_enough_and_is_named(change: dict[str, str], name: str) -> None:
    assert name in broken(restored() | change)


def test_law_2_a_copy_managed_by_ha_or_outside_the_range_may_not_start() -> None:
    assert broken(restored(), ha=True) == {"ha"}
    assert broken(restored(vmid=9100), vmid=9100) == {"range"}


def test_law_2_link_up_on_the_isolated_bridge_is_not_link_down() -> None:
    assert broken(restored(network="isolated"), network="link-down") == {"nics"}


def test_law_2_without_an_isolated_bridge_no_nic_can_be_on_it() -> None:
    assert broken(restored(), scratch=NO_BRIDGE) == {"nics"}


def test_disks_of_a_directory_storage_belong_to_the_copy_too() -> None:
    assert broken(restored() | {"scsi0": "local:9001/vm-9001-disk-0.qcow2,size=1G"}) == set()


NIC_PART = st.sampled_from(
    [
        "virtio=BC:24:11:00:00:01",
        "bridge=vmbr0",
        "bridge=vmbr9",
        "link_down=1",
        "link_down=0",
        "tag=3",
        "model=e1000",
        "x",
    ]
)


@given(st.lists(NIC_PART, max_size=5), st.sampled_from(["isolated", "link-down"]))
def test_law_2_no_nic_line_whatever_its_form_gets_past_the_assertion(
    parts: list[str], network: str
) -> None:
    line = ",".join(parts)
    if "nics" in broken(restored(network=network) | {"net9": line}, network=network):
        return
    assert (
        ("bridge=vmbr9" in parts and "bridge=vmbr0" not in parts)
        if network == "isolated"
        else "link_down=1" in parts
    )


@given(
    st.dictionaries(
        st.sampled_from([f"net{number}" for number in range(32)]),
        st.sampled_from(["vmbr0", "vmbr1", "vmbr9"]),
        max_size=8,
    ),
    st.sampled_from(["isolated", "link-down"]),
)
def test_law_2_overriding_any_archive_makes_all_its_nics_pass(
    bridges: dict[str, str], network: str
) -> None:
    config = {
        key: f"virtio=BC:24:11:00:00:01,bridge={bridge},tag=5" for key, bridge in bridges.items()
    }
    made = isolation.overrides(
        config, scratch=SCRATCH, network=network, operation=OPERATION, memory=None
    )
    assert broken({**config, **made}, network=network) == set()


# --- disks ----------------------------------------------------------------------------------------


def test_law_5_a_disk_that_was_excluded_from_the_backup_is_missing() -> None:
    assert guest_config.missing_disks(archived(), restored()) == ("scsi1",)


def test_law_5_a_disk_that_vzdump_did_not_list_or_the_restore_lost_is_missing() -> None:
    config = {
        "scsi0": "local:vm-1-disk-0",
        "virtio1": "local:vm-1-disk-1",
        "ide2": "none,media=cdrom",
        "unused0": "local:x",
    }
    assert guest_config.missing_disks(
        config | {"#qmdump#map:scsi0": "drive-scsi0:local:raw"}, config
    ) == ("virtio1",)
    assert guest_config.missing_disks(config, {"virtio1": "local:vm-9001-disk-1"}) == ("scsi0",)


def test_sizes_of_restored_disks_are_summed_in_bytes_without_excluded_ones_and_media() -> None:
    config = {
        "scsi0": "a:b,size=1.5G",
        "scsi1": "a:c,size=8G,backup=0",
        "tpmstate0": "a:d,size=4M",
        "ide2": "l:iso/x,media=cdrom,size=5G",
    }
    assert guest_config.disks_total(config) == 3 * (1 << 29) + (4 << 20)
