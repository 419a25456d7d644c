"""One turn of a worker: how far it goes, and what it sends on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backupsvc.engine.context import Wait
from backupsvc.engine.foreground import Engine
from backupsvc.engine.worker_loop import work
from tests.unit.engine.notes import Run, kinds
from tests.unit.engine.test_engine import opened
from tests.unit.operations.worlds import World, world


@pytest.fixture
def site(catalog_url: str) -> Iterator[World]:
    made = world(catalog_url)
    yield made
    made.catalog.close()


def test_a_node_that_becomes_free_is_told_before_the_next_steps_are_done(site: World) -> None:
    done: list[tuple[int, str]] = []

    def locate(run: Run) -> Wait | None:
        return run.turn("vzdump clovis", "another guest is being dumped")

    def dump(run: Run) -> None:
        done.append((run.vmid, "dump"))
        run.leave()

    def read_back(run: Run) -> None:
        done.append((run.vmid, "read-back"))

    engine = Engine(
        site, kinds("backup", locate=locate, dump=dump, read_back=read_back), foreground=False
    )
    first, second = opened(engine, "backup", 101), opened(engine, "backup", 102)
    engine.executor.hints.clear()
    engine.executor.advance(first)
    assert work(engine.executor, second, long=False).again is not None  # it waits for its turn
    turn = work(engine.executor, first, long=False)
    assert turn.hints == (second,) and turn.again == 0.0
    assert done == [(101, "dump")]
    other = Engine(site, engine.kinds, foreground=False)
    other.executor.owner = "elsewhere:1:x"
    assert work(other.executor, first, long=True).again is None  # anybody may go on with it at once
    assert done == [(101, "dump"), (101, "read-back")]
