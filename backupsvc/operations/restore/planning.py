"""What a restore would do, decided before anything happens."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from backupsvc.engine.memory import MemoryUnreadable
from backupsvc.errors import BackupsvcError, PveUnreachable, Refused, UsageError
from backupsvc.inventory.listing import FAILS
from backupsvc.inventory.room import before_restore
from backupsvc.operations import identity
from backupsvc.operations.backup import memory as backup_memory
from backupsvc.operations.restore import rights as restore_rights
from backupsvc.operations.restore import twins
from backupsvc.operations.restore.absence import must_be_absent, quorate
from backupsvc.operations.restore.choice import Chosen, Wanted, choose
from backupsvc.operations.restore.memory import RestoreMemory
from backupsvc.operations.services import Nodes, Opening
from policies import i18n, lineage, reach, restore_clone, restore_plan, whole
from policies.model import Archive, GuestType, Operation, PolicyError
from policies.pve import guest_config
from policies.pve.guest_config import parse_config
from policies.restore_choice import Alternative
from policies.restore_plan import Measured, NicAhead, Place
from policies.role import Need
from policies.room import disk_needs

T = TypeVar("T")
DEADLINE = 24 * 3600  # seconds
_SEES_MEDIA = {"Datastore.AllocateSpace", "Datastore.AllocateTemplate", "Datastore.Audit"}


@dataclass(frozen=True, slots=True)
class Wish:
    """What the administrator asks for. ``storage`` takes all disks, None: each goes to where it
    was. ``into`` is another VMID than the guest's own (None: its own), ``clone``: apart from the
    machine that it is made of, and not started.
    """

    wanted: Wanted
    storage: str | None = None
    start: bool = True
    into: int | None = None
    clone: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What a restore would do (``memory``), and what is to be known of it beforehand. ``vmid`` is
    the guest's, ``target`` the one that it is restored under.

    ``lineage`` is the machine that the guest is, ``proof`` that of the archive (None: it is not
    proven), ``expected`` what was measured of a restore (None: nothing). ``blockers`` is what keeps it
    from being done, in the order in which it would be refused. ``now`` in epoch seconds; ``config``
    is the text of the configuration in the archive.
    """

    vmid: int
    target: int
    memory: RestoreMemory
    alternatives: tuple[Alternative, ...]
    lineage: identity.Known
    nics: tuple[NicAhead, ...]
    differs: tuple[str, ...]
    expected: Measured | None
    now: int
    config: str
    blockers: tuple[BackupsvcError, ...] = ()

    @property
    def chosen(self) -> Alternative:
        """The archive that is taken, among the others."""
        return next(one for one in self.alternatives if one.chosen)


@dataclass(slots=True)
class _Stops:
    """Raises what keeps a restore from being done; where it is only looked ahead, gathers it."""

    gather: bool
    found: list[BackupsvcError] = field(default_factory=list)

    def over(self, question: Callable[[], T]) -> T | None:
        """Return a question's answer, None where it is refused."""
        try:
            return question()
        except BackupsvcError as error:
            if not self.gather:
                raise
            if error.message not in {one.message for one in self.found}:
                self.found.append(error)
            return None


def plan_restore(
    service: Nodes,
    vmid: int,
    *,
    at: str | None,
    volid: str | None,
    node: str | None,
    storage: str | None,
    start: bool = True,
    newest: bool = False,
    into: int | None = None,
    clone: bool = False,
) -> RestoreMemory:
    """Given what the administrator asked for, return what a restore would do. Raise where it must
    not be done: see ``look_ahead``.
    """
    wish = Wish(Wanted(at, volid, newest, node), storage, start, into, clone)
    return look_ahead(service, vmid, wish).memory


def look_ahead(service: Nodes, vmid: int, wish: Wish, *, gather: bool = False) -> Plan:
    """Given what the administrator asked for, return what a restore would do.

    Raises LawRefused when the VMID is in use or in the scratch range, Refused when the named
    archive holds no disk, when one that was not named was changed or is of another machine (law
    10), or when a bridge is missing for a guest that is to be started, PvePermissionDenied when the
    token lacks a right that PVE would miss only in mid-restore, NoRoom when its disks surely find no
    room, PveNotFound when there is no archive, UsageError when the archive cannot be read from the
    node asked for, PveUnreachable when archive or node is out of reach, or quorum is lost. With
    ``gather`` all of these are blockers of the plan, as soon as there is an archive to plan with.
    """
    stops = _Stops(gather)
    target = vmid if wish.into is None else wish.into
    twins.require_vmid(target)
    # first: whatever else is wrong, a guest that is there is never overwritten (law 1)
    rest = stops.over(lambda: must_be_absent(service, target))
    try:
        chosen = choose(service, vmid, wish.wanted)
        archive = chosen.archive
        if archive.type is not GuestType.QEMU:
            raise Refused(
                f"archive {archive.volid} is of a container, and only VMs can be restored yet",
                "restore it in PVE",
            )
        text = _with_disk(service, archive, vmid, chosen.text)
        config = parse_config(text)
        sent = _overrides(config, archive, wish)
    except BackupsvcError as error:
        raise (*stops.found, error)[0] from None
    start = wish.start and not wish.clone
    where = wish.wanted.node or archive.node
    stops.over(lambda: _readable(archive, wish.wanted.node))
    up = stops.over(lambda: _up(service, where))
    named = wish.wanted.volid is not None
    warnings = stops.over(lambda: identity.refuse_unless_named(service, archive, text, named=named))
    apart = stops.over(lambda: _keep_apart(service, vmid, target, archive, config, wish))
    place = _place(service, archive, where, wish, config, up=bool(up))
    nics = restore_plan.nics_ahead(config, place.bridges)
    rights = stops.over(lambda: _rights(target, archive, place, config, wish)) or ()
    # PVE looks at some of them in the task alone, and then an empty guest is left (pve-facts 7.3)
    stops.over(lambda: restore_rights.require(service, target, rights))
    if start:
        stops.over(lambda: _require_bridges(service, target, where, nics))
    needs = disk_needs(config, wish.storage)
    room = stops.over(
        lambda: before_restore(service.restore_pve, target, where, needs, archive.size)
    )
    merged = {**config, **sent}
    memory = RestoreMemory(
        archive=archive,
        node=where,
        storage=wish.storage,
        name=config.get("name", ""),
        start=start,
        disks=tuple(sorted(guest_config.DUMPED + key for key in guest_config.dumped_disks(config))),
        missing_disks=tuple(guest_config.missing_disks(config, config)),
        left_out=restore_plan.left_out(config),
        nics={key: value for key, value in merged.items() if key.startswith("net")},
        passed_over=(*([rest.said(target)] if rest else []), *chosen.passed_over),
        cautions=(*chosen.cautions, *(apart or ())),
        warnings=tuple(warnings or ()),
        rights=rights,
        needs=tuple(needs),
        room=tuple(room or ()),
        original=None if target == vmid else vmid,
        clone=wish.clone,
        overrides=sent,
    )
    moved = [f"its VMID is {target}, and was {vmid}"] if target != vmid else []
    return Plan(
        vmid=vmid,
        target=target,
        memory=memory,
        alternatives=chosen.choice.alternatives,
        lineage=chosen.machine,
        nics=nics,
        differs=(
            *moved,
            *restore_plan.differs(config, place),
            *(restore_clone.differs(sent) if wish.clone else ()),
        ),
        expected=_expected(chosen, start=start),
        now=int(service.clock.now()),
        config=text,
        blockers=tuple(stops.found),
    )


def _overrides(config: Mapping[str, str], archive: Archive, wish: Wish) -> dict[str, str]:
    """What is sent with the restore of a clone, nothing otherwise. Raise Refused if a NIC in the
    archive cannot be read.
    """
    if not wish.clone:
        return {}
    numbers = [secrets.randbelow(1 << 24) for _ in config]
    try:
        return restore_clone.overrides(config, numbers)
    except PolicyError as error:
        raise Refused(
            f"archive {archive.volid} cannot be restored as a clone: {error.message}",
            "take another archive with --archive",
        ) from None


def _keep_apart(
    service: Nodes,
    vmid: int,
    target: int,
    archive: Archive,
    config: Mapping[str, str],
    wish: Wish,
) -> list[str]:
    """Return what is not known of guests that the restored one may meet. Raise LawRefused if it
    would meet the machine that it is made of (law 2), Refused if the VMID is another guest's.
    """
    mine = lineage.of(config)
    if target != vmid:
        twins.require_unclaimed(service, vmid, target, mine)
    return [] if wish.clone else twins.meeting(service, vmid, target, mine, archive.volid)


def _with_disk(service: Nodes, archive: Archive, vmid: int, text: str | None) -> str:
    """The config in an archive, which is asked for once more where it could not be read. Raise
    Refused if it holds no disk.
    """
    if text is None:
        text = service.restore_pve.storage.extract_config(archive.node, archive.volid)
    if not whole.holds_disk(text):
        raise Refused(
            f"archive {archive.volid} of guest {vmid} holds 0 disks: restored, it would be an "
            "empty machine",
            "leave --archive out: the newest archive that holds a disk is taken then",
        )
    return text


def open_restore(service: Opening, vmid: int, planned: RestoreMemory) -> Operation | None:
    """Given a plan, open the restore that carries it out."""
    return service.engine.open("restore", vmid, planned, timeout_s=DEADLINE)


# --- where to -------------------------------------------------------------------------------------


def _readable(archive: Archive, asked: str | None) -> None:
    """Raise UsageError if the node asked for cannot read the archive."""
    if asked not in (None, archive.node) and not archive.shared:
        raise UsageError(
            f"archive {archive.volid} lies on {archive.node}, in a storage that {asked} does not "
            "share",
            f"restore on {archive.node}, or copy the archive to {asked} first",
        )


def _up(service: Nodes, node: str) -> bool:
    """Return that something can be restored on a node now. Raise PveUnreachable if the node cannot
    be asked, or if the cluster has lost quorum.
    """
    nodes = service.restore_pve.cluster.nodes()
    down = reach.down(nodes)
    if node in down:
        raise PveUnreachable(
            f"node {node} is {'offline' if down[node] == reach.OFFLINE else 'silent'}: nothing "
            "can be restored there now",
            "name another with --node, of those that answer: "
            f"{i18n.names(one.name for one in nodes if one.online) or 'none'}",
        )
    # None: there is no cluster, or the token may not ask, and neither is a reason to refuse
    if down and quorate(service) is False:
        raise PveUnreachable(
            f"the cluster has lost quorum ({i18n.names(down)} is silent), so PVE refuses every "
            "restore",
            f"bring {i18n.names(down)} back; if it is lost, and off, give the rest quorum on "
            f"{node}: pvecm expected 1",
        )
    return True


def _place(
    service: Nodes,
    archive: Archive,
    node: str,
    wish: Wish,
    config: Mapping[str, str],
    *,
    up: bool,
) -> Place:
    """What is known of where the guest is restored to; what cannot be read is not known, and hinders
    nothing.
    """
    pve = service.restore_pve
    bridges: set[str] | None = None
    media: dict[str, set[str]] = {}
    if up:
        with suppress(*FAILS):
            bridges = pve.cluster.bridge_names(node)
        for storage in restore_plan.media_storages(config):
            with suppress(*FAILS):
                # a list leaves out in silence what the token may not see
                if pve.cluster.permissions_at(f"/storage/{storage}") & _SEES_MEDIA:
                    media[storage] = set(pve.storage.files(node, storage, "iso"))
    return Place(node, wish.storage, _origin(service, archive), bridges, media)


def _origin(service: Nodes, archive: Archive) -> str | None:
    """The node on which the backup was made, None where the catalog does not know it."""
    made = service.catalog.operations.get(archive.operation) if archive.operation else None
    if made is None or made.kind != "backup":
        return None
    with suppress(MemoryUnreadable):
        return backup_memory.facts(made).node
    return None


def _rights(
    vmid: int,
    archive: Archive,
    place: Place,
    config: Mapping[str, str],
    wish: Wish,
) -> tuple[Need, ...]:
    needs = restore_rights.wanted(
        vmid,
        archive.volid,
        place.node,
        config,
        storage=wish.storage,
        start=wish.start and not wish.clone,
        bridges=place.bridges,
    )
    return (*needs, *(restore_clone.rights(vmid) if wish.clone else ()))


def _require_bridges(service: Nodes, vmid: int, node: str, nics: tuple[NicAhead, ...]) -> None:
    """Raise Refused if a guest that is to be started has a NIC whose bridge is not there: PVE
    restores it, and cannot start it.
    """
    if missing := restore_plan.missing_bridges(nics):
        raise Refused(
            f"guest {vmid} would be restored on {node} and not start: {node} does not have the "
            f"bridge of {missing}, or {service.restore_pve.token_id} may not see it",
            f"make the bridge on {node}, name another node with --node, or restore the guest with "
            "--no-start and put its NIC onto another bridge before you start it",
        )


def _expected(chosen: Chosen, *, start: bool) -> Measured | None:
    mine = chosen.choice.chosen
    return restore_plan.expected(chosen.tests, mine.proof if mine else None, start=start)
