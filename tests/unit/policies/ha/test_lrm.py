"""Whether a node's LRM is alive, whatever its clock says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.ha.facts import HaFacts
from policies.ha.lrm import SILENT_AFTER, Life, Lrm, lrm, lrm_doubt, word_of
from policies.model import Node
from tests.unit.policies.ha.sites import NODES, line, site, status
from tests.unit.report.langeo import NOW

DRIFT, OLD = "detected time drift!", "old timestamp - dead?"


def seen(word: str, *, stamp: int | None = NOW - 4, offset: int | None = 0, **more: Any) -> HaFacts:
    """The site with the second node's LRM told so."""
    return site(
        status=status(
            lrm={node: line(node, word if node == "lge-pve02" else "active") for node in NODES},
            stamps={} if stamp is None else {"lge-pve02": stamp},
            **more,
        ),
        offsets={} if offset is None else {"lge-pve02": offset},
    )


@pytest.mark.parametrize("word", ["active", "idle", "wait_for_agent_lock"])
def test_one_that_writes_is_alive(word: str) -> None:
    assert lrm(seen(word), "lge-pve02") == Lrm(Life.ALIVE, word, 4)
    assert lrm_doubt(seen(word), "lge-pve02") is None
    assert lrm(seen(word, stamp=None), "lge-pve02").life is Life.ALIVE


def test_a_clock_that_is_an_hour_off_makes_nobody_dead_and_a_dead_one_not_alive() -> None:
    ahead = seen(DRIFT, stamp=NOW + 3640, offset=3644)
    assert lrm(ahead, "lge-pve02") == Lrm(Life.ALIVE, "active", 4)
    behind = seen(OLD, stamp=NOW - 3648, offset=-3644)
    assert lrm(behind, "lge-pve02") == Lrm(Life.ALIVE, "active", 4)
    # its stamp still lies in the future of the node that answers
    dead = seen(DRIFT, stamp=NOW + 3000, offset=3644)
    assert lrm(dead, "lge-pve02") == Lrm(Life.DEAD, DRIFT, 644)
    doubt = lrm_doubt(dead, "lge-pve02")
    assert doubt and doubt.surely and doubt.why == "its LRM has written nothing for 10 min 44 s"


def test_what_drift_hides_is_asked_of_the_manager() -> None:
    hidden = seen(DRIFT, lrm_states={"lge-pve02": "maintenance mode"})
    assert lrm(hidden, "lge-pve02").life is Life.AWAY
    untold = seen(DRIFT, lrm_states={})
    assert lrm(untold, "lge-pve02").life is Life.UNKNOWN
    doubt = lrm_doubt(untold, "lge-pve02")
    assert doubt and not doubt.surely and DRIFT in doubt.why


def test_without_its_clock_pves_own_word_counts_and_drift_says_nothing() -> None:
    assert lrm(seen(OLD, offset=None), "lge-pve02") == Lrm(Life.DEAD, OLD)
    doubt = lrm_doubt(seen(OLD, offset=None), "lge-pve02")
    assert doubt and doubt.why == "its LRM has written nothing"
    assert lrm(seen(DRIFT, offset=None), "lge-pve02").life is Life.UNKNOWN
    # a clock that was set back since tells nothing either
    assert lrm(seen(DRIFT, stamp=NOW + 31), "lge-pve02").life is Life.UNKNOWN


@pytest.mark.parametrize("word", ["maintenance mode", "restart mode", "lost_agent_lock"])
def test_one_that_takes_nothing_over_now_is_away(word: str) -> None:
    doubt = lrm_doubt(seen(word), "lge-pve02")
    assert doubt and doubt.surely and word in doubt.why


def test_what_nobody_says_is_not_known() -> None:
    assert lrm(site(status=None), "clovis") == Lrm(Life.UNKNOWN)
    unsaid = site(status=status(lrm={}))
    assert lrm(unsaid, "clovis") == Lrm(Life.UNKNOWN)
    doubt = lrm_doubt(unsaid, "clovis")
    assert doubt and not doubt.surely and doubt.why == "HA says nothing of its LRM"
    assert lrm_doubt(site(status=None), "clovis") == doubt
    assert lrm(seen("no word that we know"), "lge-pve02").life is Life.UNKNOWN
    down = site(nodes=(Node("clovis", True), Node("lge-pve02", False)))
    assert lrm(down, "lge-pve02").life is Life.UNKNOWN
    assert word_of("lge-pve02: something else") == ""


def test_a_node_that_ha_does_not_count_as_online_takes_nothing() -> None:
    doubt = lrm_doubt(site(status=status(node_states={"third": "fence"})), "third")
    assert doubt and doubt.surely and doubt.why == "HA counts it as fence"


@given(
    offset=st.integers(-90_000, 90_000), age=st.integers(0, 600), word=st.sampled_from([DRIFT, OLD])
)
def test_whether_it_lives_never_hangs_on_how_far_its_clock_is_off(
    offset: int, age: int, word: str
) -> None:
    found = lrm(seen(word, stamp=NOW + offset - age, offset=offset), "lge-pve02")
    assert found.life is (Life.DEAD if age > SILENT_AFTER else Life.ALIVE)
