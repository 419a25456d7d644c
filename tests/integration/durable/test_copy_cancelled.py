"""A copy that was killed and then cancelled is whole at its target or nothing that PVE lists,
nobody calls it verified unless it is there, and the next copy makes it whole.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.durable.kinds import COPIED
from tests.integration.durable.scene import ELSEWHERE, Scene
from tests.integration.durable.test_killed_everywhere import Record, report, undisturbed

TITLES = {"copy": "pve02", "copy-to-a-folder": "usb"}


def listed_by_pve(scene: Scene) -> list[str]:
    rows = scene.ask(f"/nodes/{ELSEWHERE}/storage/local/content?content=backup&vmid={COPIED}")
    return [row["volid"].partition("/")[2] for row in rows]


def verified(scene: Scene, target: str) -> list[str]:
    """The files there that are called copies."""
    answer = scene.shell("copy", "list", "--json")
    assert answer.code == 0, answer.err
    copies = [one for one in answer.json["copies"] if one["target"]["name"] == target]
    return [one["volid"].partition("/")[2] for one in copies]


def half_made(scene: Scene, target: str, whole: dict[str, str]) -> list[str]:
    """What stands at the target that must not, as sentences."""
    there = {name: one for name, one in scene.copies().items() if name.partition("/")[0] == target}
    folder, good = scene.targets[target], scene.older | whole
    archives = {name for name in there if name.endswith(".vma.zst")}
    found = [f"{name} is not the archive" for name in archives if there[name] != good.get(name)]
    if target == "pve02" and listed_by_pve(scene) != [Path(name).name for name in archives]:
        found.append(f"PVE lists {listed_by_pve(scene)}, there are {sorted(archives)}")
    for manifest in folder.glob("*.copy.json"):
        said = json.loads(manifest.read_text(encoding="utf-8"))
        if there.get(f"{target}/{said['file']}") != said["sha256"]:
            found.append(f"{manifest.name} speaks of what is not there")
    for file in verified(scene, target):
        beside = f"{target}/{file.removesuffix('.vma.zst')}"
        if any(there.get(name) != good[name] for name in good if name.startswith(beside)):
            found.append(f"{file} is called verified, and there is {sorted(there)}")
    return found


@pytest.mark.slow
@pytest.mark.long(2700)
@pytest.mark.timeout(2700)
@pytest.mark.parametrize("title", TITLES)
def test_law_9_a_copy_killed_and_cancelled_is_whole_or_nothing_and_the_next_makes_it_whole(
    scene: Scene, title: str, record_property: Record
) -> None:
    began, target, calm = time.monotonic(), TITLES[title], undisturbed(scene, title, "command")
    whole = calm.made["copies"]
    assert bool(scene.older.keys() - whole) == (target == "usb"), "there the older one goes"
    bad: dict[str, list[str]] = {}
    states: Counter[str] = Counter()
    killed = 0
    for point in sorted({*range(1, len(calm.said), 4), len(calm.said)}):
        told = scene.conduct(kind=title, at=point, way="command", cancel=True)
        killed += told["killed"]
        states.update(operation["state"] for operation in told["operations"])
        # what is half removed is no copy, and the next copy removes the rest
        found = [one for one in scene.left_overs() if not one.startswith("half of ")]
        found += told["errors"] + half_made(scene, target, whole)
        again = scene.conduct(kind=title, at=0, way="command")
        made = scene.copies()
        found += again["errors"] + scene.left_overs() + half_made(scene, target, whole)
        if again["operations"][0] != calm.operations[0] or made != whole:
            found.append(f"the next one came to {again['operations'][0]}, and there is {made}")
        bad[f"{point} ({told['said'][-1]})"] = found
        scene.reset()
    record_property(
        "counted",
        f"killed, then cancelled: {title}, at {killed} of {len(calm.said)} points: "
        f"{dict(states)}, {time.monotonic() - began:.0f} s",
    )
    assert not report(bad.items())
    assert set(states) == {"cancelled", "done"}
