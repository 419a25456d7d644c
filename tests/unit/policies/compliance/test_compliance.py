"""The findings: each appears when its fault is there, and disappears with it."""

from __future__ import annotations

import json
import pkgutil
import re
from dataclasses import replace
from pathlib import Path

import pytest

from policies.compliance import findings as room
from policies.compliance.evaluation import exemption_for, findings, pressing
from policies.compliance.facts import (
    BackupOutcome,
    BridgeFacts,
    Clocks,
    ClusterJob,
    Gap,
    GuestFacts,
    JobRun,
    Listing,
    MovedCopy,
    Quorum,
    SiteFacts,
    usable,
)
from policies.compliance.findings import RULES
from policies.compliance.objectives import Status, assess
from policies.compliance.selecting import last_due
from policies.freezing import LeftFrozen
from policies.i18n import en, fr
from policies.lineage import Identity
from policies.model import (
    ArchiveCopy,
    CheckSpec,
    CopyRoute,
    Decided,
    Exemption,
    Finding,
    GuestType,
    Job,
    Node,
    Release,
    Rung,
    Severity,
    Suspicion,
    SuspicionKind,
    Tombstone,
    Verdict,
)
from policies.orphans import Copy, Orphan
from policies.tombstones import Listed
from tests.unit.report.langeo import (
    DAY,
    GIB,
    HOUR,
    NIGHTS,
    NOW,
    RIGHTS,
    SEVEN,
    archive,
    at,
    changed,
    documented,
    guest,
    permissions,
    policy,
    proof,
    put_right,
    storage,
)


def found(facts: SiteFacts, id: str, **policy_changes: object) -> list[Finding]:
    return [item for item in findings(facts, policy(**policy_changes), NOW) if item.id == id]


def ids(facts: SiteFacts, **policy_changes: object) -> set[str]:
    return {item.id for item in findings(facts, policy(**policy_changes), NOW)}


# --- the site as a whole --------------------------------------------------------------------------


def test_the_documents_site_shows_all_seven_findings_and_the_job_beside_ours() -> None:
    assert ids(documented()) == SEVEN | {"foreign-job"}


def test_the_site_put_right_shows_none() -> None:
    assert findings(put_right(), policy(), NOW) == ()


def test_every_rule_yields_only_its_own_id_and_critical_findings_come_first() -> None:
    for rule in RULES:
        assert {item.id for item in findings(documented(), policy(), NOW, [rule])} <= {rule.id}
    order = [item.severity for item in findings(documented(), policy(), NOW)]
    assert order == sorted(order, key=list(Severity).index)


def test_a_guests_finding_bears_its_vmid_and_a_clusters_does_not() -> None:
    assert {item.vmid for item in found(documented(), "never-proven")} == set(range(100, 111))
    assert [item.vmid for item in found(documented(), "quorum-two-votes")] == [None]


# --- the guests -----------------------------------------------------------------------------------


def test_archives_on_another_node_or_a_shared_storage_leave_no_finding_about_that_guest() -> None:
    apart = changed(
        documented(), 108, archives=(archive(108, NIGHTS[0]), archive(108, NIGHTS[0], "lge-pve02"))
    )
    shared = changed(
        documented(), 108, archives=(archive(108, NIGHTS[0], storage="nfs", shared=True),)
    )
    moved = changed(documented(), 108, guest=guest(108, "lge-pve02"))
    for facts in (apart, shared, moved):
        assert 108 not in {item.vmid for item in found(facts, "archives-on-guest-node")}


def test_before_the_first_backup_the_jobs_storage_already_says_where_archives_will_lie() -> None:
    facts = changed(documented(), 108, archives=())
    assert "would lose both" in next(
        item.detail for item in found(facts, "archives-on-guest-node") if item.vmid == 108
    )
    elsewhere = replace(facts, storages=(storage("local", "clovis", "backup", shared=True),))
    assert 108 not in {item.vmid for item in found(elsewhere, "archives-on-guest-node")}


def test_law_4_an_expected_guest_that_is_absent_is_a_finding() -> None:
    facts = changed(put_right(), 105, guest=None)
    (item,) = found(facts, "guest-not-covered")
    assert item.vmid == 105 and item.severity is Severity.CRITICAL
    assert "6 archive(s) remain" in item.detail and "backupsvc restore 105" in item.action


def test_law_4_a_guest_without_any_archive_is_a_finding_and_an_empty_file_is_no_archive() -> None:
    for held in ((), (archive(105, NIGHTS[-1], size=0),)):
        (item,) = found(changed(put_right(), 105, archives=held), "guest-not-covered")
        assert item.vmid == 105 and "nothing to restore it from" in item.detail


def test_law_10_a_guest_under_a_reused_vmid_has_neither_the_archives_nor_the_proofs_of_before() -> (
    None
):
    facts = put_right()
    before = next(item for item in facts.guests if item.vmid == 105)
    theirs = tuple(replace(one, uuid="of-before") for one in before.archives)
    reused = changed(facts, 105, archives=theirs, machine=Identity("of-now"))
    (item,) = found(reused, "guest-not-covered")
    assert item.vmid == 105 and "the 6 under its VMID are of another machine" in item.detail
    (said,) = (one for one in assess(reused, policy(), NOW) if one.vmid == 105)
    assert (said.last_proven, said.archives, said.copies) == (None, 0, 0)
    assert said.status is not Status.MET
    # out of reach they are no more its own
    beyond = changed(facts, 105, archives=(), unreachable=theirs, machine=Identity("of-now"))
    assert next(one for one in beyond.guests if one.vmid == 105).known == ()
    (item,) = found(beyond, "guest-not-covered")
    assert "the 6 under its VMID are of another machine" in item.detail
    assert "guest-not-covered" not in ids(changed(facts, 105, machine=Identity("of-now")))


def test_law_4_a_guest_that_no_job_covers_is_a_finding_but_a_template_is_not() -> None:
    new = GuestFacts(120, "new", guest(120))
    assert [
        item.vmid
        for item in found(
            replace(put_right(), guests=(*put_right().guests, new)), "guest-not-covered"
        )
    ] == [120]
    template = replace(new, guest=guest(120, template=True))
    assert not found(
        replace(put_right(), guests=(*put_right().guests, template)), "guest-not-covered"
    )


def test_law_5_nothing_but_a_proven_verdict_ends_never_proven() -> None:
    for verdict in (Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.SKIPPED, Verdict.SIMULATED):
        facts = changed(
            put_right(), 108, proofs=(proof(108, NIGHTS[-1], verdict=verdict, reason="no agent"),)
        )
        (item,) = found(facts, "never-proven")
        assert item.vmid == 108
        assert verdict is Verdict.SKIPPED or (
            str(verdict) in item.detail and "no agent" in item.detail
        )


def test_law_5_a_simulated_cluster_proves_nothing_even_with_proven_records() -> None:
    assert {
        item.vmid for item in found(replace(put_right(), simulated=True), "never-proven")
    } == set(range(100, 111))


def test_a_guest_of_which_only_signs_of_life_are_asked_is_a_warning_with_a_check_that_fits_it() -> (
    None
):
    for checks, role, said, suggested in (
        ((CheckSpec("agent", "agent"),), "web site", "(agent)", "(http)"),
        (
            (CheckSpec("tcp", "LDAP", {"port": 389}), CheckSpec("agent", "agent")),
            "",
            "(LDAP, agent)",
            "(ldap)",
        ),
        ((), "domain controller", "No check", "(ldap)"),
        ((), "", "No check", "(ssh, http, ldap)"),
    ):
        guests = {**policy().guests, 105: replace(policy().guests[105], checks=checks, role=role)}
        (item,) = found(put_right(), "no-service-check", guests=guests)
        assert (item.vmid, item.severity) == (105, Severity.WARNING)
        assert (
            said in item.detail and suggested in item.action and "proof-rung: booted" in item.action
        )


def test_a_guest_whose_tier_wants_no_more_than_booted_lacks_no_check() -> None:
    guests = {**policy().guests, 105: replace(policy().guests[105], checks=())}
    tiers = {name: replace(tier, proof_rung=Rung.BOOTED) for name, tier in policy().tiers.items()}
    assert found(put_right(), "no-service-check", guests=guests) != []
    assert found(put_right(), "no-service-check", guests=guests, tiers=tiers) == []


def test_a_container_and_a_guest_that_no_job_covers_lack_no_check() -> None:
    guests = {**policy().guests, 105: replace(policy().guests[105], checks=())}
    container = changed(put_right(), 105, guest=replace(guest(105), type=GuestType.LXC))
    assert found(container, "no-service-check", guests=guests) == []
    job = replace(policy().jobs[0], guests=(104,))
    assert found(put_right(), "no-service-check", guests=guests, jobs=(job,)) == []


def test_a_proof_at_rung_booted_ends_never_proven_only_where_the_tier_wants_no_more() -> None:
    booted = changed(put_right(), 105, proofs=(replace(proof(105, NIGHTS[-1]), rung=Rung.BOOTED),))
    assert [item.vmid for item in found(booted, "never-proven")] == [105]
    tiers = {name: replace(tier, proof_rung=Rung.BOOTED) for name, tier in policy().tiers.items()}
    assert found(booted, "never-proven", tiers=tiers) == []


def test_an_excluded_disk_is_named() -> None:
    (item,) = found(changed(put_right(), 104, excluded=("scsi1",)), "disk-excluded")
    assert item.vmid == 104 and "scsi1" in item.detail


def test_an_agent_that_is_not_known_is_no_finding_and_a_container_has_none() -> None:
    assert not found(changed(documented(), 108, agent=None), "guest-agent-missing")
    assert [item.vmid for item in found(documented(), "guest-agent-missing")] == [108]


def test_runs_that_no_scheduler_was_there_for_are_critical_until_a_later_one_was_run() -> None:
    name = policy().jobs[0].id
    missed = (
        JobRun(name, NOW - 2 * 86400, True),
        JobRun(name, NOW - 86400, True),
        JobRun("gone", NOW, True),
    )
    (item,) = found(replace(put_right(), job_runs=missed), "backup-missed")
    assert (
        item.severity is Severity.CRITICAL and item.subject == name and item.detail.startswith("2 ")
    )
    since = (*missed, JobRun(name, NOW - 3600, False))
    (item,) = found(replace(put_right(), job_runs=since), "backup-missed")
    assert item.severity is Severity.INFO and not pressing([item], policy(), NOW)
    assert not found(
        replace(put_right(), job_runs=(JobRun(name, NOW - 8 * 86400, True),)), "backup-missed"
    )


def test_a_backup_is_missed_once_its_window_has_passed_and_not_before() -> None:
    facts = changed(
        put_right(), 103, archives=(archive(103, NIGHTS[0]), archive(103, NIGHTS[0], "lge-pve02"))
    )
    assert [item.vmid for item in found(facts, "backup-missed")] == [103]
    # the window of four hours is still open, and the night before was missed too
    early = at("2026-03-09 23:00")
    assert "2026-03-08 21:00" in next(
        item.detail for item in findings(facts, policy(), early) if item.id == "backup-missed"
    )
    only_last = changed(
        put_right(), 103, archives=(archive(103, NIGHTS[1]), archive(103, NIGHTS[1], "lge-pve02"))
    )
    assert "backup-missed" not in {item.id for item in findings(only_last, policy(), early)}


def test_a_manual_backup_after_the_due_time_makes_up_for_it() -> None:
    late = changed(
        put_right(), 103, archives=(archive(103, NOW - HOUR), archive(103, NOW - HOUR, "lge-pve02"))
    )
    assert not found(late, "backup-missed")


def test_a_clock_that_is_behind_does_not_make_a_backup_missed() -> None:
    held = tuple(archive(103, NIGHTS[-1] - HOUR, node) for node in ("clovis", "lge-pve02"))
    facts = replace(changed(put_right(), 103, archives=held), clocks=Clocks({"clovis": -HOUR - 10}))
    assert not found(facts, "backup-missed")
    assert found(replace(facts, clocks=Clocks()), "backup-missed")


def test_a_failed_backup_is_missed_until_a_newer_archive_is_there() -> None:
    facts = changed(put_right(), 103, backups=(BackupOutcome(NOW - HOUR, False, "job errors"),))
    (item,) = found(facts, "backup-missed")
    assert "job errors" in item.detail
    assert not found(
        changed(put_right(), 103, backups=(BackupOutcome(NIGHTS[0], False, "job errors"),)),
        "backup-missed",
    )
    healed = (BackupOutcome(NOW - HOUR, False, "job errors"), BackupOutcome(NOW - 60, True))
    assert not found(changed(put_right(), 103, backups=healed), "backup-missed")


def test_law_4_a_backup_that_left_an_archive_and_was_no_good_is_a_finding_at_once() -> None:
    ctime = max(
        one.ctime for item in put_right().guests for one in item.archives if item.vmid == 103
    )
    bad = BackupOutcome(ctime - 60, False, "it may not be whole", ctime + 60)
    assert (
        "not be whole"
        in found(changed(put_right(), 103, backups=(bad,)), "backup-missed")[0].detail
    )
    later = replace(bad, at=ctime - 600, until=ctime - 300)
    assert not found(changed(put_right(), 103, backups=(later,)), "backup-missed")


def test_copies_that_were_forgotten_or_moved_are_findings() -> None:
    def left(*, running: bool, ours: bool) -> Orphan:
        return Orphan(Copy(9000, "clovis", "restore-test-108", running, "01J"), ours)

    facts = replace(
        put_right(), orphans=(left(running=True, ours=False), left(running=False, ours=False))
    )
    loud, quiet = found(facts, "orphan-copy")
    assert (loud.severity, quiet.severity, loud.vmid) == (Severity.CRITICAL, Severity.WARNING, 9000)
    assert "qm destroy 9000" in loud.action
    (own,) = found(replace(put_right(), orphans=(left(running=True, ours=True),)), "orphan-copy")
    assert own.severity is Severity.WARNING and "backupsvc serve" in own.action
    moved = replace(put_right(), moves=(MovedCopy(108, "01J", "clovis", "lge-pve02", NOW - HOUR),))
    (item,) = found(moved, "copy-moved")
    assert item.severity is Severity.WARNING and "from clovis to lge-pve02" in item.detail
    old = replace(
        put_right(), moves=(MovedCopy(108, "01J", "clovis", "lge-pve02", NOW - 8 * 86400),)
    )
    assert not found(old, "copy-moved")


def test_the_last_due_time_is_found_for_rare_schedules_too() -> None:
    assert last_due(Job("j", "sun 03:00", "local", window=0), "Europe/Paris", NOW) == at(
        "2026-03-08 03:00"
    )
    assert last_due(Job("j", "*-12-24 20:00", "local", window=0), "Europe/Paris", NOW) == at(
        "2025-12-24 20:00"
    )


def test_an_archive_much_smaller_than_usual_is_a_finding_and_a_young_guest_has_no_usual() -> None:
    sizes = (10 * GIB, 11 * GIB, 3 * GIB)
    held = tuple(archive(104, night, size=size) for night, size in zip(NIGHTS, sizes, strict=True))
    (item,) = found(changed(put_right(), 104, archives=held), "archive-shrunk")
    assert "3.2 GB" in item.detail and item.severity is Severity.WARNING
    assert not found(changed(put_right(), 104, archives=held[1:]), "archive-shrunk")


def test_an_empty_newest_archive_is_critical() -> None:
    held = (*(archive(104, night) for night in NIGHTS[:2]), archive(104, NIGHTS[2], size=0))
    (item,) = found(changed(put_right(), 104, archives=held), "archive-shrunk")
    assert item.severity is Severity.CRITICAL and "empty" in item.detail


def test_a_newest_archive_without_any_disk_is_critical_beside_one_that_may_hold_some() -> None:
    stub = replace(archive(104, NIGHTS[2], size=161), holds_disk=False)
    held = (*(archive(104, night) for night in NIGHTS[:2]), stub)
    (item,) = found(changed(put_right(), 104, archives=held), "archive-shrunk")
    assert item.severity is Severity.CRITICAL and f"{stub.volid} holds no disk" in item.detail
    assert "qm config 104" in item.action
    assert not found(changed(put_right(), 104, archives=(stub,)), "archive-shrunk")


def test_a_changed_archive_is_critical_and_says_what_was_changed_and_where_until_it_is_gone() -> (
    None
):
    bad = replace(archive(104, NIGHTS[2], size=1), changed="size 1073741824 -> 1 bytes")
    held = (*(archive(104, night) for night in NIGHTS[:2]), bad)
    (item,) = found(changed(put_right(), 104, archives=held), "archive-changed")
    assert (item.severity, item.vmid) == (Severity.CRITICAL, 104)
    assert f"{bad.volid} on clovis" in item.detail and "size 1073741824 -> 1 bytes" in item.detail
    assert f"catalog show {bad.volid}" in item.action
    # one thing is told once
    assert "archive-shrunk" not in ids(changed(put_right(), 104, archives=held))
    assert not found(changed(put_right(), 104, archives=held[:2]), "archive-changed")


def test_law_5_a_damaged_archive_is_told_at_once_and_is_no_backup_to_any_objective() -> None:
    good, bad = archive(104, NIGHTS[1]), replace(archive(104, NIGHTS[2]), damaged="cluster 7: torn")
    (item,) = found(changed(put_right(), 104, archives=(good, bad)), "archive-corrupt")
    assert (item.severity, item.vmid) == (Severity.CRITICAL, 104)
    assert f"{bad.volid} on clovis" in item.detail and "cluster 7: torn" in item.detail
    assert "backup run --vmid 104" in item.action
    assert usable((good, bad)) == (good,)
    assert not found(changed(put_right(), 104, archives=(good,)), "archive-corrupt")


def test_a_suspicious_archive_is_critical_and_says_what_it_holds_and_how_it_is_acknowledged() -> (
    None
):
    alarm = Suspicion(SuspicionKind.SEALED, "drive-scsi0", 0.1, 0.9, "local:backup/x")
    good, bad = archive(104, NIGHTS[1]), replace(archive(104, NIGHTS[2]), suspicious=(alarm,))
    (item,) = found(changed(put_right(), 104, archives=(good, bad)), "archive-suspicious")
    assert (item.severity, item.vmid) == (Severity.CRITICAL, 104)
    assert f"{bad.volid} on clovis" in item.detail and "90 % looks random" in item.detail
    assert "(1 archives, " in item.detail and f"acknowledge {bad.volid}" in item.action
    assert not found(changed(put_right(), 104, archives=(good,)), "archive-suspicious")
    # one that is gone holds the others, too
    (item,) = found(
        changed(put_right(), 104, archives=(good,), removed=(bad,)), "archive-suspicious"
    )
    assert "(1 archives, " in item.detail


def test_law_5_a_damaged_copy_is_told_at_once_and_is_no_place_to_any_objective() -> None:
    one = archive(104, NIGHTS[1])
    route = CopyRoute("usb", "/mnt/usb", "copy target usb", "clovis", one.volid, 104)
    copy = ArchiveCopy(route, "a.vma.zst", one.size, "ab", NIGHTS[1], "read back", "01")
    good = changed(put_right(), 104, archives=(one,), copies=(copy,))
    bad = changed(
        put_right(), 104, archives=(one,), damaged_copies=(replace(copy, damaged="torn"),)
    )
    (item,) = found(bad, "copy-corrupt")
    assert (item.severity, item.vmid) == (Severity.CRITICAL, 104)
    assert one.volid in item.detail and "torn" in item.detail and "usb" in item.detail
    assert "copy run --to usb --vmid 104" in item.action and "copy sync --to usb" in item.action
    assert not found(good, "copy-corrupt") and not found(good, "archives-on-guest-node")
    assert found(bad, "archives-on-guest-node")


def test_law_10_a_uuid_that_changed_on_the_same_nic_is_asked_until_somebody_said() -> None:
    old, new = (
        replace(archive(104, night), uuid=uuid, macs="bc:24:11:00:00:04")
        for night, uuid in ((NIGHTS[1], "aa-1"), (NIGHTS[2], "bb-1"))
    )
    facts = changed(put_right(), 104, archives=(old, new))
    (item,) = found(facts, "lineage-asked")
    assert (item.severity, item.vmid) == (Severity.WARNING, 104)
    assert "MAC addresses stayed, SMBIOS UUID changed" in item.detail
    assert "catalog lineage join 104 aa-1 bb-1" in item.action
    assert f"catalog lineage split 104 {new.volid}" in item.action
    (item,) = found(facts, "lineage-asked", language="fr")
    assert "adresses MAC" in item.detail and "UUID SMBIOS" in item.detail
    said = replace(old, decided=Decided("0", ("1",))), replace(new, decided=Decided("1", ("0",)))
    assert not found(changed(put_right(), 104, archives=said), "lineage-asked")
    moved = replace(old, uuid=None), replace(new, uuid=None, macs="bc:24:11:00:00:05")
    (item,) = found(changed(put_right(), 104, archives=moved), "lineage-asked")
    assert "nothing stayed" in item.detail


def test_a_tombstone_is_told_when_its_time_is_over_or_when_nothing_tells_who_is_back() -> None:
    stone = Tombstone(777, GuestType.QEMU, NOW - 300 * DAY, 0, uuid="aa-1", name="old")
    told = Listed(stone, "aa-1", (archive(104, NIGHTS[1]),), 0, None, NOW - DAY, over=True)
    (item,) = found(replace(put_right(), tombstones=(told,)), "tombstone-over")
    assert (item.severity, item.vmid, item.subject) == (Severity.WARNING, 777, "777 old")
    assert "1 archive(s) stay" in item.detail
    assert "tombstones release 777" in item.action and "--dry-run" in item.action
    early = replace(told, over=False)
    assert not found(replace(put_right(), tombstones=(early,)), "tombstone-over")
    again = replace(early, tombstone=replace(stone, vmid=104, uuid=None))
    (item,) = found(replace(put_right(), tombstones=(again,)), "tombstone-over")
    assert "one stands at its VMID again" in item.detail
    said = Release(NOW, "alice@desk", "why", wholly=False)
    known = replace(again, tombstone=replace(again.tombstone, released=said))
    assert not found(replace(put_right(), tombstones=(known,)), "tombstone-over")


def test_an_archive_without_any_disk_is_no_backup_to_any_objective() -> None:
    good, stub = archive(104, NIGHTS[1]), replace(archive(104, NIGHTS[2]), holds_disk=False)
    assert usable((good, stub)) == (good,)
    assert usable((stub,)) == (stub,)  # a machine that never had a disk has no better one


# --- the cluster ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "quorum",
    [
        Quorum(clustered=True, votes=3, quorate=True),
        Quorum(clustered=True, votes=2, quorate=True, qdevice=True),
        Quorum(clustered=False, votes=1),
        None,
    ],
)
def test_three_votes_a_qdevice_a_single_node_or_ignorance_are_not_two_votes(
    quorum: Quorum | None,
) -> None:
    assert not found(replace(documented(), quorum=quorum), "quorum-two-votes")


def test_a_lost_quorum_says_so() -> None:
    facts = replace(documented(), quorum=Quorum(clustered=True, votes=2, quorate=False))
    assert "no quorum at this moment" in found(facts, "quorum-two-votes")[0].detail


def test_the_node_whose_clock_drifts_is_named_with_size_and_direction() -> None:
    (item,) = found(documented(), "clock-drift")
    assert item.subject == "lge-pve02" and "1 h ahead of" in item.detail
    behind = replace(documented(), clocks=Clocks({"clovis": 0, "lge-pve02": -40}))
    assert "40 s behind" in found(behind, "clock-drift")[0].detail


def test_when_all_nodes_agree_and_we_do_not_our_own_clock_is_blamed() -> None:
    (item,) = found(
        replace(documented(), clocks=Clocks({"clovis": 600, "lge-pve02": 601})), "clock-drift"
    )
    assert "runs backupsvc" in item.detail


def test_a_drift_that_only_ha_sees_is_reported_and_none_within_the_policys_limit() -> None:
    ha = replace(
        documented(),
        clocks=Clocks({"clovis": 0, "lge-pve02": 5}, ("lge-pve02: detected time drift!",)),
    )
    assert "detected time drift!" in found(ha, "clock-drift")[0].detail
    assert not found(replace(ha, clocks=Clocks({"clovis": 0, "lge-pve02": 30})), "clock-drift")


def test_a_pinned_job_is_critical_when_a_guest_may_leave_and_a_warning_otherwise() -> None:
    (item,) = found(documented(), "job-pinned-to-node")
    assert item.severity is Severity.CRITICAL and "108 Debian-Server" in item.detail
    nobody_moves = changed(documented(), 108, ha_managed=False)
    assert found(nobody_moves, "job-pinned-to-node")[0].severity is Severity.WARNING
    moved = changed(nobody_moves, 104, guest=guest(104, "lge-pve02"))
    assert "104 GLPI-Server" in found(moved, "job-pinned-to-node")[0].detail


def test_a_disabled_job_an_unpinned_one_and_a_single_node_are_not_pinned() -> None:
    job = ClusterJob("b", True, "clovis", "local", None)
    for facts in (
        replace(documented(), jobs=(replace(job, enabled=False),)),
        replace(documented(), jobs=(replace(job, node=None),)),
        replace(documented(), jobs=(job,), nodes=(Node("clovis", True),)),
        replace(documented(), jobs=None),
    ):
        assert not found(facts, "job-pinned-to-node")


def test_a_pve_job_is_foreign_only_for_guests_that_we_back_up() -> None:
    whole = ClusterJob("b", True, None, "local", None, exclude=tuple(range(100, 110)))
    (item,) = found(replace(put_right(), jobs=(whole,)), "foreign-job")
    assert "too: 110." in item.detail
    assert not found(replace(put_right(), jobs=(replace(whole, guests=(555,)),)), "foreign-job")


# --- the storages ---------------------------------------------------------------------------------


def test_a_retention_of_the_storages_own_is_a_finding_once_and_keep_all_is_not() -> None:
    both = tuple(
        storage("local", node, "backup", prune="keep-last=3") for node in ("clovis", "lge-pve02")
    )
    assert [
        item.subject for item in found(replace(put_right(), storages=both), "storage-prunes")
    ] == ["local"]
    harmless = tuple(replace(item, prune="keep-all=1") for item in both)
    assert not found(replace(put_right(), storages=harmless), "storage-prunes")


@pytest.mark.parametrize(
    ("content", "enabled"), [("images", True), ("backup", False), ("images", False)]
)
def test_a_storage_without_backups_or_that_is_disabled_prunes_nothing_of_ours(
    content: str, enabled: bool
) -> None:
    one = replace(storage("nas", "clovis", content, prune="keep-last=3"), enabled=enabled)
    assert not found(replace(put_right(), storages=(one,)), "storage-prunes")
    ours = replace(one, content=frozenset({"backup", "images"}), enabled=True)
    assert found(replace(put_right(), storages=(ours,)), "storage-prunes")


def test_a_storage_that_fills_up_is_a_warning_and_one_without_room_for_the_next_round_is_critical() -> (
    None
):
    full = storage("local", "clovis", "backup", used=800 * GIB, available=100 * GIB)
    assert (
        found(replace(put_right(), storages=(full,)), "storage-filling")[0].severity
        is Severity.WARNING
    )
    tight = storage("local", "clovis", "backup", used=800 * GIB, available=12 * GIB)
    (item,) = found(replace(put_right(), storages=(tight,)), "storage-filling")
    assert item.severity is Severity.CRITICAL and item.subject == "local (clovis)"
    assert not found(
        replace(put_right(), storages=(replace(full, name="other"),)), "storage-filling"
    )


def test_fewer_archives_than_the_catalog_knows_and_none_at_all_are_told_apart() -> None:
    some = replace(put_right(), listings=(Listing("clovis", "local", 30, 3),))
    none = replace(put_right(), listings=(Listing("clovis", "local", 0, 33),))
    assert found(some, "listing-blind")[0].severity is Severity.WARNING
    assert found(none, "listing-blind")[0].severity is Severity.CRITICAL
    assert not found(
        replace(put_right(), listings=(Listing("clovis", "local", 33, 0),)), "listing-blind"
    )


def test_a_token_that_pve_answers_with_empty_lists_is_called_blind() -> None:
    no_storage = replace(
        put_right(), permissions={"/vms": RIGHTS, "/storage": frozenset({"Datastore.Audit"})}
    )
    assert "Datastore.AllocateSpace" in found(no_storage, "listing-blind")[0].action
    no_guests = replace(
        put_right(), permissions={"/storage/local": frozenset({"Datastore.AllocateSpace"})}
    )
    assert "VM.Backup" in found(no_guests, "listing-blind")[0].action
    allocate = replace(put_right(), permissions={"/storage": frozenset({"Datastore.Allocate"})})
    assert not found(allocate, "listing-blind")


def test_a_cluster_that_lists_no_guest_at_all_is_a_blind_token() -> None:
    facts = replace(put_right(), guests=())
    assert "VM.Audit" in found(facts, "listing-blind")[0].action


# --- the scratch network --------------------------------------------------------------------------


def variants(facts: SiteFacts, **policy_changes: object) -> list[str]:
    return sorted(item.detail for item in found(facts, "scratch-not-isolated", **policy_changes))


def test_without_an_isolated_bridge_in_the_policy_there_is_a_finding() -> None:
    scratch = replace(policy().scratch, bridge=None)
    assert any(
        "names no isolated bridge" in detail for detail in variants(put_right(), scratch=scratch)
    )


def test_a_bridge_that_is_missing_on_one_node_is_named() -> None:
    facts = replace(put_right(), bridges=(BridgeFacts("vmbr9", "clovis"),))
    (detail,) = variants(facts)
    assert "vmbr9 does not exist on lge-pve02" in detail


def test_a_node_whose_bridges_could_not_be_read_is_not_said_to_lack_one() -> None:
    facts = replace(
        put_right(),
        bridges=(BridgeFacts("vmbr9", "clovis"),),
        gaps=(Gap("bridges", "lge-pve02", "403"),),
    )
    assert variants(facts) == []


def test_ports_on_the_isolated_bridge_are_critical_and_an_address_is_a_warning() -> None:
    ports = replace(
        put_right(),
        bridges=(BridgeFacts("vmbr9", "clovis", ("eno2",)), BridgeFacts("vmbr9", "lge-pve02")),
    )
    assert found(ports, "scratch-not-isolated")[0].severity is Severity.CRITICAL
    address = replace(
        put_right(),
        bridges=(
            BridgeFacts("vmbr9", "clovis", (), "10.0.0.1/24"),
            BridgeFacts("vmbr9", "lge-pve02"),
        ),
    )
    assert found(address, "scratch-not-isolated")[0].severity is Severity.WARNING


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/", "vmbr0"),
        ("/sdn", "vmbr0"),
        ("/sdn/zones/localnetwork", "vmbr0"),
        ("/sdn/zones/localnetwork/vmbr0", "vmbr0"),
        ("/sdn/zones/localnetwork/vmbr0/10", "vmbr0/10"),
        ("/sdn/zones/dmz/web", "dmz/web"),
    ],
)
def test_a_token_that_may_use_production_is_a_finding_wherever_the_right_comes_from(
    path: str, named: str
) -> None:
    rights = {
        **permissions("/sdn/zones/localnetwork/vmbr9"),
        path: frozenset({"SDN.Use", "Sys.Audit"}),
    }
    (detail,) = variants(replace(put_right(), permissions=rights))
    assert f"({named})" in detail


def test_a_right_taken_away_below_is_not_held_there() -> None:
    rights = {
        **permissions("/sdn/zones/localnetwork/vmbr9"),
        "/sdn": frozenset({"SDN.Use"}),
        "/sdn/zones/localnetwork/vmbr0": frozenset({"SDN.Audit"}),
        "/sdn/zones/localnetwork": frozenset[str](),
        "/sdn/zones": frozenset[str](),
    }
    assert variants(replace(put_right(), permissions=rights)) == []


def test_the_rights_that_a_real_server_lists_for_a_minimal_token_leave_no_finding() -> None:
    recorded = json.loads(
        (Path(__file__).parents[3] / "golden" / "recorded_real" / "10_permissions.json").read_text(
            encoding="utf-8"
        )
    )
    answer = next(item for item in recorded if item["n"] == 37)["response"]["json"]["data"]
    rights = {path: frozenset(names) for path, names in answer.items()}
    facts = replace(
        put_right(),
        permissions=rights,
        bridges=tuple(BridgeFacts("vmbr1", node) for node in ("clovis", "lge-pve02")),
    )
    scratch = replace(policy().scratch, bridge="vmbr1")
    assert variants(facts, scratch=scratch) == [] and not found(facts, "listing-blind")


def test_rights_and_bridges_that_could_not_be_read_are_gaps_and_no_findings() -> None:
    assert variants(replace(put_right(), permissions=None, bridges=None)) == []


# --- exemptions -----------------------------------------------------------------------------------


def exemption(until: str, vmid: int | None = 108) -> Exemption:
    return Exemption("guest-agent-missing", vmid, "M. Dupont", "appliance", until)


def test_an_exemption_accepts_its_finding_to_the_end_of_its_last_day_and_turns_red_after_it() -> (
    None
):
    for until, accepted in (("2026-03-10", True), ("2026-03-09", False)):
        wanted = policy(exemptions=(exemption(until),))
        all_found = findings(documented(), wanted, NOW)
        agent = next(item for item in all_found if item.id == "guest-agent-missing")
        assert (exemption_for(agent, wanted, NOW) is not None) is accepted
        assert (agent in pressing(all_found, wanted, NOW)) is not accepted
        assert ("exception-expired" in {item.id for item in all_found}) is not accepted


def test_an_exemption_of_another_guest_accepts_nothing_and_one_of_no_guest_accepts_all() -> None:
    agent = found(documented(), "guest-agent-missing")[0]
    assert exemption_for(agent, policy(exemptions=(exemption("2026-12-31", 101),)), NOW) is None
    assert (
        exemption_for(agent, policy(exemptions=(exemption("2026-12-31", None),)), NOW) is not None
    )


# --- the sentences --------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["FINDINGS", "TITLES", "REASONS", "GAPS", "WORDS"])
def test_both_languages_say_the_same_things_with_the_same_values(table: str) -> None:
    english, french = getattr(en, table), getattr(fr, table)
    assert english.keys() == french.keys()
    for key in english:
        values = [re.findall(r"{(\w+)}", str(language[key])) for language in (english, french)]
        assert set(values[0]) == set(values[1]), key


def test_every_sentence_belongs_to_a_rule_and_every_severity_to_a_sentence() -> None:
    ids = [rule.id for rule in RULES]
    assert {key.partition(".")[0] for key in en.FINDINGS} == en.TITLES.keys() == set(ids)
    assert {rule.key(form) for rule in RULES for form in rule.forms} <= en.FINDINGS.keys()
    told = {rule.key(""): rule.severity for rule in RULES} | {
        rule.key(form): severity for rule in RULES for form, severity in rule.forms.items()
    }
    assert {key for key, severity in told.items() if severity is Severity.INFO} == {
        "backup-missed.run-since"
    }


def test_each_file_is_a_finding_of_its_name_and_they_are_told_in_the_order_of_their_sentences() -> (
    None
):
    files = {module.name for module in pkgutil.iter_modules(room.__path__)}
    assert files == {rule.id.replace("-", "_") for rule in RULES}
    assert [rule.id for rule in RULES] == list(en.TITLES) == list(fr.TITLES)


def test_french_findings_are_french_with_its_no_break_spaces() -> None:
    item = found(documented(), "quorum-two-votes", language="fr")[0]
    assert "Le cluster compte 2\u00a0votes\u00a0: la perte" in item.detail


def test_findings_stay_readable_on_a_site_of_many_guests() -> None:
    """A hundred nodes' worth of guests is judged in seconds, not minutes: every rule looks at each
    guest once.
    """
    base = put_right()
    one = base.guests[0]
    many = tuple(
        replace(one, vmid=1000 + number, guest=guest(1000 + number)) for number in range(2000)
    )
    assert (
        len(
            findings(
                replace(base, guests=many), policy(jobs=(Job("all", "21:00", "local"),)), NOW + DAY
            )
        )
        >= 2000
    )


def test_a_guest_that_its_dump_left_frozen_is_critical_until_it_is_seen_thawed() -> None:
    facts = changed(put_right(), 104, left_frozen=LeftFrozen(NIGHTS[-1], True, "its agent says so"))
    (item,) = found(facts, "guest-left-frozen")
    assert (item.vmid, item.severity) == (104, Severity.CRITICAL)
    assert "2026-03-09 21:00" in item.detail and "qm guest cmd 104 fsfreeze-thaw" in item.action
    unsure = changed(put_right(), 104, left_frozen=LeftFrozen(NIGHTS[-1], False, "got timeout"))
    assert "may stand frozen" in found(unsure, "guest-left-frozen")[0].detail
    assert not found(changed(facts, 104, left_frozen=None), "guest-left-frozen")
    assert not found(changed(facts, 104, guest=None), "guest-left-frozen")
