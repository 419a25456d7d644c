"""Two worker processes over one catalog, at the same instant, again and again: one wins, and no line of history is lost."""

from __future__ import annotations

import multiprocessing
from multiprocessing.synchronize import Barrier
from typing import Any

import pytest

from backupsvc.catalog import Catalog

pytestmark = pytest.mark.slow
ROUNDS = 100
TTL = 60


def contend(url: str, owner: str, ids: list[str], start: Barrier, results: Any) -> None:
    """In a process of its own: claim each operation at the same instant as the other, twice, and write its history."""
    with Catalog.open(url) as catalog:
        won: list[tuple[str, int]] = []
        for id in ids:
            for now in (1000, 1000 + TTL):  # the second time the lease has just expired, and is anybody's
                start.wait(60)
                if catalog.claim(id, owner, now, TTL):
                    won.append((id, now))
            catalog.note(ids[0], "claim", owner, 1000)
    results.put((owner, won))


def test_law_9_two_processes_that_claim_at_one_instant_never_both_win(catalog_url: str, catalog: Catalog) -> None:
    ids = [made.id for at in range(ROUNDS) if (made := catalog.open_operation("backup", at, "locate", {}, at))]
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(2), context.Queue()
    processes = [context.Process(target=contend, args=(catalog_url, owner, ids, start, results)) for owner in ("one", "two")]
    for process in processes:
        process.start()
    won = dict(results.get(timeout=120) for _ in processes)
    for process in processes:
        process.join(30)
    assert sorted(won["one"] + won["two"]) == [(id, now) for id in ids for now in (1000, 1000 + TTL)]
    assert won["one"] and won["two"], "they never met"
    lines = catalog.transitions(ids[0])
    assert [line.seq for line in lines] == list(range(1, 2 * ROUNDS + 1))
    assert {line.event for line in lines} == {"one", "two"}
