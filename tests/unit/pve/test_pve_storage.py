"""Storages and archives, as a real server lists them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backupsvc.errors import PveError, PveNotFound, TaskFailed
from backupsvc.pve import Pve
from policies.model import GuestType
from tests.fakes.pve_server import FakePve, Reply, refuse

from .test_pve_tasks import finished

CONTENT = "/nodes/pve/storage/local/content"
ARCHIVE = "local:backup/vzdump-qemu-200-2026_11_23-08_45_23.vma.zst"


def test_storages_are_read_node_by_node_with_the_retention_of_the_cluster(
    fake: FakePve, pve: Pve
) -> None:
    fake.replay("02", 2, 16, 51)
    (storage,) = pve.storage.seen().storages
    assert (storage.name, storage.node, storage.type, storage.prune) == (
        "local",
        "pve",
        "dir",
        "keep-all=1",
    )
    assert "backup" in storage.content and "images" in storage.content
    assert (storage.shared, storage.active, storage.enabled, storage.available) == (
        False,
        True,
        True,
        71435735040,
    )


@pytest.mark.parametrize(
    "reply", [Reply(status=595, reason="No route to host", raw=""), refuse(500, "got timeout")]
)
def test_law_4_a_node_that_is_called_online_and_does_not_say_its_storages_is_named_and_hides_no_other(
    fake: FakePve, pve: Pve, reply: Reply
) -> None:
    fake.on("GET", "/storage", [{"storage": "nas", "prune-backups": {"keep-last": "3"}}])
    fake.on(
        "GET",
        "/nodes",
        [
            {"node": "a", "status": "online"},
            {"node": "b", "status": "offline"},
            {"node": "c", "status": "online"},
        ],
    )
    fake.on(
        "GET",
        "/nodes/a/storage",
        [{"storage": "nas", "type": "nfs", "content": "backup", "shared": 1, "active": 1}],
    )
    fake.on("GET", "/nodes/c/storage", reply)
    seen = pve.storage.seen()
    (storage,) = seen.storages
    assert (storage.node, storage.shared, storage.prune) == ("a", True, "keep-last=3")
    assert set(seen.silent) == {"c"} and reply.reason in seen.silent["c"]


def test_a_retention_that_may_not_be_read_is_unknown_and_no_failure(
    fake: FakePve, pve: Pve
) -> None:
    fake.replay("02", 2, 51)
    fake.on("GET", "/storage", refuse(403, "Permission check failed (/storage, Datastore.Audit)"))
    assert [storage.prune for storage in pve.storage.seen().storages] == [""]


def test_archives_are_listed_oldest_first_with_what_pve_knows_of_them(
    fake: FakePve, pve: Pve
) -> None:
    fake.replay("02", 61, 64)
    archives = pve.storage.archives("pve", "local")
    assert [archive.ctime for archive in archives] == sorted(
        archive.ctime for archive in archives
    ) and len(archives) == 6
    first, second, third = archives[:3]
    assert (first.vmid, first.type, first.format, first.notes) == (
        100,
        GuestType.QEMU,
        "vma.zst",
        "vm-one on pve",
    )
    assert (second.protected, third.protected, second.size) == (True, False, 16257327)
    assert {(archive.node, archive.storage, archive.shared) for archive in archives} == {
        ("pve", "local", False)
    }
    assert fake.sent("GET", CONTENT) == [{"content": "backup"}]


def test_an_archive_that_is_listed_as_it_is_known_is_what_is_known_of_it(
    fake: FakePve, pve: Pve
) -> None:
    fake.replay("02", 61, 64)
    listed = pve.storage.archives("pve", "local")
    learnt = {one.volid: replace(one, name="db", sha256="ab") for one in listed}
    again = pve.storage.archives("pve", "local", known=learnt)
    assert all(one is learnt[one.volid] for one in again) and len(again) == len(listed)


@pytest.mark.parametrize(
    "changes",
    [
        {"ctime": 1},
        {"size": 1},
        {"vmid": 999},
        {"type": GuestType.LXC},
        {"format": "tgz"},
        {"notes": "another"},
        {"protected": True},
        {"node": "another"},
        {"storage": "another"},
        {"shared": True},
    ],
)
def test_an_archive_that_is_listed_otherwise_than_it_is_known_is_as_it_is_listed(
    fake: FakePve, pve: Pve, changes: dict[str, Any]
) -> None:
    fake.replay("02", 61, 64)
    first, *_ = pve.storage.archives("pve", "local")
    known = {first.volid: replace(first, name="db", **changes)}
    assert pve.storage.archives("pve", "local", known=known)[0] == first


def test_archives_on_a_shared_storage_say_so(fake: FakePve, pve: Pve) -> None:
    fake.on("GET", "/nodes/a/storage/nas/status", {"shared": 1})
    fake.on(
        "GET",
        "/nodes/a/storage/nas/content",
        [{"volid": "nas:backup/x.tar.zst", "subtype": "unknown", "size": 1, "ctime": 5}],
    )
    (archive,) = pve.storage.archives("a", "nas", 108)
    assert archive.shared and archive.vmid is None and archive.type is None
    assert fake.sent("GET", "/nodes/a/storage/nas/content") == [
        {"content": "backup", "vmid": "108"}
    ]
    pve.storage.archives("a", "nas")
    assert len(fake.sent("GET", "/nodes/a/storage/nas/status")) == 1


def test_a_storage_that_does_not_exist_is_not_an_empty_one(fake: FakePve, pve: Pve) -> None:
    fake.replay("02", 73)
    with pytest.raises(PveNotFound, match="storage 'nosuch' does not exist"):
        pve.storage.archives("pve", "nosuch")


def test_the_archived_configuration_is_its_text(fake: FakePve, pve: Pve) -> None:
    fake.replay("03", 17)
    text = pve.storage.extract_config("pve", ARCHIVE)
    assert "\nname: labguest\n" in text and text.endswith(
        "#qmdump#map:scsi1:drive-scsi1:local:raw:\n"
    )
    assert fake.sent("GET", "/nodes/pve/vzdump/extractconfig") == [{"volume": ARCHIVE}]


def test_a_corrupt_archive_shows_when_its_configuration_is_asked_for(
    fake: FakePve, pve: Pve
) -> None:
    fake.replay("06", 41)
    with pytest.raises(PveError, match="premature end") as caught:
        pve.storage.extract_config(
            "pve", "local:backup/vzdump-qemu-777-2026_01_03-00_00_00.vma.zst"
        )
    assert not isinstance(caught.value, PveNotFound)


def test_the_path_of_an_archive_is_its_file_on_the_node(fake: FakePve, pve: Pve) -> None:
    fake.replay("03", 16)
    assert (
        pve.storage.volume_path("pve", ARCHIVE)
        == "/var/lib/vz/dump/vzdump-qemu-200-2026_11_23-08_45_23.vma.zst"
    )


def test_a_deleted_archive_is_a_task_whose_failure_shows(fake: FakePve, pve: Pve) -> None:
    upid = "UPID:pve:000054FD:000975BD:6B03FD47:imgdel:888@local:svc@pve!b1:"
    fake.on("DELETE", f"{CONTENT}/{ARCHIVE}", upid, None)
    finished(
        fake,
        upid,
        "cannot remove protected volume 'backup/x' on 'local'",
        ["TASK ERROR: cannot remove protected volume"],
    )
    assert pve.storage.delete("pve", ARCHIVE) == upid
    result = pve.tasks.poll(upid)
    assert result is not None
    with pytest.raises(TaskFailed, match="cannot remove protected volume"):
        result.raise_if_failed("deleting it")
    assert pve.storage.delete("pve", ARCHIVE) is None


def test_volumes_of_a_vmid_are_their_ids(fake: FakePve, pve: Pve) -> None:
    fake.on(
        "GET",
        CONTENT,
        [{"volid": "local:9001/vm-9001-disk-1.raw"}, {"volid": "local:9001/vm-9001-disk-0.raw"}],
    )
    assert pve.storage.volumes("pve", "local", 9001) == [
        "local:9001/vm-9001-disk-0.raw",
        "local:9001/vm-9001-disk-1.raw",
    ]
    assert fake.sent("GET", CONTENT) == [{"content": "images", "vmid": "9001"}]


def test_the_backup_defaults_are_asked_for_a_storage(fake: FakePve, pve: Pve) -> None:
    fake.replay("03", 84)
    assert pve.storage.backup_defaults("pve", "local")["prune-backups"] == "keep-all=1"
    assert fake.requests[0].params == {"storage": "local"}


def test_pves_own_dry_run_is_read_as_it_was_recorded(fake: FakePve, pve: Pve) -> None:
    fake.replay("08", 3)
    found = pve.storage.prune_marks("pve", "local", "keep-last=1", 888)
    assert set(found.values()) <= {"keep", "remove", "protected", "renamed"}
    assert len(found) > 1 and "keep" in found.values() and "remove" in found.values()
    (asked,) = fake.sent("GET", "/nodes/pve/storage/local/prunebackups")
    assert asked == {"prune-backups": "keep-last=1", "vmid": "888"}
    assert fake.changes() == []
