"""A guest that comes back beside the machine that it was made of never meets it (law 2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.lineage import Identity
from policies.model import PolicyError
from policies.pve import guest_config
from policies.restore_clone import differs, overrides, problems, rights, twin

UUID = "11111111-2222-4333-8444-555555555555"
ARCHIVED = {
    "net0": "virtio=BC:24:11:00:00:08,bridge=vmbr0,firewall=1,tag=20",
    "net1": "e1000=52:54:00:00:00:09,bridge=vmbr7,link_down=1",
    "net2": "virtio",
    "smbios1": f"uuid={UUID}",
    "onboot": "1",
}
SENT = overrides(ARCHIVED, [0, 0xABCDEF, 1])
GOOD = {**ARCHIVED, **SENT, "smbios1": "uuid=0b5e5e1e-0000-4000-8000-00000000001d"}


def test_each_nic_gets_a_mac_address_of_its_own_its_makers_half_kept_and_its_link_down() -> None:
    assert SENT == {
        "onboot": "0",
        "net0": "virtio=BC:24:11:00:00:00,bridge=vmbr0,firewall=1,tag=20,link_down=1",
        "net1": "e1000=52:54:00:AB:CD:EF,bridge=vmbr7,link_down=1",
        "net2": "virtio=BC:24:11:00:00:01,link_down=1",
    }


def test_a_nic_that_cannot_be_read_and_a_lack_of_numbers_are_refused() -> None:
    with pytest.raises(PolicyError, match="cannot be understood"):
        overrides({"net0": "=,"}, [1])
    with pytest.raises(PolicyError, match="no number for the MAC address of net1"):
        overrides(ARCHIVED, [1])


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (Identity(UUID), f"the SMBIOS UUID {UUID}"),
        (Identity(UUID, 7), f"the SMBIOS UUID {UUID}"),
        (Identity(UUID, 8), ""),
        (Identity("other"), ""),
        (Identity(), ""),
        (Identity(macs=("a", "b")), "the MAC address a"),
        (Identity(UUID, macs=("b", "a")), f"the SMBIOS UUID {UUID} and the MAC address a"),
    ],
)
def test_a_guest_is_the_same_machine_by_its_uuid_or_by_a_mac_address(
    other: Identity, said: str
) -> None:
    assert twin(Identity(UUID, 7, macs=("a", "c")), other) == said


def test_what_tells_nothing_is_nobodys_twin() -> None:
    assert twin(Identity(), Identity()) == ""


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, ()),
        ({"net0": SENT["net0"].replace(",link_down=1", "")}, ("the link of net0 is up",)),
        (
            {"net0": ARCHIVED["net0"] + ",link_down=1"},
            ("net0 has another MAC address than the one that was sent",),
        ),
        (
            {"net5": "virtio=BC:24:11:00:00:08,link_down=1"},
            ("net5 has another MAC address than the one that was sent",),
        ),
        ({"net0": "=,"}, ("net0: the NIC line '=,' cannot be understood: ",)),
        ({"smbios1": f"uuid={UUID.upper()}"}, ("its SMBIOS UUID is the original's",)),
        ({"smbios1": ""}, ()),
        ({"onboot": "1"}, ("it starts at boot",)),
    ],
)
def test_law_2_what_would_let_a_clone_meet_its_original_is_seen_when_it_is_read_back(
    wrong: dict[str, str], said: tuple[str, ...]
) -> None:
    found = problems({**GOOD, **wrong}, SENT, UUID)
    assert len(found) == len(said)
    assert all(one.startswith(word) for one, word in zip(found, said, strict=True))


def test_of_an_original_without_a_uuid_none_is_compared() -> None:
    assert problems({**GOOD, "smbios1": f"uuid={UUID}"}, SENT, None) == ()


def test_the_rights_and_the_differences_of_a_clone_are_told() -> None:
    assert [(one.path, one.privilege) for one in rights(208)] == [
        ("/vms/208", "VM.Config.Network"),
        ("/vms/208", "VM.Config.Options"),
    ]
    assert (
        differs(SENT)[0] == "net0 has the new MAC address BC:24:11:00:00:00, and its link is down"
    )
    assert differs({"onboot": "0"})[-1] == "it is not started, nor at boot"


@given(
    st.lists(st.sampled_from([*ARCHIVED.values()][:3]), max_size=6),
    st.lists(st.integers(0, (1 << 24) - 1), min_size=6, max_size=6),
)
def test_whatever_was_archived_a_clone_as_it_was_sent_has_all_its_links_down(
    nics: list[str], numbers: list[int]
) -> None:
    config = {f"net{place}": value for place, value in enumerate(nics)} | {"onboot": "1"}
    sent = overrides(config, numbers)
    assert problems({**config, **sent}, sent, UUID) == ()
    assert all(guest_config.parse_nic(value).link_down for _, value in guest_config.nics(sent))
