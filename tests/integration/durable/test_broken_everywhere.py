"""Broken everywhere (law 9): each call to PVE in turn goes wrong once, in five ways, and the operation ends as if it had not."""

from __future__ import annotations

import time

import pytest

from tests.integration.durable.interference import FAULTS
from tests.integration.durable.kinds import KINDS
from tests.integration.durable.scene import Scene
from tests.integration.durable.test_killed_everywhere import Record, report


def break_calls(scene: Scene, kind: str, way: str, faults: tuple[str, ...], every: int, record: Record) -> None:
    """Let every ``every``-th call of a run meet each fault, and hold what came of it against the undisturbed run."""
    began, calm = time.monotonic(), scene.run(kind, way=way, fault="none")
    assert not calm.differs(calm), calm
    places = [(fault, call) for fault in faults for call in range(1, len(calm.said) + 1, every)]
    runs = {(fault, call): scene.run(kind, call, way=way, fault=fault) for fault, call in places}
    met = sum(len(run.said) >= call for (_, call), run in runs.items())
    told = f"broken: {kind} as a {way}, {met} faults at {len(calm.said)} calls, {time.monotonic() - began:.0f} s"
    record("counted", told)
    assert not report(
        (f"{fault} at {call} ({'; '.join(run.said[call - 1 : call])})", run.differs(calm)) for (fault, call), run in runs.items()
    )
    assert met >= 0.8 * len(places)  # how often a running task is looked at is not the same in each run


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", KINDS)
def test_law_9_any_call_of_a_command_may_go_wrong_once(scene: Scene, kind: str, record_property: Record) -> None:
    break_calls(scene, kind, "command", FAULTS, 1, record_property)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", KINDS)
def test_law_9_any_call_of_a_worker_may_go_wrong_once(scene: Scene, kind: str, record_property: Record) -> None:
    break_calls(scene, kind, "worker", ("error", "timeout-after"), 3, record_property)


@pytest.mark.parametrize("kind", KINDS)
def test_law_9_a_call_here_and_there_may_go_wrong_once(scene: Scene, kind: str, record_property: Record) -> None:
    break_calls(scene, kind, "command", ("timeout-after", "error"), 11, record_property)
