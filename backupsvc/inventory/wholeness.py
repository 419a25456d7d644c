"""Whether an archive holds what its guest had: looked into where the catalog does not know, judged
against what came before.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from backupsvc.errors import PveError
from backupsvc.services import Cluster
from policies import i18n, lineage, ownership, whole
from policies.chains import Relation, relation
from policies.model import Archive, Guest, GuestType, OperationState
from policies.pve import guest_config

if TYPE_CHECKING:
    from backupsvc.pve import Pve

# bytes: the archive of a stub has some hundred, and 12 KiB of header where nothing compresses it
TINY = 16 << 10
_LOOK_BACK = 7  # archives before the new one that are asked for what was in them


def look_into(service: Cluster, archives: Sequence[Archive]) -> list[Archive]:
    """Given archives, return them, each VM's that is too small for a disk with whether one is in it
    all the same.

    That is known to the catalog, or its config says so now. Where that cannot be read, no disk was
    seen.
    """
    tiny = [one.type is GuestType.QEMU and one.size <= TINY for one in archives]
    return [
        replace(one, holds_disk=bool(holds_disk(service, one))) if small else one
        for one, small in zip(archives, tiny, strict=True)
    ]


def holds_disk(service: Cluster, archive: Archive) -> bool | None:
    """Given an archive, return whether it holds any disk; None for a container's, and where its
    config cannot be read.
    """
    if archive.holds_disk is not None or archive.type is not GuestType.QEMU or archive.size <= 0:
        return archive.holds_disk
    for _ in range(2):  # one failed call does not yet make a config unreadable
        with suppress(PveError):
            return whole.holds_disk(service.pve.storage.extract_config(archive.node, archive.volid))
    return None


def judge(service: Cluster, archive: Archive, text: str, uuid: str | None) -> list[str]:
    """Given a new archive, the config in it and its SMBIOS UUID, return a sentence for each thing
    that its guest had before.

    Raise PveError if it holds no disk of a guest that had some, or is of another machine than the
    archive before it.
    """
    # newest first
    before = [one for one in _others(service, archive) if one.holds_disk is not False]
    config = guest_config.parse_config(text)
    if archive.type is GuestType.QEMU and not whole.holds_disk(text):
        _refuse_without_disk(service, archive, config, before)
    said = []
    # the newest whose config the catalog has
    with_facts = (
        (one, service.catalog.archives.facts(one.node, one.volid)) for one in before[:_LOOK_BACK]
    )
    known, facts = next((item for item in with_facts if item[1].get("config")), (None, {}))
    # a VMID may have been given to another machine (law 10); where that is a question, it is asked,
    # and stops no backup
    if (
        known
        and uuid
        and facts["uuid"]
        and facts["uuid"].lower() != uuid.lower()
        and relation(lineage.read(text), lineage.of_archive(known)) is not Relation.ASKED
    ):
        raise PveError(
            f"archive {archive.volid} of guest {archive.vmid} is of another machine than "
            f"{known.volid}: its SMBIOS UUID is {uuid}, there it was {facts['uuid']}",
            f"see what VM {archive.vmid} is; if it is a new machine under an old VMID, back it up "
            "once more",
        )
    if known:
        before_it = guest_config.dumped_disks(guest_config.parse_config(facts["config"]))
        lost = sorted(before_it.keys() - guest_config.dumped_disks(config).keys())
        said += [f"{disk}, which {known.volid} held, is not in the archive" for disk in lost]
    usual = whole.usual(before, archive)
    if usual and whole.below(archive, usual):
        now, then = i18n.size(archive.size, i18n.ENGLISH), i18n.size(usual[1], i18n.ENGLISH)
        said.append(
            f"the archive is {now}, where the {usual[0]} before it were around {then}: data may "
            "be missing from it"
        )
    return said


def rest_of_a_restore(pve: Pve, guest: Guest) -> bool:
    """Given a guest as the cluster lists it, return whether it is only what a failed restore
    leaves, or one that still runs.

    Its config is asked for only if it has no name, which the cluster writes as ``VM 105``.
    """
    return may_be_a_rest(guest) and ownership.is_stub(pve.guests.config(guest.node, guest.vmid))


def may_be_a_rest(guest: Guest) -> bool:
    """Given a guest as the cluster lists it, return whether it is a VM without a name, which alone
    may be such a rest.
    """
    return guest.type is GuestType.QEMU and guest.name in ("", f"VM {guest.vmid}")


def past_of(service: Cluster, vmid: int) -> str | None:
    """Given a VMID, return what says that a guest with disks stood under it: a restore of ours that
    failed, or an archive.
    """
    restores = service.catalog.operations.find(kind="restore", subject=vmid, limit=1)
    if restores and restores[0].state is not OperationState.DONE:
        return f"restore {restores[0].id} of it ended {restores[0].state}"
    archives = (
        one
        for one in service.catalog.archives.find(vmid=vmid)
        if one.size > 0 and one.holds_disk is not False
    )
    return next((f"its archive {one.volid} holds more" for one in archives), None)


def _others(service: Cluster, archive: Archive) -> list[Archive]:
    """The guest's archives before this one; what was changed, or is of another machine, says
    nothing of what it had.
    """
    found = [
        one
        for one in service.catalog.archives.find(vmid=archive.vmid)
        if one.volid != archive.volid and not one.unfit
    ]
    apart = lineage.others(found)
    return [
        one
        for one in found
        if one.type is archive.type and one.size > 0 and whole.key(one) not in apart
    ]


def _refuse_without_disk(
    service: Cluster, archive: Archive, config: dict[str, str], before: Sequence[Archive]
) -> None:
    """Raise PveError if anything says that there was a disk to dump. A machine that never had one
    is whole without.
    """
    named = guest_config.disks_to_dump(config)
    whose = next((one for one in before[:_LOOK_BACK] if holds_disk(service, one)), None)
    if named or whose:
        but = (
            f"its own config names {', '.join(named)}"
            if named
            else f"{whose.volid} held some"
            if whose
            else ""
        )
        raise PveError(
            f"archive {archive.volid} of guest {archive.vmid} holds no disk, but {but}: it would "
            "restore an empty machine",
            f"see what VM {archive.vmid} is now; its older archives are kept, and `backupsvc "
            "restore` takes one of them",
        )
