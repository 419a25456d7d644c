"""The pulses: one row a queue, the newest time wins."""

from __future__ import annotations

from backupsvc.catalog import Catalog
from policies.model import OperationState


def test_a_pulse_is_overwritten_by_a_newer_one_and_never_by_an_older(catalog: Catalog) -> None:
    assert catalog.pulses() == {}
    for at in (100, 130, 120):
        catalog.pulse("steps", at)
    catalog.pulse("polls", 90)
    assert catalog.pulses() == {"steps": 130, "polls": 90}


def test_the_backlog_counts_what_is_open_and_tells_the_oldest(catalog: Catalog) -> None:
    assert catalog.backlog() == (0, None)
    opened = [catalog.open_operation("backup", vmid, "a", {}, 100 + vmid) for vmid in (1, 2, 3)]
    assert opened[0]
    catalog.finish(opened[0].id, OperationState.DONE, 200)
    assert catalog.backlog() == (2, 102)
