"""Whether the original of a guest that is brought back may still be alive: asked before it begins, and
once more just before the start, for hours may lie between.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from backupsvc.operations.restore import hearing, obstacles
from backupsvc.operations.restore.memory import RestoreMemory
from backupsvc.operations.services import Nodes, Run
from policies import reach, restore_guard
from policies.restore_guard import Doubt
from policies.restore_silence import Address, Look

FRESH = 30  # seconds for which a look at the addresses serves, before anything has begun


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of the original: what was found at its addresses, the nodes that cannot be asked,
    and why it may be alive.
    """

    looks: tuple[Look, ...] = ()
    silent: tuple[str, ...] = ()
    doubts: tuple[Doubt, ...] = ()


def look(
    service: Nodes, vmid: int, asked: tuple[Address, ...], seconds: float = hearing.LONG
) -> Seen:
    """Given a guest, the addresses at which to ask (none where guests are only modelled), and the
    seconds that each has to answer, return what is seen of it.
    """
    looks = hearing.listen(service, asked, seconds)
    down = reach.down(service.restore_pve.cluster.nodes())
    return Seen(looks, tuple(sorted(down)), restore_guard.doubts(vmid, down, looks))


def require_off(run: Run[RestoreMemory], what: str) -> None:
    """Look whether the original of the guest of a restore may be alive, and remember what was seen.
    Raise LawRefused (law 2) for what nobody has confirmed; ``what`` is what came of the restore.
    """
    memory, vmid = run.memory, run.memory.whose(run.vmid)
    if not memory.start:
        return
    if memory.confirmed and not memory.noted:
        given = memory.confirmed
        run.memory = memory = replace(memory, noted=True)
        run.note(
            "confirmed",
            by=given.by,
            time=given.at,
            words=given.words,
            doubts=[one.said for one in given.doubts],
        )
    fresh = memory.looks and all(0 <= run.now() - one.at < FRESH for one in memory.looks)
    restored = "restore" in run.book.seconds
    # before the start it is asked in any case: a node may have come back while disks were written
    asked = () if fresh and not restored else memory.addresses
    seen = look(run.service, vmid, asked, hearing.SHORT if restored else hearing.LONG)
    looks = seen.looks or memory.looks
    run.memory = replace(memory, looks=looks, silent=seen.silent)
    if found := restore_guard.unconfirmed(seen.doubts, memory.confirmed):
        raise obstacles.may_run_twice(vmid, what, found, restored=restored)
