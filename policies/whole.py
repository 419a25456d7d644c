"""Tell which archives hold disks: one without any restores an empty machine, whatever the task that
made it said.

A failed restore leaves a config of one line under the guest's VMID. vzdump dumps that, ends OK, and
lists an archive.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Sequence
from itertools import groupby
from statistics import median

from policies.model import Archive, GuestType
from policies.pve import guest_config
from policies.pve.guest_config import disks_to_dump, parse_config

# an archive below this part of the usual size is missing something, although its task was OK
# (pve-facts 3.10)
SHRUNK = 0.5
HISTORY = 7  # how many archives before it say what is usual; fewer than two say nothing
# whose an archive is
_Whose = tuple[GuestType | None, int | None]
# bytes: an archive above that holds a disk, for a config is 1 MiB at most (pmxcfs)
MAX_DISKLESS_BYTES = 4 << 20


def holds_disk(text: str) -> bool:
    """Given the config embedded in a VM's archive, return whether the archive holds any disk.

    Only vzdump's own lines count: a drive with ``backup=0`` is named and not dumped. No description
    can pass for such a line, because PVE %-encodes its colons.
    """
    return any(line.startswith(guest_config.DUMPED) for line in text.splitlines())


def contradictions(text: str, devices: Collection[str]) -> tuple[str, ...]:
    """Given the config embedded in a VM's archive and the names of the disks in its header, return
    where the two disagree.

    PVE restores only what vzdump's lines map. Drives that vzdump leaves out by rule are no lack:
    ``backup=0``, CD-ROMs and cloud-init drives, empty drives, and the EFI disk of a guest whose
    firmware is not OVMF (PVE/VZDump/QemuServer.pm).
    """
    config = parse_config(text)
    mapped = {key: disk.device for key, disk in guest_config.dumped_disks(config).items()}
    wanted = (
        disk for disk in disks_to_dump(config) if disk != "efidisk0" or config.get("bios") == "ovmf"
    )
    found = []
    first: dict[str, str] = {}  # the disk that was named first for each device
    for disk, device in mapped.items():
        if device not in devices:
            found.append(
                f"the config says that disk {disk} was dumped as {device}, which the header lacks"
            )
        elif device in first:
            found.append(
                f"the config says of {first[device]} and {disk} alike that they were dumped as "
                f"{device}"
            )
        first.setdefault(device, disk)
    found += [
        f"the config names the disk {disk}, which was not dumped"
        for disk in wanted
        if disk not in mapped
    ]
    found += [
        f"the config does not say which disk the device {device} is: a restore leaves it out"
        for device in devices
        if device not in mapped.values()
    ]
    return tuple(found)


def key(archive: Archive) -> tuple[str, str]:
    """Given an archive, return what tells it from all others: its node ("" on a shared storage,
    where all list it) and volid.
    """
    return ("" if archive.shared else archive.node, archive.volid)


def hollow(archives: Collection[Archive]) -> frozenset[tuple[str, str]]:
    """Given archives, return the keys of those that must not stand for a whole one of their guest.

    Those are the empty files, the VM archives known to hold no disk, and those that were changed
    since they were recorded or found damaged, beside any other archive of the guest. Where there is no other one,
    the guest may never have had a disk, and its archives are all that there is to keep.
    """
    without: dict[_Whose, set[tuple[str, str]]] = defaultdict(set)
    for one in archives:
        if one.size <= 0 or one.holds_disk is False or one.changed or one.damaged:
            without[one.type, one.vmid].add(key(one))
    # of nearly every guest there is none
    counts = Counter((one.type, one.vmid) for one in (archives if without else ()))
    return frozenset(
        one for whose, keys in without.items() if len(keys) < counts[whose] for one in keys
    )


def usual(archives: Sequence[Archive], newest: Archive) -> tuple[int, int] | None:
    """Given archives, return how many before the newest of its format say what is usual, and their
    median size in bytes.
    """
    older = {
        item.ctime: item.size
        for item in archives
        if item.ctime < newest.ctime and item.size > 0 and item.format == newest.format
    }
    sizes = [older[ctime] for ctime in sorted(older)[-HISTORY:]]
    return (len(sizes), int(median(sizes))) if len(sizes) >= 2 else None


def below(archive: Archive, before: tuple[int, int]) -> bool:
    """Given an archive and what was usual before it, return whether its size has collapsed."""
    return archive.size < SHRUNK * before[1]


def collapsed(archives: Iterable[Archive]) -> frozenset[tuple[str, str]]:
    """Given archives, return the keys of those whose size had collapsed when they were made, by
    their guest's own history.

    Such a one must not rotate a whole one out. One that was proven is whole, however small; and a
    guest that really became smaller is believed once most of its last archives are.
    """
    histories: dict[tuple[GuestType | None, int | None, str], list[Archive]] = defaultdict(list)
    for archive in archives:
        if archive.size > 0 and archive.holds_disk is not False:
            histories[archive.type, archive.vmid, archive.format].append(archive)
    found: set[tuple[str, str]] = set()
    for history in histories.values():
        # No median is above the largest: so nearly every guest's are seen to be whole without one.
        bounds = [archive.size for archive in history]
        if min(bounds) >= SHRUNK * max(bounds):
            continue
        history.sort(key=lambda archive: archive.ctime)
        sizes: deque[int] = deque(maxlen=HISTORY)
        for _, together in groupby(history, key=lambda archive: archive.ctime):
            group = list(together)
            if len(sizes) >= 2 and min(archive.size for archive in group) < SHRUNK * max(sizes):
                before = len(sizes), int(median(sizes))
                found |= {
                    key(archive)
                    for archive in group
                    if archive.proven_at is None and below(archive, before)
                }
            sizes.append(group[-1].size)  # of one moment the last one listed counts
    return frozenset(found)
