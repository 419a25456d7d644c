"""Law 5: an answer over the network counts only if it is the copy's, by what the probe's neighbour
table says.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import silence
from policies.model import CheckResult, Outcome
from policies.silence import Finding, Heard, Silence, State, Table, Verdict, Way

ADDRESS, MAC, OTHER = "192.168.10.8", "BC:24:11:00:00:08", "BC:24:11:00:00:05"
ON_LINK = "192.168.10.8 dev eth0  src 192.168.10.250 "
STILL = "/proc/sys/net/ipv4/conf/eth0/forwarding:0\n/proc/sys/net/ipv6/conf/all/forwarding:0"
ARP = "IP address       HW type     Flags       HW address            Mask     Device\n"
ROUTES = (
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    "eth0\t000AA8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    "eth1\t00000000\t0202000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
)
FIB = (
    "           |-- 192.168.10.0\n              /24 link UNICAST\n           |-- 192.168.10.250\n "
    "             /32 host LOCAL\n"
)


def by_ip(neigh: str = "", route: str = ON_LINK, forwarding: str = STILL) -> str:
    return f"@neigh\n{neigh}\n@route\n{route}\n@forwarding\n{forwarding}\n@end\n"


def by_files(arp: str) -> str:
    return f"@arp\n{ARP}{arp}\n@routes\n{ROUTES}@fib\n{FIB}@forwarding\n{STILL}\n@end\n"


def table(state: State, mac: str | None = None, confirmed: int | None = None) -> Table:
    return Table(state, mac, confirmed, Way.ON_LINK)


@pytest.mark.parametrize(
    ("neigh", "state", "mac", "confirmed"),
    [
        ("", State.ABSENT, None, None),
        ("192.168.10.8 dev eth0  used 0/0/0 probes 6 FAILED", State.FAILED, None, 0),
        ("192.168.10.8 dev eth0  INCOMPLETE", State.INCOMPLETE, None, None),
        (
            "192.168.10.8 dev eth0 lladdr bc:24:11:00:00:08 used 4/2/1 probes 1 REACHABLE",
            State.REACHABLE,
            MAC,
            2,
        ),
        (
            "192.168.10.8 dev eth0 lladdr bc:24:11:00:00:08 ref 1 used 9/61/9 probes 1 STALE",
            State.STALE,
            MAC,
            61,
        ),
        ("192.168.10.8 dev eth0 lladdr bc:24:11:00:00:08 DELAY", State.DELAY, MAC, None),
        (
            "192.168.10.8 dev eth0 lladdr bc:24:11:00:00:08 used 9/61/9 probes 3 PROBE",
            State.PROBE,
            MAC,
            61,
        ),
        (
            "192.168.10.8 dev eth0 lladdr bc:24:11:00:00:08 used 9/x/9 probes 1 STALE",
            State.STALE,
            MAC,
            None,
        ),
        (
            "192.168.10.8 dev eth0 lladdr bc:24:11:00:00:08 used 9/61 probes 1 STALE",
            State.STALE,
            MAC,
            None,
        ),
        (
            "192.168.10.9 dev eth0 FAILED\n\n192.168.10.8 dev eth0 INCOMPLETE",
            State.INCOMPLETE,
            None,
            None,
        ),
        ("192.168.10.8 dev eth0 lladdr bc:24:11:00:00:08 PERMANENT", State.PERMANENT, MAC, None),
        ("192.168.10.8 dev eth0 lladdr bc:24:11:00:00:08 NOARP", State.PERMANENT, MAC, None),
        ("192.168.10.8 dev eth0 STALE used 9/61/9", State.STALE, None, 61),
        ("192.168.10.8 dev eth0 STALE lladdr bc:24:11:00:00:08", State.STALE, MAC, None),
        ("192.168.10.80 dev eth0 lladdr bc:24:11:00:00:08 REACHABLE", State.ABSENT, None, None),
    ],
)
def test_a_neighbour_is_read_as_busybox_and_iproute2_print_it(
    neigh: str, state: State, mac: str | None, confirmed: int | None
) -> None:
    assert silence.read(by_ip(neigh), ADDRESS) == Table(state, mac, confirmed, Way.ON_LINK)


@pytest.mark.parametrize(
    ("arp", "state", "mac"),
    [
        ("", State.ABSENT, None),
        (
            "192.168.10.8     0x1         0x0         00:00:00:00:00:00     *        eth0",
            State.UNANSWERED,
            None,
        ),
        (
            "192.168.10.8     0x1         0x2         bc:24:11:00:00:08     *        eth0",
            State.KNOWN,
            MAC,
        ),
        (
            "192.168.10.8     0x1         0x6         bc:24:11:00:00:08     *        eth0",
            State.PERMANENT,
            MAC,
        ),
        (
            "192.168.10.8     0x1         0x0         bc:24:11:00:00:08     *        eth0",
            State.UNANSWERED,
            None,
        ),
        (
            "192.168.10.8     0x1         0x2         00:00:00:00:00:00     *        eth0",
            State.UNANSWERED,
            None,
        ),
        (
            "192.168.10.8     0x1         0x1         bc:24:11:00:00:08     *        eth0",
            State.UNANSWERED,
            None,
        ),
        (
            "192.168.10.8     0x1         zz          bc:24:11:00:00:08     *        eth0",
            State.ABSENT,
            None,
        ),
        (
            "192.168.10.9     0x1         0x2         bc:24:11:00:00:09     *        "
            "eth0\n192.168.10.8 cut",
            State.ABSENT,
            None,
        ),
    ],
)
def test_without_ip_the_table_of_proc_says_what_it_can(
    arp: str, state: State, mac: str | None
) -> None:
    assert silence.read(by_files(arp), ADDRESS) == Table(state, mac, None, Way.ON_LINK)


@pytest.mark.parametrize(
    ("address", "way"),
    [("192.168.10.250", Way.OWN), ("192.168.10.8", Way.ON_LINK), ("10.9.9.9", Way.ROUTED)],
)
def test_without_ip_the_way_is_read_from_proc(address: str, way: Way) -> None:
    found = silence.read(by_files(""), address)
    assert found is not None
    assert found.way is way


def test_without_ip_an_address_in_the_trie_is_the_probes_own_only_if_it_is_called_local() -> None:
    found = silence.read(
        by_files("").replace(FIB, f"|-- {ADDRESS}\n   /32 link UNICAST\n"), ADDRESS
    )
    assert found is not None and found.way is Way.ON_LINK


def test_an_ipv6_address_is_in_no_table_of_proc() -> None:
    assert silence.read(by_files(""), "fd00::8") is None


@pytest.mark.parametrize(
    ("route", "way", "why"),
    [
        (ON_LINK, Way.ON_LINK, None),
        ("local 192.168.10.8 dev lo src 192.168.10.8 uid 0 ", Way.OWN, "the probe's own"),
        ("192.168.10.8 via 10.0.2.2 dev eth1 src 10.0.2.15", Way.ROUTED, "through a router"),
        ("RTNETLINK answers: Network is unreachable", Way.NONE, "no network of the probe"),
        ("broadcast 192.168.10.8 dev eth0 src 192.168.10.250", Way.NONE, "no network of the probe"),
        ("unreachable 192.168.10.8 dev lo table unspec", Way.NONE, "no network of the probe"),
        ("unicast 192.168.10.8 dev eth0 src 192.168.10.250", Way.ON_LINK, None),
        ("unicast", Way.NONE, "no network of the probe"),
        ("192.168.10.9 dev eth0 src 192.168.10.250", Way.NONE, "no network of the probe"),
        ("\n  \n192.168.10.8 dev eth0 src 192.168.10.250", Way.ON_LINK, None),
        ("", Way.NONE, "no network of the probe"),
    ],
)
def test_a_copy_can_be_asked_only_at_an_address_on_the_probes_own_network(
    route: str, way: Way, why: str | None
) -> None:
    found = silence.read(by_ip(route=route), ADDRESS)
    assert found is not None
    assert found.way is way
    said = silence.unfit(found, ADDRESS)
    assert said is None if why is None else why in str(said)


@pytest.mark.parametrize("address", ["127.0.0.1", "224.0.0.1", "0.0.0.0", "::1", "ff02::1", "::"])
def test_no_guest_has_a_loopback_multicast_or_unspecified_address(address: str) -> None:
    assert "no address of a guest" in str(silence.unfit(table(State.ABSENT), address))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "This account is not available.",
        "@neigh\n@route\n",
        by_ip().replace("@end\n", ""),
        "@forwarding\n@end\n",
    ],
)
def test_half_an_answer_is_none(text: str) -> None:
    assert silence.read(text, ADDRESS) is None


@pytest.mark.parametrize(
    ("forwarding", "through"),
    [
        (STILL, None),
        (
            "/proc/sys/net/ipv4/conf/default/forwarding:1\n/proc/sys/net/ipv4/conf/lo/forwarding:1",
            None,
        ),
        ("/proc/sys/net/ipv4/conf/all/forwarding:1", "all (IPv4)"),
        (
            "/proc/sys/net/ipv4/conf/eth0/forwarding:1\n/proc/sys/net/ipv6/conf/eth1/forwarding:2",
            "eth0 (IPv4), eth1 (IPv6)",
        ),
    ],
)
def test_law_2_a_probe_that_passes_packets_on_is_found_out(
    forwarding: str, through: str | None
) -> None:
    found = silence.read(by_ip(forwarding=forwarding), ADDRESS)
    assert found is not None
    assert silence.forwards(found) == through


@pytest.mark.parametrize(
    ("seen", "heard", "cleared", "verdict"),
    [
        (table(State.ABSENT), Heard.NOTHING, True, Verdict.SILENT),
        (table(State.FAILED), Heard.NOTHING, False, Verdict.SILENT),
        (table(State.INCOMPLETE), Heard.NOTHING, True, Verdict.SILENT),
        (table(State.UNANSWERED), Heard.NOTHING, False, Verdict.SILENT),
        # an SSH server words "no route to host" as it likes: a refusal comes from somebody
        (table(State.FAILED), Heard.REFUSED, True, Verdict.SILENT),
        (table(State.FAILED), Heard.OPEN, True, Verdict.ANSWERED),
        (table(State.REACHABLE, OTHER), Heard.NOTHING, True, Verdict.ANSWERED),
        (table(State.STALE, OTHER), Heard.NOTHING, True, Verdict.ANSWERED),
        (table(State.REACHABLE, OTHER, 0), Heard.NOTHING, False, Verdict.ANSWERED),
        (table(State.REACHABLE, OTHER, 1), Heard.NOTHING, False, Verdict.UNSETTLED),
        (table(State.REACHABLE, OTHER), Heard.NOTHING, False, Verdict.UNSETTLED),
        (table(State.STALE, OTHER, 40), Heard.NOTHING, False, Verdict.UNSETTLED),
        (table(State.STALE, OTHER, 40), Heard.REFUSED, False, Verdict.ANSWERED),
        (table(State.KNOWN, OTHER), Heard.NOTHING, False, Verdict.UNSETTLED),
        (table(State.PERMANENT, OTHER), Heard.NOTHING, False, Verdict.ANSWERED),
    ],
)
def test_law_5_silent_is_an_address_that_gives_no_sign_at_all(
    seen: Table, heard: Heard, cleared: bool, verdict: Verdict
) -> None:
    found = silence.listen(seen, ADDRESS, {22: Heard.NOTHING, 80: heard}, cleared=cleared, out=1.2)
    assert found.verdict is verdict
    assert (found.mac == OTHER) == (seen.mac is not None)


@pytest.mark.parametrize(
    ("waited", "lingering", "verdict"),
    [
        (10.0, False, Verdict.UNSETTLED),
        (10.1, False, Verdict.ANSWERED),
        (60.0, True, Verdict.UNSETTLED),
        (60.1, True, Verdict.ANSWERED),
    ],
)
def test_law_5_an_old_entry_is_asked_anew_and_then_taken_for_an_answer(
    waited: float, lingering: bool, verdict: Verdict
) -> None:
    found = silence.Finding(Verdict.UNSETTLED, "old", OTHER)
    assert silence.settled(found, waited, lingering=lingering).verdict is verdict
    assert (
        silence.settled(silence.Finding(Verdict.SILENT, "x"), waited, lingering=lingering).verdict
        is Verdict.SILENT
    )


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        (table(State.REACHABLE, MAC), Verdict.ANSWERED),
        (table(State.DELAY, MAC, 30), Verdict.ANSWERED),
        (table(State.DELAY, MAC, 31), Verdict.UNSETTLED),
        (table(State.STALE, MAC), Verdict.UNSETTLED),
        (table(State.KNOWN, MAC), Verdict.ANSWERED),
        (table(State.REACHABLE, OTHER), Verdict.UNKNOWN),
        (table(State.REACHABLE, None), Verdict.UNKNOWN),
        (table(State.FAILED), Verdict.SILENT),
        (table(State.ABSENT), Verdict.SILENT),
    ],
)
def test_law_5_an_answer_is_the_copys_when_its_mac_is_reachable(
    seen: Table, verdict: Verdict
) -> None:
    assert silence.copys(seen, ADDRESS, [MAC.lower()]).verdict is verdict


def kept(verdict: Verdict, words: str = "w") -> Finding:
    return Finding(verdict, words)


GOOD = Silence(
    ADDRESS,
    (22,),
    before=kept(Verdict.SILENT),
    during=kept(Verdict.ANSWERED),
    after=kept(Verdict.SILENT),
)


def test_law_5_all_three_looks_leave_no_doubt() -> None:
    assert silence.doubts(GOOD, answered=True, ended_early=False) == ()
    assert silence.doubts(None, answered=True, ended_early=False) == ()
    assert silence.evidence(GOOD) == (
        "holds: before the start: w",
        "holds: while the copy ran: w",
        "holds: after the stop: w",
    )
    bad = replace(GOOD, during=kept(Verdict.UNKNOWN, "somebody else"), after=None)
    assert silence.evidence(bad)[1:] == ("DOES NOT HOLD: while the copy ran: somebody else",)
    assert silence.evidence(None) == ()


@pytest.mark.parametrize("phase", ["before", "during", "after"])
@given(verdict=st.sampled_from([*Verdict, None]))
def test_law_5_each_look_that_is_missing_or_bad_casts_doubt(
    phase: str, verdict: Verdict | None
) -> None:
    looks: dict[str, Any] = {phase: kept(verdict) if verdict else None}
    memory = replace(GOOD, **looks)
    good = verdict is (Verdict.ANSWERED if phase == "during" else Verdict.SILENT)
    found = silence.doubts(memory, answered=True, ended_early=False)
    assert (found == ()) == good
    assert all(ADDRESS in sentence for sentence in found)


def test_law_5_a_copy_that_never_answered_need_not_be_told_from_others() -> None:
    memory = replace(GOOD, during=kept(Verdict.SILENT))
    assert silence.doubts(memory, answered=False, ended_early=False) == ()
    assert silence.doubts(replace(memory, after=None), answered=False, ended_early=True) == ()


def test_law_5_what_is_in_doubt_counts_neither_for_nor_against_the_archive() -> None:
    results = tuple(
        CheckResult(kind, outcome, "d", kind=kind)
        for kind in ("http", "agent")
        for outcome in Outcome
    )
    found = silence.discounted(results, ["somebody else answers"])
    assert {one.outcome for one in found if one.kind == "http"} == {Outcome.INCONCLUSIVE}
    assert [one.outcome for one in found if one.kind == "agent"] == list(Outcome)
    details = {
        one.outcome: two.detail
        for one, two in zip(results, found, strict=True)
        if one.kind == "http"
    }
    assert (
        details[Outcome.INCONCLUSIVE] == "d"
        and details[Outcome.PASSED] == "its answer does not count (d)"
    )
    assert silence.discounted(results, ()) == results


def test_the_question_names_a_plain_address_only() -> None:
    assert "neigh flush to 192.168.10.8 " in silence.question(ADDRESS, clear=True)
    assert "flush" not in silence.question(ADDRESS)
    assert "then echo @neigh; " in silence.question(ADDRESS)
    with pytest.raises(ValueError, match="does not appear"):
        silence.question("192.168.10.8; reboot")


def test_a_verdict_is_kept_in_an_operations_memory_by_these_words() -> None:
    assert [one.value for one in Verdict] == ["silent", "answered", "unsettled", "unknown"]


@pytest.mark.parametrize(
    ("looks", "answered", "ended_early", "said"),
    [
        (
            {"before": None},
            True,
            False,
            f"it is not known that {ADDRESS} was silent before the copy started: nobody listened",
        ),
        (
            {"before": kept(Verdict.ANSWERED, "port 22 accepts connections")},
            True,
            False,
            f"it is not known that {ADDRESS} was silent before the copy started: port 22 accepts "
            "connections",
        ),
        (
            {"during": kept(Verdict.UNKNOWN, "somebody else")},
            True,
            False,
            f"it is not known that the answers at {ADDRESS} were the copy's: somebody else",
        ),
        (
            {"during": None},
            True,
            False,
            f"it is not known that the answers at {ADDRESS} were the copy's: nobody looked",
        ),
        (
            {"during": None},
            True,
            True,
            f"it is not known that the answers at {ADDRESS} were the copy's: nobody looked",
        ),
        (
            {"after": None},
            True,
            False,
            f"it is not known that {ADDRESS} was silent after the copy had been stopped: nobody "
            "listened",
        ),
        (
            {"after": kept(Verdict.ANSWERED)},
            False,
            False,
            f"somebody else answers at {ADDRESS}: it did so after the copy had been stopped: w",
        ),
    ],
)
def test_law_5_a_doubt_says_what_is_not_known_and_why(
    looks: dict[str, Any], answered: bool, ended_early: bool, said: str
) -> None:
    assert silence.doubts(replace(GOOD, **looks), answered=answered, ended_early=ended_early) == (
        said,
    )


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            silence.listen(table(State.ABSENT), ADDRESS, {}, cleared=True, out=0),
            f"nobody answers at {ADDRESS} (no neighbour entry)",
        ),
        (
            silence.listen(table(State.FAILED), ADDRESS, {}, cleared=True, out=0),
            f"nobody answers at {ADDRESS} (neighbour FAILED)",
        ),
        (
            silence.listen(table(State.FAILED, None, 0), ADDRESS, {}, cleared=True, out=0),
            f"nobody answers at {ADDRESS} (neighbour FAILED)",
        ),
        (
            silence.listen(table(State.KNOWN, OTHER), ADDRESS, {}, cleared=False, out=0),
            f"the probe remembers somebody at {ADDRESS} (neighbour known)",
        ),
        (
            silence.listen(table(State.STALE, OTHER, 40), ADDRESS, {}, cleared=False, out=9),
            f"the probe remembers somebody at {ADDRESS} (neighbour STALE, last confirmed 40 s ago)",
        ),
        (
            silence.listen(
                table(State.STALE, OTHER),
                ADDRESS,
                {443: Heard.REFUSED, 80: Heard.REFUSED},
                cleared=False,
                out=9,
            ),
            f"port 80 refuses connections (MAC {OTHER})",
        ),
        (
            silence.listen(
                table(State.FAILED), ADDRESS, {443: Heard.OPEN, 80: Heard.OPEN}, cleared=True, out=0
            ),
            "port 80 accepts connections",
        ),
        (
            silence.listen(table(State.REACHABLE, OTHER, 4), ADDRESS, {}, cleared=False, out=5),
            f"it answers who it is (MAC {OTHER})",
        ),
        (
            silence.copys(table(State.ABSENT), ADDRESS, []),
            f"nobody is at {ADDRESS} (no neighbour entry)",
        ),
        (
            silence.copys(table(State.REACHABLE, OTHER), ADDRESS, []),
            f"somebody else answers at {ADDRESS} (MAC {OTHER}); the copy's MAC is none",
        ),
        (
            silence.copys(table(State.REACHABLE, None), ADDRESS, [MAC.lower()]),
            f"somebody else answers at {ADDRESS}; the copy's MAC is {MAC}",
        ),
        (
            silence.copys(table(State.REACHABLE, MAC, 2), ADDRESS, [MAC]),
            f"{ADDRESS} is the copy's {MAC}, neighbour REACHABLE, last confirmed 2 s ago",
        ),
    ],
)
def test_a_finding_says_what_was_seen_of_whom(found: silence.Finding, words: str) -> None:
    assert found.words == words


def test_law_5_a_sign_from_before_the_attempt_is_no_news() -> None:
    """A neighbour's age is told in whole seconds: it may be almost one more."""
    assert (
        silence.listen(table(State.STALE, OTHER, 4), ADDRESS, {}, cleared=False, out=5.0).verdict
        is Verdict.ANSWERED
    )
    assert (
        silence.listen(table(State.STALE, OTHER, 5), ADDRESS, {}, cleared=False, out=5.9).verdict
        is Verdict.UNSETTLED
    )


@pytest.mark.parametrize(
    ("routes", "way"),
    [
        (
            "eth1 00000000 0202000A 0003 0 0 0 00000000\neth0 000AA8C0 00000000 0001 0 0 0 "
            "00FFFFFF",
            Way.ON_LINK,
        ),
        ("eth0 000AA8C0 0202000A 0001 0 0 0 00FFFFFF", Way.ROUTED),
        ("eth0 000BA8C0 00000000 0001 0 0 0 00FFFFFF", Way.NONE),
        ("eth0 000AA8C0 00000000 0001 0 0 0", Way.NONE),
        ("eth0 000AA8C0 gateway0 0001 0 0 0 00FFFFFF", Way.NONE),
        ("eth0 target00 00000000 0001 0 0 0 00FFFFFF", Way.NONE),
        ("", Way.NONE),
    ],
)
def test_without_ip_the_narrowest_route_to_the_address_counts(routes: str, way: Way) -> None:
    found = silence.read(by_files("").replace(ROUTES, f"{routes}\n"), ADDRESS)
    assert found is not None and found.way is way


@pytest.mark.parametrize(
    "line",
    [
        "/proc/sys/net/ipv4/conf/eth0/forwarding:",
        "/proc/sys/net/ipv4/conf/eth0/forwarding: 0",
        "grep: no such file: 1",
        "conf/eth0:1",
        "/proc/sys/net/ipv4/conf:1",
    ],
)
def test_what_is_no_switch_that_is_on_passes_nothing_on(line: str) -> None:
    found = silence.read(by_ip(forwarding=line), ADDRESS)
    assert found is not None and silence.forwards(found) is None


SECTIONS = ("neigh", "route", "arp", "routes", "fib", "forwarding", "end")
WORDS = st.sampled_from(
    [
        *(f"\n@{name}\n" for name in SECTIONS),
        *(
            ADDRESS,
            MAC,
            "dev",
            "lladdr",
            "used",
            "1/2/3",
            "1/x/3",
            "STALE",
            "0x2",
            "zz",
            "via",
            "local",
            "FFFFFFFF",
            "\n",
        ),
        "/proc/sys/net/ipv4/conf/a/forwarding:1",
    ]
)


@given(text=st.lists(WORDS, max_size=40).map(" ".join))
def test_whatever_a_probe_says_is_read_or_is_no_answer(text: str) -> None:
    found = silence.read(text.replace(" @", "@"), ADDRESS)
    assert found is None or found.way in Way


def test_law_5_a_neighbour_without_a_state_is_no_sign_of_life_and_hides_none_behind_it() -> None:
    stateless = "192.168.10.8 dev eth0 lladdr bc:24:11:00:00:08 used 0/0/0 probes 0"
    assert silence.read(by_ip(stateless), ADDRESS) == table(State.ABSENT)
    answering = "192.168.10.8 dev eth1 lladdr bc:24:11:00:00:05 REACHABLE"
    assert silence.read(by_ip(f"{stateless}\n{answering}"), ADDRESS) == table(
        State.REACHABLE, OTHER
    )
