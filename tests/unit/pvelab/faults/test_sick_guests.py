"""Guests whose agent is silent, that panic, or that lack a disk or their service; restored copies
of them too.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from pvelab.errors import UsageError
from pvelab.faults import effects, sickness
from pvelab.images.disks import KERNEL_ARGUMENTS, LOADER_CONFIG, SYSTEM_START
from pvelab.kernel import Lab
from tests.unit.pvelab.faults.conftest import Break, struck
from tests.unit.pvelab.guests.conftest import HOME, Api

PING = f"{HOME}/qemu/104/agent/ping"


def copy_of(api: Api, vmid: int) -> None:
    """Restore a guest's archive as 9000 and start it."""
    params = {"archive": api.dump(vmid), "storage": "local-lvm", "net0": "virtio,bridge=vmbr9"}
    assert api.task("POST", f"{HOME}/qemu", vmid=9000, **params)[0] == "OK"
    assert api.task("POST", f"{HOME}/qemu/9000/status/start")[0] == "OK"


def test_a_silent_agent_is_a_500_after_three_seconds_until_the_fault_is_cleared(
    api: Api, lab: Lab, broken: Break
) -> None:
    api.start(104)
    assert api("POST", PING) == {"result": {}}
    fault = broken("agent-silent", vmid=104)
    began = time.monotonic()
    assert api.refused("POST", PING) == (500, "QEMU guest agent is not running")
    assert time.monotonic() - began > 2.9
    assert struck(lab, fault) == 1
    effects.clear(lab)
    assert api("POST", PING) == {"result": {}}


def test_a_guest_with_a_silent_agent_is_dumped_without_being_frozen(
    api: Api, broken: Break
) -> None:
    api.start(104)
    broken("agent-silent", vmid=104)
    status, log = api.task("POST", f"{HOME}/vzdump", vmid=104, storage="local")
    assert status == "OK"
    assert "INFO: skipping guest-agent 'fs-freeze', agent configured but not running?" in log


def test_a_panicked_guest_runs_and_answers_nothing_and_so_does_its_copy(
    api: Api, lab: Lab, broken: Break
) -> None:
    broken("guest-panic", vmid=104)
    copy_of(api, 104)
    assert lab.machine_status(9000) == "running"
    assert "Kernel panic" in lab.machines[9000].console()
    assert api.refused("POST", f"{HOME}/qemu/9000/agent/ping")[0] == 500
    effects.clear(lab)
    api.start(104)
    assert api("POST", PING) == {"result": {}}, "a cleared fault still strikes"


def test_other_guests_are_not_struck(api: Api, lab: Lab, broken: Break) -> None:
    fault = broken("guest-panic", vmid=104)
    api.start(105)
    assert "Kernel panic" not in lab.machines[105].console()
    assert struck(lab, fault) == 0


def test_a_guest_whose_data_disk_is_gone_starts_without_it_and_its_dump_says_so(
    api: Api, lab: Lab, broken: Break
) -> None:
    broken("data-disk-gone", vmid=104)
    api.start(104)
    assert [disk.key for disk in lab.machines[104].spec.disks] == ["scsi0"]
    status, log = api.task("POST", f"{HOME}/vzdump", vmid=104, storage="local")
    assert status == "job errors"
    assert "ERROR: VM 104 qmp command 'backup' failed - Device 'drive-scsi1' not found" in log


def test_a_copys_data_disk_is_gone_as_its_guests_is_but_not_from_its_config(
    api: Api, lab: Lab, broken: Break
) -> None:
    broken("data-disk-gone", vmid=104)
    copy_of(api, 104)
    assert [disk.key for disk in lab.machines[9000].spec.disks] == ["scsi0"]
    assert "scsi1" in lab.guests.need("clovis", 9000).config


def test_modelled_guests_have_no_service_that_could_be_down(broken: Break) -> None:
    with pytest.raises(UsageError, match="run no service"):
        broken("service-down", vmid=104)


def disk_of(tmp_path: Path, services: bytes) -> Path:
    """A disk with the loader's configuration and a list of services where a guest's have them, and
    noise around.
    """
    disk, noise = tmp_path / "disk.raw", random.Random(1).randbytes(8192)
    with disk.open("wb") as file:
        file.truncate(SYSTEM_START + 1024 * 1024)
        for at, content in (
            (3 * 1024 * 1024, LOADER_CONFIG.encode()),
            (SYSTEM_START, noise),
            (SYSTEM_START + 10_240, services),
        ):
            file.seek(at)
            file.write(content)
    return disk


@pytest.mark.slow
def test_the_boot_line_of_a_panicking_disk_names_an_init_that_is_not_there_and_stays_in_the_panic(
    tmp_path: Path,
) -> None:
    disk = disk_of(tmp_path, b"")
    size, before = disk.stat().st_size, disk.read_bytes()
    assert sickness.panic(disk) == 1
    after = disk.read_bytes()
    wanted = KERNEL_ARGUMENTS.replace("rdinit=/init", "rdinit=/gone").replace(
        "panic=-1", "panic=00"
    )
    assert len(after) == size and wanted.encode() in after
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 6


def test_all_services_but_ssh_are_taken_out_of_a_disks_list(tmp_path: Path) -> None:
    disk = disk_of(tmp_path, b"ssh 22\nhttp 80\ntcp 88\ndns 53\nldap 389\nhttps 443\n")
    assert sickness.silence_services(disk) == 1
    assert b"ssh 22\nxxxx 80\nxxx 88\nxxx 53\nxxxx 389\nxxxxx 443\n\0" in disk.read_bytes()
