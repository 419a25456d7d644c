"""With real guests: a node dies with its guest and the archive, and the guest comes back on the
other node from the copy, with the same disks.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pvelab import cluster_settings
from pvelab.guests.devices import disks
from pvelab.guests.volumes import find
from pvelab.kernel import Lab
from pvelab.nodes_life import kill_node
from tests.lab.false_proof.stage import POLICY, Stage, built

pytestmark = pytest.mark.lab

HOME, OTHER, VMID = "clovis", "lge-pve02", 108


def with_copies(stage: Stage) -> None:
    """Let the policy name the other node's storage as a copy target."""
    dump = stage.lab.dir / "nodes" / OTHER / "var" / "lib" / "vz" / "dump"
    target = f"kind: pve-storage, node: {OTHER}, storage: local, path: {dump}, allow-root: true"
    policy = Path(stage.shell.env["BACKUPSVC_POLICY"])
    policy.write_text(f"{POLICY}copies:\n  other: {{{target}}}\n", encoding="utf-8")


def disk_hashes(lab: Lab) -> dict[str, str]:
    """The SHA-256 of each of the guest's disks, where they are now."""
    vm = lab.guests.get(VMID)
    assert vm is not None
    paths = {drive.key: find(lab, vm.node, drive.volume).path for drive in disks(vm.config)}
    return {key: hashlib.sha256(path.read_bytes()).hexdigest() for key, path in paths.items()}


def test_a_guest_whose_node_died_with_its_archive_comes_back_from_the_copy_with_the_same_disks(
    tmp_path: Path,
) -> None:
    with built(tmp_path) as stage:
        lab, shell = stage.lab, stage.shell
        with_copies(stage)
        # while it is off, so that its disks stay what the archive holds
        backup = shell("backup", "run", "--vmid", VMID, "--json")
        assert backup.code == 0, backup.out + backup.err
        (copied,) = shell("copy", "run", "--vmid", VMID, "--json").json["copies"]
        assert copied["state"] == "verified", copied
        before = disk_hashes(lab)
        cluster_settings.change(lab, {"qdevice": True})
        kill_node(lab, HOME)

        refused = shell("restore", VMID, "--node", OTHER, "--json")
        assert refused.code == 4  # nobody has seen yet that the node is off
        assert f"/etc/pve/nodes/{HOME}/qemu-server/" in refused.err + refused.out
        lab.guests.remove(VMID)  # the step that it names: the config is moved away

        restored = shell("restore", VMID, "--node", OTHER, "--no-start", "--json")
        assert restored.code == 0, restored.out + restored.err
        assert restored.json["node"] == OTHER
        assert restored.json["archive"]["volid"] == copied["volid"]
        assert disk_hashes(lab) == before
