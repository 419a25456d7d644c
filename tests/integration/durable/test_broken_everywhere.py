"""Broken everywhere (law 9): each call to PVE in turn goes wrong once, and the operation ends as if it
had not. A call that changes something goes wrong in five ways; one that asks in one of four.
"""

from __future__ import annotations

import time

import pytest

from tests.integration.durable.interference import FAULTS
from tests.integration.durable.kinds import ASKING_PVE
from tests.integration.durable.scene import Scene
from tests.integration.durable.test_killed_everywhere import (
    WHOLE,
    Record,
    cut_short,
    report,
    stride,
)

# where nothing is changed, a connection that is dropped after the call is one that was dropped
# before it
ACTED = ("drop-after",)


def tried(faults: tuple[str, ...], number: int, name: str) -> tuple[str, ...]:
    """Given the faults, and a call by its number in the run and its name, return those that it
    meets: all of them where it changes something. One that only asks meets one, in turn with the
    others; in `make soak` every one.
    """
    if not name.startswith("GET "):
        return faults
    asked = tuple(fault for fault in faults if fault not in ACTED)
    return asked if WHOLE else (asked[number % len(asked)],)


def break_calls(
    scene: Scene, kind: str, way: str, faults: tuple[str, ...], every: int, record: Record
) -> None:
    """Let every ``every``-th call of a run meet the faults, and hold what came of it against the
    undisturbed run.
    """
    began = time.monotonic()
    scene.warm_up(kind, way)
    calm = scene.run(kind, way=way, fault="none")
    assert not calm.differs(calm), calm
    apart = stride(kind, every)
    calls = [
        (number, name) for number, name in enumerate(calm.said, 1) if (number - 1) % apart == 0
    ]
    places = [(fault, number) for number, name in calls for fault in tried(faults, number, name)]
    runs = {(fault, call): scene.run(kind, call, way=way, fault=fault) for fault, call in places}
    unharmed = [run for (_, call), run in runs.items() if len(run.said) < call]
    met = len(runs) - len(unharmed)
    told = (
        f"broken: {kind} as a {way}, {met} faults at {len(calm.said)} calls, "
        f"{time.monotonic() - began:.0f} s"
    )
    record("counted", told)
    assert not report(
        (f"{fault} at {call} ({'; '.join(run.said[call - 1 : call])})", run.differs(calm))
        for (fault, call), run in runs.items()
    )
    assert not cut_short(calm, unharmed)


@pytest.mark.slow
@pytest.mark.long(2700)
@pytest.mark.timeout(2700)
@pytest.mark.parametrize("kind", ASKING_PVE)
def test_law_9_any_call_of_a_command_may_go_wrong_once(
    scene: Scene, kind: str, record_property: Record
) -> None:
    break_calls(scene, kind, "command", FAULTS, 1, record_property)


@pytest.mark.slow
@pytest.mark.long(2700)
@pytest.mark.timeout(2700)
@pytest.mark.parametrize("kind", ASKING_PVE)
def test_law_9_any_call_of_a_worker_may_go_wrong_once(
    scene: Scene, kind: str, record_property: Record
) -> None:
    break_calls(scene, kind, "worker", ("error", "timeout-after"), 3, record_property)
