"""A guest and the one that replaces it are never on the network together by our doing, whatever else
happens to them.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.model import CheckResult, Outcome
from policies.pve.guest_config import pulled
from policies.replace_guard import (
    ABSENT,
    OF_OLD,
    Act,
    Change,
    Links,
    Power,
    Readiness,
    Side,
    Wiring,
    cut,
    fits,
    given_back,
    links,
    name_to_type,
    overrides,
    readiness,
    refusal,
    wiring,
)

SIDES = [
    Side(power, link, managed) for power, link, managed in product(Power, Links, (True, False))
]
NIC = "virtio=BC:24:11:00:00:05,bridge=vmbr0,firewall=1,tag=10"
BACK = [
    *(Act.HOLD_NEW, Act.PULL_NEW, Act.SHUT_NEW),
    *(Act.RETURN_OLD, Act.START_OLD, Act.ARM_OLD),
]
FORTH = [
    *(Act.START_NEW, Act.HOLD_OLD, Act.SHUT_OLD, Act.PULL_OLD),
    *(Act.CONNECT_NEW, Act.ARM_NEW),
]


def maybe_on_the_network(side: Side) -> bool:
    """Whether a guest may be on the network: it may run, or HA may start it, with a link that may be
    up.
    """
    runs = side.power in (Power.RUNNING, Power.UNKNOWN) or (
        side.power is Power.STOPPED and side.managed
    )
    return runs and side.links is not Links.DOWN


def done(act: Act, old: Side, new: Side) -> tuple[Side, Side]:
    """What comes of an act."""
    changes: dict[Act, dict[str, Any]] = {
        Act.START_NEW: {"power": Power.RUNNING},
        Act.START_OLD: {"power": Power.RUNNING},
        Act.SHUT_OLD: {"power": Power.STOPPED},
        Act.SHUT_NEW: {"power": Power.STOPPED},
        Act.PULL_OLD: {"links": Links.DOWN},
        Act.PULL_NEW: {"links": Links.DOWN},
        Act.CONNECT_NEW: {"links": Links.UP},
        Act.RETURN_OLD: {"links": Links.UP},
        Act.HOLD_OLD: {"managed": False},
        Act.HOLD_NEW: {"managed": False},
        Act.ARM_OLD: {"managed": True},
        Act.ARM_NEW: {"managed": True},
    }
    if act in OF_OLD:
        return replace(old, **changes[act]), new
    return old, replace(new, **changes[act])


@pytest.mark.parametrize("act", Act)
def test_law_2_no_act_brings_both_onto_the_network_and_the_unknown_brings_up_nothing(
    act: Act,
) -> None:
    for old, new in product(SIDES, SIDES):
        if refusal(act, old, new) is not None:
            continue
        before = maybe_on_the_network(old) and maybe_on_the_network(new)
        after = done(act, old, new)
        assert before or not all(map(maybe_on_the_network, after)), (act, old, new)
        if act in (Act.CONNECT_NEW, Act.ARM_NEW, Act.RETURN_OLD, Act.START_OLD, Act.ARM_OLD):
            other = new if act in OF_OLD else old
            assert other.power is Power.ABSENT or other.links is Links.DOWN


foreign = st.sampled_from(SIDES)


@given(
    st.lists(
        st.one_of(
            st.sampled_from([*FORTH, *BACK]),
            st.tuples(st.booleans(), foreign),  # somebody changes one of the two
            st.none(),  # a kill: the same act is tried once more, or the way back begins
        ),
        max_size=40,
    )
)
def test_law_2_over_any_sequence_of_acts_kills_and_foreign_changes_we_never_bring_up_both(
    events: list[Act | tuple[bool, Side] | None],
) -> None:
    old = Side(Power.RUNNING, Links.UP, managed=False)
    new = Side(Power.STOPPED, Links.DOWN, managed=False)
    for event in events:
        if event is None:
            continue
        if isinstance(event, tuple):
            old, new = (event[1], new) if event[0] else (old, event[1])
            continue
        already = maybe_on_the_network(old) and maybe_on_the_network(new)
        if refusal(event, old, new) is None:
            old, new = done(event, old, new)
        assert already or not (maybe_on_the_network(old) and maybe_on_the_network(new))


@given(st.integers(0, len(FORTH)))
def test_from_wherever_it_stopped_the_way_back_leads_to_the_old_guest(stopped_after: int) -> None:
    old = Side(Power.RUNNING, Links.UP, managed=True)
    new = Side(Power.STOPPED, Links.DOWN, managed=False)
    for act in FORTH[:stopped_after]:
        assert refusal(act, old, new) is None, act
        old, new = done(act, old, new)
    for act in BACK:
        if act is Act.START_OLD and old.power is Power.RUNNING:
            continue
        assert refusal(act, old, new) is None, act
        old, new = done(act, old, new)
    assert old == Side(Power.RUNNING, Links.UP, managed=True)
    assert new == Side(Power.STOPPED, Links.DOWN, managed=False)


RUNS, OFF = Side(Power.RUNNING, Links.UP, False), Side(Power.STOPPED, Links.DOWN, False)


@pytest.mark.parametrize(
    ("act", "old", "new", "why"),
    [
        (Act.START_NEW, RUNS, ABSENT, "not there"),
        (Act.START_NEW, RUNS, replace(OFF, managed=True), "HA manages"),
        (Act.START_NEW, RUNS, replace(OFF, links=Links.UNKNOWN), "its own links are unknown"),
        (Act.SHUT_OLD, RUNS, OFF, "the new guest is stopped"),
        (Act.SHUT_OLD, RUNS, RUNS, "its links are up"),
        (Act.PULL_OLD, RUNS, OFF, "it is running"),
        (Act.CONNECT_NEW, RUNS, OFF, "the old guest is running"),
        (Act.CONNECT_NEW, Side(), OFF, "the old guest is unknown"),
        (Act.CONNECT_NEW, replace(OFF, managed=True), OFF, "the old guest is stopped"),
        (Act.SHUT_NEW, OFF, RUNS, "its links are up"),
        (Act.RETURN_OLD, OFF, RUNS, "the new guest is running"),
        (Act.START_OLD, OFF, Side(managed=False), "the new guest is unknown"),
        (Act.ARM_NEW, OFF, OFF, "it is stopped"),
        (Act.ARM_NEW, RUNS, RUNS, "the old guest is running and its links are up"),
        (Act.ARM_NEW, replace(OFF, managed=True), RUNS, "and HA manages it"),
        (Act.ARM_NEW, OFF, RUNS, None),
        (Act.ARM_OLD, RUNS, RUNS, "the new guest is running and its links are up"),
        (Act.ARM_OLD, RUNS, replace(OFF, managed=True), "HA manages the new guest"),
        (Act.ARM_OLD, RUNS, ABSENT, None),
        (Act.HOLD_OLD, Side(), Side(), None),
        (Act.HOLD_NEW, ABSENT, ABSENT, "not there"),
        (Act.CONNECT_NEW, ABSENT, OFF, None),
        (Act.START_OLD, OFF, ABSENT, None),
        (Act.PULL_NEW, RUNS, RUNS, None),
    ],
)
def test_what_keeps_an_act_from_being_done_is_said(
    act: Act, old: Side, new: Side, why: str | None
) -> None:
    found = refusal(act, old, new)
    assert (found is None) if why is None else (why in str(found)), found


def test_a_link_is_taken_down_and_given_back_with_nothing_else_changed() -> None:
    config = {"net0": NIC, "net1": f"{NIC},link_down=1", "name": "a", "onboot": "1"}
    before = wiring(config)
    assert before == Wiring({"net0": NIC, "net1": f"{NIC},link_down=1"}, "1")
    down = cut(config)
    assert down == {"net0": pulled(NIC), "onboot": "0"}
    assert cut(config | down) == {} and cut({"net0": pulled(NIC)}) == {}
    back = given_back(config | down, before)
    assert back and back == Change({"net0": NIC, "onboot": "1"})
    assert not given_back(config, before)
    assert pulled(pulled(NIC)) == pulled(NIC) == f"{NIC},link_down=1"
    assert overrides({"net0": NIC, "cores": "1"}) == {"net0": pulled(NIC), "onboot": "0"}


def test_a_start_at_boot_that_was_not_there_is_taken_out_again() -> None:
    assert given_back({"onboot": "0"}, Wiring({})) == Change({}, ("onboot",))


def test_what_somebody_changed_meanwhile_stays_and_gets_its_link_as_it_was() -> None:
    other = NIC.replace("vmbr0", "vmbr1")
    assert given_back({"net0": pulled(other)}, Wiring({"net0": NIC})).set == {"net0": other}
    assert not given_back({"net0": pulled(other)}, Wiring({"net0": pulled(NIC)}))
    assert not given_back({"net0": other}, Wiring({"net0": NIC}))
    assert not given_back({"net1": pulled(NIC)}, Wiring({"net0": NIC})), "a NIC that is new"


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([], Links.DOWN),
        ([pulled(NIC)], Links.DOWN),
        ([pulled(NIC), NIC], Links.UP),
        ([NIC, "nonsense,,="], Links.UP),
        ([pulled(NIC), "nonsense="], Links.UNKNOWN),
    ],
)
def test_the_links_of_a_guest_are_down_only_if_each_surely_is(
    lines: list[str], found: Links
) -> None:
    assert links(lines) is found


def answer(outcome: Outcome) -> CheckResult:
    return CheckResult("agent", outcome, "as it is", kind="agent")


@pytest.mark.parametrize("accepted", [True, False])
def test_before_the_switch_a_failed_check_stops_it_and_an_unknown_one_unless_that_was_accepted(
    accepted: bool,
) -> None:
    good, bad, unsure = map(answer, (Outcome.PASSED, Outcome.FAILED, Outcome.INCONCLUSIVE))

    def ask(*found: CheckResult, simulated: bool = False) -> Readiness:
        return readiness(found, simulated=simulated, accepted=accepted)

    assert ask(good).ready and "agent passed" in ask(good).said
    assert not ask(good, bad).ready and "check failed: agent" in ask(good, bad).said
    assert not ask(bad, simulated=True).ready
    for found in (ask(good, unsure), ask(), ask(simulated=True)):
        assert found.ready is accepted and found.said.startswith("not known: ")


def test_the_name_must_be_typed_as_it_is() -> None:
    assert fits(" web ", 108, "web") and not fits("Web", 108, "web") and not fits(None, 108, "web")
    assert name_to_type(108, "") == "VM 108" and fits("VM 108", 108, "")
