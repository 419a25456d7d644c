"""The pulses: one row a queue, the newest time wins."""

from __future__ import annotations

from backupsvc.catalog import Catalog
from backupsvc.catalog.operations import Driver, NewOperation


def test_a_pulse_is_overwritten_by_a_newer_one_and_never_by_an_older(catalog: Catalog) -> None:
    assert catalog.pulses() == {}
    for at in (100, 130, 120):
        catalog.pulse("steps", at)
    catalog.pulse("polls", 90)
    assert catalog.pulses() == {"steps": 130, "polls": 90}


def test_a_pulse_is_set_back_only_when_that_is_asked_for(catalog: Catalog) -> None:
    catalog.pulse("tick", 500)
    catalog.reset_pulse("tick", 100)
    assert catalog.pulses() == {"tick": 100}


def test_the_backlog_counts_what_is_open_and_tells_what_nobody_drives_although_it_is_due(catalog: Catalog) -> None:
    assert catalog.backlog(300) == (0, None)
    driver = Driver("a", ttl=60, now=200)
    for vmid in (1, 2, 3):
        assert catalog.open_operation(NewOperation("backup", vmid, "a", {}), 100 + vmid, driver if vmid == 1 else None)
    assert catalog.backlog(259) == (3, 102)
    assert catalog.backlog(260) == (3, 101), "its driver's lease has run out"
