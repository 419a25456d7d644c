"""Which answers about a node's network are believed."""

from __future__ import annotations

from policies.bridge_isolation import Interface, NodeNetwork, openings

NETWORK = NodeNetwork("a", (Interface("vmbr9", "bridge", True),))


def test_law_2_an_answer_is_in_force_unless_it_says_that_changes_are_pending() -> None:
    assert openings(NETWORK, "vmbr9", {"/": frozenset({"Sys.Audit"})}) == ()


def test_law_2_the_right_to_see_the_network_is_that_on_the_root_alone() -> None:
    (said,) = openings(NETWORK, "vmbr9", {"/nodes": frozenset({"Sys.Audit"}), "/": frozenset()})
    assert "lacks Sys.Audit on /" in said
