"""A scaled lab's life: its size, its cluster, up, the service over it, and down to nothing."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from policies.site import load_policy
from pvelab import control, scale, seed
from pvelab.errors import StartFailed, UsageError
from pvelab.kernel import Lab
from tests.commands import Shell


def test_a_size_is_read_as_nodes_times_guests() -> None:
    size = scale.Scale.parse("50x2000", 3)
    assert (size.nodes, size.guests, size.nights) == (50, 2000, 1096)


@pytest.mark.parametrize(
    ("text", "years"),
    [("50", 3), ("0x5", 3), ("50x", 3), ("x", 1), ("5x20", 0), ("900x5", 3), ("2x99999", 3)],
)
def test_what_is_no_size_is_refused(text: str, years: int) -> None:
    with pytest.raises(UsageError, match="not a size of a lab"):
        scale.Scale.parse(text, years)


def test_the_size_of_the_issue_has_two_million_archives_on_distinct_guests() -> None:
    size = scale.Scale(50, 2000, 3, "2023-11-23")
    assert size.guests * size.nights > 2_000_000
    guests = [size.guest(index) for index in range(size.guests)]
    for field in (
        {guest.vmid for guest in guests},
        {guest.name for guest in guests},
        {guest.nics[0].mac for guest in guests},
        {guest.uuid for guest in guests},
    ):
        assert len(field) == size.guests
    assert {size.node(index) for index in range(size.guests)} == {
        f"pve{n:02d}" for n in range(1, 51)
    }


def test_the_policy_of_a_scaled_lab_is_a_good_one(lab: Lab) -> None:
    path = scale.write_policy(lab)
    policy = load_policy(path.read_text(), path.name)
    assert [(job.id, job.storage) for job in policy.jobs] == [("nightly", "local")]
    assert policy.scratch.last < min(vm.vmid for vm in lab.guests.all())


def test_a_lab_without_a_scale_has_no_past(lab: Lab) -> None:
    lab.settings.pop("scale")
    lab.history = None
    scale.attach(lab)
    assert lab.history is None
    assert "scale" not in seed.cluster()


def test_a_scale_needs_modelled_guests(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="modelled guests only"):
        control.up(tmp_path / "lab", scale="2x4")


@pytest.mark.slow
def test_the_service_works_on_a_scaled_lab_and_down_leaves_nothing_of_it(tmp_path: Path) -> None:
    shell, home = Shell(tmp_path), tmp_path / "lab"
    up = shell("lab", "up", "--hypervisor", "simulated", "--scale", "3x12", "--years", 1, "--json")
    assert up.code == 0, up.err
    run_dir = json.loads((home / control.RUNTIME_FILE).read_text())["run_dir"]
    try:
        assert shell("catalog", "sync", "--json").json["archives"] == 12 * 365
        made = shell("backup", "run", "--vmid", 10005, "--json")
        # the computed archives before it are larger: its size has collapsed
        assert made.code == 1, made.out + made.err
        assert (
            "may not be whole" in made.json["guests"][0]["error"]
            and made.json["guests"][0]["verified"] is True
        )
        assert len(shell("catalog", "list", "--vmid", 10005, "--json").json["archives"]) == 366
        # law 3: a new catalog knows nothing of a year
        assert shell("prune", "--dry-run", "--vmid", 10005, "--json").code == 4
        assert shell("catalog", "sync", "--accept", "--vmid", 10005, "--json").code == 0
        pruned = shell("prune", "--dry-run", "--vmid", 10005, "--json")
        assert pruned.code == 0, pruned.out + pruned.err
        marks = [item["mark"] for item in pruned.json["archives"]]
        assert (len(marks), marks.count("protected")) == (366, 1)
        assert 1 <= marks.count("remove") <= 10
        assert shell("restore-test", 10005, "--json").json["verdict"] == "simulated"
    finally:
        assert shell("lab", "down").code == 0
    listed = subprocess.run(
        ["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True
    ).stdout
    assert run_dir not in listed
    assert not Path(run_dir).exists()
    assert not home.exists()


@pytest.mark.slow
def test_a_scaled_lab_keeps_its_size_and_lives_beside_another(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    try:
        one = control.up(first, hypervisor="simulated", scale="2x4", years=1)
        two = control.up(second, hypervisor="simulated")
        assert one.settings["pve"]["host"] != two.settings["pve"]["host"]
        control.down(first, keep=True)
        with pytest.raises(StartFailed, match="made with another size"):
            control.up(first, hypervisor="simulated", scale="2x5", years=1)
        assert (
            control.up(first, hypervisor="simulated", scale="2x4", years=1).settings["pve"]
            == one.settings["pve"]
        )
    finally:
        control.down(first)
        control.down(second)
    assert list(tmp_path.iterdir()) == []
