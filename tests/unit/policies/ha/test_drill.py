"""Whether a guest may be moved for an exercise: only where all is known and nothing speaks against
it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from policies import windows
from policies.gate import SIMULATED, GuestGate
from policies.ha.drill import Asked, Heard, Plan, Seen, decide, question
from policies.ha.facts import HaFacts, Rebalancing, Resource, Rule
from policies.model import CheckSpec, Exemption, GuestPolicy, HaRules, Job, Policy
from tests.unit.policies.ha.sites import NODES, configured, guest, local, site, status
from tests.unit.report.langeo import NOW, policy

WINDOW = windows.parse("08:00-10:00")  # it is nine
PROVEN = GuestGate(108, "guest-108", "clovis", 3600, 7200)
HEARD = Heard(10, 10, mac="bc:24:11:00:00:08")
HTTP = CheckSpec("http", "http :80/", {"port": 80})
ASKED = Asked(108)


def wanted(**changes: Any) -> Policy:
    one = GuestPolicy(108, "Debian-Server", "critical", address="192.168.10.8", checks=(HTTP,))
    rules: dict[str, Any] = {"ha": HaRules(WINDOW), "guests": {108: one}} | changes
    return policy(**rules)


def seen(facts: HaFacts | None = None, **changes: Any) -> Seen:
    whole = Seen(facts or site(), PROVEN, False, True, HEARD, NOW)
    return replace(whole, **changes)


def planned(facts: HaFacts | None = None, asked: Asked = ASKED, **changes: Any) -> Plan:
    rules = changes.pop("policy", None) or wanted()
    return decide(seen(facts, **changes), rules, asked)


def refused(found: Plan, *said: str) -> bool:
    return all(any(part in why for why in found.blockers) for part in said)


def test_a_guest_of_which_all_is_known_may_be_moved() -> None:
    found = planned()
    assert found.blockers == () and found.notes == ()
    assert (found.sid, found.home, found.target, found.how) == (
        "vm:108",
        "clovis",
        "lge-pve02",
        "migrate",
    )
    assert (found.name, found.check, found.address) == ("guest-108", HTTP, "192.168.10.8")


def test_it_goes_where_it_is_asked_to() -> None:
    found = planned(asked=Asked(108, "third", relocate=True))
    assert (found.target, found.how, found.blockers) == ("third", "relocate", ())
    assert found.notes == (
        "HA shuts it down, and switches it off after a minute if it does not obey",
    )


def test_it_goes_where_its_rule_prefers_and_ha_would_take_it_back() -> None:
    rule = Rule("near", ("vm:108",), {"clovis": 3, "third": 2, "lge-pve02": 1})
    found = planned(site(rules=(rule,)))
    assert found.target == "third"
    assert found.notes == ("rule near prefers clovis: HA itself takes it back (failback)",)
    stays = site(rules=(rule,), resources=(Resource("vm:108", failback=False),))
    assert planned(stays).notes == ()
    level = replace(rule, nodes={"clovis": 1, "third": 1, "lge-pve02": 1})
    assert planned(site(rules=(level,))).notes == ()


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("clovis", "it is on clovis already"),
        ("elsewhere", "the cluster has no node elsewhere"),
        ("lge-pve02", "lge-pve02: scsi0 lies on local-lvm of clovis alone"),
    ],
)
def test_it_does_not_go_where_it_cannot(to: str, said: str) -> None:
    found = planned(local(), asked=Asked(108, to))
    assert found.target == to and refused(found, said)


def test_a_guest_that_could_move_nowhere_stays_and_each_reason_is_told() -> None:
    found = planned(local())
    assert found.target is None and refused(found, "no other node could take it", "third: scsi0")


def test_a_guest_that_is_not_under_ha_is_not_moved() -> None:
    found = planned(site(resources=()))
    assert found.blockers == ("guest 108 is not under HA: there is nothing to exercise",)
    nobody = planned(site(resources=(), guests=()))
    assert nobody.name == "Debian-Server" and nobody.home is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"resources": (Resource("vm:108", "ignored"),)}, "leave it alone"),
        ({"resources": (Resource("vm:108", "stopped"),)}, "HA keeps it stopped"),
        ({"status": status(services={"vm:108": "starting"})}, "HA says of it starting"),
        ({"status": status(services={"vm:108": "error"})}, "HA has given it up"),
        ({"status": status(services={})}, "HA says of it nothing"),
        ({"status": None}, "what HA says of itself could not be read"),
        ({"status": status(homes={}), "guests": ()}, "nobody says on which node"),
        ({"guests": (guest(lock="migrate"),)}, "PVE holds it locked (migrate)"),
        ({"status": status(armed="disarmed")}, "HA is disarmed"),
        ({"status": status(master=None)}, "no node is HA's master"),
        ({"status": status(quorate=False)}, "no quorum"),
        ({"status": status(quorate=None), "quorum": None}, "has quorum is not known"),
        ({"rules": None}, "HA's rules could not be read"),
    ],
)
def test_what_keeps_ha_from_moving_it_or_is_not_known_refuses(
    changes: dict[str, Any], said: str
) -> None:
    assert refused(planned(site(**changes)), said)


def test_law_1_nobody_who_was_not_named_is_moved_along() -> None:
    resources = (Resource("vm:108"), Resource("vm:109"))
    told = status(
        services={"vm:108": "started", "vm:109": "started"},
        homes={"vm:108": "clovis", "vm:109": "clovis"},
    )
    rule = Rule("pair", ("vm:108", "vm:109"), together=True)
    facts = site(resources=resources, guests=(guest(), guest(109)), status=told, rules=(rule,))
    assert refused(planned(facts), "a rule keeps vm:109 with it")


def test_a_vote_that_is_missing_refuses() -> None:
    members = {name: name != "third" for name in NODES}
    assert refused(planned(site(members=members)), "2 of 3 votes are there")


def test_two_votes_refuse_unless_a_person_accepted_them() -> None:
    nodes = site().nodes[:2]
    two = site(
        nodes=nodes,
        members={"clovis": True, "lge-pve02": True},
        votes={"clovis": 1, "lge-pve02": 1},
    )
    assert refused(
        planned(two), "whether quorum outlives the loss of a node is not known (2 votes)"
    )
    exemption = Exemption("quorum-two-votes", None, "ops", "there is a QDevice", "2027-01-01")
    found = planned(two, policy=wanted(exemptions=(exemption,)))
    assert found.blockers == () and any("is accepted" in note for note in found.notes)
    uneven = site(votes={"clovis": 3, "lge-pve02": 1, "third": 1})
    rest = planned(uneven, policy=wanted(exemptions=(exemption,)))
    assert refused(rest, "is not known (5 votes)")


def test_a_restore_that_is_not_proven_refuses() -> None:
    assert refused(planned(gate=None), "could not be told")
    shut = replace(PROVEN, reasons=("no restore of it was ever tested", "PVE dumps it"))
    assert refused(planned(gate=shut), "was ever tested", "PVE dumps it")


def test_a_modelled_guest_needs_no_proof_and_the_plan_says_what_it_is() -> None:
    modelled = replace(PROVEN, reasons=(SIMULATED,))
    found = planned(gate=modelled, simulated=True)
    assert found.blockers == () and found.simulated and "simulated" in found.notes[0]
    assert refused(planned(gate=modelled), SIMULATED)
    busy = replace(PROVEN, reasons=(SIMULATED, "PVE dumps it"))
    assert planned(gate=busy, simulated=True).blockers == ("PVE dumps it",)


@pytest.mark.parametrize(
    ("window", "said"),
    [
        (None, "names no window"),
        ("01:00-02:00", "outside the window 01:00-02:00, which opens 2026-03-11 01:00"),
        ("08:00-09:10", "closes in 10 min, and 15 min are needed"),
    ],
)
def test_outside_its_window_nothing_is_moved(window: str | None, said: str) -> None:
    rules = HaRules(windows.parse(window) if window else None)
    assert refused(planned(policy=wanted(ha=rules)), said)


def test_before_its_backup_nothing_is_moved() -> None:
    soon = Job("soon", "09:05", "local")
    assert refused(planned(policy=wanted(jobs=(soon,))), "its backup by job soon begins in 5 min")
    once = replace(soon, schedule="2026-03-11 09:00", guests=(108,))
    assert planned(policy=wanted(jobs=(once,))).blockers == ()
    over = replace(soon, schedule="2026-03-09 09:00")
    assert planned(policy=wanted(jobs=(over,))).blockers == ()


@pytest.mark.parametrize(("may", "said"), [(None, "could not be read"), (False, "lacks Sys.Con")])
def test_a_token_that_may_not_ask_ha_is_said_beforehand(may: bool | None, said: str) -> None:
    assert refused(planned(may=may), said)


@pytest.mark.parametrize(
    "heard", [Heard(), Heard(10, 9, "no answer within 1 s", HEARD.mac), Heard(10, 0)]
)
def test_what_is_not_heard_from_here_is_not_moved(heard: Heard) -> None:
    found = planned(heard=heard)
    assert refused(found, f"answered {heard.answers} of {heard.asked} times")
    assert refused(found, heard.detail)


def test_a_guest_of_which_nothing_can_be_asked_is_not_moved() -> None:
    mute = {108: GuestPolicy(108, "x", "critical", checks=(CheckSpec("agent", "agent"),))}
    assert refused(planned(policy=wanted(guests=mute)), "names no address of guest 108")


def test_another_machine_behind_the_address_is_seen_where_it_can_be() -> None:
    other = replace(HEARD, mac="BC:24:11:00:00:09")
    assert refused(planned(heard=other), "is another machine: its MAC BC:24:11:00:00:09")
    unread = site(configs={})
    assert not refused(planned(unread, heard=other), "is another machine")
    assert not refused(planned(configured(net0=None), heard=other), "is another machine")
    (note,) = planned(heard=replace(HEARD, mac=None)).notes
    assert "whose MAC answers is not seen" in note


@pytest.mark.parametrize("crs", [None, Rebalancing(automatic=True)])
def test_that_ha_may_move_it_by_itself_is_noted(crs: Rebalancing | None) -> None:
    assert planned(site(rebalancing=crs)).notes == ("HA may move guests by itself meanwhile (crs)",)


def test_the_service_itself_is_asked_where_it_can_be() -> None:
    def kinds(*checks: CheckSpec, address: str | None = "10.0.0.8") -> CheckSpec | None:
        one = GuestPolicy(108, "x", "critical", address=address, checks=checks)
        return question(wanted(guests={108: one}), 108)[0]

    ssh, tcp = (
        CheckSpec("ssh", "ssh 2222", {"port": 2222}),
        CheckSpec("tcp", "tcp 53", {"port": 53}),
    )
    agent = CheckSpec("agent", "agent")
    assert kinds(agent, ssh, tcp, HTTP) == HTTP and kinds(agent, ssh, tcp) == tcp
    assert kinds(HTTP, replace(HTTP, name="second")) == HTTP
    assert kinds(ssh) == CheckSpec("tcp", "ssh 2222", {"port": 2222})
    assert kinds(CheckSpec("ssh", "ssh 22")) == CheckSpec("tcp", "ssh 22", {"port": 22})
    assert kinds(agent) is None and kinds(HTTP, address=None) is None
    assert question(wanted(), 4711) == (None, None)
