"""The heartbeats: one row a queue, the newest time wins."""

from __future__ import annotations

from backupsvc.catalog import Catalog
from backupsvc.catalog.operations import Driver, NewOperation


def test_a_heartbeat_is_overwritten_by_a_newer_one_and_never_by_an_older(catalog: Catalog) -> None:
    assert catalog.heartbeats.newest() == {}
    for at in (100, 130, 120):
        catalog.heartbeats.record("steps", at)
    catalog.heartbeats.record("polls", 90)
    assert catalog.heartbeats.newest() == {"steps": 130, "polls": 90}


def test_a_heartbeat_is_set_back_only_when_that_is_asked_for(catalog: Catalog) -> None:
    catalog.heartbeats.record("tick", 500)
    catalog.heartbeats.reset("tick", 100)
    assert catalog.heartbeats.newest() == {"tick": 100}


def test_the_backlog_counts_what_is_open_and_tells_what_nobody_drives_although_it_is_due(
    catalog: Catalog,
) -> None:
    assert catalog.operations.backlog(300) == (0, None)
    driver = Driver("a", ttl=60, now=200)
    for vmid in (1, 2, 3):
        assert catalog.operations.open(
            NewOperation("backup", vmid, "a", {}), 100 + vmid, driver if vmid == 1 else None
        )
    assert catalog.operations.backlog(259) == (3, 102)
    assert catalog.operations.backlog(260) == (3, 101), "its driver's lease has run out"
