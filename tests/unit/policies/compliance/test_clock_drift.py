"""Whose clock is wrong: a node's, or this service's own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policies import i18n
from policies.compliance.evaluation import findings
from policies.compliance.facts import Clocks
from policies.compliance.findings import clock_drift
from policies.model import Finding
from tests.unit.report.langeo import NOW, policy, put_right

LIMIT = policy().max_clock_drift


def drifts(texts: tuple[str, ...] = (), **offsets: int) -> tuple[Finding, ...]:
    return findings(
        replace(put_right(), clocks=Clocks(offsets, texts)), policy(), NOW, [clock_drift.RULE]
    )


def test_a_single_node_that_is_off_is_named_for_nobody_can_say_that_the_others_agree() -> None:
    assert [item.subject for item in drifts(clovis=LIMIT + 1)] == ["clovis"]
    assert drifts(clovis=LIMIT) == () == drifts(clovis=-LIMIT)


def test_nodes_that_agree_with_one_another_and_not_with_us_tell_that_our_clock_is_wrong() -> None:
    (own,) = drifts(clovis=LIMIT + 1, other=2 * LIMIT + 1)
    assert own.subject == i18n.word("this-service", "en")
    assert i18n.duration(2 * LIMIT + 1, "en") in own.detail, "by how much it may be wrong"
    assert len(drifts(clovis=LIMIT + 1, other=2 * LIMIT + 2)) == 2, "these two do not agree"


@pytest.mark.parametrize(("offset", "word"), [(LIMIT + 1, "ahead"), (-LIMIT - 1, "behind")])
def test_it_says_in_which_direction(offset: int, word: str) -> None:
    (only,) = drifts(clovis=offset)
    assert i18n.word(word, "en") in only.detail


def test_what_the_ha_manager_says_is_told_where_nothing_was_measured() -> None:
    assert len(drifts(("drift!",), clovis=0)) == 1
    assert [item.subject for item in drifts(("drift!",), clovis=LIMIT + 1)] == ["clovis"]
