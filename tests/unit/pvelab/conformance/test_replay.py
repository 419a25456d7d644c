"""Every recorded exchange is replayed against a lab like the recorded server, or left out with a
reason (left_out.json).
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pvelab import simulated
from pvelab.api import console
from pvelab.faults import waiting
from pvelab.guests import power
from tests.unit.pvelab.conformance.replay import SCENES, LeftOut, Replay, exchanges
from tests.unit.pvelab.conformance.world import World

# they wait as the real server did: for a power button that nobody obeys, an agent, a lock and a
# viewer that never comes
WAITING = {"04_vzdump_errors", "05_restore_ok", "05b_restore_start_queued", "06_restore_errors"}


class Hurried:
    """The clock by which the lab waits, ten times as fast: what comes at the end of a wait is the
    same.
    """

    time, time_ns = staticmethod(time.time), staticmethod(time.time_ns)

    @staticmethod
    def monotonic() -> float:
        return 10 * time.monotonic()

    @staticmethod
    def sleep(seconds: float) -> None:
        time.sleep(seconds / 10)


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES)
def test_the_lab_answers_a_recorded_scene_as_the_real_server_did(
    scene: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (power, console, simulated, waiting) if scene in WAITING else ():
        monkeypatch.setattr(module, "time", Hurried)
    world = World(tmp_path / "lab", scene)
    try:
        replay = Replay(world, scene).run(LeftOut())
    finally:
        world.close()
    print(f"\n{scene}: {replay.replayed} replayed, {replay.left_out.total()} left out")
    for reason, count in replay.left_out.most_common():
        print(f"  {count:4}  {reason}")
    assert not replay.differences, "\n".join(replay.differences)
    assert replay.replayed + replay.left_out.total() == len(exchanges(scene))


def test_everything_that_is_left_out_has_a_reason_and_covers_something() -> None:
    everything = [exchange for scene in SCENES for exchange in exchanges(scene)]
    left_out = LeftOut()
    assert all(rule["reason"] for rule in left_out.rules)
    idle = [
        rule
        for rule in left_out.rules
        if not any(left_out.covers(rule, exchange) for exchange in everything)
    ]
    assert not idle, "these rules cover no exchange"


def test_nineteen_exchanges_of_twenty_are_replayed_at_least() -> None:
    left_out = LeftOut()
    everything = [exchange for scene in SCENES for exchange in exchanges(scene)]
    replayed = [exchange for exchange in everything if left_out.reason(exchange) is None]
    print(f"\n{len(replayed)} of {len(everything)} exchanges have no rule that leaves them out")
    assert len(replayed) >= 0.95 * len(everything)
