"""Guests that come up sick. A fault strikes when its guest, or a restored copy of it, is started.

A real guest's panic and its missing service are real: they lie on a private copy of its system
disk, made at that start, so that its own disk stays whole. What it writes to the copy is lost at
its next start; an archive made meanwhile is sick for good.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pvelab.faults.board import Board
from pvelab.images.disks import SYSTEM_START
from pvelab.kernel import Lab
from pvelab.simulated import copy_sparse
from pvelab.vmm.spec import Disk, MachineSpec

# an init that does not exist, then no root file system either: the kernel panics, and stays so
# instead of booting again
_BOOT_LINE = re.compile(rb"rdinit=/init(?P<rest>[^\n]*)panic=-1")
# the list of services is a file of its own, so it begins a block; file systems of this size have
# blocks of 1 KiB
_SERVICES = re.compile(rb"(?:(?:https?|tcp|dns|ldap|ssh) \d+\n)+\0")
_BLOCK = 1024


def afflicted(lab: Lab, spec: MachineSpec) -> MachineSpec:
    """Given the machine of a guest that is started, return it as the faults leave it."""
    board, who = lab.faults, {"vmid": spec.vmid}
    spec = replace(
        spec, muted=lambda: board.strike("agent-silent", uuid=spec.uuid, **who) is not None
    )
    spec = replace(spec, refuses=lambda command: refusal(board, spec.vmid, spec.uuid, command))
    if board.strike("data-disk-gone", uuid=spec.uuid, **who):
        spec = replace(spec, disks=spec.disks[:1])
    if board.strike("guest-panic", uuid=spec.uuid, **who):
        # the model boots nothing: it is only told what to say
        spec = (
            _on_private_disk(lab, spec, panic)
            if lab.hypervisor.name == "qemu"
            else replace(spec, panics=True)
        )
    if board.strike("service-down", uuid=spec.uuid, **who):
        spec = _on_private_disk(lab, spec, silence_services)
    return spec


def refusal(board: Board, vmid: int, uuid: str, command: str) -> str | int | None:
    """Given a guest and an agent command, return what its agent is made to answer: a refusal, or a
    number and do nothing.

    ``thaw``: the thaw fails. ``stays-frozen``: the agent says that it thawed nothing, and the guest
    stays frozen.
    """
    fault = board.find("agent-refuses", uuid=uuid, vmid=vmid)
    if fault is None or command != (
        "guest-fsfreeze-freeze" if fault["how"] == "freeze" else "guest-fsfreeze-thaw"
    ):
        return None
    board.count(fault)
    words = {
        "freeze": "failed to freeze /: Device or resource busy",
        "thaw": "failed to thaw /: Device or resource busy",
    }
    return words.get(fault["how"], 0)


def _on_private_disk(lab: Lab, spec: MachineSpec, spoil: Callable[[Path], int]) -> MachineSpec:
    first, *others = spec.disks
    private = lab.machine_dir(spec.vmid) / f"sick-{first.key}.raw"
    if first.path != private:
        private.parent.mkdir(parents=True, exist_ok=True)
        copy_sparse(first.path, private)
    spoil(private)
    return replace(spec, disks=(Disk(first.key, private, first.size), *others))


def panic(disk: Path) -> int:
    """Given a system disk, make its kernel panic at boot; return how many boot lines were
    changed.
    """
    with disk.open("r+b") as file, mmap.mmap(file.fileno(), SYSTEM_START) as boot:
        found = list(_BOOT_LINE.finditer(boot))
        for line in found:
            boot[line.start() : line.end()] = b"rdinit=/gone" + line["rest"] + b"panic=00"
        return len(found)


def silence_services(disk: Path) -> int:
    """Given a system disk, leave no service in its list but SSH; return how many lists were
    changed.
    """
    with disk.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        found = [
            match
            for at in range(SYSTEM_START, len(content), _BLOCK)
            if (match := _SERVICES.match(content, at))
        ]
        for match in found:
            content[match.start() : match.end()] = re.sub(
                rb"https?|tcp|dns|ldap", lambda kind: b"x" * len(kind[0]), match[0]
            )
        return len(found)
