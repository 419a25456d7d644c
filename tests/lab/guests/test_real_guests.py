"""Real guests dumped while they run and restored from their archives alone: what boots again is
what was there.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import pytest

from pvelab import seed
from pvelab.hypervisors import QemuPlatform
from pvelab.images.site import guest
from pvelab.kernel import Lab
from pvelab.power import answers
from tests.unit.pvelab.guests.conftest import HOME, Api
from tests.unit.pvelab.guests.readers import by_both
from tests.waiting import HANGS

pytestmark = pytest.mark.lab
VMIDS = (104, 108)
ISOLATED = "virtio,bridge=vmbr9,link_down=1"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    run_dir = seed.new_run_dir()
    platform = QemuPlatform(run_dir, print)
    opened = seed.open_lab(
        tmp_path_factory.mktemp("lab"), platform, run_dir, seed.cluster() | {"auth_delay": 0.0}
    )
    seed.seed_cluster(opened)
    opened.ha.resources.clear()
    platform.make_disks(
        {
            guest(v): {key: seed.disk_path(opened, guest(v), key) for key in guest(v).disks}
            for v in VMIDS
        }
    )
    for vmid in VMIDS:
        seed.seed_guest(opened, guest(vmid), guest(vmid).disks)
        Api(opened).start(vmid)
    for vmid in VMIDS:
        wait_for(opened, vmid)
    yield opened
    platform.close()
    shutil.rmtree(run_dir, ignore_errors=True)


@pytest.fixture
def api(lab: Lab) -> Api:
    return Api(lab)


def wait_for(lab: Lab, vmid: int) -> float:
    """Wait until a guest answers; return how many seconds that took."""
    began, vm = time.monotonic(), lab.guests.need("clovis", vmid)
    while not answers(lab, vm):
        assert time.monotonic() - began < HANGS, f"guest {vmid} does not answer"
        time.sleep(0.1)
    return time.monotonic() - began


def run(api: Api, vmid: int, script: str) -> str:
    """Run a shell script in a guest by its agent and return what it printed."""
    agent = f"{HOME}/qemu/{vmid}/agent"
    pid = api("POST", f"{agent}/exec", command=["/bin/sh", "-c", script])["pid"]
    for _ in range(100):
        result = api("GET", f"{agent}/exec-status", pid=pid)
        if result["exited"]:
            return str(result.get("out-data", "")) + str(result.get("err-data", ""))
        time.sleep(0.1)
    raise AssertionError(f"{script} did not end in guest {vmid}")


def test_a_restored_copy_of_a_running_guest_is_the_guest_at_the_moment_of_its_dump(
    api: Api, lab: Lab
) -> None:
    run(api, 104, "echo before | tee /site/mark > /data/mark")
    began = time.monotonic()
    status, log = api.task("POST", f"{HOME}/vzdump", vmid=104, storage="local", compress="zstd")
    dumped = time.monotonic() - began
    assert status == "OK"
    frozen, thawed = (
        log.index(f"INFO: issuing guest-agent 'fs-{what}' command") for what in ("freeze", "thaw")
    )
    assert log[frozen + 1 : thawed] == ["INFO: starting backup via QMP command"]
    run(api, 104, "echo after | tee /site/mark > /data/mark; sync")
    (volid,) = api.archives()
    began = time.monotonic()
    params = {"archive": volid, "storage": "local-lvm", "net0": ISOLATED, "name": "copy"}
    assert api.task("POST", f"{HOME}/qemu", vmid=9000, **params)[0] == "OK"
    restored = time.monotonic() - began
    assert api.task("POST", f"{HOME}/qemu/9000/status/start")[0] == "OK"
    booted = wait_for(lab, 9000)
    print(f"dump {dumped:.1f} s, restore {restored:.1f} s, boot to agent {booted:.1f} s")
    assert run(api, 9000, "cat /site/mark /data/mark") == "before\nbefore\n"
    assert (
        api("GET", f"{HOME}/qemu/9000/agent/get-host-name")["result"]["host-name"] == "GLPI-Server"
    )
    interfaces = api("GET", f"{HOME}/qemu/9000/agent/network-get-interfaces")["result"]
    assert "bc:24:11" in str(interfaces), "the copy has no network card"
    assert api.task("POST", f"{HOME}/qemu/9000/status/stop")[0] == "OK"
    assert api.task("DELETE", f"{HOME}/qemu/9000", purge=1)[0] == "OK"
    assert lab.machine_status(104) == "running"


def test_a_guest_without_an_agent_is_dumped_without_a_word_of_freezing(api: Api) -> None:
    status, log = api.task("POST", f"{HOME}/vzdump", vmid=108, storage="local", compress="zstd")
    assert status == "OK"
    assert not [line for line in log if "fs-freeze" in line]
    assert api.refused("POST", f"{HOME}/qemu/108/agent/ping") == (
        500,
        "No QEMU guest agent configured",
    )


def test_a_failing_program_and_an_unknown_process_are_told_by_the_agent(api: Api) -> None:
    assert run(api, 104, "echo out; echo err >&2; exit 3") == "out\nerr\n"
    assert api.refused("GET", f"{HOME}/qemu/104/agent/exec-status", pid=99999)[1].startswith(
        "Agent error: "
    )
    assert api("GET", f"{HOME}/qemu/104/agent/file-read", file="/etc/os-release")["bytes-read"] > 0


def test_mode_stop_brings_the_guest_up_again(api: Api, lab: Lab) -> None:
    status, log = api.task(
        "POST", f"{HOME}/vzdump", vmid=104, storage="local", compress="zstd", mode="stop"
    )
    assert status == "OK" and "INFO: stopping virtual guest" in log
    wait_for(lab, 104)


def test_a_real_guest_stands_still_while_it_is_suspended(api: Api) -> None:
    machine, tick = f"{HOME}/qemu/104", "cat /proc/uptime"
    assert api.task("POST", f"{machine}/status/suspend")[0] == "OK"
    assert api("GET", f"{machine}/status/current")["qmpstatus"] == "paused"
    assert api.refused("POST", f"{machine}/agent/ping") == (500, "QEMU guest agent is not running")
    assert api.refused("POST", f"{machine}/status/shutdown") == (
        500,
        "VM is paused - cannot shutdown",
    )
    assert api.task("POST", f"{machine}/status/resume")[0] == "OK"
    assert float(run(api, 104, tick).split()[0]) > 0
    assert api("GET", f"{machine}/status/current")["qmpstatus"] == "running"


def test_a_real_guest_sees_its_disk_grow_and_its_archive_has_all_of_it(api: Api, lab: Lab) -> None:
    def sectors() -> int:
        return int(run(api, 104, "cat /sys/block/vdb/size"))

    before = sectors()
    assert api.task("PUT", f"{HOME}/qemu/104/resize", disk="scsi1", size="+1M") == (
        "OK",
        ["TASK OK"],
    )
    assert sectors() == before + 2048
    by_both(lab.storage_dir("clovis", "local") / "dump" / api.dump(104).partition("/")[2])
    assert (
        api("POST", f"{HOME}/qemu/104/monitor", command="info status") == "VM status: running\r\n"
    )


def test_shutdown_powers_a_real_guest_off(api: Api, lab: Lab) -> None:
    assert api.task("POST", f"{HOME}/qemu/104/status/shutdown", timeout=120)[0] == "OK"
    assert lab.machine_status(104) == "stopped"
