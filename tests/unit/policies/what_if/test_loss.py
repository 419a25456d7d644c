"""What is lost, and what is left of the cluster's votes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policies.compliance.facts import Gap, Quorum
from policies.model import Node
from policies.what_if.loss import (
    Loss,
    gaps_that_hide,
    quorum_after,
    storages_left,
    survivors,
)
from tests.unit.policies.what_if.sites import CLOVIS, site
from tests.unit.report.langeo import archive, storage


def test_a_node_takes_its_own_storages_along_and_leaves_the_shared_ones() -> None:
    assert CLOVIS.node("clovis") and not CLOVIS.node("lge-pve02")
    assert CLOVIS.storage("local", "clovis", shared=False)
    assert not CLOVIS.storage("nas", "clovis", shared=True)
    assert not CLOVIS.archive(archive(108, 1, storage="nas", shared=True))
    assert CLOVIS.archive(archive(108, 1))


def test_a_storage_is_lost_wherever_it_is_and_the_site_with_all() -> None:
    lost = Loss(storages=frozenset({"nas"}))
    assert lost.storage("nas", "lge-pve02", shared=True) and not lost.node("clovis")
    assert Loss(site=True).node("any") and Loss(site=True).storage("any", "any", shared=True)


def test_who_is_silent_now_is_no_survivor() -> None:
    facts = site()
    assert [one.name for one in survivors(facts, CLOVIS)] == ["lge-pve02"]
    silent = replace(facts, silent={"lge-pve02": "timed out"})
    assert survivors(silent, CLOVIS) == ()
    dead = replace(facts, nodes=(Node("clovis", True), Node("lge-pve02", False)))
    assert survivors(dead, CLOVIS) == ()


def test_only_what_is_active_enabled_and_on_a_node_that_is_left_is_a_storage() -> None:
    shared = storage("nas", "lge-pve02", "images", shared=True)
    facts = replace(
        site(),
        storages=(
            shared,
            storage("local", "clovis", "backup"),
            storage("idle", "lge-pve02", "images", active=False),
            storage("off", "lge-pve02", "images", enabled=False),
            storage("gone", "lge-pve02", "images", shared=True),
        ),
    )
    lost = Loss(frozenset({"clovis"}), frozenset({"gone"}))
    assert storages_left(facts, lost) == (shared,)


@pytest.mark.parametrize(
    ("votes", "qdevice", "names", "lost", "quorate", "counts"),
    [
        (2, None, "ab", "a", None, (2, 1, 2)),
        (2, False, "ab", "a", False, (2, 1, 2)),
        (2, True, "ab", "a", True, (3, 2, 2)),
        (3, None, "abc", "a", True, (3, 2, 2)),
        (3, None, "abc", "ab", False, (3, 1, 2)),
        (4, None, "abcd", "ab", None, (4, 2, 3)),
        (5, True, "abcde", "abc", False, (6, 3, 4)),
    ],
)
def test_votes_are_counted_and_a_qdevice_that_nobody_tells_of_is_not_taken_for_one(
    votes: int,
    qdevice: bool | None,
    names: str,
    lost: str,
    quorate: bool | None,
    counts: tuple[int, int, int],
) -> None:
    facts = replace(
        site(),
        nodes=tuple(Node(name, True) for name in names),
        quorum=Quorum(clustered=True, votes=votes, quorate=True, qdevice=qdevice),
    )
    found = quorum_after(facts, Loss(frozenset(lost)))
    assert found.quorate is quorate
    assert (found.votes, found.left, found.needed) == counts


def test_without_a_node_a_cluster_or_an_answer_there_is_nothing_to_count() -> None:
    facts = site()
    assert quorum_after(facts, Loss(site=True)).quorate is False
    assert quorum_after(replace(facts, quorum=None), CLOVIS).quorate is None
    alone = replace(facts, quorum=Quorum(clustered=False, votes=1))
    assert quorum_after(alone, Loss(storages=frozenset({"nas"}))).quorate is True


def test_what_may_hide_a_source_is_told_in_words() -> None:
    gaps = (Gap("listing", "nas (clovis)", "timed out"), Gap("clock", "clovis", "no answer"))
    assert list(gaps_that_hide(replace(site(), gaps=gaps))) == [
        "archives of the storage nas (clovis) (timed out)"
    ]


def test_a_storage_is_not_lost_on_the_nodes_that_still_have_it() -> None:
    loss = Loss(storages=frozenset({"usb"}), sound=frozenset({"b"}))
    assert loss.storage("usb", "a", shared=True) and not loss.storage("usb", "b", shared=False)
    assert not loss.storage("other", "a", shared=False)
