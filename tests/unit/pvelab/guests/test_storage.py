"""Storages over the API: status, content, notes, protection, deletion and pruning."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvelab import seed
from pvelab.kernel import Lab, StorageDef
from tests.unit.pvelab.guests.conftest import HOME, MIB, Api

CONTENT = f"{HOME}/storage/local/content"


def archive(lab: Lab, name: str, size: int = 1000) -> str:
    """Put a file into the dump directory; return its volid."""
    path = lab.storage_dir("clovis", "local") / "dump" / name
    path.write_bytes(bytes(size))
    return f"local:backup/{name}"


@pytest.fixture
def volid(lab: Lab) -> str:
    return archive(lab, "vzdump-qemu-108-2026_03_09-21_00_02.vma.zst", 16_257_327 % 5000)


def test_a_listing_reads_the_time_from_the_name_and_shows_only_what_is_set(
    api: Api, volid: str
) -> None:
    (row,) = api("GET", CONTENT, content="backup")
    assert row == {
        "volid": volid,
        "content": "backup",
        "format": "vma.zst",
        "size": 2327,
        "ctime": 1773086402,
        "subtype": "qemu",
        "vmid": 108,
    }


def test_one_volume_shows_its_real_path_and_a_rounded_size(api: Api, lab: Lab, volid: str) -> None:
    row = api("GET", f"{CONTENT}/{volid}")
    assert (row["size"], row["format"], row["protected"], row["notes"]) == (2560, "raw", 0, "")
    assert Path(row["path"]).stat().st_size == 2327
    assert lab.nodes["clovis"].dir in Path(row["path"]).parents


def test_notes_and_protection_are_kept_in_sidecars_and_listed(api: Api, volid: str) -> None:
    api("PUT", f"{CONTENT}/{volid}", notes="first\nsecond übung", protected=1)
    (row,) = api("GET", CONTENT)
    assert (row["notes"], row["protected"]) == ("first", 1)
    assert api("GET", f"{CONTENT}/{volid}")["notes"] == "first\nsecond übung"
    api("PUT", f"{CONTENT}/{volid}", notes="", protected=0)
    assert api("GET", f"{CONTENT}/{volid}")["notes"] == ""
    assert "protected" not in api("GET", CONTENT)[0]


def test_a_protected_archive_is_not_deleted_and_says_so(api: Api, volid: str) -> None:
    api("PUT", f"{CONTENT}/{volid}", protected=1)
    text = (
        "cannot remove protected volume 'backup/vzdump-qemu-108-2026_03_09-21_00_02.vma.zst' on "
        "'local'"
    )
    assert api.task("DELETE", f"{CONTENT}/{volid}") == (text, [f"TASK ERROR: {text}"])
    assert api.refused("DELETE", f"{CONTENT}/{volid}", delay=5) == (500, text)
    assert api.archives() == [volid]


def test_deleting_takes_the_sidecars_along_and_a_second_time_warns(
    api: Api, lab: Lab, volid: str
) -> None:
    dump = lab.storage_dir("clovis", "local") / "dump"
    (dump / "vzdump-qemu-108-2026_03_09-21_00_02.log").touch()
    api("PUT", f"{CONTENT}/{volid}", notes="x")
    assert api.task("DELETE", f"{CONTENT}/{volid}") == (
        "OK",
        [f"Removed volume '{volid}'", "TASK OK"],
    )
    assert list(dump.iterdir()) == []
    status, log = api.task("DELETE", f"{CONTENT}/{volid}")
    assert status == "OK" and log[0].endswith(
        "vzdump-qemu-108-2026_03_09-21_00_02.vma.zst' does not exist"
    )


def test_the_limit_of_protected_archives_counts_per_guest(api: Api, lab: Lab) -> None:
    lab.storages["local"].options["max-protected-backups"] = "1"
    first, second, other = (
        archive(lab, f"vzdump-qemu-{name}.vma")
        for name in (
            "108-2026_03_09-21_00_02",
            "108-2026_03_10-21_00_02",
            "109-2026_03_09-21_00_02",
        )
    )
    for volid in (first, other, first):
        api("PUT", f"{CONTENT}/{volid}", protected=1)
    text = "The number of protected backups per guest is limited to 1 on storage 'local'"
    assert api.refused("PUT", f"{CONTENT}/{second}", protected=1) == (500, text)


def test_a_token_sees_only_archives_of_guests_that_it_may_back_up(
    api: Api, lab: Lab, volid: str
) -> None:
    service = api.with_token(seed.SERVICE_TOKEN)
    assert [row["volid"] for row in service("GET", CONTENT)] == [volid]
    lab.access.roles["BackupsvcVms"].remove("VM.Backup")
    assert service("GET", CONTENT) == []
    assert service.refused("GET", f"{CONTENT}/{volid}") == (
        403,
        "Permission check failed (/vms/108, VM.Backup)",
    )
    assert service.refused("DELETE", f"{CONTENT}/{volid}") == (
        403,
        "Permission check failed (/vms/108, VM.Backup)",
    )


def test_pruning_previews_then_removes_what_it_marked(api: Api, lab: Lab) -> None:
    volids = [archive(lab, f"vzdump-qemu-108-2026_03_0{day}-21_00_02.vma.zst") for day in (1, 2, 3)]
    renamed = archive(lab, "kept.vma.zst")
    rows = {
        row["volid"]: row["mark"]
        for row in api("GET", f"{HOME}/storage/local/prunebackups", prune_backups="keep-last=1")
    }
    assert rows == {volids[0]: "remove", volids[1]: "remove", volids[2]: "keep", renamed: "renamed"}
    status, log = api.task(
        "DELETE", f"{HOME}/storage/local/prunebackups", prune_backups="keep-last=1", vmid=108
    )
    assert (status, log) == (
        "OK",
        [f"removing backup '{volids[0]}'", f"removing backup '{volids[1]}'", "TASK OK"],
    )
    assert api.archives() == [renamed, volids[2]]


def test_pruning_without_any_rule_is_refused_or_fails(api: Api, lab: Lab) -> None:
    del lab.storages["local"].options["prune-backups"]
    text = "no prune-backups options configured for storage 'local'"
    assert api.refused("GET", f"{HOME}/storage/local/prunebackups") == (500, text)
    assert api.task("DELETE", f"{HOME}/storage/local/prunebackups", vmid=108)[0] == text


def test_the_everyday_token_prunes_one_guest_but_not_all(api: Api) -> None:
    service = api.with_token(seed.SERVICE_TOKEN)
    assert (
        service.task(
            "DELETE", f"{HOME}/storage/local/prunebackups", prune_backups="keep-last=1", vmid=108
        )[0]
        == "OK"
    )
    refused = service.refused(
        "DELETE", f"{HOME}/storage/local/prunebackups", prune_backups="keep-last=1"
    )
    assert refused == (403, "Permission check failed (/storage/local, Datastore.Allocate)")


def test_disks_are_listed_with_their_owner(api: Api) -> None:
    rows = {row["volid"]: row for row in api("GET", f"{HOME}/storage/local-lvm/content", vmid=104)}
    assert sorted(rows) == ["local-lvm:vm-104-disk-0", "local-lvm:vm-104-disk-1"]
    assert (rows["local-lvm:vm-104-disk-0"]["size"], rows["local-lvm:vm-104-disk-0"]["vmid"]) == (
        2 * MIB,
        104,
    )


def test_storages_that_are_not_there_answer_as_recorded(api: Api, lab: Lab) -> None:
    lab.storages["dis"] = StorageDef("dis", "dir", ("backup",), disabled=True)
    lab.storages["far"] = StorageDef("far", "dir", ("backup",), nodes=("lge-pve02",))
    assert api.refused("GET", f"{HOME}/storage/nosuch/status") == (
        400,
        "{'storage': 'No such storage.'}",
    )
    assert api.refused("GET", f"{HOME}/storage/nosuch/content") == (
        500,
        "storage 'nosuch' does not exist",
    )
    assert api("GET", f"{HOME}/storage/dis/status")["enabled"] == 0
    assert api.refused("GET", f"{HOME}/storage/dis/content") == (500, "storage 'dis' is disabled")
    assert api.refused("GET", f"{HOME}/storage/far/content") == (
        500,
        "storage 'far' is not available on node 'clovis'",
    )


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "backup/../x.vma", "backup/nosuch.txt", "garbage/deep/x.vma"]
)
def test_a_volume_name_never_leaves_its_directory(api: Api, name: str) -> None:
    status, text = api.refused("DELETE", f"{CONTENT}/local:{name}")
    assert (status, text) == (
        500,
        f"unable to parse directory volume name '{name}'",
    ) or "unable to parse" in text
