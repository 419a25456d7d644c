"""A drill that is killed, or whose calls go wrong, at every point (laws 1 and 9): the guest is home in
the end, moved away and back once, or it never left.

It has a stage of its own: a lab whose HA has many rounds a second, and may move the guest.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.commands import Shell
from tests.integration.administrator import disable_pve_job
from tests.integration.durable.interference import FAULTS
from tests.integration.durable.kinds import DRILLED
from tests.integration.durable.scene import NODE, Run, Scene, conducted
from tests.integration.durable.test_broken_everywhere import break_calls
from tests.integration.durable.test_killed_everywhere import (
    Record,
    kill,
    report,
    stride,
    undisturbed,
)
from tests.integration.test_ha_drill import ACCEPTED, grant

pytestmark = [pytest.mark.slow, pytest.mark.long(2700), pytest.mark.timeout(2700)]
KIND = "ha-drill"
WINDOW = "\nha: {drill: {window: 00:00-24:00}}\n"
CLUSTER = ("--zfs", "local-lvm", "--replicate", f"{DRILLED}:lge-pve02:100000")


class Cluster(Scene):
    """The stage: nothing is made on it, and a guest is moved."""

    def prepare(self) -> None:
        """Remember the guests as they are."""
        self.configs = self.guests()

    def reset(self) -> None:
        """See that the guest is at home: there is nothing else to set again."""
        assert self.home() == NODE

    def home(self) -> str:
        """The node on which the guest is."""
        nodes = self.lab / "etc" / "pve" / "nodes"
        (found,) = nodes.glob(f"*/qemu-server/{DRILLED}.conf")
        return found.parent.parent.name

    def disks(self, vmid: int) -> dict[str, str]:
        """None is made or changed."""
        return {}

    def restored_config(self) -> str:
        """Where the guest is in the end."""
        return self.home()

    def copies(self) -> dict[str, str]:
        """None is made."""
        return {}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    shell = Shell(tmp_path_factory.mktemp("drills"))
    assert shell("lab", "up", "--hypervisor", "simulated", "--json").code == 0
    try:
        disable_pve_job(shell.state)
        grant(shell)
        assert shell("lab", "cluster", *CLUSTER, "--time-factor", "1000").code == 0
        with conducted(shell, WINDOW + ACCEPTED, Cluster) as made:
            made.prepare()
            yield made
    finally:
        assert shell("lab", "down").code == 0


@pytest.mark.parametrize(("way", "every"), [("command", 1), ("worker", 3)])
def test_law_9_a_drill_that_is_killed_at_any_point_brings_the_guest_home(
    scene: Scene, way: str, every: int, record_property: Record
) -> None:
    kill(scene, KIND, way, every, record_property)


def test_law_1_one_that_is_killed_and_then_cancelled_leaves_the_guest_at_home(
    scene: Scene, record_property: Record
) -> None:
    began, calm = time.monotonic(), undisturbed(scene, KIND, "command")
    points = range(1, len(calm.said) + 1, stride(KIND, 3))
    runs = {at: scene.run(KIND, at, cancel=True) for at in points}
    states = Counter(one["state"] for run in runs.values() for one in run.operations)
    record_property("counted", f"{dict(states)}, {time.monotonic() - began:.0f} s")
    assert not report((f"{at} ({run.said[-1]})", wrong(run)) for at, run in runs.items())
    assert set(states) <= {"cancelled", "done"}


@pytest.mark.parametrize(
    ("way", "faults", "every"),
    [("command", FAULTS, 1), ("worker", ("error", "timeout-after"), 3)],
)
def test_law_9_any_call_of_a_drill_may_go_wrong_once(
    scene: Scene, way: str, faults: tuple[str, ...], every: int, record_property: Record
) -> None:
    break_calls(scene, KIND, way, faults, every, record_property)


def wrong(run: Run) -> list[str]:
    """What is wrong after a run that was cancelled."""
    away = [f"it is on {run.made['config']}"] if run.made["config"] != NODE else []
    moved = run.tasks.get(f"qmigrate {DRILLED}", 0)
    odd = [f"it was moved {moved} times"] if moved not in (0, 2) else []
    return run.errors + run.left + away + odd
