"""A token that may use one bridge only can still restore a copy, link down, when the policy names
no isolated bridge.
"""

from __future__ import annotations

from policies.bridges import free_name, lacking, usable, way_out
from policies.model import Scratch

SCRATCH = Scratch(9000, 9009)
CONFIG = {"net0": "virtio=BC:24:11:04:03:6D,bridge=vmbr0,firewall=1"}
ONLY_VMBR1 = {
    "/vms": frozenset({"VM.Backup"}),
    "/sdn/zones/localnetwork/vmbr1": frozenset({"SDN.Use"}),
}


def test_the_bridge_that_the_policy_names_is_taken() -> None:
    assert usable(CONFIG, Scratch(9000, 9009, bridge="vmbr9"), ONLY_VMBR1).bridge == "vmbr9"


def test_a_token_that_may_use_the_original_bridge_needs_no_other() -> None:
    assert usable(CONFIG, SCRATCH, {"/": frozenset({"SDN.Use"})}).bridge is None


def test_a_token_that_may_use_one_bridge_only_is_given_that_one() -> None:
    assert usable(CONFIG, SCRATCH, ONLY_VMBR1).bridge == "vmbr1"


def test_a_token_without_any_bridge_changes_nothing_so_that_pve_says_what_is_missing() -> None:
    assert usable(CONFIG, SCRATCH, {"/vms": frozenset({"VM.Backup"})}).bridge is None


def test_a_guest_without_a_nic_needs_no_bridge() -> None:
    assert usable({}, SCRATCH, ONLY_VMBR1).bridge is None


def test_only_nics_want_a_bridge() -> None:
    config = CONFIG | {"name": "web", "ide2": "none,media=cdrom", "netmask": "255.255.255.0"}
    both = {
        f"/sdn/zones/localnetwork/{bridge}": frozenset({"SDN.Use"}) for bridge in ("vmbr0", "vmbr1")
    }
    assert usable(config, SCRATCH, both).bridge is None


def test_law_2_only_a_bridge_of_the_nodes_own_that_the_token_may_use_is_taken() -> None:
    """A network of another SDN zone may span nodes, and a right to look at a bridge is none to use
    it.
    """
    held = {
        "/pool/scratch": frozenset({"SDN.Use"}),
        "/sdn/zones/campus/vnet1": frozenset({"SDN.Use"}),
        "/sdn/zones/localnetwork/vmbr1": frozenset({"SDN.Audit"}),
        "/sdn/zones/localnetwork/vmbr5": frozenset({"SDN.Use"}),
    }
    assert usable(CONFIG, SCRATCH, held).bridge == "vmbr5"


def test_a_right_on_one_vlan_of_a_bridge_names_the_bridge() -> None:
    assert (
        usable(CONFIG, SCRATCH, {"/sdn/zones/localnetwork/vmbr1/5": frozenset({"SDN.Use"})}).bridge
        == "vmbr1"
    )


def test_law_2_a_token_without_any_bridge_is_told_before_anything_is_restored() -> None:
    assert lacking(CONFIG, SCRATCH, {"/vms": frozenset({"VM.Backup"})}) == ("vmbr0",)
    assert lacking(CONFIG, SCRATCH, ONLY_VMBR1) == ()
    assert lacking(CONFIG, Scratch(9000, 9009, bridge="vmbr9"), {}) == ()
    assert lacking({}, SCRATCH, {}) == ()


def test_law_2_the_name_that_is_proposed_is_no_bridge_that_there_is() -> None:
    assert free_name([]) == "vmbr9"
    assert free_name(["vmbr9"]) == "vmbr90"
    assert free_name(["vmbr9", "vmbr90"]) == "vmbr91"


def test_a_nic_on_no_bridge_is_given_the_one_of_its_own() -> None:
    assert usable({"net0": "virtio=BC:24:11:04:03:6D"}, SCRATCH, ONLY_VMBR1).bridge == "vmbr1"


def test_law_2_a_nic_on_no_bridge_wants_one_of_its_own_whatever_else_the_token_may_use() -> None:
    """QEMU would give it a way out through the node."""
    held = {"/": frozenset({"SDN.Use"}), "/sdn/zones/localnetwork/vmbr1": frozenset({"SDN.Use"})}
    assert usable({"net0": "virtio=BC:24:11:04:03:6D"}, SCRATCH, held).bridge == "vmbr1"
    assert usable(CONFIG | {"net1": "virtio=BC:24:11:04:03:6E"}, SCRATCH, held).bridge == "vmbr1"
    assert usable(CONFIG, SCRATCH, held).bridge is None


def test_the_way_out_names_the_nodes_that_lack_the_bridge_else_all() -> None:
    assert way_out("vmbr9", {"b", "a"}).startswith("make vmbr9 on a, b, a bridge for copies alone")
    assert way_out("vmbr9").startswith("make vmbr9 on every node, a bridge for copies alone")
