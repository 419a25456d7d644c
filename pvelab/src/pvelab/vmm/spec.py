"""What a machine of the lab is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Nic:
    """One network card, ``netN`` of a PVE config. ``tag`` None: untagged; ``link_up`` False: the
    cable is out (link_down=1).

    ``trunks`` are the VLANs that it gets with their headers; None: all of them without a tag, no
    other with one. ``node`` is
    where the bridge ends, if it has no ports: nobody of another node is on it then. One with ports
    is the same cable everywhere.
    """

    index: int
    mac: str
    bridge: str
    tag: int | None = None
    link_up: bool = True
    trunks: frozenset[int] | None = None
    node: str = ""


@dataclass(frozen=True, slots=True)
class Disk:
    """One disk: a raw file of ``size`` bytes. ``key`` is its PVE name, as in ``scsi0``."""

    key: str
    path: Path
    size: int


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """A whole machine. ``memory`` is in MiB as its PVE config says, ``uuid`` its SMBIOS UUID.

    ``agent`` gives it the virtio port of the guest agent; ``vnc`` gives it a VNC server on the unix
    socket at that path, closed to everybody until a password is set. ``disks`` come in boot order:
    the machine boots from the first. ``muted`` is asked at each agent call: while it says True, no
    answer comes. ``refuses`` is asked with each agent command that would be put: a text is the
    agent's refusal, a number an answer of which nothing comes, None lets it pass. ``panics`` is for
    modelled machines alone: a real one panics for real.
    """

    vmid: int
    name: str
    memory: int
    cores: int
    uuid: str
    nics: tuple[Nic, ...]
    disks: tuple[Disk, ...]
    agent: bool = True
    vnc: Path | None = None
    muted: Callable[[], bool] | None = None
    refuses: Callable[[str], str | int | None] | None = None
    panics: bool = False


def with_disk_size(spec: MachineSpec, key: str, size: int) -> MachineSpec:
    """Given a machine, return it with one disk of another size."""
    return replace(
        spec,
        disks=tuple(replace(disk, size=size) if disk.key == key else disk for disk in spec.disks),
    )
