"""A restore test believes an answer only if its address was silent before, is the copy's while it
runs, and is silent after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from backupsvc.engine.executor import trouble_of
from backupsvc.errors import (
    LawRefused,
    NotTheCopy,
    PveAnswerUnreadable,
    PveError,
    RemoteUnreachable,
    SshRefused,
)
from backupsvc.operations.restore_test import listening, proving
from backupsvc.operations.restore_test.asking import MAX_UNSURE
from backupsvc.operations.restore_test.steps import tear_down
from backupsvc.settings import Settings
from policies.model import CheckResult, CheckSpec, GuestPolicy, Job, Node, Outcome, Policy, Rung
from policies.silence import Heard
from policies.silence import Verdict as Found
from policies.workflow import Trouble
from tests.unit.operations.test_restore_test import (
    ARCHIVE,
    LIVED_ON,
    PLACE,
    SCRATCH,
    Steps,
    TestRun,
    described,
)
from tests.unit.operations.worlds import World, world

ADDRESS, MAC, OTHER = "10.0.0.8", "BC:24:11:00:00:08", "BC:24:11:00:00:99"
SEEN = {"restore": 20.0, "isolate": 0.1}


class Probe:
    """A probe by script: ``entries`` are its answers in turn about the neighbour, the last one for
    ever.
    """

    def __init__(
        self, *entries: str | Exception | None, heard: Heard = Heard.NOTHING, forwarding: str = "0"
    ) -> None:
        self.entries, self.heard, self.forwarding = list(entries), heard, forwarding
        self.route, self.asked = f"{ADDRESS} dev eth0 src 10.0.0.250", list[str]()
        self.refused: SshRefused | None = None
        self.under_way: object | None = None
        self.knocks = 0

    def connect(self, address: str, port: int, timeout: float) -> Any:
        raise AssertionError("the checks are by script")

    def knock(self, address: str, ports: Iterable[int]) -> Any:
        self.knocks += 1
        return SimpleNamespace(heard=lambda: dict.fromkeys(ports, self.heard))

    def ask(self, command: str) -> str | None:
        self.asked.append(command)
        entry = self.entries.pop(0) if len(self.entries) > 1 else self.entries[0]
        if isinstance(entry, Exception):
            raise entry
        if entry is None:
            return None
        forwarding = f"/proc/sys/net/ipv4/conf/eth0/forwarding:{self.forwarding}"
        return f"@neigh\n{entry}\n@route\n{self.route}\n@forwarding\n{forwarding}\n@end\n"


def entry(state: str, mac: str | None = MAC, confirmed: int | None = None) -> str:
    lladdr = f"lladdr {mac.lower()} " if mac else ""
    used = f"used 1/{confirmed}/1 probes 1 " if confirmed is not None else ""
    return f"{ADDRESS} dev eth0 {lladdr}{used}{state}"


SILENT, COPY = entry("FAILED", None), entry("REACHABLE")


@pytest.fixture
def site(tmp_path: Path, sqlite_url: str) -> Iterator[World]:
    made = world(sqlite_url)
    guest = GuestPolicy(
        108,
        "Debian-Server",
        "standard",
        "",
        "isolated",
        ADDRESS,
        (CheckSpec("ssh", "ssh", {"port": 22}),),
    )
    jobs = (Job("nightly", "21:00", "local"),)
    guests = MappingProxyType({108: guest})
    made.policy = Policy(
        "s", "Europe/Paris", "en", jobs, MappingProxyType({}), guests, SCRATCH, "standard"
    )
    made.settings = Settings(state_dir=tmp_path)
    made.catalog.archives.observe([ARCHIVE], scope=[], at=int(made.clock.now()))
    made.catalog.archives.raise_rung(
        ARCHIVE.node, ARCHIVE.volid, Rung.INTACT, int(made.clock.now())
    )
    yield made
    made.catalog.close()


def a_run(site: World, probe: Probe | None, **known: Any) -> TestRun:
    """A restore test's run with a probe on its node, its restore and its tear-down entered."""
    site.probe = lambda node: probe
    memory: dict[str, Any] = {
        "scratch": PLACE,
        "network": "isolated",
        "agent": False,
        "macs": (MAC,),
    }
    run = Steps(site, **(memory | known)).run()
    for step in ("choose", "reserve", "tear-down"):
        run.enter(step)
    return run


def result(outcome: Outcome = Outcome.PASSED, kind: str = "ssh") -> CheckResult:
    return CheckResult("ssh", outcome, "it said so", 0.1, kind)


def judged(run: TestRun) -> tuple[str, str, str | None]:
    from policies import verdict

    found = verdict.decide(proving.evidence(run.memory, run.book, replace(ARCHIVE, operation="OP")))
    return found.verdict, found.rung, found.cause


def found(run: TestRun, phase: str) -> Found | None:
    """What was found at the copy's address ``before``, ``during`` or ``after``, None while nobody
    looked.
    """
    assert run.memory.silence
    look = getattr(run.memory.silence, phase)
    return look.verdict if look else None


def whole_test(
    site: World, probe: Probe, outcome: Outcome = Outcome.PASSED, **known: Any
) -> TestRun:
    """All of a test in which the check has that outcome, as far as it concerns the listening."""
    run = a_run(site, probe, **known)
    listening.before(run)
    while listening.last(run):
        site.clock.sleep(1)
    for step, seconds in SEEN.items():
        run.lasted(step, seconds)
    run.lasted("start", 1.0)
    booted = True if outcome is Outcome.PASSED else None
    run.memory = replace(run.memory, booted=booted, life="network", settled=LIVED_ON)
    results = listening.bind(run, {"ssh": result(outcome)})
    run.memory = replace(run.memory, checks=results, stopped=True)
    while listening.after(run):
        site.clock.sleep(1)
    return run


def test_law_5_silence_the_copys_mac_and_silence_again_prove(site: World) -> None:
    run = whole_test(site, Probe(SILENT, SILENT, SILENT, COPY, SILENT))
    assert judged(run) == ("proven", "healthy", None)
    assert run.memory.silence
    assert {
        phase: holds for phase, (_, holds) in run.memory.silence.looks.items()
    } == dict.fromkeys(("before", "while", "after"), True)
    assert "silence-before" in run.book.seconds


@pytest.mark.parametrize(
    ("entries", "heard"),
    [
        ((entry("REACHABLE", OTHER), entry("REACHABLE", OTHER)), Heard.NOTHING),
        ((SILENT, entry("STALE", OTHER)), Heard.REFUSED),
    ],
)
def test_law_5_no_copy_is_started_beside_somebody_who_answers_at_its_address(
    site: World, entries: tuple[str, ...], heard: Heard
) -> None:
    run = a_run(site, Probe(*entries, heard=heard))
    with pytest.raises(NotTheCopy, match=rf"somebody else answers at 10\.0\.0\.8 \(MAC {OTHER}\)"):
        for _ in range(70):
            listening.before(run)
            site.clock.sleep(1)


def test_law_5_somebody_who_comes_during_the_restore_is_seen_right_before_the_start(
    site: World,
) -> None:
    run = a_run(site, Probe(SILENT, SILENT, entry("STALE", OTHER)))
    listening.before(run)
    with pytest.raises(NotTheCopy, match=OTHER):
        listening.last(run)


def test_law_5_an_entry_of_the_last_test_is_asked_anew_until_it_is_gone(site: World) -> None:
    old = entry("STALE", MAC, 40)
    run = a_run(site, Probe(old, old, old, old, SILENT))
    listening.before(run)
    assert listening.last(run) is not None
    assert listening.last(run) is None
    assert found(run, "before") is Found.SILENT


@pytest.mark.parametrize(
    ("route", "why"),
    [
        ("local 10.0.0.8 dev lo src 10.0.0.8", "probe's own"),
        ("10.0.0.8 via 10.1.0.1 dev eth0", "router"),
    ],
)
def test_law_5_an_address_at_which_the_probe_or_a_router_would_answer_is_told_before_the_start(
    site: World, route: str, why: str
) -> None:
    probe = Probe(SILENT)
    probe.route = route
    with pytest.raises(NotTheCopy, match=why):
        listening.before(a_run(site, probe))


@pytest.mark.parametrize(
    "checks", [(CheckSpec("ssh", "ssh", {"port": 22}),), (CheckSpec("agent", "agent"),)]
)
def test_law_2_no_copy_starts_beside_a_probe_that_passes_packets_on(
    site: World, checks: tuple[CheckSpec, ...]
) -> None:
    guest = replace(site.policy.guests[108], checks=checks)
    site.policy = replace(site.policy, guests=MappingProxyType({108: guest}))
    run = a_run(site, Probe(SILENT, forwarding="1"))
    with pytest.raises(LawRefused, match="passes packets on at eth0"):
        listening.last(run)


UNREACHABLE = RemoteUnreachable("the probe of clovis cannot be reached", "is it up?")


def test_law_2_whether_a_probe_passes_packets_on_is_asked_again_where_a_question_was_lost(
    site: World,
) -> None:
    guest = replace(site.policy.guests[108], checks=(CheckSpec("agent", "agent"),))
    site.policy = replace(site.policy, guests=MappingProxyType({108: guest}))
    probe = Probe(UNREACHABLE, SILENT, forwarding="1")
    run = a_run(site, probe)
    listening.before(run)
    listening.before(run)
    assert len(probe.asked) == 1
    with pytest.raises(LawRefused, match="passes packets on at eth0"):
        listening.last(run)


def test_law_2_a_copy_that_was_restored_at_once_waits_until_its_probe_was_asked_twice(
    site: World,
) -> None:
    guest = replace(site.policy.guests[108], checks=(CheckSpec("agent", "agent"),))
    site.policy = replace(site.policy, guests=MappingProxyType({108: guest}))
    probe = Probe(UNREACHABLE)
    run = a_run(site, probe)
    assert listening.last(run) is not None
    assert listening.last(run) is None
    assert len(probe.asked) == 2


def test_law_2_a_probe_that_passes_packets_on_is_refused_while_the_copy_is_restored(
    site: World,
) -> None:
    guest = replace(site.policy.guests[108], checks=(CheckSpec("agent", "agent"),))
    site.policy = replace(site.policy, guests=MappingProxyType({108: guest}))
    with pytest.raises(LawRefused, match="passes packets on at eth0"):
        listening.before(a_run(site, Probe(SILENT, forwarding="1")))


@pytest.mark.parametrize(
    "answer", [None, UNREACHABLE], ids=["a login that may only forward", "down"]
)
@pytest.mark.parametrize("outcome", [Outcome.PASSED, Outcome.FAILED])
def test_law_5_a_probe_that_cannot_tell_who_answers_neither_proves_nor_blames(
    site: World, answer: Exception | None, outcome: Outcome
) -> None:
    run = whole_test(site, Probe(answer), outcome)
    assert judged(run) == ("inconclusive", "restored", "network")


@pytest.mark.parametrize(
    ("while_", "outcome", "verdict", "cause"),
    [
        (entry("REACHABLE", OTHER), Outcome.PASSED, "inconclusive", "network"),
        (entry("REACHABLE", OTHER), Outcome.FAILED, "inconclusive", "network"),
        (SILENT, Outcome.PASSED, "inconclusive", "network"),
        (SILENT, Outcome.FAILED, "failed", "service"),
        (COPY, Outcome.FAILED, "failed", "service"),
        (None, Outcome.FAILED, "inconclusive", "network"),
        (UNREACHABLE, Outcome.PASSED, "inconclusive", "network"),
    ],
)
def test_law_5_only_the_copys_own_answers_count(
    site: World, while_: str | Exception | None, outcome: Outcome, verdict: str, cause: str
) -> None:
    run = whole_test(site, Probe(SILENT, SILENT, SILENT, while_, SILENT), outcome)
    assert (judged(run)[0], judged(run)[2]) == (verdict, cause)


def test_law_5_an_old_entry_of_the_copy_is_cleared_and_asked_anew(site: World) -> None:
    probe = Probe(SILENT, SILENT, SILENT, entry("DELAY"), SILENT, COPY, SILENT)
    assert judged(whole_test(site, probe))[0] == "proven"
    assert "flush" in probe.asked[4]


@pytest.mark.parametrize("outcome", [Outcome.PASSED, Outcome.FAILED])
def test_law_5_somebody_who_still_answers_when_the_copy_is_off_takes_all_answers_away(
    site: World, outcome: Outcome
) -> None:
    run = whole_test(site, Probe(SILENT, SILENT, SILENT, COPY), outcome)
    assert judged(run) == ("inconclusive", "restored", "network")
    assert found(run, "after") is Found.ANSWERED
    assert any(
        "after the copy had been stopped" in doubt
        for doubt in proving.evidence(run.memory, run.book, ARCHIVE).answers
    )


def test_no_tear_down_hangs_on_the_probe(site: World) -> None:
    run = a_run(site, Probe(SILENT))
    listening.last(run)
    run.lasted("start", 1.0)
    run.memory = replace(run.memory, stopped=True, destroyed=True)
    run.service.probe = lambda node: Probe(UNREACHABLE)  # type: ignore[method-assign, assignment, return-value]
    assert listening.after(run) is None
    assert found(run, "after") is Found.UNKNOWN


REFUSED = SshRefused("the probe of clovis shows another host key", "compare them")


def test_law_5_a_probe_that_becomes_another_machine_in_mid_test_fails_no_archive(
    site: World,
) -> None:
    run = whole_test(site, probe := Probe(SILENT, SILENT, SILENT, COPY, SILENT), Outcome.FAILED)
    assert judged(run)[0] == "failed", (
        "so it would be if the probe were still the one that is known"
    )
    listening.trusted(run, asking=True)
    probe.refused = REFUSED
    answered = run.memory.checks
    with pytest.raises(SshRefused):
        listening.trusted(run)
    assert run.memory.checks == answered, "it was not being asked"
    with pytest.raises(SshRefused):
        listening.trusted(run, asking=True)
    run.book = replace(run.book, error=described("check", REFUSED))
    assert (judged(run)[0], judged(run)[2]) == ("inconclusive", "platform")
    assert trouble_of(REFUSED) is Trouble.PERMANENT, "nobody waits for it"


@pytest.mark.parametrize("step", ["restore", "boot", "check"])
def test_law_5_an_answer_of_pve_that_cannot_be_read_fails_no_archive(
    site: World, step: str
) -> None:
    run = whole_test(site, Probe(SILENT, SILENT, SILENT, COPY, SILENT))
    error = PveAnswerUnreadable("pve answered GET x with something that cannot be read")
    run.book = replace(run.book, error=described(step, error))
    assert (judged(run)[0], judged(run)[2]) == ("inconclusive", "platform")


@pytest.mark.parametrize("ask", [listening.before, listening.last])
def test_a_probe_with_another_host_key_is_refused_before_anything_is_restored(
    site: World, ask: Callable[[TestRun], object]
) -> None:
    with pytest.raises(SshRefused):
        ask(a_run(site, Probe(REFUSED)))


@pytest.mark.parametrize(
    "known",
    [{"simulated": True}, {"network": "link-down"}],
    ids=["a modelled guest", "a copy without a network"],
)
def test_nobody_listens_where_nothing_is_asked_over_the_network(
    site: World, known: dict[str, Any]
) -> None:
    probe = Probe(UNREACHABLE)
    run = a_run(site, probe, **known)
    listening.before(run)
    assert listening.last(run) is None
    assert (probe.asked, run.memory.silence) == ([], None)


def test_law_5_a_sign_of_life_counts_only_from_the_copy(site: World) -> None:
    run = a_run(site, Probe(SILENT, SILENT, entry("REACHABLE", OTHER)))
    listening.before(run)
    assert listening.bound(run, result()).outcome is Outcome.INCONCLUSIVE
    assert listening.bound(run, result(Outcome.FAILED)).outcome is Outcome.FAILED
    assert listening.bound(run, result(kind="agent")).outcome is Outcome.PASSED


def agent_of(mac: str | Exception, name: str | Exception = "glpi") -> Any:
    def interfaces(node: str, vmid: int) -> list[dict[str, str]]:
        if isinstance(mac, Exception):
            raise mac
        return [{"name": "eth0", "hardware-address": mac}]

    def hostname(node: str, vmid: int) -> str:
        if isinstance(name, Exception):
            raise name
        return name

    return SimpleNamespace(agent=SimpleNamespace(interfaces=interfaces, hostname=hostname))


def test_law_5_an_agent_of_another_stays_one_when_it_is_asked_again_beside_other_checks(
    site: World,
) -> None:
    site.pve = agent_of(OTHER)
    run = a_run(site, None)
    for _ in range(2):  # while another check is pending, each that has not passed is put again
        told = listening.bind(run, {"agent": result(kind="agent")})["agent"]
        assert told.outcome is Outcome.INCONCLUSIVE and "none of these is a MAC" in told.detail


LOST = PveError("got timeout", status=500, text="got timeout")


def test_law_5_an_agent_whose_nics_could_not_be_asked_counts_only_once_they_were(
    site: World,
) -> None:
    run = a_run(site, None)
    site.pve = agent_of(LOST)
    told = listening.bind(run, {"agent": result(kind="agent")})["agent"]
    assert told.outcome is Outcome.INCONCLUSIVE and "(got timeout)" in told.detail
    assert run.memory.times_asked.get("agent", 0) < MAX_UNSURE, "it is asked again"
    site.pve = agent_of(OTHER)
    told = listening.bind(run, {"agent": result(kind="agent")})["agent"]
    assert told.outcome is Outcome.INCONCLUSIVE and "none of these is a MAC" in told.detail


def test_law_5_an_agent_of_another_is_found_out_also_where_its_name_could_not_be_asked(
    site: World,
) -> None:
    site.pve = agent_of(OTHER, LOST)
    told = listening.bind(a_run(site, None), {"agent": result(kind="agent")})["agent"]
    assert told.outcome is Outcome.INCONCLUSIVE and "it calls itself nothing" in told.detail


@pytest.mark.parametrize(("mac", "outcome"), [(MAC.lower(), "passed"), (OTHER, "inconclusive")])
def test_law_5_an_agent_that_tells_of_other_nics_is_not_the_copys(
    site: World, mac: str, outcome: str
) -> None:
    site.pve = agent_of(mac)
    run = a_run(site, None)
    told = listening.bind(run, {"agent": result(kind="agent")})["agent"]
    assert told.outcome == outcome
    assert "it calls itself glpi and tells of" in told.detail
    again = run.memory.times_asked.get("agent", 0) < MAX_UNSURE
    assert again is (outcome == "passed"), "asking it once more would find the same machine"


def test_an_agent_that_does_not_tell_who_it_is_is_said_to(site: World) -> None:
    site.pve = agent_of(
        PveError("refused", status=200, text="Command network-get-interfaces has been disabled")
    )
    run = a_run(site, None)
    told = listening.bind(run, {"agent": result(kind="agent")})["agent"]
    assert told.outcome is Outcome.PASSED
    assert (
        "it does not tell whose it is (Command network-get-interfaces has been disabled)"
        in told.detail
    )


def nodes(
    site: World,
    run: TestRun,
    *,
    vmids: dict[str, int | None],
    guests: Callable[[], list[Any]] = list,
) -> Any:
    names = [Node("clovis", True), Node("lge-pve02", True)]
    site.pve = SimpleNamespace(
        cluster=SimpleNamespace(nodes=lambda max_age=0.0: names, guests=guests)
    )
    site.probe = lambda node: Probe(SILENT) if node in vmids else None
    site.probe_vmid = vmids.get
    return listening.nodes_with_probe(
        run.service, site.policy.guests[108], simulated=run.memory.simulated
    )


def test_a_test_over_the_network_needs_a_node_whose_probe_is_there(site: World) -> None:
    run = a_run(site, None)
    assert nodes(site, run, vmids={"clovis": None}) == ["clovis"]
    assert nodes(site, run, vmids={}) == []
    moved = [
        SimpleNamespace(vmid=901, node="lge-pve02"),
        SimpleNamespace(vmid=902, node="lge-pve02"),
    ]
    assert nodes(site, run, vmids={"clovis": 901, "lge-pve02": 902}, guests=lambda: moved) == [
        "lge-pve02"
    ]
    guest = replace(site.policy.guests[108], checks=(CheckSpec("agent", "agent"),))
    assert listening.nodes_with_probe(run.service, guest, simulated=run.memory.simulated) is None


def test_law_5_a_node_takes_no_other_copy_until_the_address_is_silent_again(site: World) -> None:
    old = entry("STALE", MAC, 40)
    run = a_run(site, Probe(SILENT, SILENT, old, old, SILENT))
    listening.last(run)
    assert run.turn("restore clovis", "another copy is being tested") is None
    run.lasted("start", 1.0)
    run.memory = replace(run.memory, stopped=True, destroyed=True)
    site.pve = SimpleNamespace(storage=SimpleNamespace(volumes=lambda node, storage, vmid: []))
    assert tear_down(run) is not None
    assert site.catalog.locks.holders() == {"restore clovis": run.id}
    assert tear_down(run) is None
    assert (site.catalog.locks.holders(), found(run, "after")) == ({}, Found.SILENT)


def test_law_2_a_probe_that_began_to_pass_packets_on_leaves_a_doubt_and_hinders_no_tear_down(
    site: World,
) -> None:
    run = a_run(site, Probe(SILENT))
    listening.last(run)
    run.lasted("start", 1.0)
    run.memory = replace(run.memory, stopped=True)
    site.probe = lambda node: Probe(SILENT, forwarding="1")
    assert listening.after(run) is None
    assert found(run, "after") is Found.UNKNOWN


@pytest.mark.parametrize(
    ("later", "verdict"), [(COPY, "proven"), (entry("REACHABLE", OTHER), "inconclusive")]
)
def test_law_5_whose_the_address_is_after_the_last_check_stands_for_all_of_them(
    site: World, later: str, verdict: str
) -> None:
    run = whole_test(site, Probe(SILENT, SILENT, SILENT, COPY, SILENT))
    run.service.probe = lambda node: Probe(later)  # type: ignore[method-assign, assignment, return-value]
    listening.still(run)
    assert judged(run)[0] == verdict


def test_a_knock_that_went_out_with_the_restore_is_asked_for_later_and_costs_no_second_one(
    site: World,
) -> None:
    probe = Probe(SILENT)
    run = a_run(site, probe)
    listening.knock(run)
    site.clock.sleep(0.5)  # the archive is read
    began = site.clock.monotonic()
    assert listening.last(run) is None
    assert (probe.knocks, found(run, "before")) == (1, Found.SILENT)
    assert site.clock.monotonic() - began == pytest.approx(listening.LONG - 0.5)


def test_law_5_a_knock_of_long_ago_or_at_another_address_is_no_answer(site: World) -> None:
    probe = Probe(SILENT)
    run = a_run(site, probe)
    listening.knock(run)
    site.clock.sleep(60)
    assert listening.last(run) is None and probe.knocks == 2
    run.memory = replace(run.memory, listens=None, silence=None)
    listening.knock(run)
    elsewhere: Any = probe.under_way
    probe.under_way = replace(elsewhere, address="10.0.0.9")
    assert listening.last(run) is None and probe.knocks == 4


def test_law_5_whoever_accepts_a_knock_that_went_out_with_the_restore_is_heard(site: World) -> None:
    run = a_run(site, Probe(SILENT, entry("REACHABLE", OTHER), heard=Heard.OPEN))
    listening.knock(run)
    with pytest.raises(NotTheCopy, match="somebody else answers"):
        listening.last(run)


# --- while the copy is removed --------------------------------------------------------------------


def removing(site: World, probe: Probe) -> TestRun:
    """A test whose copy is off and is being removed; its address was silent before."""
    run = a_run(site, Probe(SILENT))
    listening.last(run)
    run.lasted("start", 1.0)
    run.memory = replace(run.memory, stopped=True, destroyed=True)
    site.probe = lambda node: probe
    return run


def test_the_address_is_knocked_at_once_while_the_copy_is_removed_and_asked_about_when_it_is_gone(
    site: World,
) -> None:
    probe = Probe(SILENT)
    run = removing(site, probe)
    assert listening.knock_after(run) and not listening.knock_after(run)
    assert found(run, "after") is None, "nothing is concluded before the copy is gone"
    assert listening.after(run) is None
    assert (probe.knocks, found(run, "after")) == (1, Found.SILENT)
    assert "silence-after" in run.book.seconds
    assert not listening.knock_after(run), "it is settled"


def test_law_5_whoever_accepts_the_knock_during_the_removal_is_heard(site: World) -> None:
    probe = Probe(SILENT, heard=Heard.OPEN)
    run = removing(site, probe)
    listening.knock_after(run)
    listening.after(run)
    assert found(run, "after") is Found.ANSWERED


def test_a_probe_that_cannot_be_knocked_at_hinders_no_removal_and_leaves_its_doubt_at_the_end(
    site: World,
) -> None:
    run = removing(site, Probe(UNREACHABLE))
    assert listening.knock_after(run)
    assert listening.after(run) is None
    assert found(run, "after") is Found.UNKNOWN


def test_nobody_knocks_while_the_copy_may_still_run(site: World) -> None:
    probe = Probe(SILENT)
    run = removing(site, probe)
    run.memory = replace(run.memory, stopped=False)
    assert not listening.knock_after(run) and probe.knocks == 0
