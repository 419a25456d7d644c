"""Law 2: a bridge counts as isolated only if its node says all of it, and says it in full."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.bridge_isolation import Interface, NodeNetwork, openings

SEEING = {"/": frozenset({"Sys.Audit"})}
UPLINK = Interface("vmbr0", "bridge", True, ports=("eno1",), addresses=("192.168.3.221/24",))
ISOLATED = Interface("vmbr9", "bridge", True)


def network(*interfaces: Interface, pending: bool = False) -> NodeNetwork:
    return NodeNetwork("clovis", interfaces, pending)


def test_law_2_a_bridge_without_port_address_or_company_leads_nowhere() -> None:
    assert openings(network(UPLINK, ISOLATED), "vmbr9", SEEING) == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ports": ("eno1",)}, "has the ports eno1"),
        ({"ports": ("eno1", "bond0")}, "has the ports eno1, bond0"),
        ({"addresses": ("10.0.0.1/24",)}, "has an address on bridge vmbr9: 10.0.0.1/24"),
        ({"addresses": ("fe80::1/64",)}, "fe80::1/64"),
        ({"addresses": ("dhcp",)}, "dhcp"),
        ({"active": False}, "is not active"),
        ({"type": "vnet"}, "of type vnet: a network of the SDN may span nodes"),
        ({"type": "OVSBridge"}, "of type OVSBridge: Open vSwitch joins nodes by tunnels"),
        ({"type": ""}, "of type unknown"),
    ],
)
def test_law_2_a_bridge_with_a_way_out_is_not_isolated(changes: dict[str, Any], said: str) -> None:
    (sentence,) = openings(network(UPLINK, replace(ISOLATED, **changes)), "vmbr9", SEEING)
    assert said in sentence and "clovis" in sentence


def test_a_type_of_which_nothing_is_known_is_named_and_not_explained() -> None:
    (sentence,) = openings(network(replace(ISOLATED, type="wg")), "vmbr9", SEEING)
    assert sentence.endswith("but of type wg")


@pytest.mark.parametrize(
    "other",
    [
        Interface("vmbr9.10", "vlan", True),
        Interface("lab10", "vlan", True, below=("vmbr9",)),
        Interface("lab10", "vlan", True, below=("vmbr9.10",)),
        Interface("vmbr9:1", "alias", True),
        Interface("bond7", "bond", True, below=("vmbr9",)),
        Interface("vmbr7", "bridge", True, ports=("vmbr9",)),
        Interface("vmbr7", "bridge", True, ports=("veth1", "vmbr9.20")),
        Interface("leak", "OVSIntPort", True, below=("vmbr9",)),
        Interface("vmbr9.10", "vlan", False),
    ],
)
def test_law_2_a_bridge_with_another_interface_on_it_is_not_isolated(other: Interface) -> None:
    (sentence,) = openings(network(ISOLATED, other), "vmbr9", SEEING)
    assert "stacked" in sentence and other.name in sentence


@pytest.mark.parametrize("name", ["vmbr90", "vmbr90.10", "xvmbr9"])
def test_an_interface_whose_name_only_looks_alike_is_nothing_to_the_bridge(name: str) -> None:
    assert (
        openings(network(ISOLATED, Interface(name, "vlan", True, below=(name,))), "vmbr9", SEEING)
        == ()
    )


def test_law_2_a_bridge_that_its_node_does_not_have_is_not_isolated() -> None:
    assert openings(network(UPLINK), "vmbr9", SEEING) == ("clovis has no bridge vmbr9",)


def test_law_2_an_answer_with_pending_changes_is_not_believed() -> None:
    (sentence,) = openings(network(ISOLATED, pending=True), "vmbr9", SEEING)
    assert "pending changes" in sentence


@pytest.mark.parametrize(
    "held", [{}, {"/": frozenset({"SDN.Use"})}, {"/nodes": frozenset({"Sys.Audit"})}]
)
def test_law_2_an_answer_that_may_be_filtered_is_not_believed(
    held: dict[str, frozenset[str]],
) -> None:
    (sentence,) = openings(network(ISOLATED), "vmbr9", held)
    assert "Sys.Audit on /" in sentence


_NAMES = st.sampled_from(["eno1", "vmbr0", "vmbr9", "vmbr9.5", "vmbr9:1", "vmbr90", "bond0"])
_INTERFACES = st.builds(
    Interface,
    _NAMES,
    st.sampled_from(["bridge", "OVSBridge", "vlan", "bond", "eth", "vnet"]),
    st.booleans(),
    st.lists(_NAMES, max_size=2).map(tuple),
    st.lists(st.sampled_from(["10.0.0.1/24", "dhcp"]), max_size=1).map(tuple),
    st.lists(_NAMES, max_size=2).map(tuple),
)


@given(
    st.lists(_INTERFACES, max_size=5, unique_by=lambda item: item.name),
    st.booleans(),
    st.booleans(),
)
def test_law_2_whatever_a_node_answers_only_a_bridge_that_nothing_joins_is_isolated(
    interfaces: list[Interface], pending: bool, seeing: bool
) -> None:
    if openings(network(*interfaces, pending=pending), "vmbr9", SEEING if seeing else {}):
        return
    ours = next(item for item in interfaces if item.name == "vmbr9")
    assert seeing and not pending and ours.active and ours.type == "bridge"
    assert not ours.ports and not ours.addresses
    for item in interfaces:
        if item is not ours:
            touched = {item.name, *item.ports, *item.below}
            assert not touched & {"vmbr9", "vmbr9.5", "vmbr9:1"}
