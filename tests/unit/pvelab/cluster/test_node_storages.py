"""Each node has storages of its own under the same names."""

from __future__ import annotations

from pvelab import simulated
from pvelab.kernel import Lab

from .conftest import Client


def test_an_archive_and_a_disk_are_seen_and_found_on_their_own_node_only(
    running: Lab, client: Client
) -> None:
    upid = client.data(
        "POST", "/nodes/clovis/vzdump", {"vmid": "100", "storage": "local", "mode": "snapshot"}
    )
    assert running.tasks.wait(upid) == "OK"
    simulated.make_disk(
        running.storage_dir("lge-pve02", "local-lvm") / "vm-999-disk-0", 1024 * 1024, "other"
    )
    (archive,) = client.get("/nodes/clovis/storage/local/content?content=backup")
    assert client.get("/nodes/lge-pve02/storage/local/content?content=backup") == []
    assert (
        client.ask("GET", f"/nodes/lge-pve02/storage/local/content/{archive['volid']}").status
        == 500
    )
    assert {row["vmid"] for row in client.get("/nodes/clovis/storage/local-lvm/content")} == {
        100,
        108,
    }
    assert {row["vmid"] for row in client.get("/nodes/lge-pve02/storage/local-lvm/content")} == {
        999
    }
