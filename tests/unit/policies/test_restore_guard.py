"""No guest runs twice: why its original may be alive, and which words set that aside."""

from __future__ import annotations

import pytest

from policies import reach
from policies.restore_guard import (
    Confirmation,
    Doubt,
    back,
    doubts,
    fits,
    quorum_steps,
    unconfirmed,
    words,
)
from policies.restore_silence import Address, Look
from policies.silence import Finding, Verdict


def look(verdict: Verdict) -> Look:
    return Look(Address("192.168.10.8", (22,), "the policy"), Finding(verdict, "port 22 opens"), 7)


def test_a_silent_node_and_whoever_answers_are_doubts_and_silence_is_none() -> None:
    down = {"lge": reach.OFFLINE, "abc": reach.UNKNOWN}
    found = doubts(108, down, [look(one) for one in Verdict])
    assert [one.key for one in found] == ["node abc", "node lge", "address 192.168.10.8"]
    assert found[0].said.startswith("node abc does not answer: whether guest 108")
    assert found[1].said.startswith("node lge is offline: whether guest 108")
    assert "192.168.10.8, an address of guest 108 (the policy): port 22 opens" in found[2].said
    assert doubts(108, {}, [look(Verdict.SILENT), look(Verdict.UNKNOWN)]) == ()


@pytest.mark.parametrize("typed", [None, "", "y", "yes", "108", "108 is on", "109 is off", "off"])
def test_nothing_but_the_words_confirms(typed: str | None) -> None:
    assert not fits(typed, 108)
    assert fits(f" {words(108)}\n", 108)


def test_what_came_up_after_the_words_is_not_set_aside_by_them() -> None:
    node, answer = Doubt("node lge", "lge is silent"), Doubt("address 1", "somebody answers")
    given = Confirmation("paul", 7, words(108), (node,))
    assert unconfirmed([node, answer], None) == (node, answer)
    assert unconfirmed([node, answer], given) == (answer,)
    assert unconfirmed([node], given) == ()


def test_a_node_that_came_back_since_the_start_may_have_brought_the_original_with_it() -> None:
    assert back(["lge"], ["lge"]) == () == back([], [])
    (said,) = back(["lge", "abc"], ["abc"])
    assert said.startswith("node lge,") and "may run there" in said


def test_the_steps_to_quorum_name_its_danger_and_the_node_on_which_it_is_done() -> None:
    said = quorum_steps("clovis", ["lge"])
    assert "bring lge back" in said[0] and "QDevice" in said[1]
    assert "OFF" in said[2] and said[2].endswith("on clovis: pvecm expected 1")
    assert "danger" in said[3] and "never done from here" in said[3]
