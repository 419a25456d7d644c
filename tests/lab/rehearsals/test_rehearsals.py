"""With real guests: one is purged and comes back with what was around it; its node dies with all of
them and their archives, and they come back on the other node from the copies (docs/rehearsals.md).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from pvelab import cluster_settings, power
from pvelab.accident import delete_guest
from pvelab.guests.devices import disks
from pvelab.guests.power import switch_off
from pvelab.guests.volumes import find
from pvelab.kernel import Lab
from pvelab.nodes_life import kill_node
from tests.commands import Answer
from tests.disks import hash_disk
from tests.integration.test_put_back import RIGHTS, Owner
from tests.lab.false_proof.stage import POLICY, VMIDS, Stage, built
from tests.rehearsed import Record, rehearsal
from tests.waiting import wait_until

pytestmark = pytest.mark.lab

HOME, OTHER, VMID, PURGED = "clovis", "lge-pve02", 108, 105
BACKED_UP = (104, 105, 108)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Four guests that are off, three of them backed up; copies go to the other node."""
    with built(tmp_path_factory.mktemp("rehearsals")) as made:
        dump = made.lab.dir / "nodes" / OTHER / "var" / "lib" / "vz" / "dump"
        target = f"kind: pve-storage, node: {OTHER}, storage: local, path: {dump}, allow-root: true"
        policy = Path(made.shell.env["BACKUPSVC_POLICY"])
        # nobody here is on the guests' network: what cannot be asked keeps HA from being put back
        unasked, _, _ = POLICY.partition("guests:\n")
        policy.write_text(f"{unasked}copies:\n  other: {{{target}}}\n", encoding="utf-8")
        yield made


def disk_hashes(lab: Lab) -> dict[str, str]:
    """The hash of each of the guest's disks, where they are now."""
    vm = lab.guests.get(VMID)
    assert vm is not None
    paths = {drive.key: find(lab, vm.node, drive.volume).path for drive in disks(vm.config)}
    return {key: hash_disk(path) for key, path in paths.items()}


def answers(lab: Lab, vmid: int) -> bool:
    vm = lab.guests.get(vmid)
    return vm is not None and power.answers(lab, vm)


def test_a_guest_that_was_purged_comes_back_with_what_was_around_it_and_answers(
    stage: Stage, record_property: Record
) -> None:
    owner, lab = Owner(stage.shell), stage.lab
    who = {"users": "backupsvc@pve", "tokens": ",".join(owner.tokens())}
    owner.as_root("PUT", "access/acl", path="/", roles="PVEAuditor", **who)
    owner.give("/", RIGHTS["/"])
    owner.give("/storage/local", RIGHTS["/storage"])
    job = {"schedule": "21:00", "storage": "local", "vmid": PURGED, "enabled": 0}
    owner.as_root("POST", "cluster/backup", id="alone", **job)
    owner.as_root(
        "POST", "cluster/ha/resources", sid=f"vm:{PURGED}", state="started", max_restart=3
    )
    owner.keep()
    with rehearsal(record_property, "a guest purged, and all around it", lab.dir, gone=(PURGED,)):
        # HA lets go of a guest only when it is stopped there
        owner.as_root("PUT", f"cluster/ha/resources/vm:{PURGED}", state="stopped")
        wait_until(lambda: lab.machine_status(PURGED) == "stopped", "HA does not stop it")
        delete_guest(lab.dir, HOME, PURGED)
        # as --purge does: its jobs forget it
        assert not [one for one in owner.as_root("GET", "cluster/backup") if one["id"] == "alone"]
        back = stage.shell("restore", PURGED, "--yes", "--surroundings", "--json")
        items = back.json["put_back"]["items"]
        assert back.json["restored"] and back.json["started"], back.out + back.err
        told = {one["what"]: one for one in items}
        assert told["backup job alone"]["action"] == "done", told["backup job alone"]
        # HA would start it again and again: not before its service was seen, which nobody here can
        kept = told[f"HA resource vm:{PURGED}"]
        assert kept["action"] == "skipped" and "its service was not asked" in kept["detail"], kept
        wait_until(lambda: answers(lab, PURGED), "it does not answer")
    (again,) = [one for one in owner.as_root("GET", "cluster/backup") if one["id"] == "alone"]
    assert again["vmid"] == str(PURGED)
    lab.ha.resources.clear()
    switch_off(lab, PURGED)


def test_the_guests_of_a_node_that_died_with_their_archives_come_back_from_the_copies(
    stage: Stage, record_property: Record
) -> None:
    lab, shell = stage.lab, stage.shell
    # while it is off, so that its disks stay what the archive holds
    backup = shell("backup", "run", "--vmid", VMID, "--json")
    assert backup.code == 0, backup.out + backup.err
    copies = shell("copy", "run", "--json").json["copies"]
    assert {one["vmid"]: one["state"] for one in copies} == dict.fromkeys(BACKED_UP, "verified")
    assert shell("catalog", "config", "keep").code == 0
    before = disk_hashes(lab)
    cluster_settings.change(lab, {"qdevice": True})
    with rehearsal(record_property, "a dead node, real guests", lab.dir, about=VMIDS):
        kill_node(lab, HOME)
        refused = shell("restore", VMID, "--node", OTHER, "--json")
        assert refused.code == 4  # nobody has seen yet that the node is off
        assert f"/etc/pve/nodes/{HOME}/qemu-server/" in refused.err + refused.out
        lab.guests.remove(VMID)  # the step that it names: the config is moved away
        restored = shell("restore", VMID, "--node", OTHER, "--no-start", "--json")
        assert restored.code == 0, restored.out + restored.err
        assert restored.json["node"] == OTHER
        assert disk_hashes(lab) == before
        # and the others, all at once
        found = list[Answer]()
        words = ("recover", "--node", HOME, "--confirm", f"{HOME} is off", "--json")
        recovery = threading.Thread(target=lambda: found.append(shell(*words)))
        recovery.start()
        wait_until(lambda: asked_to_free(stage))
        for vmid in (104, 105):
            lab.guests.remove(vmid)
        recovery.join()
        (answer,) = found
        # of one there was no archive: it is lost, and that is said
        assert answer.code == 1, answer.out + answer.err
        outcomes = {one["vmid"]: one["outcome"] for one in answer.json["guests"]}
        assert outcomes == {103: "lost", 104: "back", 105: "back"}
        for vmid in (104, 105):
            wait_until(partial(answers, lab, vmid), f"{vmid} does not answer")
        assert {vm.vmid for vm in lab.guests.all(OTHER)} == set(BACKED_UP)


def asked_to_free(stage: Stage) -> bool:
    """Whether somebody is asked to move the configurations of the dead node away."""
    time.sleep(0.3)
    found = stage.shell("operations", "list", "--kind", "recover", "--json").json["operations"]
    if not found:
        return False
    shown = stage.shell("operations", "show", found[0]["id"], "--json").json
    return "free the VMIDs of" in " ".join(shown["data"].get("to_do", ()))
