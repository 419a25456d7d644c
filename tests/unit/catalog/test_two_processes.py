"""Two worker processes over one catalog, at the same instant, again and again: one wins, and no
line of history is lost.
"""

from __future__ import annotations

import multiprocessing
from contextlib import suppress
from multiprocessing.synchronize import Barrier
from typing import Any

import pytest

from backupsvc.catalog import Catalog
from backupsvc.catalog.operations import Driver, NewOperation, Note
from backupsvc.errors import LeaseLost
from tests.waiting import HANGS

pytestmark = pytest.mark.slow
ROUNDS = 100
TTL = 60
TIMES = (1000, 1000 + TTL)  # the second time the lease has just expired, and is anybody's
SHARED = Driver("both", TTL, 1000)


def contend(
    url: str, owner: str, ids: list[str], shared: str, start: Barrier, results: Any
) -> None:
    """In a process of its own: claim each operation at the same instant as the other, twice, and
    write histories.
    """
    with Catalog.open(url) as catalog:
        won: list[tuple[str, int]] = []
        for id in ids:
            for now in TIMES:
                start.wait(60)
                if catalog.operations.claim(id, Driver(owner, TTL, now)):
                    won.append((id, now))
                with suppress(LeaseLost):
                    catalog.operations.record(
                        id, Driver(owner, TTL, now), note=Note("claim", owner)
                    )
            catalog.operations.record(shared, SHARED, note=Note("claim", owner))
    results.put((owner, won))


def opened(catalog: Catalog, at: int, driver: Driver | None = None) -> str:
    """Open an operation and return its id."""
    made = catalog.operations.open(NewOperation("backup", at, "locate", {}), at, driver)
    assert made
    return made.id


def test_law_9_two_processes_that_claim_at_one_instant_never_both_win(
    catalog_url: str, catalog: Catalog
) -> None:
    ids, shared = [opened(catalog, at) for at in range(ROUNDS)], opened(catalog, ROUNDS, SHARED)
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(2), context.Queue()
    processes = [
        context.Process(target=contend, args=(catalog_url, owner, ids, shared, start, results))
        for owner in ("one", "two")
    ]
    for process in processes:
        process.start()
    won = dict(results.get(timeout=HANGS) for _ in processes)
    for process in processes:
        process.join(HANGS)
    assert sorted(won["one"] + won["two"]) == sorted((id, now) for id in ids for now in TIMES)
    assert won["one"], "they never met"
    assert won["two"], "they never met"
    for id in ids:  # who lost could write nothing
        assert [line.event for line in catalog.operations.transitions(id)] == [
            _winner(won, id, now) for now in TIMES
        ]
    lines = catalog.operations.transitions(shared)
    assert [line.seq for line in lines] == list(range(1, 2 * ROUNDS + 1))
    assert {line.event for line in lines} == {"one", "two"}


def _winner(won: dict[str, list[tuple[str, int]]], id: str, now: int) -> str:
    return next(owner for owner, claims in won.items() if (id, now) in claims)
