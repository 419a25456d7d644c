"""What can be reached: unreachable is not gone, and unknown is not offline."""

from __future__ import annotations

from policies import reach
from policies.model import Node
from tests.unit.report.langeo import NIGHTS, archive

UP, OFF, LOST = Node("a", True), Node("b", False), Node("c", False, unknown=True)
HERE, THERE = archive(108, NIGHTS[0], "a"), archive(108, NIGHTS[1], "b")
SHARED = archive(108, NIGHTS[2], "b", storage="nfs", shared=True)


def test_each_node_that_cannot_be_asked_says_how_that_is_known() -> None:
    found = reach.down(
        [UP, OFF, LOST, Node("d", True, unknown=True)], {"a": "timed out", "b": "595"}
    )
    assert found == {"b": "offline", "c": "unknown", "a": "silent"}
    assert reach.down([UP]) == {}


def test_an_archive_is_looked_for_only_where_its_storage_was_listed_and_a_shared_one_wherever_that_was() -> (
    None
):
    known = (HERE, THERE, SHARED)
    assert reach.unlisted(known, {("a", "local"), ("", "nfs")}) == (THERE,)
    assert reach.unlisted(known, {("b", "local")}) == (HERE, SHARED)
    assert reach.unlisted(known, ()) == known
