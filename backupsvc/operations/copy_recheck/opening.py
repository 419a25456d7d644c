"""Open readings of copies."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from backupsvc.copies.opening import open_target
from backupsvc.copies.target import Alive
from backupsvc.errors import BackupsvcError
from backupsvc.operations.copy.opening import lock_of
from backupsvc.operations.copy_recheck.memory import CopyRecheckMemory
from backupsvc.operations.services import Opening
from backupsvc.services import Nodes
from policies.copy_recheck_due import due, readable
from policies.jobs import rank
from policies.model import ArchiveCopy, CopyTarget, IntegrityRules, Operation

if TYPE_CHECKING:
    from backupsvc.catalog.fences import Fence


def choose(
    service: Nodes, targets: Iterable[CopyTarget], only: Collection[int], *, everything: bool
) -> list[tuple[ArchiveCopy, CopyTarget]]:
    """Given targets, and the guests whose copies count (() all), return what is to be read now, by
    the policy's rules or ``everything``, each with its target.
    """
    there = readable(service.catalog.copies.find(damaged=True), targets)
    rules = service.policy.integrity or IntegrityRules()
    now = int(service.clock.now())
    wanted = due((copy for copy, _ in there), rules, now, only=only, everything=everything)
    target_of = {copy.route: target for copy, target in there}
    return [(copy, target_of[copy.route]) for copy in wanted]


def out_of_reach(
    service: Nodes, targets: Iterable[CopyTarget], alive: Alive = lambda: None
) -> dict[str, BackupsvcError]:
    """Given targets, knock at each once, and return why those do not answer that do not, by name:
    of their copies nothing can be read. ``alive`` is called before each.
    """
    found: dict[str, BackupsvcError] = {}
    for target in {one.name: one for one in targets}.values():
        alive()
        try:
            with open_target(target, service.nodes, service.settings.ssh) as folder:
                folder.files()
        except BackupsvcError as error:
            found[target.name] = error
    return found


def open_copy_recheck(
    service: Opening,
    copy: ArchiveCopy,
    target: CopyTarget,
    occurrence: str | None = None,
    parent: Fence | None = None,
) -> Operation | None:
    """Given a copy and the target that it lies at, open its reading. Return None when
    ``occurrence`` was opened before (law 9).

    ``parent`` is the night that opens it, and its driver. Raise Refused while it is being read
    already.
    """
    route = copy.route
    return service.engine.open(
        "copy-recheck",
        route.vmid,
        CopyRecheckMemory(target.name, route.node, route.volid),
        occurrence=occurrence,
        rank=rank(service.policy, route.vmid) if route.vmid is not None else 0,
        # the lock of copies from that node: reading back and copying would share one line
        lock=lock_of(route.node, target.name),
        parent=parent,
    )
