"""Law 1, exception (a), against a PVE that answers: only what our own failed restore left, and only
if nothing else is there.
"""

from __future__ import annotations

import pytest

from backupsvc.errors import LawRefused, PveUnreachable
from backupsvc.pve import Pve
from tests.fakes.cluster import VirtualCluster
from tests.fakes.pve_server import FakePve, Reply
from tests.fakes.state import TOKEN_ID

BROKEN = "command 'zstd -q -d -c x | vma extract' failed: exit code 133"
STUB = {"memory": "128"}


@pytest.fixture
def world(cluster: VirtualCluster, fake: FakePve) -> VirtualCluster:
    cluster.add(105, STUB)
    fake.on("GET", "/nodes", [{"node": "pve", "status": "online"}])
    row = {
        "storage": "local-lvm",
        "type": "lvmthin",
        "content": "images",
        "active": 1,
        "enabled": 1,
    }
    fake.on("GET", "/nodes/pve/storage", [row])
    fake.on("GET", "/storage", [])
    fake.on("GET", "/nodes/pve/storage/local-lvm/content", [])
    return cluster


def failed(world: VirtualCluster, user: str = TOKEN_ID) -> str:
    return world.task_of("qmrestore", 105, BROKEN, user)


def test_law_1_the_rest_of_our_own_failed_restore_is_destroyed_and_leaves_the_guests_jobs_alone(
    world: VirtualCluster, fake: FakePve, pve: Pve
) -> None:
    upid = failed(world)
    assert pve.stubs().why_not("pve", 105, upid) is None
    assert ":qmdestroy:105:" in pve.stubs().destroy("pve", 105, upid)
    # purge would take it out of backup jobs and HA
    assert fake.sent("DELETE", "/nodes/pve/qemu/105") == [{}]


@pytest.mark.parametrize(
    "changes", [{"scsi0": "x"}, {"net0": "virtio"}, {"name": "prod"}, {"description": "mine"}]
)
def test_law_1_a_guest_with_anything_of_its_own_is_left_alone(
    world: VirtualCluster, fake: FakePve, pve: Pve, changes: dict[str, str]
) -> None:
    upid = failed(world)
    world.guests[105].config = STUB | changes
    with pytest.raises(LawRefused, match="left alone"):
        pve.stubs().destroy("pve", 105, upid)
    assert fake.changes() == []


def test_law_1_a_restore_of_another_token_or_into_another_vmid_is_not_ours(
    world: VirtualCluster, pve: Pve
) -> None:
    for upid in (failed(world, "root@pam"), world.task_of("qmrestore", 106, BROKEN), None):
        assert "no restore of this service" in str(pve.stubs().why_not("pve", 105, upid))


def test_law_1_a_restore_that_runs_or_went_well_left_no_rest(
    world: VirtualCluster, pve: Pve
) -> None:
    for status in (None, "OK"):
        world.tasks.clear()
        assert "has not failed" in str(
            pve.stubs().why_not("pve", 105, world.task_of("qmrestore", 105, status))
        )


@pytest.mark.parametrize("kind", ["qmrestore", "qmcreate"])
def test_law_1_what_somebody_made_there_after_our_restore_is_theirs(
    world: VirtualCluster, pve: Pve, fake: FakePve, kind: str
) -> None:
    upid = failed(world)
    theirs = {
        "upid": world.task_of(kind, 105, "OK", "root@pam"),
        "starttime": 1,
        "user": "root@pam",
    }
    rows = lambda request: [theirs] if request.params.get("typefilter") == kind else []  # noqa: E731
    fake.on("GET", "/nodes/pve/tasks", rows)
    assert "no restore of this service" in str(pve.stubs().why_not("pve", 105, upid))


def test_law_1_a_volume_on_any_storage_of_the_node_keeps_it(
    world: VirtualCluster, pve: Pve, fake: FakePve
) -> None:
    upid = failed(world)
    fake.on(
        "GET",
        "/nodes/pve/storage/local-lvm/content",
        [{"volid": "local-lvm:vm-105-disk-0", "vmid": 105}],
    )
    assert "local-lvm:vm-105-disk-0" in str(pve.stubs().why_not("pve", 105, upid))


def test_law_1_a_storage_that_does_not_answer_is_not_empty(
    world: VirtualCluster, pve: Pve, fake: FakePve
) -> None:
    upid = failed(world)
    fake.on(
        "GET",
        "/nodes/pve/storage/local-lvm/content",
        Reply(status=596, reason="Connection timed out", raw=""),
    )
    with pytest.raises(PveUnreachable):
        pve.stubs().destroy("pve", 105, upid)
    assert fake.changes() == []
