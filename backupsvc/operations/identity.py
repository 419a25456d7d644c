"""Whose archive it is: what its config says against what was recorded of that very file and against
the guest itself (law 10).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backupsvc.clock import iso
from backupsvc.errors import PveNotFound, PvePermissionDenied, Refused
from backupsvc.inventory import archive_signs
from backupsvc.inventory.listing import as_dict, observe
from backupsvc.operations.services import Cluster
from policies import lineage, ownership, reach, whole
from policies.lineage import Identity, Kind
from policies.model import Archive, GuestType

if TYPE_CHECKING:
    from backupsvc.pve import Pve

GUEST, RECORD = "the guest's own config", "the catalog's record of its other archives"
NODES_AGE = 30.0  # seconds that an answer of the cluster about its nodes serves


@dataclass(frozen=True, slots=True)
class Known:
    """The machine that a guest is now, and where that is known from ("" with an identity that says
    nothing: nowhere).
    """

    identity: Identity
    source: str


def lineage_of(service: Cluster, pve: Pve, vmid: int, *, besides: Archive | None = None) -> Known:
    """Given a VMID, return the machine that it is now: as its config says, else as the catalog
    recorded of its archives.

    ``besides`` is the archive in question, which cannot bear witness for itself unless this service
    made it. The config is not there for a guest that is gone, whose node is down, that is only the
    rest of a restore, or that the token may not read. Raise PveUnreachable.
    """
    guest = next((one for one in pve.cluster.guests() if one.vmid == vmid), None)
    if (
        guest
        and guest.type is GuestType.QEMU
        and guest.node not in reach.down(pve.cluster.nodes(max_age=NODES_AGE))
    ):
        with suppress(PveNotFound, PvePermissionDenied):
            config = pve.guests.config(guest.node, guest.vmid)
            # the rest of a restore is an empty config, and tells of no machine
            if not ownership.is_stub(config) and (found := lineage.of(config)).known:
                return Known(found, GUEST)
    return recorded_lineage(service, vmid, besides=besides)


def recorded_lineage(service: Cluster, vmid: int, *, besides: Archive | None = None) -> Known:
    """Given a VMID, return the machine that it is as the catalog recorded of its archives, also of
    those that are gone.
    """
    catalog = service.catalog
    archives = [*catalog.archives.find(vmid=vmid), *catalog.archives.find(vmid=vmid, gone=True)]
    # what this service made was recorded while it was made: that may well bear witness for itself
    silent = whole.key(besides) if besides and besides.operation is None else None
    found = lineage.present(one for one in archives if whole.key(one) != silent)
    return Known(found, RECORD) if found else Known(Identity(), "")


def was_changed(archive: Archive) -> str:
    """Given an archive that was changed since it was recorded, return the sentence that says so."""
    return (
        f"archive {archive.volid} on {archive.node} was changed since it was recorded: "
        f"{archive.changed}"
    )


def differences(service: Cluster, archive: Archive, text: str, known: Known) -> list[str]:
    """Given an archive, the config in it and its guest, remember what is new; return a sentence for
    each thing that is wrong.

    What contradicts the record is written down as a change of the archive.
    """
    # read before the new one is written down, which would then agree with itself
    kept = service.catalog.archives.facts(archive.node, archive.volid).get("config")
    found = lineage.compare(
        lineage.read(text), lineage.read(kept) if kept else None, known.identity
    )
    service.catalog.archives.annotate(
        archive.node, archive.volid, config=text, at=int(service.clock.now())
    )
    now = service.catalog.archives.get(archive.node, archive.volid) or archive
    foreign = "; ".join(one.text for one in found if one.kind is Kind.ANOTHER)
    said = [was_changed(now)] if now.changed else []
    if foreign:
        said.append(
            f"archive {archive.volid} on {archive.node} is of another machine than guest "
            f"{archive.vmid}: {foreign}"
        )
    return said


def look_into(service: Cluster, archive: Archive, text: str) -> Archive:
    """Given an archive and the config in it, remember that and return it as the catalog knows it
    then: whose it is, whether it holds a disk, and whether it was changed.
    """
    service.catalog.archives.annotate(
        archive.node, archive.volid, config=text, at=int(service.clock.now())
    )
    return service.catalog.archives.get(archive.node, archive.volid) or archive


# --- in a restore ---------------------------------------------------------------------------------


def refuse_unless_named(service: Cluster, archive: Archive, text: str, *, named: bool) -> list[str]:
    """Given the archive of a restore, return what speaks against it, to be said aloud. Raise
    Refused unless it was named.
    """
    known = lineage_of(service, service.restore_pve, archive.vmid or 0, besides=archive)
    said = differences(service, archive, text, known)
    if said and not named:
        raise Refused(
            "; ".join(said),
            f"take another one with --at, or name this one with --archive {archive.volid} if it is "
            f"the one that you want; `backupsvc catalog show {archive.vmid}` shows them all",
        )
    return said


# --- shown ----------------------------------------------------------------------------------------


def show(service: Cluster, what: str, *, offline: bool = False) -> dict[str, Any]:
    """Given a VMID or an archive's volid, return what ``catalog show --json`` prints: the guest's
    lineage, and each archive's.

    ``offline``: what the catalog remembers, without asking the cluster. Raise PveNotFound if the
    catalog knows no such archive.
    """
    volid = None if what.isdigit() else what
    if volid is None:
        vmid = int(what)
    else:
        everything = (*service.catalog.archives.find(), *service.catalog.archives.find(gone=True))
        named = (one.vmid for one in everything if one.volid == volid and one.vmid is not None)
        if (found := next(named, None)) is None:
            raise PveNotFound(
                f"the catalog knows no archive {volid} of any guest", "see `backupsvc catalog list`"
            )
        vmid = found
    if not offline:
        observe(service, vmid)
    known = recorded_lineage(service, vmid) if offline else lineage_of(service, service.pve, vmid)
    archives = [
        *service.catalog.archives.find(vmid=vmid),
        *(service.catalog.archives.find(vmid=vmid, gone=True) if volid else ()),
    ]
    rows = [
        _shown(service, one, known, in_full=volid is not None)
        for one in archives
        if volid in (None, one.volid)
    ]
    if not rows:
        raise PveNotFound(
            f"the catalog knows no archive of guest {vmid}", "run `backupsvc catalog sync`"
        )
    return {
        "vmid": vmid,
        "lineage": machine(known),
        "archives": rows,
    }


def _shown(service: Cluster, archive: Archive, known: Known, *, in_full: bool) -> dict[str, Any]:
    mine = Identity(archive.uuid, archive.born)
    telling = (mine.uuid and known.identity.uuid) or (mine.born and known.identity.born)
    machine = (
        "another" if lineage.another(mine, known.identity) else "this" if telling else "unknown"
    )
    row = as_dict(archive) | _machine(mine) | {"machine": machine}
    if not in_full:
        return row
    facts = service.catalog.archives.facts(archive.node, archive.volid)
    found = lineage.read(facts["config"]) if facts.get("config") else Identity()
    times = {
        key: iso(facts[key]) if facts.get(key) else None
        for key in ("first_seen", "changed_at", "gone_at")
    }
    return (
        row
        | times
        | {
            "vmgenid": found.vmgenid,
            "disks": list(found.disks),
            "config_read": bool(facts.get("config")),
            "signs": archive_signs.as_dict(service, archive, facts.get("config") or ""),
        }
    )


def machine(known: Known) -> dict[str, Any]:
    """Given the machine that a guest is, return it as ``--json`` answers show it."""
    return _machine(known.identity) | {"source": known.source or None}


def _machine(identity: Identity) -> dict[str, Any]:
    return {"uuid": identity.uuid, "created": iso(identity.born) if identity.born else None}
