"""Which archive a restore takes: what the decision (policies.restore_choice) must know is asked here,
and the archives that it looks at are looked into.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from backupsvc.clock import iso
from backupsvc.errors import Refused
from backupsvc.inventory.listing import FAILS, Survey, survey
from backupsvc.operations import choosing, identity
from backupsvc.operations.services import Cluster
from policies import lineage, whole
from policies.lineage import Identity
from policies.model import Archive, GuestType, Proof
from policies.restore_choice import Alternative, Asked, Choice, Known, decide
from policies.service_checks import wanted_rung


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the administrator asked for, as it was typed: until ``at`` (a date or a time), the archive
    ``volid``, the ``newest`` whether proven or not, one that ``node`` can read.
    """

    at: str | None = None
    volid: str | None = None
    newest: bool = False
    node: str | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """The archive that is taken, with the config in it (None: it could not be read, or is a
    container's), and all that was weighed.

    ``passed_over`` and ``cautions`` are sentences; ``machine`` is the one that the guest is, ``tests``
    are the guest's restore tests, none on a simulated cluster, of modelled guests (``simulated``).
    """

    archive: Archive
    text: str | None
    choice: Choice
    passed_over: tuple[str, ...]
    cautions: tuple[str, ...]
    machine: identity.Known
    tests: tuple[Proof, ...]
    simulated: bool = False


@dataclass(slots=True)
class _Look:
    """What was read of the archives so far: the configs, and why one could not be read."""

    texts: dict[tuple[str, str], str | None] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)

    def into(self, service: Cluster, archive: Archive) -> Archive:
        """Read the config in an archive, and return the archive as the catalog knows it then."""
        key = whole.key(archive)
        # noted as looked at first: one that cannot be read is not tried again and again
        self.texts[key] = None
        try:
            text = service.restore_pve.storage.extract_config(archive.node, archive.volid)
        except FAILS as error:
            self.unread[archive.volid] = error.message
            return archive
        self.texts[key] = text
        return identity.look_into(service, archive, text)


def choose(service: Cluster, vmid: int, wanted: Wanted) -> Chosen:
    """Given a guest and what is wanted of its archives, return the one to restore.

    Of what is listed, so that it works with an empty catalog too (law 8): then nothing is proven.
    Raise PveNotFound when the storages list none that fits, OutOfReach when one that may is out of
    reach, UsageError when ``at`` is not a date or time, Refused when nothing was named and the newest
    archive under the VMID is of another machine (law 10).
    """
    latest = choosing.until(wanted.at, service.policy.timezone) if wanted.at else None
    asked = Asked(latest, wanted.volid, wanted.newest, wanted.node)
    seen, look = survey(service, vmid), _Look()
    machine = identity.lineage_of(service, service.restore_pve, vmid)
    known = _known(service, vmid, seen, machine.identity)
    while True:
        choice = decide(known, asked)
        # without a name the newest is looked into as well: whose VMID it is now, it tells
        looked_at = [choice.chosen] if wanted.volid else [choice.newest, choice.chosen]
        unknown = [
            one.archive
            for one in looked_at
            if one
            and one.archive.type is GuestType.QEMU
            and whole.key(one.archive) not in look.texts
        ]
        if not unknown:
            break
        now = look.into(service, unknown[0])
        # what was just read may have told more of the machine that the guest is
        machine = identity.lineage_of(service, service.restore_pve, vmid)
        known = replace(
            known,
            listed=tuple(now if one is unknown[0] else one for one in known.listed),
            machine=machine.identity,
        )
    if choice.chosen is None:
        raise choosing.none_fits(
            service,
            vmid,
            seen,
            at=wanted.at,
            volid=wanted.volid,
            wanted="that holds a disk, is as it was recorded and of this machine",
        )
    if wanted.volid is None and choice.contested:
        _refuse_contested(vmid, choice, machine.identity)
    archive, named = choice.chosen.archive, wanted.volid is not None
    blank = [
        f"{sentence}: whether a newer archive lies there is not known" for sentence in seen.blank()
    ]
    unread = [
        f"the config in {volid} could not be read ({why}), so whose it is is not known"
        for volid, why in look.unread.items()
        if volid != archive.volid
    ]
    return Chosen(
        archive,
        look.texts.get(whole.key(archive)),
        choice,
        (*choice.passed_over, *(() if named else blank), *unread),
        choice.cautions,
        machine,
        # what was measured of modelled guests says nothing of how long a real one takes (law 5)
        () if known.simulated else known.proofs,
        known.simulated,
    )


def _known(service: Cluster, vmid: int, seen: Survey, machine: Identity) -> Known:
    ours = [one for one in seen.listed if one.vmid == vmid]
    return Known(
        vmid,
        tuple(ours),
        int(service.clock.now()),
        tuple(one for one in seen.unreachable if one.vmid == vmid),
        dict(seen.why),
        tuple(service.catalog.proofs.find(vmid=vmid)),
        wanted_rung(service.policy, vmid),
        machine,
        service.restore_pve.cluster.version().simulated,
    )


def _refuse_contested(vmid: int, choice: Choice, machine: Identity) -> None:
    """Two machines had the VMID: under stress, nobody may guess which of them is meant."""
    newest, mine = choice.newest, choice.chosen
    assert newest is not None and mine is not None
    why = lineage.another(lineage.of_archive(newest.archive), machine)
    said = (
        "; ".join(why)
        or f"it is of a {'VM' if newest.archive.type is GuestType.QEMU else 'container'}"
    )
    own = "" if mine is newest else f"--archive {mine.archive.volid} ({mine.state}), or "
    raise Refused(
        f"archive {newest.archive.volid} on {newest.archive.node}, the newest under VMID {vmid}, is of "
        f"another machine than guest {vmid}: {said}",
        f"name the one that you want: {own}--archive {newest.archive.volid}; `backupsvc catalog show "
        f"{vmid}` shows them all",
    )


def as_dict(one: Alternative, now: float) -> dict[str, Any]:
    """Given an alternative and the time (epoch seconds), return it as ``restore --dry-run --json``
    shows it; ages in seconds.
    """
    archive = one.archive
    return {
        "volid": archive.volid,
        "node": archive.node,
        "time": iso(archive.ctime),
        "age": max(0, int(now) - archive.ctime),
        "rung": str(archive.rung),
        "proven": one.proof is not None,
        "chosen": one.chosen,
        "why": one.why,
    }
