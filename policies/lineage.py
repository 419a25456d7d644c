"""Tell which machine an archive is of: a VMID is no identity (law 10), and a file's name tells
nothing of its content (law 5).

A machine is told by its SMBIOS UUID and the time at which it was created. PVE writes both into the
config of every VM that it makes, keeps them in a restore, and vzdump puts the config into the
archive (qemu-server, PVE/QemuServer.pm; PVE/API2/Qemu.pm). Its ``vmgenid`` changes with every
restore and its name whenever somebody likes, so neither makes it another machine; older guests and
containers may have none of these, and then their MAC addresses are all there is (policies/chains.py).

Within one archive all of it stands still: what differs from what was recorded of that very file was
changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from operator import attrgetter

from policies.model import Archive, Decided, PolicyError
from policies.pve import guest_config, property_string
from policies.pve.guest_config import disks_to_dump, parse_config
from policies.whole import key

_tell = attrgetter("uuid", "born", "decided")  # what tells an archive's machine for sure
_SHOWN = 12  # hex digits of a SHA-256 that tell one from another


@dataclass(frozen=True, slots=True)
class Identity:
    """What a config says of its machine: ``uuid`` in lower case, ``born`` in epoch seconds; None
    where it does not say.

    ``disks`` by key: in an archive those that were dumped, else those that a backup would hold.
    ``macs`` are its NICs' MAC addresses in lower case, sorted. ``decided`` is what people said of
    it, None if nobody did.
    """

    uuid: str | None = None
    born: int | None = None
    vmgenid: str | None = None
    name: str = ""
    disks: tuple[str, ...] = ()
    macs: tuple[str, ...] = ()
    decided: Decided | None = None

    @property
    def known(self) -> bool:
        """Whether it tells one machine from another at all."""
        return self.uuid is not None or self.born is not None


class Kind(StrEnum):
    """What a difference means."""

    ANOTHER = "another"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Difference:
    """Something in which an archive is not what it should be, in a sentence."""

    kind: Kind
    text: str


def of(config: Mapping[str, str]) -> Identity:
    """Given a guest's config as parsed (an archive's or a guest's), return whose it is."""
    dumped = sorted(guest_config.dumped_disks(config))
    uuid = guest_config.smbios_uuid(config)
    vmgenid = config.get("vmgenid", "").lower()
    created = ""
    with suppress(PolicyError):
        created = property_string.parse(config.get("meta", "")).get("ctime", "")
    # isdigit alone also takes superscripts, which int refuses
    is_time = created.isascii() and created.isdigit() and 0 < len(created) < 12
    return Identity(
        uuid.lower() if uuid else None,
        (int(created) or None) if is_time else None,
        # 0 switches it off and 1 asks for a new one: neither tells of a machine
        vmgenid if vmgenid not in ("", "0", "1") else None,
        config.get("name", ""),
        tuple(dumped or disks_to_dump(config)),
        guest_config.macs(config),
    )


def of_archive(archive: Archive) -> Identity:
    """Given an archive, return whose it is as far as the catalog knows."""
    return Identity(
        archive.uuid,
        archive.born,
        name=archive.name,
        macs=tuple(archive.macs.split()),
        decided=archive.decided,
    )


def read(text: str) -> Identity:
    """Given a config as it stands in an archive, return whose it is."""
    return of(parse_config(text))


def another(found: Identity, lineage: Identity) -> tuple[str, ...]:
    """Given whose an archive is and whose it should be, return a reason for each thing that makes
    it another machine's.

    Nothing where either side does not say: what is unknown is no difference. What people said of
    both comes before what their configs say.
    """
    reasons = []
    if (mine := found.decided) and (theirs := lineage.decided):
        if mine.label == theirs.label:
            return ()
        if theirs.label in mine.apart:
            return ("it was said to be of another machine (`backupsvc catalog lineage list`)",)
    if found.uuid and lineage.uuid and found.uuid != lineage.uuid:
        reasons.append(f"its SMBIOS UUID is {found.uuid}, the guest's is {lineage.uuid}")
    if found.born and lineage.born and found.born != lineage.born:
        reasons.append(
            f"its machine was created on {day(found.born)}, the guest on {day(lineage.born)}"
        )
    return tuple(reasons)


def changed(recorded: Identity, found: Identity) -> tuple[str, ...]:
    """Given what was recorded of an archive's config and what it says now, return what was changed,
    as ``what was -> is``.
    """
    pairs = (
        ("SMBIOS UUID", recorded.uuid, found.uuid),
        ("creation time", recorded.born, found.born),
        ("vmgenid", recorded.vmgenid, found.vmgenid),
        ("name", recorded.name or None, found.name or None),
        ("disks", " ".join(recorded.disks) or None, " ".join(found.disks) or None),
    )
    return tuple(
        f"{what} {was or 'none'} -> {now or 'none'}" for what, was, now in pairs if was != now
    )


def resized(was: int, now: int) -> tuple[str, ...]:
    """Given the size in bytes that was recorded of an archive and the one listed now, return what
    was changed.
    """
    return () if was == now else (f"size {was} -> {now} bytes",)


def rehashed(was: str | None, now: str) -> tuple[str, ...]:
    """Given the SHA-256 that was recorded of an archive (None: none) and that of its bytes, return
    what was changed.
    """
    return () if was in (None, now) else (f"SHA-256 {str(was)[:_SHOWN]} -> {now[:_SHOWN]}",)


def compare(
    embedded: Identity, recorded: Identity | None, lineage: Identity | None
) -> tuple[Difference, ...]:
    """Given the config in an archive, what was recorded of that volid, and the guest's lineage,
    return every difference.

    None for what nobody knows: then no statement is possible, and there is no difference.
    """
    differs = changed(recorded, embedded) if recorded else ()
    foreign = another(embedded, lineage) if lineage else ()
    return (
        *(Difference(Kind.CHANGED, text) for text in differs),
        *(Difference(Kind.ANOTHER, text) for text in foreign),
    )


def present(archives: Iterable[Archive]) -> Identity | None:
    """Given one guest's archives, return the machine that the guest is now as far as they tell,
    None if none does.

    The newest that this service made decides: it was the guest's own backup. Else the newest of
    which anything is known; never one that was changed.
    """
    known = [one for one in archives if (one.uuid or one.born or one.decided) and not one.changed]
    newest = max(known, key=lambda one: (one.operation is not None, one.ctime), default=None)
    if newest is None:
        return None
    found = of_archive(newest)
    if found.known or found.decided is None:
        return found
    # of what people say is the same machine, another archive may tell what this one does not
    label = found.decided.label
    same = [one for one in known if one.decided and one.decided.label == label]
    telling = [one for one in same if one.uuid or one.born]
    told = max(telling, key=lambda one: one.ctime, default=newest)
    return replace(found, uuid=told.uuid, born=told.born)


def others(archives: Collection[Archive]) -> frozenset[tuple[str, str]]:
    """Given archives of any guests, return the keys of those that are of another machine than their
    guest is now.
    """
    found: set[tuple[str, str]] = set()
    for group in differing(archives, _tell):
        if lineage := present(group):
            # all that another looks at: of a million archives no MACs need to be taken apart
            found |= {
                key(one)
                for one in group
                if another(Identity(one.uuid, one.born, decided=one.decided), lineage)
            }
    return frozenset(found)


def strangers(
    archives: Collection[Archive], machine: Identity | None
) -> frozenset[tuple[str, str]]:
    """Given one guest's archives and whose config the guest has now (None: it could not be read),
    return the keys of those that are of another machine: under a VMID that was given to another
    guest, its first backup is still to come.

    What people said of the guest's own archives, they said of the guest.
    """
    if machine is None or not machine.known:
        return frozenset()
    # nearly always all of them tell the same, or a few things
    told = set(map(_tell, archives))
    mine = {
        (uuid, born, decided)
        for uuid, born, decided in told
        if decided and (uuid or born) and not another(Identity(uuid, born), machine)
    }
    if mine:
        own = [one for one in archives if _tell(one) in mine]
        machine = replace(machine, decided=max(own, key=attrgetter("ctime")).decided)
    foreign = {
        (uuid, born, decided)
        for uuid, born, decided in told
        if another(Identity(uuid, born, decided=decided), machine)
    }
    return frozenset(key(one) for one in (archives if foreign else ()) if _tell(one) in foreign)


def differing(
    archives: Collection[Archive], told: Callable[[Archive], tuple[object, ...]]
) -> list[list[Archive]]:
    """Given archives of any guests and what is told of an archive's machine (nothing but false
    values: nothing), return the archives of each guest of whom not all tell the same.
    """
    if len(set(map(told, archives))) < 2:
        return []
    # of nearly every guest all tell the same: those of the few others are gathered afterwards
    first: dict[Hashable, tuple[object, ...]] = {}
    several: set[Hashable] = set()
    for one in archives:
        mine = told(one)
        if any(mine) and first.setdefault((one.type, one.vmid), mine) != mine:
            several.add((one.type, one.vmid))
    guests: dict[Hashable, list[Archive]] = defaultdict(list)
    for one in archives if several else ():
        if one.vmid is not None and (one.type, one.vmid) in several:
            guests[one.type, one.vmid].append(one)
    return list(guests.values())


def day(epoch: int) -> str:
    """Given epoch seconds, return them as a person reads them."""
    return f"{datetime.fromtimestamp(epoch, UTC):%Y-%m-%d %H:%M:%S} UTC"
