"""PVE's property strings: each reader of the service must read them as PVE does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.model import PolicyError
from policies.pve import guest_config, property_string, prune_backups

ON, OFF = (
    ["1", "on", "yes", "true", "On", "YES", "True"],
    ["0", "off", "no", "false", "Off", "NO", "False"],
)


@pytest.mark.parametrize("word", ON)
def test_what_pve_takes_for_true_is_true(word: str) -> None:
    assert property_string.boolean(word) is True


@pytest.mark.parametrize("word", OFF)
def test_what_pve_takes_for_false_is_false(word: str) -> None:
    assert property_string.boolean(word) is False


@pytest.mark.parametrize("word", ["", " 1", "2", "enabled", "ja", "１"])
def test_what_pve_refuses_as_a_boolean_is_neither(word: str) -> None:
    assert property_string.boolean(word) is None


def test_empty_parts_are_skipped_and_a_value_may_hold_further_equals_signs() -> None:
    assert property_string.parse(",a=1,, ,b=c=d,") == {"a": "1", "b": "c=d"}


def test_a_part_without_a_key_is_the_default_keys_at_any_place() -> None:
    assert property_string.parse("size=1G,local:x", default="file") == {
        "size": "1G",
        "file": "local:x",
    }


def test_an_alias_is_its_key() -> None:
    assert property_string.parse("volume=local:x", default="file", aliases={"volume": "file"}) == {
        "file": "local:x"
    }


def test_nothing_is_trimmed() -> None:
    assert property_string.parse("a=1, b=2 ") == {"a": "1", " b": "2 "}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a=", "missing key"),
        ("=1", "missing key"),
        ("a=1,a=2", "duplicate key in comma-separated list property: a"),
        ("x,file=y", "duplicate key"),
        ("volume=x,file=y", "duplicate key"),
    ],
)
def test_what_pve_refuses_is_refused_in_its_words(text: str, why: str) -> None:
    with pytest.raises(PolicyError, match=why):
        property_string.parse(text, default="file", aliases={"volume": "file"})


def test_a_value_without_a_key_needs_a_default_key() -> None:
    with pytest.raises(PolicyError, match="does not define a default key"):
        property_string.parse("what")


@pytest.mark.parametrize(
    ("value", "on"),
    [
        ("1", True),
        ("enabled=1", True),
        ("1,type=virtio", True),
        ("enabled=1,fstrim_cloned_disks=1", True),
        ("fstrim_cloned_disks=1,enabled=1", True),
        ("fstrim_cloned_disks=1,1", True),
        ("on", True),
        ("enabled=Yes", True),
        ("type=isa,enabled=true,", True),
        ("enabled=1,freeze-fs=0", True),
        ("0", False),
        ("enabled=0", False),
        ("fstrim_cloned_disks=1", False),
        ("enabled=0,fstrim_cloned_disks=1", False),
        ("enabled=maybe", False),
        ("1,enabled=1", False),
        ("enabled=", False),
        (" 1", False),
        ("", False),
    ],
)
def test_the_agent_option_is_read_as_pve_reads_it(value: str, on: bool) -> None:
    assert guest_config.agent_configured({"agent": value}) is on


def test_no_agent_option_means_no_agent() -> None:
    assert guest_config.agent_configured({}) is False


@pytest.mark.parametrize(
    ("value", "uuid"),
    [
        ("uuid=3b0b", "3b0b"),
        ("base64=1,uuid=3b0b,serial=eA==", "3b0b"),
        ("serial=x", None),
        ("3b0b", None),
        ("uuid=a,uuid=b", None),
    ],
)
def test_the_smbios_uuid_is_found_wherever_it_stands(value: str, uuid: str | None) -> None:
    assert guest_config.smbios_uuid({"smbios1": value}) == uuid
    assert guest_config.smbios_uuid({}) is None


@pytest.mark.parametrize(
    ("text", "removes"),
    [
        ("", False),
        ("keep-all=1", False),
        ("keep-all=yes", False),
        ("keep-all=True", False),
        ("keep-all=on,", False),
        ("keep-all=1,keep-last=0", False),
        ("keep-last=0", False),
        ("keep-last=00,keep-daily=+0", False),
        ("keep-all=0", False),
        ("keep-all=0,keep-last=3", True),
        ("keep-last=3", True),
        ("keep-daily=+3", True),
        # PVE refuses it; so nobody knows what it does, and it is overruled and told
        ("keep-all=1,keep-last=3", True),
        ("keep-decadely=3", True),
    ],
)
def test_whether_a_storage_prunes_has_one_answer(text: str, removes: bool) -> None:
    assert prune_backups.prunes(text) is removes


def test_law_2_a_nic_line_with_empty_parts_is_read_and_isolated() -> None:
    nic = guest_config.parse_nic("virtio=BC:24:11:00:00:01,,bridge=vmbr0,")
    assert (nic.model, nic.mac, nic.bridge) == ("virtio", "BC:24:11:00:00:01", "vmbr0")
    assert guest_config.parse_nic("bridge=vmbr0,virtio").bridge == "vmbr0"


def test_law_2_a_link_is_down_only_by_pves_own_word() -> None:
    assert guest_config.parse_nic("virtio,link_down=On").link_down
    assert not guest_config.parse_nic("virtio,link_down=maybe").link_down


def test_a_disk_is_excluded_by_each_of_pves_words_and_its_volume_may_stand_anywhere() -> None:
    config = {
        "scsi0": "size=1G,backup=No,local:vm-1-disk-0",
        "scsi1": "volume=local:vm-1-disk-1,backup=yes,size=1G",
    }
    assert guest_config.disks_to_dump(config) == ("scsi1",)
    assert guest_config.disks_total(config) == 1 << 30


@given(st.text(alphabet="abc=, 1", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = property_string.parse(text, default="a")
    except PolicyError:
        return
    assert all(key and value for key, value in found.items() if key != "a")
    assert (
        property_string.parse(",".join(f"{key}={value}" for key, value in found.items())) == found
    )


@pytest.mark.parametrize(
    ("agent", "off"),
    [
        ("1", False),
        ("1,freeze-fs=0", True),
        ("1,freeze-fs-on-backup=0", True),
        ("1,guest-fsfreeze=0", True),
        ("1,freeze-fs=FALSE", True),
        ("freeze-fs=no,enabled=1", True),
        ("1,freeze-fs=1", False),
        ("0,freeze-fs=0", False),  # there is no agent that could freeze
        ("1,freeze-fs=0,guest-fsfreeze=1", False),  # said twice: PVE ignores the whole option
        ("", False),
    ],
)
def test_the_freeze_is_switched_off_by_any_of_its_three_names(agent: str, off: bool) -> None:
    assert guest_config.freeze_switched_off({"agent": agent}) is off
