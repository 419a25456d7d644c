"""One real guest with two disks: its agent, its service, copies of its disks, its power."""

from __future__ import annotations

import base64
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pvelab.images.build import ensure_images
from pvelab.images.disks import MIB, SYSTEM_START
from pvelab.vmm import accel
from pvelab.vmm.agent import AgentFailure, AgentSilent
from pvelab.vmm.machine import Machine, QemuError
from tests.lab.vmm.conftest import Bench, run, up
from tests.waiting import HANGS, wait_until

pytestmark = pytest.mark.lab

# Writes a number to the one disk, then the same to the other, each write on the disk before the
# next begins.
COUNTER = """
n=0
while [ -e /run/counting ]; do
    n=$((n + 1))
    printf %08d $n | dd of=/site/counter conv=notrunc,fsync 2>/dev/null
    printf %08d $n | dd of=/data/counter conv=notrunc,fsync 2>/dev/null
done
"""


@pytest.fixture(scope="module")
def glpi(bench: Bench) -> Machine:
    machine = bench.machine(104)
    machine.start()
    print(f"seconds to guest-ping: {up(machine):.1f}")
    return machine


def resident(machine: Machine) -> int:
    """MiB that the machine's QEMU has in memory."""
    status = Path(f"/proc/{machine.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024


def file_on(image: Path, path: str, start: int, folder: Path) -> str:
    """A file's content on the ext4 file system at ``start`` of a disk, after its journal was
    replayed as at a boot.
    """
    part = folder / f"{image.name}.ext4"
    with image.open("rb") as disk:
        disk.seek(start)
        part.write_bytes(disk.read())
    tools = {"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}
    assert (
        subprocess.run(
            ["e2fsck", "-fy", str(part)], capture_output=True, env=tools, check=False
        ).returncode
        < 4
    )
    return subprocess.run(
        ["debugfs", "-R", f"cat {path}", str(part)],
        capture_output=True,
        text=True,
        env=tools,
        check=True,
    ).stdout


def test_a_guest_boots_from_its_own_disk_and_its_agent_answers(glpi: Machine) -> None:
    assert glpi.agent("guest-ping") == {}
    assert glpi.status() == "running"
    assert glpi.uptime() > 0
    print(f"resident: {resident(glpi)} MiB")


def test_the_agent_tells_system_name_and_addresses(glpi: Machine) -> None:
    system: Any = glpi.agent("guest-get-osinfo")
    interfaces: Any = glpi.agent("guest-network-get-interfaces")
    eth0 = next(interface for interface in interfaces if interface["name"] == "eth0")
    assert (system["id"], system["version-id"]) == ("debian", "12")
    assert glpi.agent("guest-get-host-name") == {"host-name": "GLPI-Server"}
    assert eth0["hardware-address"] == "bc:24:11:00:00:04"
    assert "192.168.10.4" in [address["ip-address"] for address in eth0["ip-addresses"]]


def test_the_agent_runs_commands_and_tells_how_they_ended(glpi: Machine) -> None:
    assert run(glpi, "echo hello; exit 3") == (3, "hello\n")


def test_the_agent_reads_files(glpi: Machine) -> None:
    handle = glpi.agent("guest-file-open", {"path": "/site/hostname"})
    answer: Any = glpi.agent("guest-file-read", {"handle": handle})
    glpi.agent("guest-file-close", {"handle": handle})
    assert base64.b64decode(answer["buf-b64"]) == b"GLPI-Server\n"


def test_an_error_of_the_agent_is_told_in_its_own_words(glpi: Machine) -> None:
    with pytest.raises(AgentFailure, match="Invalid parameter 'pid'"):
        glpi.agent("guest-exec-status", {"pid": 99999})


def test_the_guest_has_the_uuid_of_its_seed(glpi: Machine) -> None:
    assert run(glpi, "cat /sys/class/dmi/id/product_uuid") == (0, f"{glpi.spec.uuid}\n")


def test_the_page_is_made_from_the_database_and_is_a_500_without_it(glpi: Machine) -> None:
    page = "wget -q -O - http://192.168.10.4/"
    assert run(glpi, page) == (
        0,
        "<title>GLPI</title><p>GLPI: 1200 records, newest: 1200|2026-05-31|GLPI-Server record "
        "1200</p>\n",
    )
    code, said = run(
        glpi,
        f"mv /data/records.db /data/away; {page}; code=$?; mv /data/away /data/records.db; exit "
        "$code",
    )
    assert code != 0
    assert "500 Internal Server Error" in said


@pytest.mark.parametrize("freeze", [False, True])
def test_a_copy_of_all_disks_shows_one_moment(glpi: Machine, tmp_path: Path, freeze: bool) -> None:
    counter: dict[str, object] = {
        "path": "/bin/sh",
        "arg": ["-c", f"touch /run/counting; {COUNTER}"],
    }
    glpi.agent("guest-exec", counter)
    time.sleep(2)
    events: list[tuple[str, int, int]] = []
    targets = {key: tmp_path / f"{key}.raw" for key in ("scsi0", "scsi1")}
    # So slow that the guest counts on by dozens while the disks are copied.
    copied = glpi.snapshot(
        targets, freeze=freeze, on_event=lambda *event: events.append(event), speed=24 * MIB
    )
    _, last = run(glpi, "rm /run/counting; sleep 1; cat /site/counter")
    first, second = (
        int(file_on(targets["scsi0"], "/counter", SYSTEM_START, tmp_path)),
        int(file_on(targets["scsi1"], "/counter", 0, tmp_path)),
    )
    print(f"counters {first} and {second} of {last.strip()}, {copied}")
    assert copied.frozen is freeze
    assert 0 < second <= first <= second + 1
    assert int(last) > first + 20, "the guest went on writing while the copies were made"
    total = sum(path.stat().st_size for path in targets.values())
    assert events[-1] == ("progress", total, total)
    assert ("thaw" in [event[0] for event in events]) is freeze


def test_a_copy_of_disks_leaves_nothing_behind_in_qemu(glpi: Machine, tmp_path: Path) -> None:
    glpi.snapshot({"scsi1": tmp_path / "scsi1.raw"}, freeze=False)
    nodes: Any = glpi.qmp("query-named-block-nodes")
    assert glpi.qmp("query-jobs") == []
    assert {node["node-name"] for node in nodes if not node["node-name"].startswith("#")} == {
        "scsi0",
        "scsi1",
    }
    assert glpi.agent("guest-fsfreeze-status") == "thawed"


def test_a_copy_that_is_called_off_ends_and_the_next_one_works(
    glpi: Machine, tmp_path: Path
) -> None:
    class CalledOff(Exception):
        pass

    def call_off(event: str, done: int, total: int) -> None:
        if event == "progress":
            raise CalledOff

    with pytest.raises(CalledOff):
        glpi.snapshot(
            {"scsi0": tmp_path / "slow.raw"}, freeze=True, on_event=call_off, speed=1024 * 1024
        )
    assert glpi.qmp("query-jobs") == []
    assert glpi.agent("guest-fsfreeze-status") == "thawed"
    glpi.snapshot({"scsi0": tmp_path / "next.raw"}, freeze=False)


def test_a_copy_to_where_nothing_can_be_written_says_so(glpi: Machine, tmp_path: Path) -> None:
    with pytest.raises(
        QemuError, match=r"cannot write the copy of disk scsi1 to .*none/scsi1.raw: No such file"
    ):
        glpi.snapshot({"scsi1": tmp_path / "none" / "scsi1.raw"}, freeze=False)
    assert glpi.qmp("query-jobs") == []


def test_an_agent_that_hangs_is_silent_and_answers_again_when_it_is_back(glpi: Machine) -> None:
    stop = "sleep 0.2; killall -STOP qemu-ga; sleep 8; killall -CONT qemu-ga; echo back >/data/back"
    glpi.agent("guest-exec", {"path": "/bin/sh", "arg": ["-c", stop]})

    def silent() -> bool:
        try:
            glpi.agent("guest-get-osinfo", timeout=1.0)
        except AgentSilent:
            return True
        return False

    def back() -> bool:
        try:
            return run(glpi, "cat /data/back") == (0, "back\n")
        except AgentSilent:
            return False

    assert wait_until(silent)
    assert wait_until(back)
    assert glpi.agent("guest-ping", timeout=HANGS) == {}


def test_the_power_button_switches_a_guest_off_and_its_disks_are_clean(
    glpi: Machine, tmp_path: Path
) -> None:
    run(glpi, "echo kept >/data/note")
    glpi.powerdown()
    assert glpi.wait(60)
    assert glpi.status() == "stopped"
    disk = next(disk for disk in glpi.spec.disks if disk.key == "scsi1")
    assert file_on(disk.path, "/note", 0, tmp_path) == "kept\n"


def test_a_stopped_machine_starts_again_and_obeys_the_agents_shutdown(glpi: Machine) -> None:
    glpi.start()
    up(glpi)
    assert run(glpi, "cat /data/note") == (0, "kept\n")
    with pytest.raises(AgentSilent):
        glpi.agent("guest-shutdown", timeout=2.0)
    assert glpi.wait(60)


def test_pulling_the_plug_leaves_no_process_no_socket_and_no_cable(
    glpi: Machine, bench: Bench
) -> None:
    glpi.start()
    pid = glpi.pid
    assert Path(f"/proc/{pid}").exists()
    with pytest.raises(QemuError, match="runs already"):
        glpi.start()
    glpi.stop()
    assert not Path(f"/proc/{pid}").exists()
    assert [path.name for path in glpi.run_dir.iterdir()] == ["qemu.log"]
    assert bench.networks.counters("104") == {}
    assert glpi.status() == "stopped"
    with pytest.raises(AgentSilent):
        glpi.agent("guest-ping")
    with pytest.raises(QemuError, match="is off"):
        glpi.qmp("query-status")


def test_a_machine_without_its_data_disk_boots_and_its_page_is_a_500(bench: Bench) -> None:
    whole = bench.machine(105)
    without = Machine(
        replace(whole.spec, disks=whole.spec.disks[:1]),
        whole.run_dir,
        bench.networks,
        bench.accelerator,
    )
    try:
        without.start()
        up(without)
        code, said = run(without, "wget -q -O - http://192.168.10.5/login")
    finally:
        without.stop()
    assert code != 0
    assert "500" in said


def test_a_machine_that_is_started_paused_waits_until_it_is_let_go(glpi: Machine) -> None:
    glpi.start(paused=True)
    assert glpi.status() == "paused"
    glpi.resume()
    assert glpi.status() == "running"
    glpi.stop()


def test_a_machine_whose_link_is_down_from_the_start_has_no_carrier(bench: Bench) -> None:
    machine = bench.machine(101)
    nics = tuple(replace(nic, link_up=False) for nic in machine.spec.nics)
    cut = Machine(
        replace(machine.spec, nics=nics), machine.run_dir, bench.networks, bench.accelerator
    )
    try:
        cut.start()
        up(cut)
        time.sleep(2)
        assert "NO-CARRIER" in run(cut, "ip link show eth0")[1]
        assert bench.networks.counters("101")[0].received == 0
    finally:
        cut.stop()


def test_firmware_reads_the_first_sector_of_an_empty_boot_disk_again_and_again(
    bench: Bench,
) -> None:
    """What `policies.stillness` takes for a disk that nothing boots from."""
    machine = bench.machine(101)
    disk = machine.spec.disks[0]
    with disk.path.open("r+b") as file:
        file.truncate(0)
        file.truncate(disk.size)

    def counted() -> dict[str, Any]:
        return machine.block_stats()[disk.key]

    try:
        machine.start()
        wait_until(lambda: counted()["rd_operations"] >= 4)
        told = counted()
        assert told["rd_bytes"] == 512 * told["rd_operations"] and machine.run_state() == "running"
        machine.suspend()
        assert machine.run_state() == "paused"
        machine.resume()
    finally:
        machine.stop()
    assert (machine.run_state(), machine.block_stats()) == ("stopped", {})


def test_the_accelerator_is_one_that_really_boots_a_guest_and_is_found_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert accel.boots(bench.images, bench.accelerator, 60)
    monkeypatch.setattr(accel, "boots", None)
    assert accel.choose(bench.images) == bench.accelerator


def test_images_are_built_once() -> None:
    said: list[str] = []
    ensure_images(progress=said.append)
    assert said == []
