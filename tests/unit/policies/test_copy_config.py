"""Law 2: what may stand in a copy's config, and what is refused before hours of restore."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import copy_config, isolation, role
from policies.model import Policy, Scratch
from policies.pve import guest_config as pve_config
from policies.pve.property_string import maybe_on
from pvelab.images.site import GUESTS
from pvelab.seed import guest_config

ROOT = Path(__file__).parents[3]
SCRATCH = Scratch(9000, 9099, bridge="vmbr9")
PLAIN = {"/vms": frozenset({"VM.Config.Options", "VM.Config.Network", "VM.PowerMgmt"})}
HARDWARE = {"/vms": PLAIN["/vms"] | {"VM.Config.HWType"}}
MAPPED = {**HARDWARE, "/mapping/pci/gpu": frozenset({"Mapping.Use"})}


def overrides(config: dict[str, str]) -> dict[str, str]:
    return isolation.overrides(
        config, scratch=SCRATCH, network="isolated", operation="01JZ", memory=None
    )


def refused(
    config: dict[str, str], permissions: dict[str, frozenset[str]] = PLAIN, pool: str | None = None
) -> list[str]:
    return [
        sentence.partition(":")[0] for sentence in copy_config.blockers(config, permissions, pool)
    ]


# --- what is refused before the restore -----------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hostpci0", "0000:01:00.0"),
        ("hostpci0", "host=01:00.0"),
        ("parallel0", "/dev/parport0"),
        ("args", "-no-reboot"),
        ("hookscript", "local:snippets/x.pl"),
        ("cicustom", "user=local:snippets/user.yml"),
        ("ivshmem", "size=32,name=shared"),
        ("virtiofs0", "share"),
        ("hugepages", "2"),
        ("keephugepages", "1"),
        ("vlan3", "virtio=BC:24:11:00:00:00"),
        ("vmstate", "local-lvm:vm-100-state-x"),
        ("teleport", "0"),
        ("virtio3", "local-lvm:vm-100-cloudinit"),
    ],
)
def test_law_2_what_nobody_could_make_harmless_is_refused_before_the_restore(
    key: str, value: str
) -> None:
    assert refused({key: value}, MAPPED) == [key]


def test_law_2_an_unknown_key_is_refused_by_name() -> None:
    (sentence,) = copy_config.blockers({"teleport7": "1", "memory": "512"}, PLAIN, None)
    assert sentence.startswith("teleport7: it is not known")


@pytest.mark.parametrize(
    ("key", "value", "sent"),
    [
        ("usb0", "host=046d:c52b", "spice"),
        ("usb3", "mapping=dongle,usb3=1", "spice"),
        ("serial1", "/dev/ttyS0", "socket"),
        ("rng0", "source=/dev/hwrng", "source=/dev/urandom"),
        ("rng0", "/dev/hwrng,max_bytes=1024", "source=/dev/urandom"),
    ],
)
def test_law_2_a_device_is_replaced_in_the_restore_call_by_a_token_that_may_and_else_refused(
    key: str, value: str, sent: str
) -> None:
    config = {key: value}
    assert overrides(config)[key] == sent
    assert copy_config.harm(key, sent) is None
    assert refused(config, HARDWARE) == []
    assert refused(config, {"/pool/copies": HARDWARE["/vms"]}, "copies") == []
    (sentence,) = copy_config.blockers(config, PLAIN, None)
    assert sentence.startswith(key) and "VM.Config.HWType" in sentence


def test_law_2_a_mapped_pci_device_is_restored_only_by_a_token_that_may_use_and_delete_it() -> None:
    config = {"hostpci0": "mapping=gpu,pcie=1"}
    assert refused(config, MAPPED) == []
    assert refused(config, HARDWARE) == refused(config, PLAIN) == ["hostpci0"]
    assert refused(config, {**MAPPED, "/vms": PLAIN["/vms"]}) == ["hostpci0"]
    assert refused({"hostpci0": "01:00.0,mapping=gpu"}, MAPPED) == ["hostpci0"]


def test_a_spice_device_and_a_socket_of_the_guests_own_are_not_replaced() -> None:
    config = {
        "usb0": "SPICE,usb3=1",
        "usb1": "host=spice",
        "serial0": "socket",
        "rng0": "/dev/urandom",
    }
    assert copy_config.replacements(config) == {}
    assert isolation.strip(config, overrides(config)).delete == ()


def test_law_2_a_replaced_usb_device_is_deleted_afterwards() -> None:
    config = {"usb0": "host=1-2"}
    assert isolation.strip(config | overrides(config), overrides(config)).delete == ("usb0",)


def test_a_lock_is_dropped_by_the_restore_and_refuses_none() -> None:
    assert refused({"lock": "backup"}) == []


@pytest.mark.parametrize("word", ["1", "on", "Yes"])
def test_a_template_a_frozen_guest_and_one_that_ends_at_reboot_become_testable(word: str) -> None:
    config = {"template": word, "freeze": word, "reboot": "0"}
    assert refused(config) == []
    assert {key: overrides(config)[key] for key in config} == {
        "template": "0",
        "freeze": "0",
        "reboot": "1",
    }


def test_law_2_tags_are_replaced_and_only_where_there_are_some() -> None:
    assert overrides({"tags": "prod;daily"})["tags"] == copy_config.TAG
    assert "tags" not in overrides({})


# --- cloud-init and firmware ----------------------------------------------------------------------

CLOUD = {
    "ide2": "local-lvm:vm-100-cloudinit,media=cdrom",
    "name": "Web.example.org",
    "ciuser": "x",
    "ipconfig0": "ip=dhcp",
}


def test_a_guest_with_a_cloud_init_drive_keeps_its_name_so_that_it_is_no_new_instance() -> None:
    assert "name" not in overrides(CLOUD)
    assert refused(CLOUD) == []
    unnamed = {"ide2": CLOUD["ide2"]}
    assert overrides(unnamed)["name"] == "VM100"
    assert (
        overrides({**CLOUD, "ide2": "local:iso/cloudinit.iso,media=cdrom"})["name"]
        == "restore-test-Web-example-org"
    )


@pytest.mark.parametrize(
    "volume",
    ["local-lvm:vm-100-cloudinit", "local:100/vm-100-cloudinit.qcow2", "zfs:vm-100-cloudinit"],
)
def test_a_cloud_init_drive_is_known_by_the_name_that_pve_gives_its_volume(volume: str) -> None:
    assert copy_config.cloud_init({"sata1": f"media=cdrom,volume={volume}"}) == ("sata1", 100)


@pytest.mark.parametrize(
    "volume",
    [
        "local:iso/vm-100-cloudinit.iso",
        "local:iso/cloudinit.iso",
        "none",
        "local-lvm:vm-100-disk-0",
    ],
)
def test_an_iso_with_cloudinit_in_its_name_is_none(volume: str) -> None:
    assert copy_config.cloud_init({"ide2": f"{volume},media=cdrom"}) is None
    assert not copy_config.freed_when_deleted(volume)


def test_law_2_firmware_variables_that_the_archive_lacks_would_leave_productions_volume_in_the_copy() -> (
    None
):
    config = {
        "efidisk0": "local-lvm:vm-100-disk-1,size=4M",
        "#qmdump#map:scsi0": "drive-scsi0:local-lvm:raw",
    }
    assert refused(config) == ["efidisk0"]
    assert refused(config | {"#qmdump#map:efidisk0": "drive-efidisk0:local-lvm:raw"}) == []
    assert refused(config | {"efidisk0": "local-lvm:vm-100-disk-1,backup=0,size=4M"}) == []


# --- what passes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("guest", GUESTS, ids=lambda guest: str(guest.vmid))
def test_every_guest_of_the_lab_may_be_copied(guest: object) -> None:
    config = guest_config(guest, {"scsi0": 1 << 30})  # type: ignore[arg-type]
    assert refused(config) == []
    assert isolation.strip(config | overrides(config), overrides(config)).blockers == ()


def test_the_config_that_a_real_server_extracted_may_be_copied() -> None:
    exchanges = json.loads(
        (ROOT / "tests" / "golden" / "recorded_real" / "03_vzdump_ok.json").read_text()
    )
    answers = [
        (exchange.get("response", {}).get("json") or {}).get("data") for exchange in exchanges
    ]
    assert (
        refused(
            pve_config.parse_config(
                next(data for data in answers if isinstance(data, str) and "#qmdump#" in data)
            )
        )
        == []
    )


def test_every_key_that_pves_schema_knows_is_judged_and_none_is_unknown_here() -> None:
    api = json.loads((ROOT / "pvelab" / "src" / "pvelab" / "schema" / "schema.json").read_text())
    (create,) = [
        keys for keys in _parameters(api) if {"archive", "scsi[n]", "hookscript"} <= set(keys)
    ]
    request = {
        "node",
        "vmid",
        "archive",
        "storage",
        "force",
        "unique",
        "pool",
        "bwlimit",
        "start",
        "live-restore",
        "ha-managed",
    }
    request |= {"import-working-storage"}
    for key in set(create) - request:
        why = copy_config.harm(key.replace("[n]", "0"), "1")
        assert why is None or "not known" not in why, key


def _parameters(node: object) -> list[dict[str, object]]:
    """Every endpoint's parameters in the schema, wherever they stand."""
    if isinstance(node, list):
        return [found for item in node for found in _parameters(item)]
    if not isinstance(node, dict):
        return []
    deeper = [found for item in node.values() for found in _parameters(item)]
    return ([node] if "archive" in node and "hookscript" in node else []) + deeper


# --- privileges -----------------------------------------------------------------------------------


def test_what_every_restore_may_send_needs_no_privilege_beyond_those_that_doctor_prints() -> None:
    """The groups of PVE's check_vm_modify_config_perm; what needs another one is refused before
    (see above).
    """
    groups = {"VM.Config.Network": {"net0"}, "VM.PowerMgmt": {"freeze"}}
    groups["VM.Config.Options"] = {
        "onboot",
        "name",
        "description",
        "protection",
        "template",
        "tags",
        "reboot",
    }
    held = {
        need.privilege
        for need in role.everyday(
            Policy("s", "Europe/Paris", "en", (), {}, {}, SCRATCH, "standard")
        )
    }
    assert set(groups) <= held
    full = {
        "net0": "virtio,bridge=vmbr0",
        "protection": "1",
        "template": "1",
        "tags": "a",
        "reboot": "0",
        "freeze": "1",
    }
    assert set(overrides(full)) <= set().union(*groups.values())


VALUE = st.sampled_from(
    [
        "",
        "0",
        "1",
        "host=1-2",
        "spice",
        "socket",
        "/dev/ttyS0",
        "source=/dev/hwrng",
        "name=x,size=1",
        "a=b",
    ]
)
KEY = st.sampled_from(
    [
        "usb0",
        "serial0",
        "rng0",
        "freeze",
        "template",
        "hostpci0",
        "args",
        "ivshmem",
        "teleport",
        "tags",
        "agent",
    ]
)


@given(st.dictionaries(KEY, VALUE), st.sampled_from([PLAIN, HARDWARE, MAPPED]))
def test_law_2_what_no_blocker_names_is_harmless_once_the_overrides_are_in(
    config: dict[str, str], permissions: dict[str, frozenset[str]]
) -> None:
    if refused(config, permissions):
        return
    sent = overrides(config)
    found = isolation.strip(config | sent, sent)
    assert found.blockers == ()
    left = {key: value for key, value in (config | sent).items() if key not in found.delete}
    assert list(copy_config.harms(left)) == []
    assert not maybe_on(left.get("freeze", "0"))
