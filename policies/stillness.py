"""Tell what a copy does while nobody in it answers: whether its machine runs, and what it reads
from its disks.

A copy that will never boot is known long before its time is up: its processor stands still, or its
firmware looks at the disk that it is to boot from, finds nothing to start there, and begins anew.
PVE's ``status/current`` tells both: ``qmpstatus`` and ``blockstat``, which are QEMU's
``query-status`` and ``query-blockstats``. Nothing is concluded while anything else can explain what
is seen:

- A halted processor says nothing of the archive: a dump, an administrator, a full storage or the
  hypervisor halted it. It ends
  the waiting only where it will never go on by itself.
- Firmware that can start nothing from a disk reads its first sector and no more (512 bytes:
  recorded of QEMU 10.0.2 in
  06_restore_errors, seen of QEMU 7.2), and PVE has it try again a second later
  (``reboot-timeout=1000``, qemu-server PVE/QemuServer.pm), so that the reads become more by one
  sector at a time, round after round. A boot loader reads itself, its
  menu and its files, many sectors at once: GRUB's own image has 30 KiB, also where it waits for a
  key or a passphrase.
- Reads that become no more may be a storage that hangs, or a loader that waits: nothing is
  concluded.
- What boots from the network or a CD-ROM first, or by UEFI (which looks at disks before it
  decides), may come to its disk later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from policies.model import PolicyError
from policies.pve import guest_config
from policies.pve.property_string import parse

# QEMU's states (qapi/run-state.json) in which somebody or something outside halted the processor;
# from the last two it never goes on by itself. A guest that ended in another state
# (``guest-panicked``, ``suspended``, ...) got there by its own doing.
HALTED = frozenset({"paused", "io-error", "internal-error"})
FOR_GOOD = frozenset({"io-error", "internal-error"})
HALTED_FOR = 10.0  # seconds, after which a state is no passing one
SECTOR = 512  # bytes
MAX_FIRMWARE_BYTES = 64 * 1024  # bytes of one disk: what has read more has started something
ROUNDS = 4  # looks at which firmware had begun anew
_DISKS = ("scsi", "virtio", "sata", "ide")


class Reading(StrEnum):
    """What the looks mean. OPEN: nothing yet. HALTED: the machine does not run. UNBOOTABLE: nothing
    boots from its disk.
    """

    OPEN = "open"
    HALTED = "halted"
    UNBOOTABLE = "unbootable"


@dataclass(frozen=True, slots=True)
class Reads:
    """What a guest has read from a disk since it was started: how many times, and bytes."""

    times: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a copy, ``at`` seconds of a clock that only grows. ``reads`` are told by disk,
    None where PVE tells none.

    ``pid`` is QEMU's process: another one has begun to count anew.
    """

    at: float
    state: str
    reads: Mapping[str, Reads] | None = None
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen so far: the last look, since when its state is what it is, and at how many
    looks more had been read.
    """

    last: Look
    state_since: float
    rounds: int = 0


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What the looks mean, whether it is so for good, and a sentence that says what was seen."""

    reading: Reading
    said: str
    final: bool = False


def seen(before: Seen | None, look: Look) -> Seen:
    """Given what was seen before and a new look, return what is seen now. Looks are to be some
    seconds apart.
    """
    if before is None or before.last.pid != look.pid:
        return Seen(look, look.at)
    since = before.state_since if before.last.state == look.state else look.at
    return Seen(look, since, before.rounds + int(_times(look) > _times(before.last)))


def conclude(config: Mapping[str, str], now: Seen) -> Conclusion:
    """Given a copy's config and what was seen of it until now, return what follows."""
    look = now.last
    if look.state in HALTED:
        held = look.at - now.state_since
        said = f"its processor stands still, QEMU's state has been {look.state} for {held:.0f} s"
        return Conclusion(Reading.HALTED, said, final=look.state in FOR_GOOD and held >= HALTED_FOR)
    if look.state != "running":
        return Conclusion(Reading.OPEN, f"QEMU's state is {look.state}")
    if look.reads is None:
        return Conclusion(Reading.OPEN, "")
    said = (
        f"it has read {sum(disk.bytes for disk in look.reads.values())} bytes from its disks in "
        f"{_times(look)} reads"
    )
    first = boots_from(config)
    looked = first is not None and first in look.reads and look.reads[first].times > 0
    # Firmware reads one sector at a time, and not many of them; whatever reads more has started.
    by_firmware = all(
        disk.bytes == disk.times * SECTOR and disk.bytes <= MAX_FIRMWARE_BYTES
        for disk in look.reads.values()
    )
    if looked and now.rounds >= ROUNDS and by_firmware:
        why = (
            f"nothing boots from {first}: {said}, its first sector again and again, as firmware "
            "does that finds nothing to start"
        )
        return Conclusion(Reading.UNBOOTABLE, why, final=True)
    return Conclusion(Reading.OPEN, said)


def _times(look: Look) -> int:
    return sum(disk.times for disk in (look.reads or {}).values())


def boots_from(config: Mapping[str, str]) -> str | None:
    """Given a copy's config, return the disk that its firmware tries first, None if that is no disk
    or cannot be told.

    Without ``boot`` PVE takes the first disk there is only for some machines: nothing is told then,
    nor under UEFI.
    """
    if config.get("bios", "seabios") != "seabios":
        return None
    try:
        order = parse(config.get("boot", ""), default="legacy").get("order", "")
    except PolicyError:
        return None
    first = order.split(";")[0]
    known = first.rstrip("0123456789") in _DISKS and first in config
    return first if known and not guest_config.is_cdrom(config[first]) else None
