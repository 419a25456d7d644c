"""The document's own failover test on a lab: what each scene showed, and that no node but a lab's can
be made to fail.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from policies.ha.rehearsal import SCENES, Scene, Shown, refusal, why

BOTH = Scene(third_vote=True, replicated=True)
BACK = Shown(BOTH, 3.4, 3.6, True, "lge-pve02", "started")


def test_there_are_four_scenes_each_with_a_name_of_its_own() -> None:
    assert len({scene.name for scene in SCENES}) == len(set(SCENES)) == 4
    assert BOTH.name == "a third vote, its disk replicated"
    assert SCENES[0].patience < BOTH.patience
    assert SCENES[0].name == "two votes, its disk on its node alone"


def test_it_must_come_back_with_both_and_nowhere_else() -> None:
    assert BACK.as_expected and not replace(BACK, answered=None).as_expected
    for scene in SCENES:
        if scene != BOTH:
            assert not replace(BACK, scene=scene).as_expected


def test_that_it_does_not_come_back_is_expected_only_where_what_was_seen_explains_it() -> None:
    for scene in SCENES:
        silent = replace(BACK, scene=scene, answered=None, node="clovis")
        assert not silent.as_expected
        stuck = replace(silent, quorate=False)
        assert stuck.as_expected is (not scene.third_vote)
        tried = replace(silent, node="lge-pve02", failed=("no such volume 'x'",))
        assert tried.as_expected is (scene == Scene(third_vote=True, replicated=False))
        for odd in (
            replace(silent, quorate=None),
            replace(tried, failed=()),
            replace(tried, node="clovis"),
            replace(tried, node=None),
        ):
            assert not odd.as_expected, scene


def test_why_it_came_to_that_is_said_from_what_was_seen() -> None:
    assert "started it from its replica" in why(BACK)
    gone = replace(BACK, answered=None, quorate=False, node="clovis", state="started")
    assert "no quorum" in why(gone)
    error = replace(BACK, answered=None, state="error", failed=("no such volume 'x'",))
    assert "its start failed 1 time: no such volume 'x'" in why(error)
    assert "failed 2 times: b" in why(replace(error, failed=("a", "b")))
    for odd in (replace(error, failed=()), replace(error, node="clovis")):
        assert "nothing that was seen explains it" in why(odd)
    assert "nothing that was seen" in why(replace(gone, quorate=None))


@pytest.mark.parametrize(
    ("lab", "hosts", "refused"),
    [
        (True, ["127.0.0.1:1"], ""),
        (True, ["127.0.0.1:1", "127.0.0.1:2"], ""),
        (False, ["127.0.0.1:1"], "no lab's settings"),
        (True, ["127.0.0.1:1", "192.168.3.221:8006"], "lead to 192.168.3.221:8006"),
        (True, [], "lead nowhere"),
    ],
)
def test_law_1_only_a_node_of_the_lab_that_was_just_started_may_fail(
    lab: bool, hosts: list[str], refused: str
) -> None:
    said = refusal(lab=lab, hosts=hosts, own=["127.0.0.1:1", "127.0.0.1:2"])
    assert refused in said and bool(said) is bool(refused)
