"""Law 2's two walls: the isolated bridge leads nowhere on any node, and the token may use no other
network.
"""

from __future__ import annotations

from typing import Any

import pytest

from policies.compliance.facts import BridgeFacts, Gap, SiteFacts
from policies.compliance.scratch_network import linked_down, scratch_network
from policies.model import Node, Scratch

ZONE = "/sdn/zones/localnetwork"
OURS, NONE = Scratch(9000, 9009, bridge="vmbr9"), Scratch(9000, 9009)
USE = frozenset({"SDN.Use"})
NODES = (Node("a", True), Node("b", True), Node("dead", False))
WHOLE = (
    BridgeFacts("vmbr0", "a", ("eno1",), "10.0.0.1"),
    BridgeFacts("vmbr9", "a"),
    BridgeFacts("vmbr9", "b"),
)


def seen(
    bridges: tuple[BridgeFacts, ...] | None = WHOLE,
    may: dict[str, frozenset[str]] | None = None,
    **more: Any,
) -> SiteFacts:
    return SiteFacts("home", 1, (), NODES, bridges=bridges, permissions=may, **more)


def faults(facts: SiteFacts, scratch: Scratch = OURS) -> list[tuple[str, str, dict[str, object]]]:
    return [
        (fault.kind, fault.subject, dict(fault.values)) for fault in scratch_network(facts, scratch)
    ]


def test_law_2_a_bridge_that_leads_nowhere_on_every_node_and_a_token_that_may_use_no_other_are_no_fault() -> (
    None
):
    assert faults(seen(may={f"{ZONE}/vmbr9": USE})) == []
    assert (
        faults(
            seen(
                may={f"{ZONE}/vmbr9": USE, f"{ZONE}/vmbr9/5": USE, "/vms": frozenset({"VM.Audit"})}
            )
        )
        == []
    )


def test_law_2_a_policy_without_an_isolated_bridge_is_told_so() -> None:
    assert faults(seen(), NONE) == [("none", "scratch", {})]


def test_law_2_a_node_that_is_online_and_lacks_the_bridge_is_named() -> None:
    assert faults(seen(WHOLE[:2])) == [("missing", "vmbr9", {"bridge": "vmbr9", "nodes": "b"})]
    assert faults(seen(WHOLE[:1])) == [("missing", "vmbr9", {"bridge": "vmbr9", "nodes": "a, b"})]


def test_nothing_is_said_of_a_node_whose_bridges_could_not_be_read() -> None:
    assert faults(seen(WHOLE[:2], gaps=(Gap("bridges", "b", "timed out"),))) == []
    assert faults(seen(WHOLE[:2], gaps=(Gap("clock", "b", "timed out"),))) != []
    assert faults(seen(None)) == []


def test_law_2_a_port_and_an_address_of_the_bridge_lead_out_of_it() -> None:
    joined = (*WHOLE[:2], BridgeFacts("vmbr9", "b", ("eno2", "eno3"), "10.9.0.1"))
    assert faults(seen(joined)) == [
        ("ports", "vmbr9", {"bridge": "vmbr9", "node": "b", "ports": "eno2, eno3"}),
        ("address", "vmbr9", {"bridge": "vmbr9", "node": "b", "address": "10.9.0.1"}),
    ]


@pytest.mark.parametrize(
    ("may", "bridges"),
    [
        ({f"{ZONE}/vmbr9": USE, f"{ZONE}/vmbr0": USE}, "vmbr0"),
        ({f"{ZONE}/vmbr9": USE, f"{ZONE}/vmbr0/5": USE}, "vmbr0/5"),
        ({f"{ZONE}/vmbr9": USE, "/sdn/zones/campus/vnet1": USE}, "campus/vnet1"),
        ({f"{ZONE}/vmbr9": USE, f"{ZONE}/vmbr99": USE}, "vmbr99"),
        ({"/": USE}, "vmbr0"),
        ({f"{ZONE}": USE, "/sdn/zones/campus/vnet1": frozenset({"SDN.Audit"})}, "vmbr0"),
        (
            {"/sdn/zones/campus/vnet1": USE, f"{ZONE}/vmbr9": USE, f"{ZONE}/vmbr0": USE},
            "campus/vnet1, vmbr0",
        ),
    ],
)
def test_law_2_every_other_network_that_the_token_may_use_is_named(
    may: dict[str, frozenset[str]], bridges: str
) -> None:
    assert faults(seen(may=may)) == [("token", "token", {"bridges": bridges})]


def test_law_2_a_right_to_look_is_none_to_use_and_a_pool_is_no_network() -> None:
    may = {f"{ZONE}/vmbr9": USE, f"{ZONE}/vmbr0": frozenset({"SDN.Audit"}), "/pool/a/b/c": USE}
    assert faults(seen(may=may)) == []


def test_law_2_where_no_bridge_is_known_by_name_the_whole_zone_that_is_open_is_told() -> None:
    assert faults(seen(None, {ZONE: USE})) == [("token", "token", {"bridges": ZONE})]
    assert faults(seen(None, {"/": USE})) == [
        ("token", "token", {"bridges": f"/sdn/zones, {ZONE}"})
    ]


def test_law_2_without_a_named_bridge_the_tokens_own_is_its_copies_only_if_it_leads_nowhere() -> (
    None
):
    own = {f"{ZONE}/vmbr9": USE}
    assert faults(seen(may=own), NONE) == [("none", "scratch", {})]
    open_to = ("token", "token", {"bridges": "vmbr9"})
    for leading in (
        BridgeFacts("vmbr9", "b", ("eno2",)),
        BridgeFacts("vmbr9", "b", (), "10.9.0.1"),
    ):
        assert faults(seen((*WHOLE[:2], leading), own), NONE)[1:] == [open_to]
    assert faults(seen(None, own), NONE)[1:] == [open_to], "nobody knows where it leads"


def test_law_2_a_token_without_any_bridge_is_told_how_to_be_given_one() -> None:
    (found,) = linked_down(seen(may={"/vms": USE}))
    assert found.exit_code == 4 and found.detail.startswith("the token may use no bridge")
    assert found.action.startswith("make vmbr90 on every node"), (
        "vmbr9 is there, and may be somebody's"
    )
    assert list(linked_down(seen(may={"/": USE}))) == [], (
        "every bridge is open to it: that is another finding"
    )


def test_copies_hang_only_on_a_bridge_that_every_node_has_that_could_be_read() -> None:
    own = {f"{ZONE}/vmbr9": USE}
    assert list(linked_down(seen(may=own))) == []
    (found,) = linked_down(seen(WHOLE[:2], own))
    assert found.exit_code == 1 and found.detail.endswith(
        "with their links down, does not exist on b"
    )
    assert found.action.startswith("make vmbr9 on b, a bridge for copies alone")
    assert list(linked_down(seen((*WHOLE[:2], BridgeFacts("vmbr0", "b")), own))) == [found], (
        "another bridge is not that one"
    )
    assert list(linked_down(seen(WHOLE[:2], own, gaps=(Gap("bridges", "b", "timed out"),)))) == []


def test_nothing_is_said_where_bridges_or_rights_could_not_be_read() -> None:
    assert (
        list(linked_down(seen(None, {"/vms": USE}))) == list(linked_down(seen(WHOLE, None))) == []
    )
