"""Which archive is next, and whose turn it is."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import sampling
from policies.model import (
    Archive,
    GuestPolicy,
    GuestType,
    Policy,
    Proof,
    Rung,
    Scratch,
    Stage,
    Tier,
    Verdict,
)

DAY = 86400
NOW = 1_773_100_000
POLICY = Policy(
    site="x",
    timezone="Europe/Paris",
    language="fr",
    jobs=(),
    tiers=MappingProxyType(
        {"gold": Tier("gold", DAY, 3600, 7 * DAY), "iron": Tier("iron", DAY, 3600, 30 * DAY)}
    ),
    guests=MappingProxyType(
        {
            vmid: GuestPolicy(vmid, f"g{vmid}", tier)
            for vmid, tier in [(100, "iron"), (101, "gold"), (102, "iron")]
        }
    ),
    scratch=Scratch(9000, 9099),
    default_tier="iron",
)


def archive(days: float, proven: bool = False, size: int = 100) -> Archive:
    ctime = int(NOW - days * DAY)
    return Archive(
        f"local:{ctime}",
        "clovis",
        "local",
        108,
        GuestType.QEMU,
        ctime,
        size,
        proven_at=NOW if proven else None,
    )


def proof(of: Archive, days_ago: float) -> Proof:
    at = int(NOW - days_ago * DAY)
    return Proof("op", 108, of.volid, "clovis", of.ctime, Verdict.FAILED, Rung.RECORDED, at, at)


def chosen(
    archives: list[Archive], proofs: list[Proof] | None = None, seed: str = "s"
) -> Archive | None:
    found = sampling.next_archive(archives, proofs or [], now=NOW, seed=seed)
    assert found.reasons
    return found.archive


def test_the_newest_archive_comes_first() -> None:
    assert chosen([archive(3), archive(1), archive(20)]) == archive(1)


def test_an_archive_from_the_future_or_of_no_size_is_passed_over_and_named() -> None:
    found = sampling.next_archive(
        [archive(-1), archive(0.5, size=0), archive(2)], [], now=NOW, seed="s"
    )
    assert found.archive == archive(2)
    assert any("from the future" in reason for reason in found.reasons) and any(
        "is empty" in reason for reason in found.reasons
    )


def test_a_clock_a_few_seconds_ahead_is_not_the_future() -> None:
    assert chosen([archive(-20 / DAY)]) == archive(-20 / DAY)


def test_an_archive_without_a_disk_is_never_taken() -> None:
    whole, stub = archive(2), replace(archive(1), holds_disk=False)
    assert chosen([whole, stub]) == whole


def test_without_an_archive_there_is_none_to_prove() -> None:
    assert chosen([]) is None


def test_once_the_newest_is_proven_an_old_one_is_drawn_by_lot() -> None:
    old = [archive(days) for days in (8, 15, 22)]
    drawn = {chosen([archive(1, proven=True), *old], seed=str(seed)) for seed in range(30)}
    assert drawn == set(old)
    assert chosen([archive(1, proven=True), *old], seed="a") == chosen(
        [*reversed(old), archive(1, proven=True)], seed="a"
    )


def test_old_archives_that_were_never_proven_are_drawn_before_others() -> None:
    archives = [archive(1, proven=True), archive(8, proven=True), archive(15)]
    assert {chosen(archives, seed=str(seed)) for seed in range(10)} == {archive(15)}


def test_one_old_archive_a_month_is_enough_even_if_its_test_failed() -> None:
    archives = [archive(1, proven=True), archive(15)]
    assert chosen(archives, [proof(archive(45), 20)]) == archives[0]
    assert chosen(archives, [proof(archive(45), 31)]) == archives[1]
    # that one was young when it was tested
    assert chosen(archives, [proof(archive(5), 4)]) == archives[1]


@given(st.lists(st.floats(-5, 400), max_size=20), st.text(max_size=5))
def test_whatever_is_listed_the_choice_is_one_of_it_and_usable(
    days: list[float], seed: str
) -> None:
    archives = [archive(day, proven=day < 3) for day in days]
    found = chosen(archives, seed=seed)
    assert (
        found in [item for item in archives if item.ctime <= NOW + 30]
        if found
        else all(item.ctime > NOW + 30 for item in archives)
    )


def test_the_guest_that_was_never_proven_is_first_and_then_the_earliest_deadline() -> None:
    turns = sampling.due(POLICY, {100: NOW - 29 * DAY, 101: NOW - 8 * DAY, 102: None}, NOW)
    assert [turn.vmid for turn in turns] == [102, 101, 100]
    assert [turn.overdue for turn in turns] == [True, True, False]
    assert [turn.reason for turn in turns] == [
        "never proven",
        "overdue for 1.0 days",
        "due in 1.0 days",
    ]


def test_of_guests_never_proven_the_stricter_tier_comes_first() -> None:
    assert [turn.vmid for turn in sampling.due(POLICY, {}, NOW)] == [101, 100, 102]


def test_every_guest_of_the_policy_has_its_turn_and_no_other() -> None:
    one = replace(POLICY, guests={101: POLICY.guests[101]})
    assert [turn.vmid for turn in sampling.due(one, {999: NOW}, NOW)] == [101]


def test_an_archive_is_old_after_a_week_and_one_old_one_a_month_is_drawn() -> None:
    newest = archive(1, proven=True)
    assert chosen([newest, archive(7)]) == archive(7)
    assert chosen([newest, archive(7 - 1 / DAY)]) == newest
    old = archive(60)
    assert chosen([newest, old], [proof(old, 30)]) == old
    assert chosen([newest, old], [proof(old, 30 - 1 / DAY)]) == newest
    young_then = replace(proof(old, 10), archive_ctime=proof(old, 10).started - 7 * DAY + 1)
    assert chosen([newest, old], [young_then]) == old, "what was tested then was no old archive"


def test_a_clock_is_allowed_its_drift_and_no_second_more() -> None:
    assert chosen([archive(-30 / DAY)]) is not None
    assert chosen([archive(-31 / DAY)]) is None
    found = sampling.next_archive([archive(-5 / DAY)], [], now=NOW, seed="s", drift=4)
    assert found.archive is None and found.reasons[-1] == "there is no archive to prove"


def test_why_an_archive_was_taken_or_passed_over_is_said() -> None:
    assert sampling.next_archive([archive(1)], [], now=NOW, seed="s").reasons == (
        "the newest archive, not proven yet",
    )
    proven = sampling.next_archive([archive(1, proven=True)], [], now=NOW, seed="s")
    assert proven.reasons == ("the newest archive, proven before",)
    drawn = sampling.next_archive(
        [archive(1, proven=True), archive(9), archive(10), archive(2, size=0)],
        [],
        now=NOW,
        seed="s",
    )
    assert drawn.reasons == (
        "the newest archive is proven; drawn by lot from 2 old ones",
        f"{archive(2).volid} is empty",
    )
    assert chosen([archive(3, size=1)]) == archive(3, size=1)


@pytest.mark.parametrize(
    ("flaw", "said"),
    [
        ({"changed": "size 5 -> 6 bytes"}, "was changed since it was recorded (size 5 -> 6 bytes)"),
        ({"damaged": "cluster 7 is torn"}, "is damaged (cluster 7 is torn)"),
    ],
)
def test_law_5_a_changed_or_damaged_archive_is_passed_over_and_why_is_said(
    flaw: dict[str, Any], said: str
) -> None:
    bad = replace(archive(1), **flaw)
    found = sampling.next_archive([bad, archive(2)], [], now=NOW, seed="s")
    assert found.archive == archive(2) and f"{bad.volid} {said}" in found.reasons


def test_of_archives_of_one_second_the_last_by_name_is_the_newest() -> None:
    twin = replace(archive(1), volid="nas:z")
    assert chosen([twin, archive(1)]) == twin and chosen([archive(1), twin]) == twin


def test_a_test_lasted_as_long_as_its_stages_without_the_waiting_for_its_turn() -> None:
    stages = (Stage("reserve", 900.0), Stage("restore", 30.0), Stage("check", 12.5))
    assert sampling.duration(replace(proof(archive(1), 1), stages=stages)) == 42.5
    assert sampling.duration(replace(proof(archive(1), 1), stages=stages[:2])) is None


def test_a_guest_is_due_when_its_rpo_ends_if_that_comes_before_its_proof_is_too_old() -> None:
    began = {100: NOW - DAY // 2, 101: NOW - 9 * DAY}
    turns = {
        turn.vmid: turn
        for turn in sampling.due(POLICY, {100: NOW, 101: NOW, 102: NOW - 30 * DAY}, NOW, began)
    }
    assert turns[100].deadline == NOW + DAY // 2 and turns[100].reason == "due in 0.5 days"
    assert (turns[101].deadline, turns[101].overdue) == (NOW - 8 * DAY, True)
    assert (turns[102].deadline, turns[102].overdue, turns[102].reason) == (
        NOW,
        False,
        "due in 0.0 days",
    )


def test_once_every_old_archive_is_proven_one_of_them_is_drawn_again() -> None:
    old = [archive(days, proven=True) for days in (8, 15)]
    assert {chosen([archive(1, proven=True), *old], seed=str(seed)) for seed in range(30)} == set(
        old
    )


def test_an_archive_that_was_a_week_old_to_the_second_when_it_was_tested_was_an_old_one() -> None:
    newest, old = archive(1, proven=True), archive(60)
    tested = proof(old, 10)
    assert (
        chosen([newest, old], [replace(tested, archive_ctime=tested.started - 7 * DAY)]) == newest
    )
