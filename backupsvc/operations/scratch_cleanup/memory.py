"""What is remembered of a scratch copy while it is taken down, and what a reap remembers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from backupsvc.engine.memory import MemoryForm
from backupsvc.errors import OperationFailed
from backupsvc.operations.memories import ScratchPlace
from policies.bookkeeping import TaskRecord
from policies.model import Operation
from policies.moved import Moved
from policies.outcomes import Facts


@dataclass(frozen=True, slots=True)
class CopyMemory:
    """What every operation that takes a copy down remembers of it.

    ``scratch`` is where the copy was made, ``where`` the node that has it now if it was moved,
    ``lost`` the node that went off with it. ``found``: the cluster was asked where it is; after
    that it was ``stopped`` and ``destroyed``. ``volumes`` are those that its own config named,
    ``places`` the nodes and storages on which it lay. ``leftover`` are the volumes that the
    deletion left and that are still to be removed, each with its node; None while none was seen.

    ``copy_of`` is the operation whose copy it is (None: this one). ``orphan``: the catalog had
    forgotten the copy.
    """

    scratch: ScratchPlace | None = None
    where: str | None = None
    moved: Moved | None = None
    lost: str | None = None
    found: bool = False
    stopped: bool = False
    destroyed: bool = False
    volumes: tuple[str, ...] = ()
    places: tuple[tuple[str, str], ...] = ()
    leftover: tuple[tuple[str, str], ...] | None = None
    copy_of: str | None = None
    orphan: bool = False

    @property
    def reserved(self) -> ScratchPlace:
        """The place that was reserved for the copy. Raise OperationFailed before there is one."""
        if self.scratch is None:
            raise OperationFailed("no place was reserved for a copy yet")
        return self.scratch


C = TypeVar("C", bound=CopyMemory)


@dataclass(frozen=True, slots=True)
class ReapMemory(CopyMemory):
    """What a reap remembers: the copy that it takes down, and the restore that made it (None: not
    known, or none was begun).
    """

    made_by: TaskRecord | None = None


def copy_from_version_0(values: Mapping[str, Any]) -> dict[str, Any]:
    """Given what version 0 remembered, return what of it changed its form in ``CopyMemory``."""
    brought: dict[str, Any] = {}
    if moved := values.get("moved"):
        brought["moved"] = {"from_node": moved["from"], "to_node": moved["to"], "at": moved["at"]}
    if leftover := values.get("leftover"):
        brought["leftover"] = leftover.get("free", ())
    return brought


def _from_version_0(values: dict[str, Any]) -> dict[str, Any]:
    """What a reap was opened with named the restore by its UPID and its intent."""
    brought = values | copy_from_version_0(values)
    upid, intent = values.get("restore_upid"), values.get("restore_intent")
    if upid or intent:
        # ticks of a boot that no machine had: then the wall clock alone counts
        ticks, boot = values.get("restore_intent_ticks") or (0.0, "another boot")
        intended = {"wall": intent, "ticks": ticks, "boot": boot} if intent else None
        brought["made_by"] = {"upid": upid, "intended": intended}
    return brought


FORM = MemoryForm(ReapMemory, (_from_version_0,))


def recall(operation: Operation) -> ReapMemory:
    """Given a reap, return what it remembers."""
    return FORM.read(operation.memory)


def facts(operation: Operation) -> Facts:
    """Given a reap, return what is known of it for its outcome."""
    memory = recall(operation)
    upid = operation.book.upid("restore") or (memory.made_by.upid if memory.made_by else None)
    return Facts(memory.scratch.node if memory.scratch else None, upid)
