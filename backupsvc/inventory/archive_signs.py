"""What a reading of an archive's bytes tells beside those before it: recorded, judged, and
acknowledged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backupsvc.catalog.archive_signs import Acknowledgement, Key, Signs
from backupsvc.clock import iso
from backupsvc.errors import PveNotFound, Refused
from backupsvc.requester import person
from backupsvc.services import EngineServices
from policies import archive_signs, lineage, whole
from policies.archive_signs import Judged, ReadArchive, SignsVerdict
from policies.model import Archive, Suspicion


def record(
    service: EngineServices, archive: Archive, found: Mapping[str, Any]
) -> tuple[Suspicion, ...]:
    """Given an archive and the verification of its bytes, remember what its disks look like, judge
    it beside the guest's others, and return what is unusual of it, acknowledged or not at all.

    Of bytes that are damaged, or other ones than were recorded, nothing is remembered.
    """
    signs, catalog = found.get("signs"), service.catalog
    recorded = catalog.archives.get(archive.node, archive.volid)
    if not signs or found["problems"] or recorded is None or recorded.unfit:
        return ()
    catalog.archive_signs.record(
        archive.node,
        archive.volid,
        signs,
        sha256=found["sha256"],
        size=found["size"],
        at=int(service.clock.now()),
    )
    if recorded.vmid is None:
        return ()
    judged_now = _judged(service, recorded)
    # what was found suspicious stays so until a person says otherwise
    news = {
        whole.key(one.archive): judged.suspicions
        for one, judged in judged_now
        if judged.suspicions and not one.archive.suspicious
    }
    catalog.archive_signs.mark(news)
    # forgotten are the samples that are compared with nothing any more; a suspicious archive's goes
    # with the usual ones of its time
    usual = [one.archive for one, _ in judged_now if not one.archive.suspicious]
    out = {whole.key(usual[at]) for at in archive_signs.forgettable([one.ctime for one in usual])}
    left = [one.ctime for one in usual if whole.key(one) not in out]
    for_nothing = [
        whole.key(one.archive)
        for one, _ in judged_now
        if whole.key(one.archive) in out or (left and one.archive.ctime < left[0])
    ]
    catalog.archive_signs.forget(for_nothing)
    return news.get(whole.key(recorded), recorded.suspicious)


def _read_of_its_machine(service: EngineServices, archive: Archive) -> list[Signs]:
    """Given an archive, return what was read of its machine's, oldest first: another machine under
    the same VMID has a history of its own (law 10).
    """
    read = service.catalog.archive_signs.of_guest(int(archive.vmid or 0))
    mine = lineage.Identity(archive.uuid, archive.born)
    if not mine.known:
        mine = lineage.present(one.archive for one in read) or mine
    return [
        one
        for one in read
        if one.archive.type is archive.type
        and not lineage.another(lineage.Identity(one.archive.uuid, one.archive.born), mine)
    ]


def _judged(
    service: EngineServices, archive: Archive, besides: Sequence[Acknowledgement] = ()
) -> list[tuple[Signs, Judged]]:
    """Given an archive, return what is said of each that was read of its machine, oldest first.

    With ``besides`` as if that were acknowledged, too, and what was suspicious judged anew.
    """
    read, catalog = _read_of_its_machine(service, archive), service.catalog
    vmid = int(archive.vmid or 0)
    known = (*catalog.archive_signs.acknowledgements(vmid), *besides)
    acknowledged = {(one.place, one.volid, one.sha256) for one in known}
    history = [
        ReadArchive(
            one.archive.volid,
            one.archive.ctime,
            one.size,
            one.archive.format,
            one.disks,
            (*whole.key(one.archive), one.sha256) in acknowledged,
            () if besides else one.archive.suspicious,
        )
        for one in read
    ]
    return list(zip(read, archive_signs.judge(history), strict=True))


# --- what a person says ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What was acknowledged, and which other archives are usual beside it, so that nothing is held
    because of them any more.
    """

    archives: tuple[Archive, ...]
    acknowledgements: tuple[Acknowledgement, ...]
    released: tuple[Archive, ...]


def acknowledge(
    service: EngineServices, what: str, reason: str, *, dry_run: bool = False
) -> Acknowledged:
    """Given a volid, or the id of the operation that made it, say of each such archive that is
    suspicious that what is unusual of it is right: from then on it is what is usual of its guest.

    Who says so is written down. Raise PveNotFound if no such archive is known, Refused if none of
    them is suspicious.
    """
    catalog = service.catalog
    named = catalog.archive_signs.named(what)
    if not named:
        raise PveNotFound(
            f"the catalog knows no archive {what}",
            "name its volid, or the id of its backup: `backupsvc pra status` says which archives "
            "are suspicious",
        )
    wanted = [one for one in named if one.suspicious]
    if not wanted:
        raise Refused(
            f"archive {named[0].volid} is not suspicious: there is nothing to acknowledge",
            f"see what is known of it with `backupsvc catalog show {named[0].volid}`",
        )
    at, who = int(service.clock.now()), person()
    said: list[Acknowledgement] = []
    for one in wanted:
        key, read = whole.key(one), catalog.archive_signs.of_guest(int(one.vmid or 0))
        # of these bytes and no others: what is written over the archive is judged anew
        its = (signs.sha256 for signs in read if whole.key(signs.archive) == key)
        sha256, words = next(its, one.sha256 or ""), archive_signs.in_words(one.suspicious)
        said.append(Acknowledgement(*key, one.vmid, sha256, at, who, reason, words))
    marks: dict[Key, tuple[Suspicion, ...]] = {}
    released = []
    for one in wanted:
        for signs, judged in _judged(service, one, said):
            key, found = whole.key(signs.archive), judged.suspicions
            if signs.archive.suspicious and signs.archive.ctime >= one.ctime and not found:
                marks[key] = ()
                if signs.archive not in wanted and signs.archive not in released:
                    released.append(signs.archive)
    marks |= dict.fromkeys(map(whole.key, wanted), ())
    if not dry_run:
        catalog.archive_signs.acknowledge(said, marks)
    return Acknowledged(tuple(wanted), tuple(said), tuple(released))


# --- what is shown --------------------------------------------------------------------------------


def as_dict(service: EngineServices, archive: Archive, config: str) -> dict[str, Any]:
    """Given an archive and the config in it ("" if nobody read it), return what its bytes look
    like, what is unusual of it and who acknowledged that, as ``catalog show --json`` tells it.
    """
    read = _read_of_its_machine(service, archive) if archive.vmid is not None else []
    signs = next((one for one in read if whole.key(one.archive) == whole.key(archive)), None)
    known = service.catalog.archive_signs.acknowledgements(int(archive.vmid or 0))
    said = [one for one in known if (one.place, one.volid) == whole.key(archive)]
    disks = signs.disks if signs else ()
    empty = archive_signs.empty_boot_disk(disks, config)
    state = (
        "suspicious"
        if archive.suspicious
        else "unread"
        if signs is None
        else "acknowledged"
        if said
        else str(SignsVerdict.NO_HISTORY if signs is read[0] else SignsVerdict.USUAL)
    )
    return {
        "state": state,
        "said": archive_signs.in_words(archive.suspicious)
        or (f"{empty}, from which the guest boots, holds nothing but zeros" if empty else None),
        "disks": [
            {
                "name": disk.name,
                "size": disk.size,
                "stored": disk.stored,
                "entropy": disk.entropy,
                "random": disk.random_share,
            }
            for disk in disks
        ],
        "acknowledged": [
            {"who": one.who, "at": iso(one.at), "reason": one.reason, "said": one.said}
            for one in said
        ],
    }
