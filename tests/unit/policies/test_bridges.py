"""A token that may use one bridge only can still restore a copy, link down, when the policy names no isolated bridge."""

from __future__ import annotations

from policies.bridges import usable
from policies.model import Scratch

SCRATCH = Scratch(9000, 9009)
CONFIG = {"net0": "virtio=BC:24:11:04:03:6D,bridge=vmbr0,firewall=1"}
ONLY_VMBR1 = {"/vms": frozenset({"VM.Backup"}), "/sdn/zones/localnetwork/vmbr1": frozenset({"SDN.Use"})}


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
