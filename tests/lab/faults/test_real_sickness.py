"""Sick copies of healthy archives: a real panic, a service that is really down, a disk that is not
there. None is proven.
"""

from __future__ import annotations

import json
import ssl
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.commands import Shell
from tests.waiting import wait_until

pytestmark = pytest.mark.lab
POLICY = """
site: faults
scratch: {vmids: 9000-9009, bridge: vmbr9, storage: local-lvm, settle: 1s}
jobs:
  nightly: {schedule: "21:00", storage: local, guests: [104, 108], compress: zstd}
guests:
  104:
    address: 192.168.10.4
    boot-timeout: 90s
    check-timeout: 5s
    checks: [{http: {port: 80, path: /, status: 200, contains: GLPI}}]
  108:
    address: 192.168.10.8
    check-timeout: 5s
    checks: [ssh, {http: {port: 80, path: /, status: 200}}]
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A user with a lab of real guests, two of them backed up."""
    home = tmp_path_factory.mktemp("site")
    policy = home / "policy.yaml"
    policy.write_text(POLICY, encoding="utf-8")
    shell = Shell(home, {"BACKUPSVC_POLICY": str(policy)})
    try:
        up = shell("lab", "up", "--hypervisor", "qemu", "--guests", "104,108", timeout=280)
        assert up.code == 0, up.err
        backup = shell("backup", "run", "--json")
        assert backup.code == 0, backup.out + backup.err
        yield shell
    finally:
        assert shell("lab", "down").code == 0


def result_under(site: Shell, fault: str, vmid: int, **env: str) -> tuple[Any, str]:
    """Restore-test a guest under a fault; return the result and the fault's own line."""
    assert site("lab", "fault", fault, vmid).code == 0
    try:
        answer = replace(site, env=site.env | env)("restore-test", vmid, "--json")
        assert answer.code == 1, answer.out + answer.err
        (row,) = site("lab", "fault", "list", "--json").json["faults"]
    finally:
        assert site("lab", "fault", "clear").code == 0
    assert row["struck"] == 1
    return answer.json, str([check["outcome"] for check in answer.json["checks"]])


def test_a_copy_that_boots_into_a_kernel_panic_is_failed_and_never_booted(site: Shell) -> None:
    impatient = site.state / "impatient.yaml"
    impatient.write_text(POLICY.replace("boot-timeout: 90s", "boot-timeout: 20s"), encoding="utf-8")
    result, _ = result_under(site, "guest-panic", 104, BACKUPSVC_POLICY=str(impatient))
    assert (result["verdict"], result["rung"]) == ("failed", "restored")


def test_a_copy_whose_service_is_down_is_booted_and_failed(site: Shell) -> None:
    result, outcomes = result_under(site, "service-down", 108)
    assert (result["verdict"], result["rung"], outcomes) == (
        "failed",
        "booted",
        "['passed', 'failed']",
    )


def test_a_copy_without_its_data_disk_answers_with_an_error_page_and_is_failed(site: Shell) -> None:
    result, _ = result_under(site, "data-disk-gone", 104)
    assert (result["verdict"], result["rung"]) == ("failed", "booted")


def test_a_copy_whose_boot_disk_is_empty_is_failed_long_before_its_time_is_up(site: Shell) -> None:
    """What real firmware does with an empty disk: it reads the first sector, finds nothing to
    start, and begins anew.
    """
    stop(site, 108)
    disk = site.state / "lab" / "nodes" / "clovis" / "dev" / "pve" / "vm-108-disk-0"
    size = disk.stat().st_size
    with disk.open("r+b") as file:
        file.truncate(0)
        file.truncate(size)
    assert site("backup", "run", "--vmid", 108).code == 0
    answer = site("restore-test", 108, "--json")
    assert (answer.code, answer.json["verdict"], answer.json["rung"]) == (
        1,
        "failed",
        "restored",
    ), answer.err
    (why,) = [reason for reason in answer.json["reasons"] if "nothing boots from scsi0" in reason]
    assert "its first sector again and again" in why


def stop(site: Shell, vmid: int) -> None:
    """Switch a guest off as the lab's administrator, and wait until it is."""
    saved, root = (
        json.loads((site.state / "lab" / name).read_text("utf-8"))
        for name in ("settings.json", "root.json")
    )
    context = ssl.create_default_context(cafile=saved["pve"]["ca_file"])
    base = f"https://{saved['pve']['host']}/api2/json/nodes/clovis/qemu/{vmid}/status"

    def ask(method: str, what: str) -> Any:
        headers = {"Authorization": f"PVEAPIToken={root['token']}"}
        request = urllib.request.Request(
            f"{base}/{what}", b"" if method == "POST" else None, headers, method=method
        )
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:
            return json.load(answer)["data"]

    ask("POST", "stop")
    wait_until(lambda: ask("GET", "current")["status"] == "stopped", pause=0.2)


def test_the_same_archive_is_proven_once_no_fault_is_set(site: Shell) -> None:
    answer = site("restore-test", 104, "--json")
    assert (answer.code, answer.json["verdict"]) == (0, "proven"), answer.out
