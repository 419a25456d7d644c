"""Storages that are full, slow, or list less than they hold."""

from __future__ import annotations

import time

import pytest

from pvelab.faults import effects
from pvelab.kernel import Lab
from tests.unit.pvelab.faults.conftest import Break, struck
from tests.unit.pvelab.guests.conftest import HOME, Api

LOCAL = {"node": "clovis", "storage": "local"}
THIN = {"node": "clovis", "storage": "local-lvm"}


def files(lab: Lab) -> list[str]:
    return sorted(path.name for path in (lab.storage_dir("clovis", "local") / "dump").iterdir())


def test_a_dump_to_a_full_storage_fails_in_the_recorded_words_and_leaves_its_log_alone(
    api: Api, lab: Lab, broken: Break
) -> None:
    fault = broken("storage-full", **LOCAL)
    status, log = api.task("POST", f"{HOME}/vzdump", vmid=104, storage="local", compress="zstd")
    assert status == "job errors"
    at = log.index("zstd: error 70 : Write error : cannot write block : No space left on device ")
    assert log[at + 1 : at + 3] == [
        "ERROR: vma_queue_write: write error - Broken pipe",
        "INFO: aborting backup job",
    ]
    assert [name.rpartition(".")[2] for name in files(lab)] == ["log"]
    assert "lock" not in lab.guests.need("clovis", 104).config
    assert struck(lab, fault) == 1
    effects.clear(lab)
    assert api.dump(104)


def test_a_storage_that_fills_up_during_a_dump_ends_it(api: Api, lab: Lab, broken: Break) -> None:
    broken("storage-slow", **LOCAL, rate=200_000)
    upid = api("POST", f"{HOME}/vzdump", vmid=104, storage="local", compress="zstd")
    while not any(name.endswith(".dat") for name in files(lab)):
        time.sleep(0.01)
    broken("storage-full", **LOCAL)
    assert api.ended(upid)[0] == "job errors"
    assert not any(name.endswith((".dat", ".zst")) for name in files(lab))


def test_a_full_storage_says_that_it_has_no_room(api: Api, broken: Break) -> None:
    assert api("GET", f"{HOME}/storage/local/status")["avail"] > 0
    broken("storage-full", **LOCAL)
    (row,) = api("GET", f"{HOME}/storage", storage="local")
    assert (row["avail"], row["used"], row["used_fraction"]) == (0, row["total"], 1)
    assert api("GET", f"{HOME}/storage/local-lvm/status")["avail"] > 0


def test_a_restore_to_a_full_storage_fails_frees_its_disks_and_leaves_the_stub(
    api: Api, lab: Lab, broken: Break
) -> None:
    volid = api.dump(104)
    broken("storage-full", **THIN)
    status, log = api.task("POST", f"{HOME}/qemu", vmid=9000, archive=volid, storage="local-lvm")
    assert status.endswith("failed: exit code 133")
    assert "vma: restore failed - blk_pwrite to  failed (-28)" in log
    assert not list(lab.storage_dir("clovis", "local-lvm").glob("vm-9000-*"))
    assert lab.guests.need("clovis", 9000).config == {"memory": "128"}


def test_a_full_storage_of_archives_can_still_be_restored_from(api: Api, broken: Break) -> None:
    volid = api.dump(108)
    broken("storage-full", **LOCAL)
    assert (
        api.task("POST", f"{HOME}/qemu", vmid=9000, archive=volid, storage="local-lvm")[0] == "OK"
    )


@pytest.mark.slow
def test_a_slow_storage_holds_dumps_and_restores_back_to_its_rate(
    api: Api, lab: Lab, broken: Break
) -> None:
    volid = api.dump(108)
    fault = broken("storage-slow", **LOCAL, rate=500_000)
    began = time.monotonic()
    assert api.task("POST", f"{HOME}/vzdump", vmid=108, storage="local", compress="zstd")[0] == "OK"
    # each of the small disks holds 0.5 MB that does not compress
    assert time.monotonic() - began > 0.9
    assert struck(lab, fault) == 1
    effects.clear(lab)
    broken("storage-slow", **THIN, rate=500_000)
    began = time.monotonic()
    assert (
        api.task("POST", f"{HOME}/qemu", vmid=9000, archive=volid, storage="local-lvm")[0] == "OK"
    )
    assert time.monotonic() - began > 0.4


def test_a_task_on_a_slow_storage_can_be_stopped(api: Api, lab: Lab, broken: Break) -> None:
    broken("storage-slow", **LOCAL, rate=1)
    upid = api("POST", f"{HOME}/vzdump", vmid=108, storage="local", compress="zstd")
    time.sleep(0.2)
    lab.tasks.stop(upid)
    assert api.ended(upid)[0] == "interrupted by signal"


def test_a_short_listing_lacks_the_last_archives_and_only_the_listing_does(
    api: Api, lab: Lab, broken: Break
) -> None:
    first, last = api.dump(104), api.dump(108)
    fault = broken("listing-short", node="clovis", storage="*", missing=1)
    assert api.archives() == [first]
    assert api("GET", f"{HOME}/storage/local/content/{last}")["size"] > 0
    assert struck(lab, fault) == 1
    effects.clear(lab)
    assert api.archives() == [first, last]
