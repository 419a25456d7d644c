"""Findings at their edges: the first percent, second or guest that makes one, and the neighbours
that do not.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from policies.age_keys import fingerprint
from policies.compliance.evaluation import exemption_for, findings
from policies.compliance.facts import BackupOutcome, Clocks, JobRun, Listing, MovedCopy, SiteFacts
from policies.compliance.selecting import TOLD_FOR_S, last_due
from policies.kits import QUARTER
from policies.model import (
    Canary,
    CopyTarget,
    Directory,
    Exemption,
    Finding,
    Job,
    Rehearsal,
    Severity,
    SnapshotTrial,
    TrialState,
    Verdict,
)
from policies.snapshot_trial import LATE
from tests.unit.report.langeo import (
    GIB,
    HOUR,
    NAMES,
    NIGHTS,
    NOW,
    archive,
    changed,
    documented,
    guest,
    policy,
    proof,
    put_right,
    storage,
)


def found(facts: SiteFacts, id: str, **policy_changes: Any) -> list[Finding]:
    return [item for item in findings(facts, policy(**policy_changes), NOW) if item.id == id]


@pytest.mark.parametrize(("percent", "told"), [(84, False), (85, True)])
def test_a_storage_is_filling_from_eighty_five_percent_on(percent: int, told: bool) -> None:
    full = storage(
        "local",
        "clovis",
        "backup",
        total=1000 * GIB,
        used=percent * 10 * GIB,
        available=(100 - percent) * 10 * GIB,
    )
    assert bool(found(replace(put_right(), storages=(full,)), "storage-filling")) is told


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, True),
        ({"available": 143 * GIB // 10}, False),
        ({"name": "other"}, False),
        ({"active": False}, False),
        ({"total": 0}, False),
        ({"node": "lge-pve02", "available": 13 * GIB}, True),
    ],
)
def test_one_more_round_of_backups_with_a_third_to_spare_must_have_room(
    changes: dict[str, Any], told: bool
) -> None:
    """Eleven guests with an archive of 1 GiB each on either node: 14.3 GiB."""
    short = replace(storage("local", "clovis", "backup", available=14 * GIB), **changes)
    items = found(replace(put_right(), storages=(short,)), "storage-filling")
    assert bool(items) is told and all("one round" in item.detail for item in items)


def test_a_shared_storage_is_told_of_once_and_takes_a_round_of_all_nodes() -> None:
    shared = [
        storage("local", node, "backup", shared=True, available=14 * GIB)
        for node in ("clovis", "lge-pve02")
    ]
    (item,) = found(replace(put_right(), storages=tuple(shared)), "storage-filling")
    assert item.subject == "local"


NIGHTLY = policy().jobs[0].id


@pytest.mark.parametrize(("at", "told"), [(NOW - TOLD_FOR_S, False), (NOW - TOLD_FOR_S + 1, True)])
def test_what_was_missed_or_moved_is_told_of_for_a_week(at: int, told: bool) -> None:
    assert TOLD_FOR_S == 7 * 24 * HOUR
    assert (
        bool(found(replace(put_right(), job_runs=(JobRun(NIGHTLY, at, True),)), "backup-missed"))
        is told
    )
    moved = MovedCopy(108, "01J", "clovis", "lge-pve02", at)
    assert bool(found(replace(put_right(), moves=(moved,)), "copy-moved")) is told


@pytest.mark.parametrize(
    ("overwritten", "deleted", "said"),
    [
        (True, True, "could overwrite and delete a file"),
        (True, False, "could overwrite a file"),
        (False, True, "could delete a file"),
        (False, False, None),
    ],
)
def test_an_immutable_target_that_did_not_hold_is_critical(
    overwritten: bool, deleted: bool, said: str | None
) -> None:
    offsite = CopyTarget("offsite", Directory("/copies"), immutable=True)
    tried = Canary("offsite", "/copies", NOW - HOUR, overwritten, deleted, "")
    facts = replace(put_right(), canaries=(tried,))
    items = found(facts, "copy-deletable", copies=(offsite,))
    assert [one.severity for one in items] == [Severity.CRITICAL] * bool(said)
    assert all(str(said) in one.detail and "--to offsite" in one.action for one in items)


def test_what_was_tried_elsewhere_or_is_not_promised_is_no_finding() -> None:
    tried = Canary("offsite", "/elsewhere", NOW - HOUR, True, True, "")
    for target in (
        CopyTarget("offsite", Directory("/copies"), immutable=True),
        CopyTarget("offsite", Directory("/elsewhere")),
    ):
        facts = replace(put_right(), canaries=(tried,))
        assert not found(facts, "copy-deletable", copies=(target,))


@pytest.mark.parametrize(
    ("ago", "said"),
    [
        (None, "Nobody has shown"),
        (QUARTER, "more than a quarter ago"),
        (QUARTER - 1, None),
        (-1, "was last seen to work"),
    ],
)
def test_a_key_kit_that_was_not_rehearsed_for_a_quarter_is_a_warning(
    ago: int | None, said: str | None
) -> None:
    sealed = CopyTarget("offsite", Directory("/copies"), recipients=("age1a", "age1b"))
    key = fingerprint("age1b")
    done = Rehearsal(
        "offsite", "/copies", NOW - (ago or 0), 108, "local:backup/x", "x", 1, "ab", key, 1.0
    )
    facts = replace(put_right(), rehearsals=() if ago is None else (done,))
    items = found(facts, "kit-unrehearsed", copies=(sealed,))
    assert [one.severity for one in items] == [Severity.WARNING] * bool(said)
    assert all(str(said) in one.detail and "--to offsite" in one.action for one in items)
    assert not found(facts, "kit-unrehearsed", copies=(replace(sealed, recipients=()),))


@pytest.mark.parametrize(
    ("catalog", "bundle", "forms"),
    [
        (None, None, {"Nobody has shown": Severity.WARNING}),
        ("compared", None, {"Nobody has shown": Severity.WARNING}),
        ("compared", "sealed", {}),
        ("differs", "compared", {"is not what the catalog was": Severity.CRITICAL}),
        ("compared", "unreadable", {"cannot be read": Severity.CRITICAL}),
        ("compared", "altered", {"has other bytes": Severity.CRITICAL}),
        ("missing", "compared", {"there was no catalog snapshot": Severity.CRITICAL}),
        ("old", "compared", {"more than eight days away": Severity.WARNING}),
        ("compared", "unknown", {"nothing could be compared": Severity.WARNING}),
        (
            "differs",
            None,
            {"is not what": Severity.CRITICAL, "Nobody has shown": Severity.WARNING},
        ),
    ],
)
def test_a_catalog_that_could_not_be_had_again_from_a_target_is_told(
    catalog: str | None, bundle: str | None, forms: dict[str, Severity]
) -> None:
    usb = CopyTarget("usb", Directory("/mnt/usb"))
    done = [
        SnapshotTrial("usb", "/mnt/usb", NOW, what, "f", NOW, 1, "ab", TrialState(state), "", 1.0)
        for what, state in (("catalog", catalog), ("bundle", bundle))
        if state
    ]
    facts = replace(put_right(), snapshot_trials=tuple(done))
    items = found(facts, "catalog-snapshot-unproven", copies=(usb,))
    assert [
        (item.severity, said in item.detail) for item, said in zip(items, forms, strict=True)
    ] == [(severity, True) for severity in forms.values()]
    assert all("break-glass" in item.action or "night" in item.action for item in items)
    assert not found(facts, "catalog-snapshot-unproven")


@pytest.mark.parametrize(("ago", "told"), [(LATE - 1, False), (LATE, True), (-1, True)])
def test_a_snapshot_that_was_brought_back_too_long_ago_is_told(ago: int, told: bool) -> None:
    usb = CopyTarget("usb", Directory("/mnt/usb"))
    done = [
        SnapshotTrial(
            "usb", "/mnt/usb", NOW - ago, what, "f", NOW, 1, "ab", TrialState.COMPARED, "", 1.0
        )
        for what in ("catalog", "bundle")
    ]
    facts = replace(put_right(), snapshot_trials=tuple(done))
    items = found(facts, "catalog-snapshot-unproven", copies=(usb,))
    assert ["was last brought back" in one.detail for one in items] == [True, True] * told


def test_a_run_before_the_missed_one_does_not_make_it_good() -> None:
    nights = (JobRun(NIGHTLY, NOW - 3 * HOUR, False), JobRun(NIGHTLY, NOW - 2 * HOUR, True))
    (item,) = found(replace(put_right(), job_runs=nights), "backup-missed")
    assert item.severity is Severity.CRITICAL


def test_an_exemption_accepts_the_finding_that_it_names_and_no_other() -> None:
    (item,) = found(documented(), "quorum-two-votes")
    exempt = Exemption("clock-drift", None, "us", "because", "2026-12-31")
    assert exemption_for(item, policy(exemptions=(exempt,)), NOW) is None
    assert (
        exemption_for(item, policy(exemptions=(exempt, replace(exempt, finding=item.id))), NOW)
        is not None
    )


def test_a_guest_that_is_absent_or_a_template_hides_no_finding_about_the_next_one() -> None:
    first, second = sorted(NAMES)[:2]
    facts = changed(changed(documented(), first, guest=None), second, archives=())
    assert second not in {
        item.vmid
        for item in found(facts, "archives-on-guest-node")
        if "All archives" in item.detail
    }
    assert {item.vmid for item in found(facts, "archives-on-guest-node")} == set(NAMES) - {first}
    template = changed(
        changed(documented(), first, guest=guest(first, template=True)), second, archives=()
    )
    assert [item.vmid for item in found(template, "guest-not-covered")] == [second]


@pytest.mark.parametrize(
    ("changes", "planned"),
    [
        ({}, True),
        ({"node": "lge-pve02"}, False),
        ({"name": "other"}, False),
        ({"shared": True}, False),
    ],
)
def test_a_job_that_will_write_beside_the_guest_is_told_before_its_first_archive(
    changes: dict[str, Any], planned: bool
) -> None:
    there = replace(storage("local", "clovis", "backup"), **changes)
    elsewhere = storage("nas", "lge-pve02", "backup")
    facts = replace(changed(documented(), 103, archives=()), storages=(elsewhere, there))
    assert (103 in {item.vmid for item in found(facts, "archives-on-guest-node")}) is planned


def test_how_often_a_guest_was_tried_in_vain_counts_no_test_that_was_skipped() -> None:
    tests = tuple(
        replace(proof(108, night, verdict=verdict), reasons=())
        for night, verdict in zip(
            NIGHTS, (Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.SKIPPED), strict=True
        )
    )
    (item,) = [
        one
        for one in found(changed(put_right(), 108, proofs=tests), "never-proven")
        if one.vmid == 108
    ]
    assert item.detail.startswith("2 restore test(s)") and item.detail.endswith(
        ": no reason was recorded"
    )


@pytest.mark.parametrize(
    ("offsets", "held", "missed"),
    [
        ({}, NIGHTS[-1] - 30, False),
        ({}, NIGHTS[-1] - 31, True),
        ({"clovis": -100, "lge-pve02": -10}, NIGHTS[-1] - 130, False),
        ({"clovis": -100, "lge-pve02": -10}, NIGHTS[-1] - 131, True),
        ({"clovis": 3600}, NIGHTS[-1] - 30, False),
        ({"clovis": 0}, NIGHTS[-1] - 31, True),
    ],
)
def test_a_backup_is_late_by_the_clock_that_is_furthest_behind(
    offsets: dict[str, int], held: int, missed: bool
) -> None:
    older = [archive(103, night, node) for night in NIGHTS[:1] for node in ("clovis", "lge-pve02")]
    facts = changed(
        put_right(), 103, archives=(*older, archive(103, held), archive(103, held, "lge-pve02"))
    )
    assert bool(found(replace(facts, clocks=Clocks(offsets)), "backup-missed")) is missed


def test_a_failed_backup_of_a_guest_without_any_archive_is_told() -> None:
    facts = changed(
        put_right(), 103, archives=(), backups=(BackupOutcome(NOW - HOUR, False, "job errors"),)
    )
    (item,) = found(facts, "backup-missed")
    assert item.detail.endswith("job errors")


@pytest.mark.parametrize(("began", "told"), [(NOW - HOUR, False), (NOW - HOUR - 1, True)])
def test_an_archive_of_the_very_second_of_a_failed_backup_is_not_older(
    began: int, told: bool
) -> None:
    failed = BackupOutcome(NOW - HOUR, False, "job errors")
    held = tuple(archive(103, began, node) for node in ("clovis", "lge-pve02"))
    assert (
        bool(found(changed(put_right(), 103, archives=held, backups=(failed,)), "backup-missed"))
        is told
    )


def test_a_job_that_was_not_due_for_more_than_a_year_has_missed_nothing() -> None:
    job = replace(policy().jobs[0], schedule="2020-01-01 21:00")
    assert last_due(job, "Europe/Paris", NOW) is None
    assert not found(put_right(), "backup-missed", jobs=(job,))
    assert last_due(Job("j", "*-3-1 03:00", "local", window=0), "Europe/Paris", NOW) is not None


def test_archives_that_went_are_told_where_others_are_left_and_where_none_is() -> None:
    listings = (
        Listing("clovis", "local", 3, 1),
        Listing("lge-pve02", "local", 0, 2),
        Listing("clovis", "nas", 5, 0),
    )
    items = [
        item
        for item in found(replace(put_right(), listings=listings), "listing-blind")
        if "(" in item.subject
    ]
    assert [(item.subject, item.severity) for item in items] == [
        ("local (lge-pve02)", Severity.CRITICAL),
        ("local (clovis)", Severity.WARNING),
    ]
