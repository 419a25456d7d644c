"""Open a copy of an archive to a target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from backupsvc.errors import OperationFailed
from backupsvc.operations.copy.memory import ArchiveCopyMemory
from backupsvc.operations.services import Opening, Run
from policies.copies_due import DueCopy
from policies.jobs import rank
from policies.model import CopyTarget, Operation

if TYPE_CHECKING:
    from backupsvc.catalog.fences import Fence


class _Targeted(Protocol):
    @property
    def target(self) -> str: ...


M = TypeVar("M", bound=_Targeted)


def open_copy(
    service: Opening,
    due: DueCopy,
    occurrence: str | None = None,
    parent: Fence | None = None,
) -> Operation | None:
    """Given an archive and a target, open its copy. Return None when ``occurrence`` was opened
    before (law 9).

    ``parent`` is the night that opens it, and its driver. Raise Refused while another copy of that
    archive to that target is at work.
    """
    archive = due.archive
    memory = ArchiveCopyMemory(due.target.name, archive.node, archive.volid)
    return service.engine.open(
        "copy",
        archive.vmid,
        memory,
        occurrence=occurrence,
        rank=rank(service.policy, archive.vmid) if archive.vmid is not None else 0,
        lock=lock_of(archive.node, due.target.name),
        parent=parent,
    )


def target_of(run: Run[M]) -> CopyTarget:
    """Given an operation that remembers its target's name, return that target of the policy. Raise
    OperationFailed if the policy has none of that name any more.
    """
    for target in run.service.policy.copies:
        if target.name == run.memory.target:
            return target
    raise OperationFailed(
        f"copy target {run.memory.target} is no longer in the policy",
        "see `backupsvc policy show`",
        operation=run.id,
    )


def lock_of(node: str, target: str) -> str:
    """Given an archive's node and a target's name, return the lock of the stream between them: two
    side by side would share one line.
    """
    return f"copy {node} {target}"
