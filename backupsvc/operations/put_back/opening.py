"""Look ahead at what is to be put back around a guest, and open the operation that does it."""

from __future__ import annotations

from dataclasses import dataclass

from backupsvc.engine.memory import MemoryUnreadable
from backupsvc.errors import BackupsvcError, LawRefused, Refused
from backupsvc.operations import surroundings
from backupsvc.operations.put_back import asking
from backupsvc.operations.put_back.memory import Piece, PutBackMemory
from backupsvc.operations.restore.memory import recall as recall_restore
from backupsvc.operations.services import Nodes, Opening
from backupsvc.operations.surroundings import Found
from policies.model import Operation, OperationState
from policies.surroundings import Kind, Surrounding, putting_back
from policies.surroundings.asked import where
from policies.surroundings.putting_back import Ended
from policies.surroundings.whose import Who


@dataclass(frozen=True, slots=True)
class Ahead:
    """What would be put back around the guest under ``vmid``: each thing with why it would be left
    to a person, None where it would be done. ``blocker`` is what keeps all of it from being done.
    """

    vmid: int
    memory: PutBackMemory
    things: tuple[tuple[Surrounding, Ended | None], ...]
    notes: tuple[str, ...] = ()
    blocker: BackupsvcError | None = None


def came_back(service: Opening, vmid: int) -> bool:
    """Given a VMID, return whether the catalog knows that its guest was restored there, and not as a
    clone: its start order and tags are then the archive's.
    """
    for operation in service.catalog.operations.find(kind="restore", subject=vmid, limit=1):
        try:
            return operation.state is OperationState.DONE and not recall_restore(operation).clone
        except MemoryUnreadable:
            return False
    return False


def look_ahead(
    service: Nodes, vmid: int, found: Found, *, as_vmid: int | None = None, restored: bool = False
) -> Ahead:
    """Given a guest's VMID in the kept set and what was found missing by it, return what would
    become of each thing at this moment. Raise Refused if nothing can be told, LawRefused for a copy
    of a restore test, and what the cluster refuses.
    """
    target = vmid if as_vmid is None else as_vmid
    if target in service.policy.scratch:
        raise LawRefused(
            2,
            f"VMID {target} lies in the scratch range: nothing is put around a copy",
            "name the guest's own VMID with --as",
        )
    if found.why_none is not None or found.kept_at is None:
        raise Refused(
            f"nothing can be put back around guest {target}: {found.why_none}",
            "see `backupsvc catalog config list` for what is kept, and choose one with --at",
        )
    now = surroundings.anew(service, Kind.CONFIG, vmid, target, found.kept_at, restored=restored)
    blocker: BackupsvcError | None = None
    if now.who is not Who.SAME:
        text = f"nothing is put back around guest {target}: {now.why}"
        hint = f"restore it first: `backupsvc restore {vmid}`"
        if now.who is not Who.GONE:
            hint = f"`backupsvc catalog config surroundings {vmid}` shows the commands"
        blocker = LawRefused(10, text, hint) if now.who is Who.ANOTHER else Refused(text, hint)
    row = where(now.config, target)
    pieces = tuple(map(Piece, found.items))
    memory = PutBackMemory(vmid, found.kept_at, pieces, restored, row.get("node") if row else "")
    things: list[tuple[Surrounding, Ended | None]] = []
    for thing in found.items:
        before = [(one, end) for one, end in things if end is not None]
        end: Ended | None = putting_back.without_calls(thing)
        if thing.calls:
            end = putting_back.blocked(thing, before) or asking.left_to_hands(
                service,
                thing,
                thing.calls,
                lambda: asking.standing_if_known(service, memory, target, now, retries=False),
                retries=False,
            )
        things.append((thing, end))
    return Ahead(target, memory, tuple(things), found.notes, blocker)


def open_put_back(service: Opening, ahead: Ahead) -> Operation | None:
    """Given what was looked at, open the operation that puts it back. Raise what keeps it from being
    done, Refused while something is at work at the guest.
    """
    if ahead.blocker is not None:
        raise ahead.blocker
    return service.engine.open("put-back", ahead.vmid, ahead.memory)
