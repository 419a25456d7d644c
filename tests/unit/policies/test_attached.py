"""Law 2: who else hangs on the bridge of the copies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import ownership
from policies.attached import Card, Kernel, card, foreign_ports, strangers
from policies.model import Scratch

SCRATCH = Scratch(9000, 9009, bridge="vmbr9")
SEEING = {"/vms": frozenset({"VM.Audit"})}
ON_IT = ("net0", "virtio=BC:24:11:00:00:01,bridge=vmbr9,firewall=1")


def found(
    *cards: Card, probes: tuple[int, ...] = (), permissions: dict[str, frozenset[str]] | None = None
) -> tuple[str, ...]:
    given = SEEING if permissions is None else permissions
    return strangers(cards, "clovis", "vmbr9", scratch=SCRATCH, probes=probes, permissions=given)


def copy(vmid: int, *options: tuple[str, str]) -> Card:
    return card(
        vmid, "restore-test-108", [("description", ownership.marker("01J") + "\n"), *options]
    )


def test_law_2_a_firewall_with_a_leg_on_the_bridge_is_a_stranger() -> None:
    (sentence,) = found(
        card(105, "pfsense", [("net0", "virtio,bridge=vmbr0"), ("net1", "virtio,bridge=vmbr9")])
    )
    assert "guest 105 (pfsense) on clovis is on bridge vmbr9 too, by its net1" in sentence


@pytest.mark.parametrize(
    "option",
    [
        ("net3", "name=eth0,bridge=vmbr9,ip=dhcp"),
        ("net0", "virtio=BC:24:11:00:00:01,bridge=vmbr9,link_down=1"),
        ("args", "-netdev bridge,id=n0,br=vmbr9"),
        ("lxc", "[['lxc.net.0.link', 'vmbr9']]"),
    ],
)
def test_law_2_every_form_in_which_a_guest_may_join_a_bridge_counts(
    option: tuple[str, str],
) -> None:
    assert found(card(105, "", [option]))


def test_law_2_a_change_that_is_only_pending_counts_as_much_as_what_is_in_force() -> None:
    assert found(card(105, "", [("net0", "virtio,bridge=vmbr9"), ("net0", "virtio,bridge=vmbr0")]))
    assert found(card(105, "", [("net0", "virtio,bridge=vmbr0"), ("net0", "virtio,bridge=vmbr9")]))


@pytest.mark.parametrize(
    "value",
    ["virtio,bridge=vmbr90", "virtio,bridge=vmbr0,tag=9", "virtio", "name=vmbr9,bridge=vmbr0"],
)
def test_another_bridge_is_none_of_its_business(value: str) -> None:
    assert (
        found(card(105, "", [("net0", value), ("name", "vmbr9"), ("description", "bridge=vmbr9")]))
        == ()
    )


def test_law_2_only_marked_guests_of_the_range_and_named_probes_may_be_there() -> None:
    assert found(copy(9000, ON_IT), card(700, "probe", [ON_IT]), probes=(700,)) == ()
    assert found(card(9000, "unmarked", [ON_IT]))
    assert found(copy(8999, ON_IT))
    assert found(card(700, "no probe", [ON_IT]), probes=(701,))


@pytest.mark.parametrize(
    "held", [{}, {"/": frozenset({"Sys.Audit"})}, {"/vms/105": frozenset({"VM.Audit"})}]
)
def test_law_2_a_list_that_may_leave_guests_out_is_not_believed(
    held: dict[str, frozenset[str]],
) -> None:
    (sentence,) = found(permissions=held)
    assert "VM.Audit on /vms" in sentence


@pytest.mark.parametrize(
    "port",
    ["eno2", "vmbr0.9", "tap105i0", "fwpr105p1", "veth200i0", "tap9000i0x", "vxlan9", "tap9000"],
)
def test_law_2_a_port_of_the_kernels_that_is_no_copys_and_no_probes_is_refused(port: str) -> None:
    (sentence,) = foreign_ports(Kernel(("tap9000i0", port)), "clovis", "vmbr9", {9000, 700})
    assert port in sentence and "kernel of clovis" in sentence


def test_the_ends_of_copies_and_probes_may_be_there_and_silence_speaks_neither_way() -> None:
    assert (
        foreign_ports(
            Kernel(("tap9000i0", "fwpr700p0", "veth9001i2")), "clovis", "vmbr9", {9000, 9001, 700}
        )
        == ()
    )
    assert foreign_ports(Kernel(None, "no answer"), "clovis", "vmbr9", set()) == ()


def test_law_2_a_bridge_that_the_kernel_does_not_have_is_refused() -> None:
    assert foreign_ports(Kernel((), missing=True), "clovis", "vmbr9", set()) == (
        "the kernel of clovis has no bridge vmbr9",
    )


@given(
    st.integers(100, 10_000),
    st.booleans(),
    st.sets(st.integers(100, 10_000), max_size=3),
    st.sampled_from(["vmbr0", "vmbr9"]),
)
def test_law_2_whoever_is_on_the_bridge_is_a_marked_copy_in_the_range_or_a_probe(
    vmid: int, marked: bool, probes: set[int], bridge: str
) -> None:
    option = ("net0", f"virtio,bridge={bridge}")
    one = copy(vmid, option) if marked else card(vmid, "x", [option])
    accepted = not found(one, probes=tuple(probes))
    assert accepted == (bridge != "vmbr9" or vmid in probes or (marked and vmid in SCRATCH))


def test_law_2_a_guest_of_the_scratch_range_is_no_copy_unless_it_says_so() -> None:
    assert found(Card(9000, "somebody's own", (ON_IT,)))
    assert found(card(9000, ownership.marker("01J"), [ON_IT, ("tags", ownership.marker("01J"))]))


def test_what_answered_gives_no_reason_for_silence() -> None:
    assert Kernel(()).said == "" and not Kernel(()).missing


@pytest.mark.parametrize(
    "option",
    [
        ("net1", "virtio,bridge=vmbr0"),
        ("net1", "virtio,bridge=vmbr0,link_down=1"),
        ("net1", "virtio"),
        ("args", "-netdev user,id=n1"),
        ("args", "-netdev bridge,id=n0,br=vmbr9 -netdev user,id=n1"),
        ("lxc", "[['lxc.net.1.link', 'vmbr0']]"),
    ],
    ids=[
        "a second NIC",
        "the same, link down",
        "no bridge",
        "QEMU's words",
        "QEMU's words that name the bridge too",
        "LXC's",
    ],
)
def test_law_2_a_marker_that_anybody_may_have_written_excuses_no_leg_elsewhere(
    option: tuple[str, str],
) -> None:
    """PVE's clone of a copy keeps its description, and whoever made it may have given it a second
    NIC to look at it.
    """
    (sentence,) = found(copy(9000, ON_IT, option))
    assert f"leads elsewhere by its {option[0]}" in sentence and "by its net0" in sentence


def test_law_2_a_copy_that_leads_elsewhere_alone_is_not_on_the_bridge() -> None:
    assert found(copy(9000, ("net0", "virtio,bridge=vmbr0,link_down=1"))) == ()
    assert found(copy(9000, ON_IT, ("net1", "virtio,bridge=vmbr9,link_down=1"))) == ()


def test_a_stranger_with_all_its_legs_on_the_bridge_leads_nowhere_else() -> None:
    (sentence,) = found(card(105, "pfsense", [ON_IT]))
    assert sentence.endswith("by its net0")
