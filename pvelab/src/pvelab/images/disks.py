"""Disks with a partition table, a FAT partition that boots and an ext4 partition with what is a
guest's own.

sector 0          partition table and the loader's first stage
1 MiB             FAT: syslinux, kernel, initial RAM disk; the same for every guest
1 + BOOT_SIZE     ext4: the guest's own system, up to the end of the disk
"""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

MIB = 1024 * 1024
SECTOR = 512
BOOT_START = MIB
BOOT_SIZE = 24 * MIB
SYSTEM_START = BOOT_START + BOOT_SIZE

# Fewer probes at boot; under TCG each of them shows. The kernel finds no TSC frequency worth
# trusting there.
KERNEL_ARGUMENTS = (
    "quiet loglevel=3 console=ttyS0 console=tty0 rdinit=/init nokaslr mitigations=off "
    "no_timer_check tsc=reliable cryptomgr.notests random.trust_cpu=on i8042.noaux pci=noaer "
    "audit=0 panic=-1"
)
LOADER_CONFIG = (
    "DEFAULT lab\nPROMPT 0\nTIMEOUT 0\nLABEL lab\n  KERNEL /vmlinuz\n  INITRD /initrd\n  APPEND "
    f"{KERNEL_ARGUMENTS}\n"
)


def build_boot(tree: Path, kernel: Path, initrd: Path, target: Path) -> None:
    """Given the unpacked packages, write the FAT partition with syslinux, kernel and initial RAM
    disk to ``target``.
    """
    # syslinux, when not root, edits the image through mtools, which it looks for in PATH.
    environment = os.environ | {
        "PATH": f"{tree / 'usr/bin'}:{os.environ.get('PATH', '/usr/bin:/bin')}",
        "MTOOLS_SKIP_CHECK": "1",
    }
    config = target.with_name("syslinux.cfg")
    config.write_text(LOADER_CONFIG)
    size, hidden = str(BOOT_SIZE // 1024), str(BOOT_START // SECTOR)
    _run(
        [str(tree / "sbin/mkfs.fat"), "-C", "-h", hidden, "-n", "LABBOOT", str(target), size],
        environment,
    )
    _run([str(tree / "usr/bin/syslinux"), "--install", str(target)], environment)
    for source, name in ((kernel, "vmlinuz"), (initrd, "initrd"), (config, "syslinux.cfg")):
        _run(
            [str(tree / "usr/bin/mcopy"), "-i", str(target), str(source), f"::/{name}"], environment
        )


def write_system_disk(boot: Path, loader: bytes, system: Path, target: Path, size: int) -> None:
    """Given boot partition, loader code and a folder, write a disk of ``size`` bytes that boots and
    holds the folder.
    """
    with target.open("wb") as disk:
        disk.truncate(size)
        disk.write(partition_table(loader, size))
        disk.seek(BOOT_START)
        disk.write(boot.read_bytes())
    make_ext4(target, system, offset=SYSTEM_START, size=size - SYSTEM_START)


def write_data_disk(content: Path, target: Path, size: int) -> None:
    """Given a folder, write a disk of ``size`` bytes that is one ext4 file system with that folder
    in it.
    """
    with target.open("wb") as disk:
        disk.truncate(size)
    make_ext4(target, content, offset=0, size=size)


def make_ext4(disk: Path, content: Path, *, offset: int, size: int) -> None:
    """Make an ext4 file system of ``size`` bytes at ``offset`` of the disk, holding the folder's
    files as root's.
    """
    options = f"root_owner=0:0,offset={offset}" if offset else "root_owner=0:0"
    command = [
        "mke2fs",
        "-q",
        "-F",
        "-t",
        "ext4",
        "-m",
        "0",
        "-E",
        options,
        "-d",
        str(content),
        str(disk),
        f"{size // 1024}k",
    ]
    _run(
        command, os.environ | {"PATH": f"{os.environ.get('PATH', '/usr/bin:/bin')}:/sbin:/usr/sbin"}
    )


def partition_table(loader: bytes, size: int) -> bytes:
    """Given the loader's code (at most 440 bytes) and the disk's size, return sector 0: FAT
    (bootable) and Linux partitions.
    """
    entries = _partition(0x80, 0x06, BOOT_START, BOOT_SIZE) + _partition(
        0, 0x83, SYSTEM_START, size - SYSTEM_START
    )
    return loader.ljust(446, b"\0") + entries.ljust(64, b"\0") + b"\x55\xaa"


def _partition(flag: int, kind: int, start: int, size: int) -> bytes:
    """One entry; cylinder fields say "too large", so the sector numbers count."""
    beyond = b"\xfe\xff\xff"
    return struct.pack("<B3sB3sII", flag, beyond, kind, beyond, start // SECTOR, size // SECTOR)


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(
            f"{command[0]} ended with {done.returncode}: "
            f"{done.stderr.strip() or done.stdout.strip()}"
        )
