"""vzdump over the API: what is dumped, the log in the real server's words, refusals, queues,
retention.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pvelab import seed
from pvelab.guests import dump as dump_module
from pvelab.guests.vma_writer import Written, write_vma
from pvelab.kernel import Lab, StorageDef, Upid
from tests.unit.pvelab.guests import recorded
from tests.unit.pvelab.guests.conftest import HOME, Api
from tests.waiting import wait_until

VZDUMP = f"{HOME}/vzdump"


def dump_dir(lab: Lab) -> Path:
    return lab.storage_dir("clovis", "local") / "dump"


def test_a_running_guest_is_dumped_in_the_recorded_lines(api: Api) -> None:
    api.start(104)
    params = {"vmid": 104, "storage": "local", "compress": "zstd", "protected": 1, "remove": 0}
    status, log = api.task(
        "POST", VZDUMP, **params, notes_template="{{guestname}}/{{vmid}} on {{node}}"
    )
    assert status == "OK"
    assert recorded.shape(log) == recorded.shape(recorded.log("03_vzdump_ok", 14))
    (row,) = api("GET", f"{HOME}/storage/local/content")
    assert (row["notes"], row["protected"]) == ("GLPI-Server/104 on clovis", 1)


def test_a_stopped_guest_is_dumped_in_the_recorded_lines(api: Api) -> None:
    status, log = api.task("POST", VZDUMP, vmid=108, storage="local")
    assert status == "OK"
    assert recorded.shape(log) == recorded.shape(recorded.log("03_vzdump_ok", 39))


def test_mode_suspend_is_logged_as_recorded(api: Api, lab: Lab) -> None:
    api.start(104)
    status, log = api.task(
        "POST", VZDUMP, vmid=104, storage="local", mode="suspend", compress="zstd"
    )
    assert (status, recorded.shape(log)) == ("OK", recorded.shape(recorded.log("03_vzdump_ok", 56)))


def test_mode_stop_shuts_a_running_guest_down_and_starts_it_again(api: Api, lab: Lab) -> None:
    api.start(108)
    status, log = api.task("POST", VZDUMP, vmid=108, storage="local", mode="stop", compress="zstd")
    whole = recorded.shape(recorded.log("03_vzdump_ok", 72))
    second = whole[
        [i for i, line in enumerate(whole) if line.startswith("INFO: Starting Backup")][1] :
    ]
    wanted = [
        line
        for line in second
        if "prun" not in line and "removing" not in line and "scsi#" not in line
    ]
    assert status == "OK"
    assert [line for line in recorded.shape(log)[1:] if "scsi#" not in line] == wanted
    assert lab.machine_status(108) == "running"
    nested = {(u.type, u.user) for u, _, _ in lab.tasks.finished("clovis")}
    assert {("qmshutdown", "root@pam"), ("qmresume", "root@pam")} <= nested


def test_the_archived_config_is_the_guests_own_with_a_map_of_its_disks(api: Api, lab: Lab) -> None:
    before = lab.guests.need("clovis", 104).text()
    volid = api.dump(104)
    maps = "".join(f"#qmdump#map:scsi{n}:drive-scsi{n}:local-lvm:raw:\n" for n in (0, 1))
    assert api("GET", f"{VZDUMP}/extractconfig", volume=volid) == before + maps
    assert lab.guests.need("clovis", 104).text() == before, "the dump's lock stayed behind"


def test_the_log_lies_next_to_the_archive_without_the_jobs_own_lines(api: Api, lab: Lab) -> None:
    api.dump(108)
    (path,) = dump_dir(lab).glob("*.log")
    text = path.read_text()
    assert text.splitlines()[0].endswith("INFO: Starting Backup of VM 108 (qemu)")
    assert (
        "archive file size" in text
        and "starting new backup job" not in text
        and "Backup finished at" not in text
    )
    assert sorted(p.suffix for p in dump_dir(lab).iterdir()) == [".log", ".zst"]


def test_a_guest_of_another_node_gets_ok_and_no_task(api: Api, lab: Lab) -> None:
    lab.guests.move(108, "lge-pve02")
    assert api("POST", VZDUMP, vmid=108, storage="local") == "OK"
    assert api.archives() == []


def test_one_unknown_guest_fails_and_the_good_one_is_kept(api: Api) -> None:
    status, log = api.task("POST", VZDUMP, vmid="4711,108", storage="local", compress="zstd")
    assert (status, log[-4]) == (
        "job errors",
        "ERROR: Backup of VM 4711 failed - unable to find VM '4711'",
    )
    assert recorded.shape(log) == recorded.shape(recorded.log("04_vzdump_errors", 9))
    assert len(api.archives()) == 1


def test_a_disk_with_backup_0_is_left_out_and_named(api: Api, lab: Lab) -> None:
    vm = lab.guests.need("clovis", 104)
    vm.config["scsi1"] += ",backup=0"
    status, log = api.task("POST", VZDUMP, vmid=104, storage="local")
    assert status == "OK"
    assert "INFO: exclude disk 'scsi1' 'local-lvm:vm-104-disk-1' (backup=no)" in log
    assert "qmdump#map:scsi1" not in api("GET", f"{VZDUMP}/extractconfig", volume=api.archives()[0])


def test_a_guest_without_disks_is_dumped_too(api: Api, lab: Lab) -> None:
    lab.guests.create("clovis", 300, {"memory": "64", "name": "enc"})
    status, log = api.task("POST", VZDUMP, vmid=300, storage="local", compress="zstd")
    assert status == "OK" and "INFO: starting diskless backup" in log
    assert (
        api("GET", f"{VZDUMP}/extractconfig", volume=api.archives()[0]) == "memory: 64\nname: enc\n"
    )


def test_retention_removes_what_it_names_after_a_good_dump(api: Api, lab: Lab) -> None:
    old = dump_dir(lab) / "vzdump-qemu-108-2026_03_09-21_00_02.vma.zst"
    other = dump_dir(lab) / "vzdump-qemu-109-2026_03_09-21_00_02.vma.zst"
    old.touch()
    other.touch()
    status, log = api.task("POST", VZDUMP, vmid=108, storage="local", prune_backups="keep-last=1")
    assert status == "OK"
    assert f"INFO: removing backup 'local:backup/{old.name}'" in log
    assert "INFO: pruned 1 backup(s) not covered by keep-retention policy" in log
    assert not old.exists() and other.exists()


def test_remove_0_with_a_finite_retention_fails_before_the_dump(api: Api, lab: Lab) -> None:
    (dump_dir(lab) / "vzdump-qemu-108-2026_03_09-21_00_02.vma.zst").touch()
    status, log = api.task(
        "POST", VZDUMP, vmid=108, storage="local", prune_backups="keep-last=1", remove=0
    )
    assert status == "job errors"
    assert recorded.shape(log) == recorded.shape(recorded.log("04_vzdump_errors", 72))


def test_a_locked_guest_fails_as_recorded(api: Api, lab: Lab) -> None:
    lab.guests.need("clovis", 108).config["lock"] = "snapshot"
    status, log = api.task("POST", VZDUMP, vmid=108, storage="local")
    assert status == "job errors"
    assert recorded.shape(log) == recorded.shape(recorded.log("04_vzdump_errors", 131))


@pytest.mark.parametrize(
    ("storage", "text"),
    [
        (
            "nosuch",
            "could not activate storage 'nosuch': storage 'nosuch' does not exist could not get "
            "storage information for 'nosuch': storage 'nosuch' does not exist",
        ),
        ("dis", "could not activate storage 'dis': storage 'dis' is disabled"),
        (
            "nobak",
            "could not get storage information for 'nobak': can't use storage 'nobak' for backups "
            "- wrong content type",
        ),
    ],
)
def test_a_storage_that_takes_no_archives_fails_the_task(
    api: Api, lab: Lab, storage: str, text: str
) -> None:
    lab.storages["dis"] = StorageDef("dis", "dir", ("backup",), disabled=True)
    lab.storages["nobak"] = StorageDef("nobak", "dir", ("images",))
    assert api.task("POST", VZDUMP, vmid=108, storage=storage) == (text, [f"TASK ERROR: {text}"])


@pytest.mark.parametrize(
    ("params", "errors"),
    [
        ({"vmid": 108, "all": 1}, {"all": "option conflicts with option 'vmid'"}),
        ({"vmid": 108, "exclude": 104}, {"exclude": "option conflicts with option 'vmid'"}),
        ({}, {"vmid": "property is missing"}),
        ({"vmid": 108, "tmpdir": "/tmp"}, {"tmpdir": "Only root may set this option."}),
        ({"vmid": 108, "job-id": "x1"}, {"job-id": "Only root may set this option."}),
        (
            {"vmid": 108, "stdout": 1},
            {"stdout": "option is only allowed on the command line interface."},
        ),
        (
            {"vmid": 108, "notes-template": "{{foo}}"},
            {"notes-template": "found unknown: variable 'foo' at char 4\n"},
        ),
    ],
)
def test_wrong_options_are_refused_as_recorded(
    api: Api, params: dict[str, Any], errors: dict[str, Any]
) -> None:
    assert api.refused("POST", VZDUMP, storage="local", **params) == (400, str(errors))


def test_without_vm_backup_the_call_passes_and_the_task_fails(api: Api, lab: Lab) -> None:
    lab.access.roles["BackupsvcVms"].remove("VM.Backup")
    service = api.with_token(seed.SERVICE_TOKEN)
    status, log = service.task("POST", VZDUMP, vmid=108, storage="local")
    assert status == "403 Permission check failed (/vms/108, VM.Backup)"
    assert service.task("POST", VZDUMP, all=1, storage="local") == (
        "OK",
        [
            log[0].replace("vzdump 108", "vzdump --all 1"),
            "INFO: Backup job finished successfully",
            "TASK OK",
        ],
    )


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"bwlimit": 1000}, "Permission check failed (/, Sys.Modify)"),
        (
            {"prune-backups": "keep-last=1"},
            "Permission check failed (/storage/local, Datastore.Allocate)",
        ),
        ({"storage": "other"}, "Permission check failed (/storage/other, Datastore.AllocateSpace)"),
    ],
)
def test_what_the_everyday_token_may_not_ask_for_is_refused_at_once(
    api: Api, params: dict[str, Any], text: str
) -> None:
    service = api.with_token(seed.SERVICE_TOKEN)
    assert service.refused("POST", VZDUMP, **{"vmid": 108, "storage": "local", **params}) == (
        403,
        text,
    )


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Let dumps wait for an event before their first byte is written."""
    go, original = threading.Event(), write_vma

    def waiting(*args: Any, **kwargs: Any) -> Any:
        progress = kwargs["progress"]
        while not go.wait(0.05):
            progress(Written())
        return original(*args, **kwargs)

    monkeypatch.setattr(dump_module, "write_vma", waiting)
    return go


def test_two_jobs_of_a_node_queue_and_a_third_without_patience_vanishes(
    api: Api, slow: threading.Event
) -> None:
    first = api("POST", VZDUMP, vmid=104, storage="local")
    second = api("POST", VZDUMP, vmid=108, storage="local", lockwait=1)
    impatient = api.task("POST", VZDUMP, vmid=108, storage="local", lockwait=0)
    assert impatient == (
        "unexpected status",
        ["ERROR: can't acquire lock '/var/run/vzdump.lock' (wait = 0)"],
    )
    time.sleep(0.3)
    assert len(api.archives()) == 0
    slow.set()
    assert api.ended(first)[0] == "OK"
    status, log = api.ended(second)
    assert (status, log[:2]) == (
        "OK",
        ["INFO: trying to get global lock - waiting...", "INFO: got global lock"],
    )


def test_a_guest_bears_the_backup_lock_while_it_is_dumped(api: Api, slow: threading.Event) -> None:
    upid = api("POST", VZDUMP, vmid=104, storage="local")
    wait_until(lambda: api("GET", f"{HOME}/qemu/104/config").get("lock"))
    assert api("GET", f"{HOME}/qemu/104/status/current")["lock"] == "backup"
    assert api.refused("PUT", f"{HOME}/qemu/104/config", tags="x") == (500, "VM is locked (backup)")
    slow.set()
    assert api.ended(upid)[0] == "OK"
    assert "lock" not in api("GET", f"{HOME}/qemu/104/config")


def test_a_dump_that_is_told_to_stop_leaves_only_its_log(
    api: Api, lab: Lab, slow: threading.Event
) -> None:
    api.start(104)
    upid = api("POST", VZDUMP, vmid=104, storage="local")
    wait_until(
        lambda: any("started backup task" in line for line in lab.tasks.log(Upid.parse(upid)) or ())
    )
    api("DELETE", f"{HOME}/tasks/{upid}")
    status, log = api.ended(upid)
    assert status == "interrupted by signal"
    wanted = recorded.shape(recorded.log("04_vzdump_errors", 240))
    assert recorded.shape(log)[-6:] == wanted[-6:]
    assert [path.suffix for path in dump_dir(lab).iterdir()] == [".log"]
    assert "lock" not in lab.guests.need("clovis", 104).config


def test_a_full_storage_fails_the_guest_as_recorded(
    api: Api, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.start(104)

    def full(sink: object, **_: Any) -> None:
        with Path("/dev/full").open("wb", buffering=0) as file:
            file.write(b"x")

    monkeypatch.setattr(dump_module, "write_vma", full)
    status, log = api.task("POST", VZDUMP, vmid=104, storage="local", compress="zstd")
    wanted = recorded.shape(recorded.log("04_vzdump_errors", 64))
    assert (status, recorded.shape(log)[-6:]) == ("job errors", wanted[-6:])
    assert "zstd: error 70 : Write error : cannot write block : No space left on device " in log
    assert api.archives() == []


def test_the_defaults_are_those_of_the_real_server(api: Api) -> None:
    got, real = (
        api("GET", f"{VZDUMP}/defaults"),
        recorded.exchange("03_vzdump_ok", 84)["response"]["json"]["data"],
    )
    assert {**got, "dumpdir": real["dumpdir"]} == real


def test_what_is_no_archive_is_refused_by_extractconfig(api: Api, lab: Lab) -> None:
    path = f"{VZDUMP}/extractconfig"
    assert api.refused("GET", path, volume="local:backup/x.vma.zst") == (
        500,
        "volume 'local:backup/x.vma.zst' does not exist",
    )
    wrong = "unable to use volume local-lvm:vm-108-disk-0 - content type needs to be 'backup'"
    assert api.refused("GET", path, volume="local-lvm:vm-108-disk-0") == (500, wrong)
    assert api.refused("GET", path, volume="/x.vma")[1].startswith(
        "Only root can pass arbitrary filesystem paths."
    )
    (dump_dir(lab) / "empty.vma.zst").touch()
    assert (
        "unexpected end of file" in api.refused("GET", path, volume="local:backup/empty.vma.zst")[1]
    )
