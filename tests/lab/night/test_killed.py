"""A restore test of a real guest, killed in the middle of things: another process finishes it, with
the same proof.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.commands import Shell, settle_briefly
from tests.integration.durable.kinds import TESTED
from tests.integration.durable.scene import NODE, Scene, conducted

pytestmark = pytest.mark.lab

PLACES = {
    "mid-restore": "after POST nodes/*/qemu",
    "after the restore": "after GET nodes/*/tasks/*:qmrestore:*/log",
    "mid-boot": "before POST nodes/*/agent/ping",
    "mid-check": "before GET nodes/*/agent/get-osinfo",
    "mid-tear-down": "after DELETE nodes/*/qemu/90??",
}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Two real guests of the reference site, one of them backed up, and a warm process that tests
    its archive.
    """
    site = Shell(tmp_path_factory.mktemp("killed"))
    up = site("lab", "up", "--hypervisor", "qemu", "--guests", f"{TESTED},108", timeout=280)
    assert up.code == 0, up.err
    settle_briefly(site.state)
    try:
        done = site("backup", "run", "--vmid", TESTED, "--json")
        assert done.code == 0, done.out + done.err
        with conducted(site) as made:
            made.configs = made.guests()
            yield made
    finally:
        assert site("lab", "down").code == 0


def original(scene: Scene) -> tuple[str, int, int]:
    """The production guest: its configuration, its process and how long that has run."""
    status = scene.ask(f"/nodes/{NODE}/qemu/{TESTED}/status/current")
    return scene.guests()[TESTED], status["pid"], status["uptime"]


def result(told: dict[str, Any]) -> dict[str, Any]:
    """What must be the same of each test."""
    assert told["errors"] == []
    (operation,) = told["operations"]
    return {
        key: operation[key]
        for key in ("state", "verdict", "rung", "isolation", "checks", "proofs", "history")
    }


def test_law_9_a_test_of_a_real_guest_is_finished_by_another_process_wherever_it_was_killed(
    scene: Scene, record_property: Callable[[str, object], None]
) -> None:
    config, process, uptime = original(scene)
    calm = result(scene.conduct(kind="restore-test", at=0, way="command"))
    # its only check is its agent, which is a sign of life
    assert (calm["verdict"], calm["rung"]) == ("proven", "booted")
    for name, pattern in PLACES.items():
        tasks = scene.tasks()
        told = scene.conduct(kind="restore-test", at=pattern, way="command")
        assert told["killed"], name
        assert result(told) == calm, name
        # one restore, start, stop and destruction
        assert sum((scene.tasks() - tasks).values()) == 4, name
        assert scene.left_overs() + scene.harmed() == [], name
        now = original(scene)
        assert now[:2] == (config, process) and now[2] >= uptime, name
    record_property(
        "counted",
        f"killed: restore-test of a real guest, at {len(PLACES)} places: {', '.join(PLACES)}",
    )
