"""Guests that are halted and go on, and disks that grow (05_restore_ok 63-66, 189-197)."""

from __future__ import annotations

import pytest

from pvelab import seed
from pvelab.kernel import Lab
from tests.unit.pvelab.guests.conftest import HOME, MIB, Api

GUEST = f"{HOME}/qemu/104"
NO_AGENT = (500, "QEMU guest agent is not running")


def size_of(api: Api, key: str = "scsi0") -> tuple[int, str]:
    """Return a disk's size as it lies, and as the configuration says."""
    value = api.lab.guests.need("clovis", 104).config[key]
    (file,) = api.lab.dir.rglob(value.split(",")[0].partition(":")[2])
    return file.stat().st_size, dict(part.split("=") for part in value.split(",")[1:])["size"]


def test_a_halted_guest_stands_still_until_it_is_resumed(api: Api) -> None:
    api.start(104)
    assert api.task("POST", f"{GUEST}/status/suspend") == ("OK", ["TASK OK"])
    found = api("GET", f"{GUEST}/status/current")
    assert (found["status"], found["qmpstatus"]) == ("running", "paused")
    assert api.refused("POST", f"{GUEST}/agent/ping") == NO_AGENT
    assert api.refused("POST", f"{GUEST}/status/shutdown") == (
        500,
        "VM is paused - cannot shutdown",
    )
    assert api.task("POST", f"{GUEST}/status/resume") == ("OK", ["TASK OK"])
    assert api("POST", f"{GUEST}/agent/ping") == {"result": {}}
    assert api("GET", f"{GUEST}/status/current")["qmpstatus"] == "running"


def test_a_halted_guest_that_is_switched_off_starts_running(api: Api) -> None:
    api.start(104)
    api.task("POST", f"{GUEST}/status/suspend")
    assert api.task("POST", f"{GUEST}/status/stop")[0] == "OK"
    assert api.task("POST", f"{GUEST}/status/start")[0] == "OK"
    assert api("GET", f"{GUEST}/status/current")["qmpstatus"] == "running"


@pytest.mark.parametrize("call", ["suspend", "resume"])
def test_a_guest_that_is_off_or_may_not_be_switched_is_neither_halted_nor_resumed(
    api: Api, lab: Lab, call: str
) -> None:
    assert api.refused("POST", f"{GUEST}/status/{call}") == (500, "VM 104 not running")
    api.start(104)
    assert api.refused("POST", f"{GUEST}/status/{call}", skiplock=1)[0] == 400
    lab.access.roles["BackupsvcVms"].remove("VM.PowerMgmt")
    assert api.with_token(seed.SERVICE_TOKEN).refused("POST", f"{GUEST}/status/{call}")[0] == 403


def test_a_locked_guest_is_not_halted_but_one_that_is_dumped_may_be_resumed(
    api: Api, lab: Lab
) -> None:
    api.start(104)
    lab.guests.need("clovis", 104).config["lock"] = "backup"
    assert api.task("POST", f"{GUEST}/status/suspend")[0] == "VM is locked (backup)"
    assert api.task("POST", f"{GUEST}/status/resume")[0] == "OK"


def test_suspending_to_a_disk_is_said_to_be_missing(api: Api) -> None:
    api.start(104)
    assert api.refused("POST", f"{GUEST}/status/suspend", todisk=1) == (
        501,
        "the lab suspends guests in memory only",
    )


@pytest.mark.parametrize("running", [False, True])
def test_a_disk_grows_by_or_to_a_size(api: Api, running: bool) -> None:
    if running:
        api.start(104)
    log = [] if running else ["  Logical volume pve/vm-104-disk-0 successfully resized."]
    assert api.task("PUT", f"{GUEST}/resize", disk="scsi0", size="+1M") == ("OK", [*log, "TASK OK"])
    assert size_of(api) == (3 * MIB, "3M")
    assert api.task("PUT", f"{GUEST}/resize", disk="scsi0", size="4M")[0] == "OK"
    assert size_of(api) == (4 * MIB, "4M")
    assert api.task("PUT", f"{GUEST}/resize", disk="scsi0", size="4M") == ("OK", ["TASK OK"]), (
        "nothing to do"
    )


def test_what_grew_while_the_guest_ran_is_in_its_archive(api: Api) -> None:
    api.start(104)
    assert api.task("PUT", f"{GUEST}/resize", disk="scsi0", size="+1M")[0] == "OK"
    volid = api.dump(104)
    status, log = api.task("POST", f"{HOME}/qemu", vmid=9000, archive=volid, storage="local-lvm")
    assert status == "OK"
    assert f"DEV: dev_id=1 size: {3 * MIB} devname: drive-scsi0" in log


def test_a_disk_is_not_resized_in_pves_words(api: Api, lab: Lab) -> None:
    lab.guests.need("clovis", 104).config["ide2"] = "none,media=cdrom"
    refused = {
        ("scsi0", "1M"): "shrinking disks is not supported",
        ("scsi7", "+1M"): "disk 'scsi7' does not exist",
        ("ide2", "+1M"): "you can't resize a cdrom",
    }
    for (disk, size), text in refused.items():
        assert api.task("PUT", f"{GUEST}/resize", disk=disk, size=size)[0] == text
    wrong = {"disk": "scsi0", "size": "+1M", "digest": "0" * 40}
    assert (
        api.task("PUT", f"{GUEST}/resize", **wrong)[0]
        == "checksum mismatch (file change by other user?)"
    )
    lab.guests.need("clovis", 104).config["lock"] = "backup"
    assert (
        api.task("PUT", f"{GUEST}/resize", disk="scsi0", size="+1M")[0] == "VM is locked (backup)"
    )
    assert size_of(api) == (2 * MIB, "2M")


def test_a_disk_grows_only_with_space_on_its_storage(api: Api, lab: Lab) -> None:
    service = api.with_token(seed.SERVICE_TOKEN)
    assert service.refused("PUT", f"{GUEST}/resize", disk="scsi0", size="+1M")[0] == 403
    lab.access.roles["BackupsvcVms"].append("VM.Config.Disk")
    lab.access.roles["BackupsvcStore"].remove("Datastore.AllocateSpace")
    denied = "Permission check failed (/storage/local-lvm, Datastore.AllocateSpace)"
    assert service.task("PUT", f"{GUEST}/resize", disk="scsi0", size="+1M")[0] == denied


def test_a_disk_that_is_gone_is_not_resized(api: Api, lab: Lab) -> None:
    (file,) = lab.dir.rglob("vm-104-disk-0")
    file.unlink()
    assert "no such volume" in api.task("PUT", f"{GUEST}/resize", disk="scsi0", size="+1M")[0]
