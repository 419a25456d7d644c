"""The command line of QEMU: what a machine is given, and what it is never given."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pvelab.vmm.command import MEMORY, qemu_command
from pvelab.vmm.machine import Machine, QemuError
from pvelab.vmm.network import Networks
from pvelab.vmm.spec import Disk, MachineSpec, Nic

SPEC = MachineSpec(
    104,
    "GLPI-Server",
    2048,
    2,
    "6a0f8f4e-0000-5000-8000-000000000104",
    (Nic(0, "BC:24:11:00:00:04", "vmbr0", 10),),
    (Disk("scsi0", Path("/lab/a,b/disk 0.raw"), 1024), Disk("scsi1", Path("/lab/1.raw"), 1024)),
)


@pytest.fixture
def networks() -> Iterator[Networks]:
    switch = Networks()
    yield switch
    switch.close()


def command(networks: Networks, spec: MachineSpec = SPEC, accelerator: str = "tcg") -> list[str]:
    return qemu_command(
        spec, Path("/run/lab/104"), [networks.port("104", nic) for nic in spec.nics], accelerator
    )


def values(words: list[str], option: str) -> list[str]:
    return [words[n + 1] for n, word in enumerate(words) if word == option]


def test_a_guest_gets_its_uuid_and_mac_and_boots_from_its_first_disk(networks: Networks) -> None:
    words = command(networks)
    devices = values(words, "-device")
    assert values(words, "-uuid") == [SPEC.uuid]
    assert "virtio-net-pci,id=nic0,netdev=net0,mac=BC:24:11:00:00:04,romfile=" in devices
    assert [device for device in devices if device.startswith("virtio-blk")] == [
        "virtio-blk-pci,drive=scsi0,serial=scsi0,bootindex=1,werror=stop",
        "virtio-blk-pci,drive=scsi1,serial=scsi1,bootindex=2,werror=stop",
    ]


def test_what_cannot_boot_tries_again_a_second_later_as_under_pve(networks: Networks) -> None:
    assert values(command(networks), "-boot") == ["strict=on,reboot-timeout=1000"]


def test_a_guest_gets_little_memory_whatever_its_config_says(networks: Networks) -> None:
    assert values(command(networks), "-m") == [str(MEMORY)]
    assert values(command(networks, replace(SPEC, memory=64)), "-m") == ["64"]


def test_a_disk_path_with_a_comma_is_still_one_path(networks: Networks) -> None:
    nodes = [json.loads(value) for value in values(command(networks), "-blockdev")]
    assert [node["file"]["filename"] for node in nodes] == ["/lab/a,b/disk 0.raw", "/lab/1.raw"]


def test_a_guest_without_agent_has_no_agent_port(networks: Networks) -> None:
    assert not any("guest_agent" in word for word in command(networks, replace(SPEC, agent=False)))
    assert any("guest_agent" in word for word in command(networks))


def test_no_guest_is_ever_joined_to_a_network_of_the_host(networks: Networks) -> None:
    assert all(value.startswith("dgram,") for value in values(command(networks), "-netdev"))
    assert "-nodefaults" in command(networks)


def test_a_guest_with_a_console_serves_it_on_a_unix_socket_only_and_to_nobody_without_a_password(
    networks: Networks,
) -> None:
    assert values(command(networks, replace(SPEC, vnc=Path("/run/lab/vnc"))), "-vnc") == [
        "unix:/run/lab/vnc,password=on"
    ]
    assert values(command(networks), "-display") == ["none"]


def test_a_folder_whose_sockets_would_have_too_long_a_path_is_refused(
    networks: Networks, tmp_path: Path
) -> None:
    with pytest.raises(QemuError, match="too long a path"):
        Machine(SPEC, tmp_path / ("x" * 100), networks)


def test_a_machine_whose_disk_is_missing_says_so_and_leaves_nothing_behind(
    networks: Networks, tmp_path: Path
) -> None:
    missing = replace(SPEC, disks=(Disk("scsi0", tmp_path / "none.raw", 1024),))
    machine = Machine(missing, tmp_path / "run", networks)
    with pytest.raises(QemuError, match=r"machine 104 did not start: .*none\.raw"):
        machine.start()
    assert machine.status() == "stopped"
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["qemu.log"]
