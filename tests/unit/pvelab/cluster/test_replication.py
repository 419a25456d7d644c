"""Which disks a replication copies: PVE knows it for ZFS pools alone."""

from __future__ import annotations

import pytest

from pvelab import cluster_settings
from pvelab.errors import LabError, UsageError
from pvelab.guests.power import machine_of
from pvelab.kernel import Lab, StorageDef
from pvelab.moves import Replication, replicated

from .conftest import Client

JOB = {"108": {"target": "lge-pve02", "interval": 900}}
TEXT = "missing replicate feature on volume 'local-lvm:vm-108-disk-0'"


def volids(lab: Lab, vmid: int) -> list[str]:
    return replicated(lab, lab.guests.need("clovis", vmid))


def test_a_thin_pool_is_refused_in_pves_words_with_the_way_out(running: Lab) -> None:
    with pytest.raises(UsageError, match=TEXT) as caught:
        cluster_settings.change(running, {"replication": JOB})
    assert "lab cluster --zfs" in caught.value.hint
    assert "replication" not in running.settings


def test_a_job_of_older_days_copies_nothing_from_a_thin_pool(running: Lab) -> None:
    running.settings["replication"] = JOB
    with pytest.raises(LabError, match=TEXT):
        volids(running, 108)
    Replication(running).round()
    assert not (running.storage_dir("lge-pve02", "local-lvm") / "vm-108-disk-0").exists()


def test_a_zfs_pool_is_replicated_and_the_api_says_what_it_is(running: Lab, client: Client) -> None:
    cluster_settings.change(running, {"zfs": ["local-lvm"], "replication": JOB})
    Replication(running).round()
    assert (running.storage_dir("lge-pve02", "local-lvm") / "vm-108-disk-0").is_file()
    assert {row["storage"]: row["type"] for row in client.get("/storage")} == {
        "local": "dir",
        "local-lvm": "zfspool",
    }
    assert client.get("/storage/local-lvm")["pool"] == "rpool/data"


def test_guests_on_a_zfs_pool_are_backed_up_and_restored_as_before(
    running: Lab, client: Client
) -> None:
    cluster_settings.change(running, {"zfs": ["local-lvm"]})
    dump = client.data(
        "POST", "/nodes/clovis/vzdump", {"vmid": "100", "storage": "local", "mode": "snapshot"}
    )
    assert running.tasks.wait(dump) == "OK"
    (archive,) = client.get("/nodes/clovis/storage/local/content?content=backup")
    made = client.data(
        "POST",
        "/nodes/clovis/qemu",
        {"vmid": "9001", "archive": archive["volid"], "storage": "local-lvm"},
    )
    assert running.tasks.wait(made) == "OK"
    assert client.get("/nodes/clovis/qemu/9001/config")["scsi0"].startswith(
        "local-lvm:vm-9001-disk-0"
    )
    assert machine_of(running, 9001) is None


def test_shared_disks_and_those_that_say_so_are_left_out(running: Lab) -> None:
    running.storages["san"] = StorageDef(
        "san", "nfs", ("images",), shared=True, path="/mnt/pve/san"
    )
    config = running.guests.need("clovis", 108).config
    config["scsi1"], config["scsi2"] = (
        "san:108/vm-108-disk-1.raw,size=1M",
        "local:108/vm-108-disk-2.raw,replicate=0,size=1M",
    )
    cluster_settings.change(running, {"zfs": ["local-lvm"]})
    assert volids(running, 108) == ["local-lvm:vm-108-disk-0"]
