"""Killed everywhere (laws 1, 2 and 9): SIGKILL at every point of an operation, and another process
finishes it all the same.

A point is the moment after each committed write of the catalog, and the moments before and after
each call to PVE. Where nothing is done between two of them, a kill at either is the same kill, and
only the later is tried. Guests are only modelled here; tests/lab/night kills a test of a real one.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable

import pytest

from tests.integration.durable.kinds import ASKING_PVE, KINDS, REPLACED, REPLACING
from tests.integration.durable.scene import Run, Scene

Record = Callable[[str, object], None]
# kinds that write files themselves, between their points
WRITING_FILES = ("copy", "copy-to-a-folder", "copy-encrypted")
WHOLE = os.environ.get("DURABLE_WHOLE") == "1"
# kinds whose runs are long: `make test` tries one place in so many, `make soak` all of them
SPARSE = {"replace": 11, "replace-undo": 13, "recover": 5, "put-back": 5, "ha-drill": 5}


def stride(kind: str, every: int) -> int:
    """Given a kind, and which of its places are tried (each ``every``-th), return how far apart
    those are that this run tries.
    """
    return every if WHOLE else every * SPARSE.get(kind, 1)


def undisturbed(scene: Scene, kind: str, way: str) -> Run:
    """One run that nothing happens to: what all others are measured against."""
    scene.warm_up(kind, way)
    calm = scene.run(kind, way=way)
    assert not calm.differs(calm), calm
    assert [operation["state"] for operation in calm.operations] == ["done"]
    return calm


def kill(scene: Scene, kind: str, way: str, every: int, record: Record) -> None:
    """Kill a run at every ``every``-th moment, and hold what came of each against the undisturbed
    run.
    """
    began, calm = time.monotonic(), undisturbed(scene, kind, way)
    distinct = moments(calm.said, writes_files=kind in WRITING_FILES)
    runs = {point: scene.run(kind, point, way=way) for point in distinct[:: stride(kind, every)]}
    killed = sum(run.killed for run in runs.values())
    record(
        "counted",
        f"killed: {kind} as a {way}, at {killed} of {len(distinct)} moments ({len(calm.said)} "
        f"points), {time.monotonic() - began:.0f} s",
    )
    assert not report(
        (f"{point} ({run.said[-1]})", run.differs(calm)) for point, run in runs.items()
    )
    assert not cut_short(calm, (run for run in runs.values() if not run.killed))


def moments(said: list[str], *, writes_files: bool = False) -> list[int]:
    """Given the names of a run's points, return the numbers (1 is the first) of those that are
    moments of their own: what is followed by the beginning of a call is that beginning, unless
    files are written between the two.
    """
    following = [*said[1:], ""]
    return [
        number
        for number, (name, after) in enumerate(zip(said, following, strict=True), 1)
        if writes_files or name.startswith("before ") or not after.startswith("before ")
    ]


def cut_short(calm: Run, unharmed: Iterable[Run]) -> list[int]:
    """Given the runs that never came to the place where something waited for them, return how long
    those were that must have.

    How often a running task is looked at is not the same in each run, so the last places of one may
    lie beyond another's end.
    """
    return [len(run.said) for run in unharmed if len(run.said) < 0.7 * len(calm.said)]


def report(found: Iterable[tuple[str, list[str]]]) -> str:
    """Given what differed at each place, return it as text, "" if nothing did."""
    return "\n".join(
        f"at {place}: {'; '.join(different)}" for place, different in found if different
    )


@pytest.mark.slow
@pytest.mark.long(2700)
@pytest.mark.timeout(2700)
@pytest.mark.parametrize("kind", KINDS)
def test_law_9_a_command_killed_at_any_point_is_finished_by_a_worker(
    scene: Scene, kind: str, record_property: Record
) -> None:
    kill(scene, kind, "command", 1, record_property)


@pytest.mark.slow
@pytest.mark.long(2700)
@pytest.mark.timeout(2700)
@pytest.mark.parametrize("kind", [*ASKING_PVE, "copy-encrypted", "copy-recheck"])
def test_law_9_a_worker_killed_at_any_point_is_replaced_by_another(
    scene: Scene, kind: str, record_property: Record
) -> None:
    kill(scene, kind, "worker", 3, record_property)


@pytest.mark.slow
@pytest.mark.long(2700)
@pytest.mark.timeout(2700)
@pytest.mark.parametrize("kind", ["backup", "restore-test"])
def test_law_1_one_that_is_killed_and_then_cancelled_leaves_nothing_either(
    scene: Scene, kind: str, record_property: Record
) -> None:
    began, calm = time.monotonic(), undisturbed(scene, kind, "command")
    runs = {point: scene.run(kind, point, cancel=True) for point in range(1, len(calm.said) + 1, 3)}
    states = Counter(operation["state"] for run in runs.values() for operation in run.operations)
    told = (
        f"killed, then cancelled: {kind}, at {sum(run.killed for run in runs.values())} of "
        f"{len(calm.said)} points"
    )
    record_property("counted", f"{told}: {dict(states)}, {time.monotonic() - began:.0f} s")
    assert not report(
        (f"{point} ({run.said[-1]})", run.errors + run.left) for point, run in runs.items()
    )
    assert set(states) == {"cancelled", "done"}
    assert all(
        count <= calm.tasks[task] for run in runs.values() for task, count in run.tasks.items()
    )


@pytest.mark.slow
@pytest.mark.long(2700)
@pytest.mark.timeout(2700)
def test_law_2_a_replacement_that_is_killed_and_then_cancelled_goes_its_way_back(
    scene: Scene, record_property: Record
) -> None:
    began, calm = time.monotonic(), undisturbed(scene, "replace", "command")
    points = range(1, len(calm.said) + 1, stride("replace", 2))
    runs = {point: scene.run("replace", point, cancel=True) for point in points}
    states = Counter(operation["state"] for run in runs.values() for operation in run.operations)
    told = f"killed, then cancelled: replace, at {len(runs)} of {len(calm.said)} points"
    record_property("counted", f"{told}: {dict(states)}, {time.monotonic() - began:.0f} s")
    # PVE leaves an empty guest of a restore that was stopped, which nobody here removes
    locked = f"guest {REPLACING} is locked"
    assert not report(
        (f"{point} ({run.said[-1]})", run.errors + [one for one in run.left if one != locked])
        for point, run in runs.items()
    )
    assert set(states) == {"cancelled", "done"}
    # told as the runs tell it, without what PVE makes new at each restore
    kept, made_new = scene.configs[REPLACED].splitlines(), ("vmgenid:", "meta:")
    before = [line for line in kept if not line.startswith(made_new)]
    for point, run in runs.items():
        old, new = run.made[str(REPLACED)], run.made[str(REPLACING)]
        if all(one["state"] == "done" for one in run.operations):
            assert (old, new) == (calm.made[str(REPLACED)], calm.made[str(REPLACING)]), point
        elif any(one["switched"] for one in run.operations):
            # it was judged: what was not moved yet is left, and HA leaves the old one alone
            assert (old[1:3], new[1]) == (("stopped", "ignored"), "running"), (point, old, new)
        else:
            assert old[:3] == (before, "running", "started"), (point, run.said[-1], old)
            assert new[1] in (None, "stopped"), (point, run.said[-1], new)
            nics = [line for line in new[0] if line.startswith("net")]
            assert all("link_down=1" in line for line in nics), (point, new)
