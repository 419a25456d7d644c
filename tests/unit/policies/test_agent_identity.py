"""An agent that tells of another machine's NICs is another machine's."""

from __future__ import annotations

import pytest

from policies import agent_identity

OWN = ("BC:24:11:00:00:05",)


def nic(mac: str, name: str = "eth0") -> dict[str, object]:
    return {"name": name, "hardware-address": mac}


@pytest.mark.parametrize(
    ("interfaces", "doubtful"),
    [
        ([nic("bc:24:11:00:00:05")], False),
        (
            [
                nic("00:00:00:00:00:00", "lo"),
                nic("bc:24:11:00:00:05"),
                nic("02:42:ac:11:00:02", "docker0"),
            ],
            False,
        ),
        ([nic("bc:24:11:00:00:04")], True),
        ([nic("02:42:ac:11:00:02", "docker0"), nic("bc:24:11:00:00:04")], True),
        ([nic("00:00:00:00:00:00", "lo")], False),
        ([{"name": "tun0"}], False),
        ([], False),
    ],
)
def test_law_5_an_agent_that_has_none_of_the_copys_macs_is_not_the_copys(
    interfaces: list[dict[str, object]], doubtful: bool
) -> None:
    assert (agent_identity.doubt(interfaces, OWN) is not None) == doubtful


def test_a_config_without_nics_leaves_nothing_to_compare() -> None:
    assert agent_identity.doubt([nic("bc:24:11:00:00:04")], ()) is None


def test_the_macs_of_a_config_are_those_of_its_nics() -> None:
    config = {
        "net0": "virtio=bc:24:11:00:00:05,bridge=vmbr9",
        "net1": "model=e1000,macaddr=BC:24:11:00:01:05,bridge=vmbr9",
        "net2": "what",
        "name": "BC:24:11:00:00:07",
    }
    assert agent_identity.macs(config) == ("BC:24:11:00:00:05", "BC:24:11:00:01:05")


def test_a_line_that_is_no_nic_hides_none_that_comes_after_it() -> None:
    assert agent_identity.macs({"net0": "what, ever=", "net1": "virtio=bc:24:11:00:01:05"}) == (
        "BC:24:11:00:01:05",
    )


def test_the_loopback_tells_nothing_whatever_it_calls_its_address() -> None:
    assert agent_identity.told([nic("bc:24:11:00:00:04", "lo"), nic("bc:24:11:00:00:05")]) == OWN


def test_law_5_a_tunnel_without_a_mac_of_its_own_makes_no_answer_another_machines() -> None:
    """Linux gives tunnels such as sit0 an address of zeros, which no NIC has and every guest may
    show.
    """
    assert (
        agent_identity.told([nic("00:00:00:00:00:00", "sit0"), {"name": "wg0"}, nic("", "tun0")])
        == ()
    )
    assert agent_identity.doubt([nic("00:00:00:00:00:00", "sit0")], OWN) is None
