"""Every recorded exchange is replayed against a lab like the recorded server, or left out with a reason (left_out.json)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.pvelab.conformance.replay import SCENES, LeftOut, Replay, exchanges
from tests.unit.pvelab.conformance.world import World

SLOW = {"04_vzdump_errors", "05_restore_ok", "05b_restore_start_queued", "06_restore_errors"}  # they wait as the real server did


@pytest.mark.parametrize("scene", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in SCENES])
def test_the_lab_answers_a_recorded_scene_as_the_real_server_did(scene: str, tmp_path: Path) -> None:
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
    idle = [rule for rule in left_out.rules if not any(left_out.covers(rule, exchange) for exchange in everything)]
    assert not idle, "these rules cover no exchange"


def test_nineteen_exchanges_of_twenty_are_replayed_at_least() -> None:
    left_out = LeftOut()
    everything = [exchange for scene in SCENES for exchange in exchanges(scene)]
    replayed = [exchange for exchange in everything if left_out.reason(exchange) is None]
    print(f"\n{len(replayed)} of {len(everything)} exchanges have no rule that leaves them out")
    assert len(replayed) >= 0.95 * len(everything)
