"""What is said of a cluster's HA as a whole: votes, its own parts, the backups, and what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.compliance.facts import ClusterJob, Gap, GuestFacts, Quorum
from policies.ha.facts import HaFacts, Rebalancing, Resource, Rule
from policies.ha.lrm import Life
from policies.ha.resources import master_doubt
from policies.model import Exemption, Job, Node
from tests.unit.policies.ha.sites import (
    NODES,
    guest,
    line,
    local,
    only,
    report,
    site,
    status,
)
from tests.unit.report.langeo import GIB, NIGHTS, NOW, archive


def said(facts: HaFacts, **changes: Any) -> str:
    """Every problem, each with its action."""
    return "\n".join(f"{one.what} -> {one.action}" for one in report(facts, **changes).problems)


def two(**changes: Any) -> HaFacts:
    """The site as two nodes."""
    whole = site()
    return replace(
        whole,
        nodes=whole.nodes[:2],
        votes={"clovis": 1, "lge-pve02": 1},
        members={"clovis": True, "lge-pve02": True},
        quorum=Quorum(clustered=True, votes=2, quorate=True),
        **changes,
    )


def test_where_all_is_well_nothing_is_said() -> None:
    found = report(site())
    assert found.well and not found.problems and not found.notes
    assert (found.master, found.armed, found.armed_state) == ("lge-pve02", True, "armed")
    quorum = found.quorum
    assert (quorum.votes, quorum.online, quorum.needed, quorum.survives) == (3, 3, 2, True)
    assert [(one.name, one.state, one.lrm.life, one.master) for one in found.nodes] == [
        ("clovis", "online", Life.ALIVE, False),
        ("lge-pve02", "online", Life.ALIVE, True),
        ("third", "online", Life.ALIVE, False),
    ]


def test_a_cluster_without_ha_has_no_problem_of_ha() -> None:
    idle = status(services={}, homes={}, master=None, armed="")
    found = report(two(resources=(), status=idle, rules=None, rebalancing=None))
    assert found.well and not found.resources
    assert report(two(resources=(), status=None)).well
    alone = replace(two(resources=()), quorum=Quorum(clustered=False, votes=1))
    assert report(alone).well


# --- votes ----------------------------------------------------------------------------------------


def test_two_votes_are_a_problem_that_a_qdevice_or_an_exemption_ends() -> None:
    found = report(two())
    assert found.quorum.survives is None and not found.well
    assert "one vote of two is left and no quorum" in said(two())
    assert "which PVE's API does not show -> add one: pvecm qdevice setup" in said(two())
    accepted = Exemption("quorum-two-votes", None, "it", "a QDevice at the office", "2026-12-31")
    exempted = report(two(), exemptions=(accepted,))
    assert exempted.well and exempted.notes[0].endswith(
        "accepted until 2026-12-31 by it: a QDevice at the office"
    )
    assert not report(two(), exemptions=(replace(accepted, until="2026-03-09"),)).well


def test_a_third_node_that_is_missing_makes_the_next_loss_the_last() -> None:
    off = site(
        nodes=(*site().nodes[:2], Node("third", False)),
        members={"clovis": True, "lge-pve02": True, "third": False},
    )
    assert report(off).quorum.fatal == ("clovis", "lge-pve02")
    assert "if clovis, lge-pve02 were lost now, no quorum would be left (2 of 3" in said(off)


def test_votes_are_counted_as_corosync_has_them() -> None:
    heavy = site(votes={"clovis": 3, "lge-pve02": 1, "third": 1})
    assert report(heavy).quorum.fatal == ("clovis",)
    assert "if clovis were lost now" in said(heavy) and "-> give each node one vote" in said(heavy)
    unread = report(site(votes=None, members=None)).quorum
    assert (unread.votes, unread.needed, unread.survives) == (3, 2, True)
    half = report(site(votes={"clovis": 1})).quorum
    assert half.votes == 3


def test_no_quorum_is_said_whether_or_not_anything_is_managed() -> None:
    lost = replace(
        two(),
        quorum=Quorum(clustered=True, votes=2, quorate=False),
        members={"clovis": True, "lge-pve02": False},
    )
    assert report(lost).quorum.survives is False
    assert "the cluster has no quorum (1 of 2 votes are there, 2 are needed)" in said(lost)
    assert not report(replace(lost, resources=())).well


def test_a_quorum_that_was_not_read_is_a_problem_of_who_depends_on_it() -> None:
    unread = site(quorum=None, status=status(quorate=None))
    assert "whether the cluster has quorum could not be read" in said(unread)
    assert report(replace(unread, resources=())).well
    assert report(site(quorum=None)).well, "HA says it too"


def test_a_node_that_is_alone_can_take_nothing_anywhere() -> None:
    alone = replace(
        site(), nodes=site().nodes[:1], members={"clovis": True}, votes={"clovis": 1},
        quorum=Quorum(clustered=False, votes=1), status=status(master="clovis"),
    )  # fmt: skip
    assert "this node is alone" in said(alone) and report(alone).quorum.survives is False


@given(st.dictionaries(st.sampled_from("abcde"), st.booleans(), min_size=1))
def test_law_4_quorum_is_said_to_outlive_a_loss_only_if_the_votes_that_stay_are_more_than_half(
    members: dict[str, bool],
) -> None:
    facts = site(members=members, votes=None)
    up = sum(members.values())
    survives = up > 0 and up - 1 > len(members) / 2
    assert (report(facts).quorum.survives is True) == (survives or up == 0)


# --- its own parts --------------------------------------------------------------------------------


def test_what_ha_does_not_say_is_a_problem_only_where_it_manages_something() -> None:
    found = report(site(status=None))
    assert (found.master, found.armed, found.armed_state) == (None, None, "")
    assert "what HA says of itself could not be read" in said(site(status=None))


@pytest.mark.parametrize("word", ["disarmed", "disarming"])
def test_ha_that_was_left_disarmed_is_a_problem(word: str) -> None:
    facts = site(status=status(armed=word))
    assert report(facts).armed is False
    assert f"HA is {word}: no guest is recovered" in said(facts)
    assert "pvesh create /cluster/ha/status/arm-ha" in said(facts)
    assert not report(replace(facts, resources=())).well


def test_no_master_and_one_that_is_silent_are_problems() -> None:
    assert master_doubt(site(status=None)) is None and master_doubt(site()) is None
    assert "no node is HA's master" in said(site(status=status(master=None)))
    silent = site(status=status(master_stamp=NOW - 100))
    assert "lge-pve02 has written nothing for 1 min 40 s" in said(silent)
    assert "systemctl status pve-ha-crm on lge-pve02" in said(silent)


def test_an_lrm_that_is_dead_is_a_problem_wherever_it_is() -> None:
    facts = site(status=status(stamps=dict.fromkeys(NODES, NOW - 4) | {"clovis": NOW - 90}))
    assert "the LRM of clovis has written nothing for 1 min 30 s" in said(facts)
    old = status(
        lrm={node: line(node) for node in NODES} | {"third": line("third", "old timestamp")}
    )
    unread = site(offsets={}, status=old)
    assert "the LRM of third has written nothing: HA does nothing" in said(unread)


def test_nothing_is_known_of_an_lrm_on_a_node_that_is_off() -> None:
    off = site(nodes=(*site().nodes[:2], Node("third", False)))
    assert "LRM of third" not in said(off)
    assert "node third is offline: nothing is known of it but what the others remember" in (
        report(off).notes
    )


# --- guests ---------------------------------------------------------------------------------------


def test_a_guest_that_cannot_move_is_a_problem_with_what_would_mend_it() -> None:
    assert "vm:108 guest-108 cannot move: lge-pve02: scsi0 lies on local-lvm of clovis alone" in (
        said(local())
    )
    assert "pvesr create-local-job 108-0 third" in said(local())
    unknown = said(site(bridges={}))
    assert "vm:108 guest-108 may not be able to move" in unknown and "-> see the reasons" in unknown


def test_what_keeps_every_guest_is_told_once_and_not_again_of_each() -> None:
    (one,) = report(site(status=status(armed="disarmed"))).problems
    assert one.what.startswith("HA is disarmed")
    both = said(local(status=status(armed="disarmed")))
    assert "vm:108 guest-108 cannot move: lge-pve02: scsi0 lies on" in both


def test_guests_that_fit_one_by_one_and_not_together_are_a_problem() -> None:
    tight = tuple(replace(one, max_memory=10 * GIB, memory=7 * GIB) for one in two().nodes)
    both = replace(
        two(),
        nodes=tight,
        resources=(Resource("vm:108"), Resource("vm:109")),
        guests=(guest(), guest(109)),
        configs={vmid: site().configs[108] for vmid in (108, 109)},
        status=status(
            services={"vm:108": "started", "vm:109": "started"},
            homes={"vm:108": "clovis", "vm:109": "clovis"},
        ),
    )
    assert all(one.can_move for one in report(both).resources)
    assert "if clovis is lost, vm:108, vm:109 need 4.0 GiB of memory together" in said(both)
    assert "together" not in said(replace(both, nodes=two().nodes))
    apart = replace(both, resources=(Resource("vm:108"), Resource("vm:109", "stopped")))
    assert "together" not in said(apart)


# --- backups --------------------------------------------------------------------------------------


def pve_job(**changes: Any) -> ClusterJob:
    return replace(ClusterJob("night", True, None, "nas", (108,)), **changes)


def test_a_job_of_ours_follows_wherever_its_storage_is() -> None:
    assert only(site()).backup_follows is True
    dark = tuple(
        replace(one, active=False) if (one.name, one.node) == ("local", "lge-pve02") else one
        for one in site().storages
    )
    found = only(site(storages=dark))
    assert found.backup_follows is False
    assert found.backup_reasons == ("lge-pve02: job nightly: storage local is not active there",)
    assert "the backup of vm:108 guest-108 would not follow" in said(site(storages=dark))
    none = tuple(replace(one, content=frozenset({"images"})) for one in site().storages)
    assert "takes no backups there" in only(site(storages=none)).backup_reasons[0]


def test_a_job_of_pve_that_names_a_node_skips_what_moved_away() -> None:
    nobody: dict[str, Any] = {"jobs": ()}
    pinned = site(jobs=(pve_job(node="clovis"),))
    assert only(pinned, **nobody).backup_follows is False
    assert "runs on clovis alone, and skips it silently" in only(pinned, **nobody).backup_reasons[0]
    assert only(site(jobs=(pve_job(),)), **nobody).backup_follows is True
    half = only(site(jobs=(pve_job(node="third"),)), **nobody)
    assert [one.follows for one in half.backups] == [False, True]
    assert half.backup_follows is False
    for none in (pve_job(enabled=False), pve_job(guests=(1,)), pve_job(exclude=(108,))):
        found = only(site(jobs=(none,)), **nobody)
        assert found.backup_reasons[0] == "lge-pve02: no job backs it up"
    assert only(site(jobs=(pve_job(storage="gone"),)), **nobody).backup_follows is None


def test_jobs_that_were_not_read_make_it_unknown_unless_one_of_ours_follows() -> None:
    assert only(site(jobs=None)).backup_follows is True
    found = only(site(jobs=None), jobs=())
    assert found.backup_follows is None
    assert found.backup_reasons[0] == "lge-pve02: PVE's own jobs could not be read"
    assert "may not follow" in said(site(jobs=None), jobs=())


def test_any_of_several_jobs_is_enough() -> None:
    jobs = (Job("away", "21:00", "gone"), Job("night", "22:00", "nas"))
    assert only(site(), jobs=jobs).backup_follows is True
    assert only(site(), jobs=jobs[:1]).backup_follows is None
    assert only(site(jobs=(pve_job(),)), jobs=jobs[:1]).backup_follows is True


def test_where_it_can_move_nowhere_the_nodes_that_are_up_are_asked() -> None:
    off = replace(local(), nodes=(*site().nodes[:2], Node("third", False)))
    found = only(off)
    assert [one.node for one in found.backups] == ["lge-pve02"] and found.backup_follows is True


def test_archives_that_would_be_lost_with_its_node_are_told() -> None:
    there = GuestFacts(108, "x", guest(), archives=(archive(108, NIGHTS[0]),))
    (note,) = only(site(held={108: there})).notes
    assert note.startswith("all 1 of its archives lie on clovis, where it runs")
    both = replace(there, archives=(*there.archives, archive(108, NIGHTS[1], "third")))
    assert not only(site(held={108: both})).notes
    assert not only(site(held={108: replace(there, archives=())})).notes
    assert not only(site(held={})).notes


# --- what to know ---------------------------------------------------------------------------------


def test_clocks_that_are_off_are_told_in_seconds_and_no_problem() -> None:
    drift = site(
        offsets={"clovis": 30, "lge-pve02": 3644, "third": -31},
        status=status(
            stamps={}, master_stamp=NOW + 3640,
            lrm={node: line(node) for node in NODES} | {"third": "third (active, detected time drift!)"},
        ),
    )  # fmt: skip
    found = report(drift)
    assert found.well and [one.drift for one in found.nodes] == [30, 3644, -31]
    told = "\n".join(found.notes)
    assert "the clock of lge-pve02 is 3644 s ahead of this machine's" in told
    assert "the clock of third is 31 s behind this machine's" in told and "of clovis" not in told
    assert "HA says: third (active, detected time drift!)" in told


@pytest.mark.parametrize(
    ("crs", "told"),
    [
        (Rebalancing("dynamic", automatic=True), "by itself, at any time (crs, dynamic)"),
        (Rebalancing("static", on_start=True), "by itself, when one is started (crs, static)"),
        (Rebalancing("dynamic", True, True), "by itself, at any time, when one is started"),
        (None, "whether HA moves guests by itself could not be read"),
    ],
)
def test_guests_that_move_by_themselves_are_told(crs: Rebalancing | None, told: str) -> None:
    (note,) = report(site(rebalancing=crs)).notes
    assert told in note
    assert not report(site(rebalancing=Rebalancing("static"))).notes


def test_a_rule_that_pve_does_not_follow_and_what_was_not_read_are_told() -> None:
    broken = Rule("r", ("vm:108",), {"clovis": 0}, errors="vm:108 is in another one")
    assert report(site(rules=(broken,))).notes == (
        "PVE does not follow the rule r: vm:108 is in another one",
    )
    gaps = (Gap("jobs", "", "denied"), Gap("bridges", "third", "timed out"))
    assert report(site(gaps=gaps)).notes == (
        "not known: jobs (denied)",
        "not known: bridges third (timed out)",
    )
