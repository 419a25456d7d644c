"""What a restore would do, decided before anything happens."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TypeVar

from backupsvc.engine.memory import MemoryUnreadable
from backupsvc.errors import BackupsvcError, LawRefused, PveUnreachable, Refused, UsageError
from backupsvc.inventory.listing import FAILS
from backupsvc.inventory.room import before_restore
from backupsvc.operations import identity
from backupsvc.operations.backup import memory as backup_memory
from backupsvc.operations.restore import double_run, hearing, obstacles, twins
from backupsvc.operations.restore import rights as restore_rights
from backupsvc.operations.restore.absence import must_be_absent
from backupsvc.operations.restore.choice import Chosen, Wanted, choose
from backupsvc.operations.restore.memory import RestoreMemory
from backupsvc.operations.services import Nodes, Opening
from backupsvc.requester import person
from policies import restore_clone, restore_guard, restore_plan, restore_silence
from policies.model import Archive, Operation, PolicyError
from policies.pve import guest_config
from policies.pve.guest_config import parse_config
from policies.restore_choice import Alternative
from policies.restore_guard import Confirmation, Doubt
from policies.restore_plan import Measured, NicAhead, Place
from policies.restore_silence import Address
from policies.role import Need
from policies.room import DiskNeed, disk_needs

T = TypeVar("T")
DEADLINE = 24 * 3600  # seconds
_SEES_MEDIA = {"Datastore.AllocateSpace", "Datastore.AllocateTemplate", "Datastore.Audit"}


@dataclass(frozen=True, slots=True)
class Wish:
    """What the administrator asks for. ``storage`` takes all disks, None: each goes to where it
    was. ``into`` is another VMID than the guest's own (None: its own), ``clone``: apart from the
    machine that it is made of, and not started. ``confirm`` are the words that its original is off.
    ``replaces``: it takes the place of the guest, which is there and is kept apart from it.
    """

    wanted: Wanted
    storage: str | None = None
    start: bool = True
    into: int | None = None
    clone: bool = False
    confirm: str | None = None
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What a restore would do (``memory``), and what is to be known of it beforehand. ``vmid`` is
    the guest's, ``target`` the one that it is restored under.

    ``lineage`` is the machine that the guest is, ``proof`` that of the archive (None: it is not
    proven), ``expected`` what was measured of a restore (None: nothing). ``doubts`` is why its
    original may still be alive, which somebody must set aside in words before it is begun
    (``confirmed``); ``without_quorum`` what is to be said if the cluster has lost quorum, which is
    waited for. ``blockers`` is what keeps it from being done, in the order in which it would be
    refused. ``now`` in epoch seconds; ``config`` is the text of the configuration in the archive.
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
    doubts: tuple[Doubt, ...] = ()
    without_quorum: PveUnreachable | None = None
    blockers: tuple[BackupsvcError, ...] = ()

    @property
    def chosen(self) -> Alternative:
        """The archive that is taken, among the others."""
        return next(one for one in self.alternatives if one.chosen)

    @property
    def unconfirmed(self) -> LawRefused | None:
        """The refusal to begin while nobody has said in words that the original is off."""
        if not restore_guard.unconfirmed(self.doubts, self.memory.confirmed):
            return None
        return obstacles.may_run_twice(
            self.vmid, f"restoring guest {self.vmid} was not begun", self.doubts
        )

    def confirmed(self, words: str) -> Plan:
        """Given the words that somebody wrote, return the plan with what they set aside. Raise
        UsageError if they are not the words.
        """
        if not restore_guard.fits(words, self.vmid):
            wanted = restore_guard.words(self.vmid)
            raise UsageError(
                f"{words!r} confirms nothing of guest {self.vmid}",
                f'the words are "{wanted}", and only true where somebody has seen it',
            )
        given = Confirmation(person(), self.now, words.strip(), self.doubts)
        return replace(self, memory=replace(self.memory, confirmed=given))


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
    confirm: str | None = None,
) -> RestoreMemory:
    """Given what the administrator asked for, return what a restore would do. Raise where it must
    not be done: see ``look_ahead``; LawRefused too if its original may be alive and ``confirm`` are
    not the words that it is off.
    """
    wish = Wish(Wanted(at, volid, newest, node), storage, start, into, clone, confirm)
    plan = look_ahead(service, vmid, wish)
    if plan.unconfirmed:
        raise plan.unconfirmed
    return plan.memory


def look_ahead(service: Nodes, vmid: int, wish: Wish, *, gather: bool = False) -> Plan:
    """Given what the administrator asked for, return what a restore would do.

    Raises LawRefused when the VMID is in use or in the scratch range, Refused when the named
    archive holds no disk, when one that was not named was changed or is of another machine (law
    10), or when a bridge is missing for a guest that is to be started, PvePermissionDenied when the
    token lacks a right that PVE would miss only in mid-restore, NoRoom when its disks surely find no
    room, PveNotFound when there is no archive, UsageError when the archive cannot be read from the
    node asked for, PveUnreachable when archive or node is out of reach. With ``gather`` all of these
    are blockers of the plan, as soon as there is an archive to plan with, and so are a lost quorum
    and that its original may be alive, which whoever begins it must look at by himself.
    """
    stops = _Stops(gather)
    target = vmid if wish.into is None else wish.into
    twins.require_vmid(target)
    # first: whatever else is wrong, a guest that is there is never overwritten (law 1)
    rest = stops.over(lambda: must_be_absent(service, target))
    try:
        chosen = choose(service, vmid, wish.wanted)
        archive = chosen.archive
        text = obstacles.text_with_disk(service, archive, vmid, chosen.text)
        config = parse_config(text)
        sent = clone_overrides(config, archive) if wish.clone else {}
    except BackupsvcError as error:
        raise (*stops.found, error)[0] from None
    at = _weigh(service, vmid, target, chosen, text, wish, stops)
    memory = _remembered(chosen, config, sent, at, wish)
    start, mine = memory.start, chosen.choice.chosen
    plan = Plan(
        vmid=vmid,
        target=target,
        memory=replace(
            memory,
            original=None if target == vmid else vmid,
            passed_over=(*([rest.said(target)] if rest else []), *chosen.passed_over),
        ),
        alternatives=chosen.choice.alternatives,
        lineage=chosen.machine,
        nics=at.nics,
        differs=(
            *([f"its VMID is {target}, and was {vmid}"] if target != vmid else []),
            *restore_plan.differs(config, at.place),
            *(restore_clone.differs(sent) if wish.clone else ()),
        ),
        expected=restore_plan.expected(chosen.tests, mine.proof if mine else None, start=start),
        now=int(service.clock.now()),
        config=text,
        doubts=at.seen.doubts if start and not wish.replaces else (),
        without_quorum=at.without_quorum,
    )
    if wish.confirm is not None:
        plan = plan.confirmed(wish.confirm)
    found = [*stops.found, *([plan.unconfirmed] if gather and plan.unconfirmed else [])]
    return replace(plan, blockers=tuple(found))


def _remembered(
    chosen: Chosen,
    config: Mapping[str, str],
    sent: Mapping[str, str],
    at: _Weighed,
    wish: Wish,
) -> RestoreMemory:
    """What a restore begins with, given the configuration in the archive and what is sent with it.
    Whose VMID it takes is not yet in it.
    """
    start, clone = wish.start and not wish.clone, wish.clone
    unasked = clone or wish.replaces or chosen.simulated
    return RestoreMemory(
        archive=chosen.archive,
        node=at.place.node,
        storage=wish.storage,
        name=config.get("name", ""),
        start=start,
        disks=tuple(sorted(guest_config.DUMPED + key for key in guest_config.dumped_disks(config))),
        missing_disks=tuple(guest_config.missing_disks(config, config)),
        left_out=restore_plan.left_out(config),
        nics={key: value for key, value in {**config, **sent}.items() if key.startswith("net")},
        cautions=(*chosen.cautions, *at.apart),
        warnings=at.warnings,
        rights=at.rights,
        needs=at.needs,
        room=at.room,
        clone=clone,
        overrides=sent,
        simulated=chosen.simulated,
        addresses=at.addresses,
        looks=at.seen.looks,
        unheard=(
            *(() if unasked else restore_silence.doubtful(at.seen.looks)),
            *(() if start or clone else (one.said for one in at.seen.doubts)),
        ),
    )


@dataclass(frozen=True, slots=True)
class _Weighed:
    """What is known of the place and of the moment of a restore, as far as it could be asked."""

    place: Place
    nics: tuple[NicAhead, ...]
    apart: tuple[str, ...]
    warnings: tuple[str, ...]
    rights: tuple[Need, ...]
    needs: tuple[DiskNeed, ...]
    room: tuple[str, ...]
    addresses: tuple[Address, ...]
    seen: double_run.Seen
    without_quorum: PveUnreachable | None


def _weigh(
    service: Nodes, vmid: int, target: int, chosen: Chosen, text: str, wish: Wish, stops: _Stops
) -> _Weighed:
    """Ask all that may keep a restore from being done, in the order in which it is refused."""
    archive, config = chosen.archive, parse_config(text)
    start, clone, named = wish.start and not wish.clone, wish.clone, wish.wanted.volid is not None
    node = wish.wanted.node or archive.node
    stops.over(lambda: obstacles.readable(archive, wish.wanted.node))
    up = stops.over(lambda: obstacles.up(service, node))
    lost = stops.over(lambda: obstacles.without_quorum(service, node)) if up else None
    if lost and stops.gather:
        stops.found.append(lost)
    warnings = stops.over(lambda: identity.refuse_unless_named(service, archive, text, named=named))
    apart = stops.over(
        lambda: obstacles.meeting(
            service, vmid, target, archive, config, clone=clone, replaces=wish.replaces
        )
    )
    place = place_of(service, archive, node, wish.storage, config, up=bool(up))
    nics = restore_plan.nics_ahead(config, place.bridges)
    rights = stops.over(
        lambda: restore_rights.wanted(
            target,
            archive.volid,
            place,
            config,
            start=start,
            apart=clone or wish.replaces,
        )
    )
    # PVE looks at some of them in the task alone, and then an empty guest is left (pve-facts 7.3)
    stops.over(lambda: restore_rights.require(service, target, rights or ()))
    if start:
        stops.over(lambda: obstacles.require_bridges(service, target, node, nics))
    needs = tuple(disk_needs(config, wish.storage))
    room = stops.over(
        lambda: before_restore(service.restore_pve, target, node, needs, archive.size)
    )
    # a clone's links are down, who is replaced answers, and a modelled guest answers nowhere
    asked = (
        () if clone or wish.replaces or chosen.simulated else hearing.addresses(service, vmid, text)
    )
    seen = stops.over(lambda: double_run.look(service, vmid, asked))
    return _Weighed(
        place=place,
        nics=nics,
        apart=tuple(apart or ()),
        warnings=tuple(warnings or ()),
        rights=rights or (),
        needs=needs,
        room=tuple(room or ()),
        addresses=asked,
        seen=seen or double_run.Seen(),
        without_quorum=lost,
    )


def clone_overrides(config: Mapping[str, str], archive: Archive) -> dict[str, str]:
    """Given the config in an archive, return what is sent with the restore of a clone of it. Raise
    Refused if a NIC in it cannot be read.
    """
    numbers = [secrets.randbelow(1 << 24) for _ in config]
    try:
        return restore_clone.overrides(config, numbers)
    except PolicyError as error:
        raise Refused(
            f"archive {archive.volid} cannot be restored as a clone: {error.message}",
            "take another archive with --archive",
        ) from None


def place_of(
    service: Nodes,
    archive: Archive,
    node: str,
    storage: str | None,
    config: Mapping[str, str],
    *,
    up: bool,
) -> Place:
    """Given an archive and where it is restored to, return what is known of that place. ``up``: the
    node answers. What cannot be read is not known, and hinders nothing.
    """
    pve = service.restore_pve
    bridges: set[str] | None = None
    media: dict[str, set[str]] = {}
    if up:
        with suppress(*FAILS):
            bridges = pve.cluster.bridge_names(node)
        for one in restore_plan.media_storages(config):
            with suppress(*FAILS):
                # a list leaves out in silence what the token may not see
                if pve.cluster.permissions_at(f"/storage/{one}") & _SEES_MEDIA:
                    media[one] = set(pve.storage.files(node, one, "iso"))
    # the node on which the backup was made, where the catalog knows it
    origin = None
    made = service.catalog.operations.get(archive.operation) if archive.operation else None
    if made is not None and made.kind == "backup":
        with suppress(MemoryUnreadable):
            origin = backup_memory.facts(made).node
    return Place(node, storage, origin, bridges, media)


def open_restore(service: Opening, vmid: int, planned: RestoreMemory) -> Operation | None:
    """Given a plan, open the restore that carries it out."""
    return service.engine.open("restore", vmid, planned, timeout_s=DEADLINE)
