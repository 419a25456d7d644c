"""A copy stays below its bandwidth, and shows that it lives while it waits."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from backupsvc.copies.pace import Pace
from backupsvc.copies.send import Watch, send
from tests.unit.copies.scene import directory, order, write_archive

MIB = 1 << 20


@dataclass
class Still:
    """A clock that only sleeping moves."""

    time: float = 0.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


def test_a_copy_takes_as_long_as_its_bandwidth_says(tmp_path: Path) -> None:
    clock, lives = Still(), list[float]()
    watch = Watch(clock=clock, alive=lambda: lives.append(clock.time))
    made = send(
        write_archive(tmp_path / "here"), directory(tmp_path / "there"), order(bandwidth=100), watch
    )
    assert made.seconds == pytest.approx(2 * 3_000_000 / 102_400, abs=2.02), (
        "there, and read back over the same line"
    )
    assert max(clock.slept) <= 1 and max(b - a for a, b in pairwise(lives)) < 1.01


def test_without_a_limit_nothing_waits(tmp_path: Path) -> None:
    clock = Still()
    send(
        write_archive(tmp_path / "here"), directory(tmp_path / "there"), order(), Watch(clock=clock)
    )
    assert clock.slept == []


def test_after_a_lull_no_more_than_a_second_is_caught_up() -> None:
    clock = Still()
    pace = Pace(1024, clock, lambda: None)
    pace.sent(MIB)
    clock.time = 100
    pace.sent(10 * MIB)
    assert clock.time == pytest.approx(109)
