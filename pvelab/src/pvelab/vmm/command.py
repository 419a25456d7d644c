"""The command line of a machine's QEMU, as data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pvelab.vmm.network import Port
from pvelab.vmm.spec import Disk, MachineSpec

# MiB that a guest really gets, whatever its config says: the images need about 90, and the whole
# site must fit on one host.
MEMORY = 128
# MiB of translated code that TCG keeps. QEMU's default is a share of the host's memory; half of
# this slows the boot by a third.
TRANSLATIONS = 64

MONITOR, AGENT, VNC, SERIAL = "q.sock", "a.sock", "v.sock", "serial.log"


def qemu_command(
    spec: MachineSpec,
    folder: Path,
    ports: Sequence[Port],
    accelerator: str,
    extra: Sequence[str] = (),
) -> list[str]:
    """Given a machine, its sockets' folder, its NICs' ports and ``kvm`` or ``tcg``, return the
    command that runs it, paused.

    ``extra`` are arguments for devices of the probe.
    """
    accel = ["kvm"] if accelerator == "kvm" else [f"tcg,thread=single,tb-size={TRANSLATIONS}"]
    # qemu64 and not max: fewer features for the kernel to set up, 0.4 s less at boot under TCG.
    # rdrand seeds its random numbers.
    cpu = "host" if accelerator == "kvm" else "qemu64,+rdrand"
    command = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-S"]
    command += ["-name", f"{spec.vmid},process=lab-{spec.vmid}"]
    command += ["-machine", "pc,usb=off,vmport=off", "-accel", *accel, "-cpu", cpu, "-smp", "1"]
    command += ["-m", str(min(MEMORY, spec.memory)), "-uuid", spec.uuid]
    command += ["-rtc", "base=utc", "-vga", "std"]
    command += (
        ["-display", "none"] if spec.vnc is None else ["-vnc", f"unix:{spec.vnc},password=on"]
    )
    command += ["-chardev", f"socket,id=monitor,path={folder / MONITOR},server=on,wait=off"]
    command += ["-mon", "chardev=monitor,mode=control"]
    command += ["-serial", f"file:{folder / SERIAL}"]
    # as PVE does: what cannot boot tries again for ever, a second later, and from nothing that has
    # no place in the boot order
    command += ["-boot", "strict=on,reboot-timeout=1000"]
    for number, disk in enumerate(spec.disks, start=1):
        command += _disk(disk, number)
    for nic, port in zip(spec.nics, ports, strict=True):
        # the guest's side, with id nicN and without a network boot ROM
        device = f"virtio-net-pci,id=nic{nic.index},netdev=net{nic.index},mac={nic.mac},romfile="
        command += [*port.arguments, "-device", device]
    if spec.agent:
        command += ["-chardev", f"socket,id=agent,path={folder / AGENT},server=on,wait=off"]
        command += ["-device", "virtio-serial-pci"]
        command += ["-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"]
    return [*command, *extra]


def _disk(disk: Disk, number: int) -> list[str]:
    # The lab's disks need not outlive the host: passing on every flush of eleven guests to one disk
    # would only make it slow.
    node = {
        "driver": "raw",
        "node-name": disk.key,
        "discard": "unmap",
        "file": {
            "driver": "file",
            "filename": str(disk.path),
            "cache": {"no-flush": True},
            "discard": "unmap",
        },
    }
    # A write that fails halts the guest, which then goes on with that write: see snapshot.py for
    # when it matters.
    device = f"virtio-blk-pci,drive={disk.key},serial={disk.key},bootindex={number},werror=stop"
    return ["-blockdev", json.dumps(node), "-device", device]
