"""What stands beside the thing that a finding is about, and must not make it: archives of other
storages, guests of other jobs, guests that have no archive at all.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from policies.compliance.evaluation import findings
from policies.compliance.facts import ClusterJob, SiteFacts
from policies.compliance.findings import RULES
from policies.compliance.selecting import backed_up, guests_of
from policies.model import Finding, GuestType
from tests.unit.report.langeo import (
    GIB,
    NIGHTS,
    NOW,
    archive,
    changed,
    guest,
    policy,
    put_right,
    storage,
)

ROUND = 14 * GIB  # is short of 1.3 times eleven archives of 1 GiB
ENOUGH = 15 * GIB


def found(facts: SiteFacts, id: str) -> list[Finding]:
    return [item for item in findings(facts, policy(), NOW) if item.id == id]


def with_storage(facts: SiteFacts, **changes: object) -> SiteFacts:
    one = replace(storage("local", "clovis", "backup"), **changes)  # type: ignore[arg-type]
    return replace(facts, storages=(one,))


def test_a_round_counts_what_the_guests_left_on_that_storage_of_that_node_alone() -> None:
    mine = archive(104, NIGHTS[2])
    for other in (
        archive(104, NIGHTS[2] + 9, "lge-pve02", size=100 * GIB),
        archive(104, NIGHTS[2] + 9, storage="usb", size=100 * GIB),
    ):
        facts = changed(put_right(), 104, archives=(mine, other))
        assert not found(with_storage(facts, available=ENOUGH), "storage-filling")
        alone = changed(put_right(), 104, archives=(other,))
        assert not found(with_storage(alone, available=ENOUGH), "storage-filling")
    huge = changed(put_right(), 104, archives=(replace(mine, size=100 * GIB),))
    assert found(with_storage(huge, available=ENOUGH), "storage-filling")


def test_a_round_on_a_shared_storage_counts_what_any_node_lists_there() -> None:
    facts = put_right()
    for item in put_right().guests:
        there = archive(item.vmid, NIGHTS[2], "lge-pve02", shared=True)
        facts = changed(facts, item.vmid, archives=(there,))
    assert found(with_storage(facts, available=ROUND, shared=True), "storage-filling")
    assert not found(with_storage(facts, available=ROUND), "storage-filling")


def test_a_storage_without_any_archive_needs_no_room_and_may_be_as_small_as_it_likes() -> None:
    nobody = replace(put_right(), guests=())
    assert not found(with_storage(nobody, used=0, available=0), "storage-filling")
    bare = changed(replace(put_right(), guests=put_right().guests[:1]), 100, archives=())
    assert not found(with_storage(bare, used=0, available=0), "storage-filling")
    assert found(with_storage(nobody, total=1, used=1, available=0), "storage-filling")


def test_a_storage_that_is_not_ours_hides_none_after_it() -> None:
    full = storage("local", "clovis", "backup", used=800 * GIB, available=100 * GIB)
    both = (replace(full, name="other"), full)
    assert len(found(replace(put_right(), storages=both), "storage-filling")) == 1


def test_a_guest_without_archives_hides_no_shrunk_one_after_it() -> None:
    facts = changed(put_right(), 100, archives=())
    held = (*(archive(104, night) for night in NIGHTS[:2]), archive(104, NIGHTS[2], size=GIB // 9))
    (item,) = found(changed(facts, 104, archives=held), "archive-shrunk")
    assert item.vmid == 104 and "the 2 before it were around 1.1 GB" in item.detail


@pytest.mark.parametrize(("size", "word"), [(0, "is empty"), (1, "before it were around")])
def test_an_archive_of_nothing_is_empty_and_one_of_a_byte_is_small(size: int, word: str) -> None:
    held = (*(archive(104, night) for night in NIGHTS[:2]), archive(104, NIGHTS[2], size=size))
    (item,) = found(changed(put_right(), 104, archives=held), "archive-shrunk")
    assert word in item.detail


def job(*guests: int, enabled: bool = True) -> ClusterJob:
    return ClusterJob("backup-1", enabled, None, "local", guests, (), "22:00")


def test_a_job_of_pves_own_is_told_of_for_the_guests_that_it_shares_with_ours() -> None:
    others = [
        replace(item, vmid=555, guest=guest(555)) if item.vmid == 104 else item
        for item in put_right().guests
    ]
    stranger = replace(put_right(), guests=tuple(others))
    (item,) = found(replace(stranger, jobs=(job(555, 105),)), "foreign-job")
    assert "105" in item.detail and "555" not in item.detail
    assert not found(replace(stranger, jobs=(job(555),)), "foreign-job")
    assert not found(replace(stranger, jobs=(job(105, enabled=False),)), "foreign-job")


def test_a_container_and_a_template_need_no_agent() -> None:
    def without_agent(**changes: object) -> SiteFacts:
        one = replace(guest(104), **changes)  # type: ignore[arg-type]
        return changed(put_right(), 104, agent=False, guest=one)

    assert found(without_agent(), "guest-agent-missing")
    assert not found(without_agent(type=GuestType.LXC), "guest-agent-missing")
    assert not found(without_agent(template=True), "guest-agent-missing")


def test_a_template_is_backed_up_by_nobody() -> None:
    facts = changed(put_right(), 104, guest=replace(guest(104), template=True))
    assert 104 not in {item.vmid for item in backed_up(facts, policy())}
    assert 104 in {item.vmid for item in backed_up(put_right(), policy())}
    assert guests_of(facts, job(104)) == []
    assert [item.vmid for item in guests_of(put_right(), job(104))] == [104]


def test_whether_a_node_answers_can_be_accepted_by_nobody() -> None:
    fixed = {rule.id for rule in RULES if not rule.exemptable}
    assert fixed == {"node-offline", "status-unknown"}
