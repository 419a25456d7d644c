"""Archives that are only computed are archives: listed, read, changed, removed and pruned like any
other, and kept so.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backports import zstd
from dissect.archive.vma import VMA

from backupsvc.archives.verify import verify_file
from pvelab.kernel import Lab
from pvelab.scale import FIRST_VMID, SHARED
from tests.unit.pvelab.guests.conftest import Api
from tests.unit.pvelab.scale.conftest import SIZE

GUEST = FIRST_VMID  # the first guest: on pve01, its Sundays on nas1
MIB = 1024 * 1024


def rows(
    api: Api, node: str = "pve01", storage: str = "local", **params: Any
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api(
        "GET", f"/nodes/{node}/storage/{storage}/content", content="backup", **params
    )
    return found


def everything(api: Api) -> list[dict[str, Any]]:
    places = [(node, "local") for node in api.lab.nodes] + [
        ("pve01", storage) for storage in SHARED
    ]
    return [row for node, storage in places for row in rows(api, node, storage)]


def files(lab: Lab) -> list[str]:
    return sorted(path.name for path in lab.dir.rglob("vzdump-*.vma.zst"))


def url(volid: str, node: str = "pve01") -> str:
    return f"/nodes/{node}/storage/{volid.partition(':')[0]}/content/{volid}"


def test_every_guest_has_one_archive_a_night_and_none_of_them_is_a_file(api: Api, lab: Lab) -> None:
    found = everything(api)
    assert len(found) == len({row["volid"] for row in found}) == SIZE.guests * SIZE.nights
    assert {row["vmid"] for row in found} == {vm.vmid for vm in lab.guests.all()}
    assert files(lab) == []


def test_a_listing_is_sorted_by_name_and_the_same_after_a_restart(
    api: Api, reopen: Callable[[], Lab]
) -> None:
    first = rows(api)
    assert [row["volid"] for row in first] == sorted(row["volid"] for row in first)
    assert rows(Api(reopen())) == first


def test_a_guest_is_listed_on_its_own_node_and_its_sundays_on_one_shared_storage(api: Api) -> None:
    own = rows(api, vmid=GUEST)
    assert {row["vmid"] for row in own} == {GUEST}
    assert rows(api, "pve02", vmid=GUEST) == []
    sundays = rows(api, "pve03", "nas1", vmid=GUEST)
    assert len(own) + len(sundays) == SIZE.nights
    assert {
        (row["ctime"] - sundays[0]["ctime"] + 7200) % (7 * 86400) // 14400 for row in sundays
    } == {0}
    assert rows(api, "pve01", "nas2", vmid=GUEST) == []


def test_reading_an_archive_makes_the_file_that_was_listed(api: Api, lab: Lab) -> None:
    before = rows(api)
    chosen = before[40]
    info = api("GET", url(chosen["volid"]))
    path = Path(info["path"])
    assert path.stat().st_size == chosen["size"]
    assert files(lab) == [path.name]
    assert rows(api) == before


def test_the_services_reader_dissect_and_a_restore_read_the_same_archive(
    api: Api, lab: Lab
) -> None:
    row = rows(api)[7]
    path = Path(api("GET", url(row["volid"]))["path"])
    report = verify_file(path)
    assert report.problems == ()
    assert [(device.name, device.size) for device in report.devices] == [("drive-scsi0", 16 * MIB)]
    (device,) = VMA(io.BytesIO(zstd.decompress(path.read_bytes()))).devices()
    disk = device.open().read(device.size)
    assert (
        disk.rstrip(b"\0").decode() == f"simulated drive-scsi0 of guest {GUEST} at {row['ctime']}\n"
    )
    assert api.task("POST", "/nodes/pve01/qemu", vmid=9000, archive=row["volid"])[0] == "OK"
    assert (lab.storage_dir("pve01", "local-lvm") / "vm-9000-disk-0").read_bytes() == disk


def test_an_archive_holds_its_guests_configuration(api: Api, lab: Lab) -> None:
    raw = api("GET", "/nodes/pve01/vzdump/extractconfig", volume=rows(api)[3]["volid"])
    vm = lab.guests.get(GUEST)
    assert vm is not None
    assert raw.startswith(vm.text())
    assert "#qmdump#map:scsi0:drive-scsi0:local-lvm:raw:" in raw


def test_a_guest_that_was_lost_comes_back_from_a_night_of_the_past(api: Api, lab: Lab) -> None:
    volid = rows(api, vmid=GUEST)[-1]["volid"]
    api.task("DELETE", f"/nodes/pve01/qemu/{GUEST}")
    assert lab.guests.get(GUEST) is None
    status, log = api.task("POST", "/nodes/pve01/qemu", vmid=GUEST, archive=volid)
    assert status == "OK", log
    restored = lab.guests.get(GUEST)
    assert restored is not None
    assert restored.config["name"] == "web-00001"


def test_a_deleted_archive_stays_away(api: Api, reopen: Callable[[], Lab]) -> None:
    gone = rows(api, "pve01", "nas1")[2]["volid"]
    assert api.task("DELETE", url(gone))[0] == "OK"
    for each in (api, Api(reopen())):
        assert gone not in [row["volid"] for row in rows(each, "pve01", "nas1")]
    assert api.refused("GET", url(gone))[0] == 500


def test_an_archive_that_is_deleted_behind_our_back_stays_away(
    api: Api, reopen: Callable[[], Lab]
) -> None:
    volid = rows(api)[0]["volid"]
    Path(api("GET", url(volid))["path"]).unlink()
    assert volid not in [row["volid"] for row in rows(Api(reopen()))]


def test_notes_and_protection_of_a_computed_archive_can_be_changed_for_good(
    api: Api, reopen: Callable[[], Lab]
) -> None:
    volid = rows(api)[5]["volid"]
    api("PUT", url(volid), notes="before the upgrade", protected=1)
    found = next(row for row in rows(Api(reopen())) if row["volid"] == volid)
    assert (found["notes"], found["protected"]) == ("before the upgrade", 1)
    assert "protected" in api.task("DELETE", url(volid))[0]


def test_the_first_night_of_the_year_is_protected_until_that_is_lifted(api: Api) -> None:
    (kept,) = [row for row in everything(api) if row.get("protected") and row["vmid"] == GUEST]
    assert "_01_01-" in kept["volid"]
    api("PUT", url(kept["volid"]), protected=0)
    assert not [row for row in everything(api) if row.get("protected") and row["vmid"] == GUEST]


def test_pruning_a_guest_removes_its_nights_without_writing_one(
    api: Api, lab: Lab, reopen: Callable[[], Lab]
) -> None:
    others = rows(api, vmid=GUEST + 1)
    status, log = api.task(
        "DELETE", "/nodes/pve01/storage/local/prunebackups", vmid=GUEST, prune_backups="keep-last=3"
    )
    assert status == "OK", log
    kept = [row for row in rows(Api(reopen()), vmid=GUEST) if not row.get("protected")]
    assert len(kept) == 3
    assert rows(api, vmid=GUEST + 1) == others
    assert files(lab) == []


def test_a_new_archive_stands_after_the_past_and_its_prune_counts_both(api: Api, lab: Lab) -> None:
    params = {"vmid": GUEST, "storage": "local", "compress": "zstd", "prune_backups": "keep-last=4"}
    status, log = api.task("POST", "/nodes/pve01/vzdump", **params)
    assert status == "OK", log
    kept = [row["volid"] for row in rows(api, vmid=GUEST) if not row.get("protected")]
    assert len(kept) == 4
    assert [kept[-1].partition("/")[2]] == files(lab)


def test_an_archive_whose_writing_was_not_noted_is_listed_once(
    api: Api, lab: Lab, reopen: Callable[[], Lab]
) -> None:
    before = rows(api)
    api("GET", url(before[9]["volid"]))
    # as if the lab had been killed between the file and its line
    (lab.dir / "history.log").unlink()
    assert rows(Api(reopen())) == before


def test_the_everyday_token_sees_the_past_only_of_guests_that_it_may_back_up(
    api: Api, lab: Lab
) -> None:
    service = api.with_token("backupsvc@pve!service")
    assert len(rows(service)) == len(rows(api))
    lab.access.acl += [
        {
            "path": f"/vms/{GUEST}",
            "type": "token",
            "ugid": "backupsvc@pve!service",
            "roleid": "NoAccess",
            "propagate": 1,
        }
    ]
    assert {row["vmid"] for row in rows(service)} == {row["vmid"] for row in rows(api)} - {GUEST}


@pytest.mark.parametrize(
    "volid",
    ["local:backup/vzdump-qemu-10001-1999_01_01-21_00_00.vma.zst", "local:backup/mine.vma.zst"],
)
def test_a_name_that_is_no_night_of_the_past_makes_no_file(api: Api, lab: Lab, volid: str) -> None:
    assert api.refused("GET", url(volid))[0] == 500
    assert list(lab.dir.rglob("*.vma.zst")) == []
