"""Whether somebody answers at a guest's address, and whose an answer is: silence is a neighbour's,
and what cannot be asked is not known.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from policies.model import CheckResult, CheckSpec, GuestPolicy, Outcome
from policies.pve.ipconfig import addresses as by_cloud_init
from policies.restore_silence import USUAL, Address, Look, addresses, counted, doubtful, judge
from policies.silence import Finding, Heard, State, Table, Verdict, Way

IP, MAC, OTHER = "192.168.10.8", "BC:24:11:00:00:08", "BC:24:11:00:00:99"
ADDRESS = Address(IP, (22, 80), "the policy")
NOTHING = {22: Heard.NOTHING, 80: Heard.NOTHING}
EMPTY = Table(State.FAILED, None, None, Way.ON_LINK)
SSH = CheckSpec("ssh", "ssh", {"port": 22})


def test_addresses_come_from_the_policy_and_from_cloud_init_each_once_with_where_it_is_known_from() -> (
    None
):
    wanted = GuestPolicy(108, "", "t", address=IP, checks=(SSH, CheckSpec("agent", "agent")))
    archived = {"ipconfig0": f"ip={IP}/24,gw=192.168.10.1", "ipconfig1": "ip=10.0.0.8/8"}
    found = addresses(wanted, [("in its archive", archived)])
    assert found == (
        Address(IP, (22,), "the policy"),
        Address("10.0.0.8", (22,), "in its archive"),
    )
    assert addresses(GuestPolicy(108, "", "t"), []) == ()
    named = replace(wanted, address="not-an-address", checks=())
    assert addresses(named, [("x", archived)])[0] == Address(IP, USUAL, "x")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("ip=192.168.10.8/24,gw=192.168.10.1", ("192.168.10.8",)),
        ("ip=dhcp,ip6=2001:db8::8/64", ("2001:db8::8",)),
        ("ip=dhcp", ()),
        ("ip6=auto", ()),
        ("ip=192.168.10.8/24,ip=192.168.10.9/24", ()),
        ("", ()),
    ],
)
def test_only_fixed_addresses_of_cloud_init_are_known(line: str, found: tuple[str, ...]) -> None:
    assert by_cloud_init({"ipconfig0": line, "net0": "virtio", "ipconfig": "ip=1.2.3.4/8"}) == found


@pytest.mark.parametrize(
    ("heard", "table", "verdict", "said"),
    [
        ({22: Heard.OPEN, 80: Heard.REFUSED}, None, Verdict.ANSWERED, "port 22 accepts"),
        ({22: Heard.REFUSED, 80: Heard.NOTHING}, None, Verdict.ANSWERED, "port 22 refuses"),
        (
            {22: Heard.OPEN},
            replace(EMPTY, state=State.REACHABLE, mac=MAC),
            Verdict.ANSWERED,
            f"(MAC {MAC})",
        ),
        (NOTHING, None, Verdict.UNKNOWN, "does not tell who its neighbours are"),
        (NOTHING, replace(EMPTY, way=Way.OWN), Verdict.ANSWERED, "address of this machine"),
        (NOTHING, replace(EMPTY, way=Way.ROUTED), Verdict.UNKNOWN, "without a word to port 22, 80"),
        (NOTHING, replace(EMPTY, way=Way.NONE), Verdict.UNKNOWN, "has no way to it"),
        (NOTHING, EMPTY, Verdict.SILENT, f"nobody answers at {IP}"),
        (
            NOTHING,
            Table(State.REACHABLE, MAC, 0, Way.ON_LINK),
            Verdict.ANSWERED,
            "it answers who it is",
        ),
        (
            NOTHING,
            Table(State.STALE, MAC, 99, Way.ON_LINK),
            Verdict.UNSETTLED,
            f"remembers somebody there (MAC {MAC})",
        ),
    ],
)
def test_who_answers_is_there_and_who_is_behind_a_router_may_be(
    heard: dict[int, Heard], table: Table | None, verdict: Verdict, said: str
) -> None:
    found = judge(ADDRESS, heard, table, 1.0)
    assert found.verdict is verdict and said in found.words


@pytest.mark.parametrize("ip", ["127.0.0.1", "224.0.0.1", "0.0.0.0"])
def test_what_is_no_address_of_a_guest_is_never_silent_nor_an_answer(ip: str) -> None:
    found = judge(Address(ip, (22,), "x"), {22: Heard.OPEN}, None, 1.0)
    assert found.verdict is Verdict.UNKNOWN


def look(verdict: Verdict, address: Address = ADDRESS) -> Look:
    return Look(address, Finding(verdict, "so it was"), 7)


def test_what_is_not_known_is_said_address_by_address_and_also_that_none_is_known() -> None:
    assert "no address of it is known" in doubtful([])[0]
    assert doubtful([look(Verdict.SILENT), look(Verdict.ANSWERED)]) == ()
    (said,) = doubtful([look(Verdict.UNKNOWN)])
    assert said == f"whether it still answers at {IP} (the policy) is not known: so it was"


PASSED = CheckResult("ssh", Outcome.PASSED, "greets", 0.1, "ssh")
FAILED = replace(PASSED, outcome=Outcome.FAILED, detail="refused")
HERE = Table(State.REACHABLE, MAC, 1, Way.ON_LINK)


@pytest.mark.parametrize(
    ("result", "before", "table", "counts"),
    [
        (PASSED, Verdict.SILENT, HERE, True),
        (PASSED, Verdict.UNKNOWN, replace(HERE, way=Way.ROUTED), True),
        (PASSED, Verdict.UNKNOWN, None, True),
        (PASSED, Verdict.SILENT, replace(HERE, state=State.STALE, confirmed=99), True),
        (PASSED, Verdict.ANSWERED, HERE, False),
        (FAILED, Verdict.ANSWERED, HERE, False),
        (PASSED, None, HERE, False),
        (PASSED, Verdict.SILENT, replace(HERE, mac=OTHER), False),
        (PASSED, Verdict.SILENT, EMPTY, False),
        (FAILED, Verdict.SILENT, EMPTY, True),
        (FAILED, Verdict.SILENT, replace(HERE, mac=OTHER), False),
    ],
)
def test_an_answer_counts_if_nobody_gave_it_before_the_start_and_the_neighbour_is_the_guest(
    result: CheckResult, before: Verdict | None, table: Table | None, counts: bool
) -> None:
    looks = [look(before)] if before else []
    found = counted(result, IP, looks, table, [MAC])
    assert (found == result) is counts
    if not counts:
        assert found.outcome is Outcome.INCONCLUSIVE and "does not count" in found.detail
        assert "copy" not in found.detail


def test_what_did_not_come_over_the_network_is_left_as_it_is() -> None:
    for one in (
        replace(PASSED, kind="agent"),
        replace(PASSED, outcome=Outcome.INCONCLUSIVE),
    ):
        assert counted(one, IP, [look(Verdict.ANSWERED)], None, []) == one
