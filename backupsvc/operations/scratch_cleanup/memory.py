"""What is remembered of a scratch copy while it is taken down, and what a reap remembers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from backupsvc.engine.memory import MemoryForm
from backupsvc.operations.memories import ScratchPlace
from policies.model import Operation
from policies.moved import Moved
from policies.outcomes import Facts


@dataclass(frozen=True, slots=True)
class Leftover:
    """The volumes that a copy left and that are being removed, each with its node. Once ``done``, what is left then stays."""

    free: tuple[tuple[str, str], ...] = ()
    done: bool = False


@dataclass(frozen=True, slots=True)
class CopyMemory:
    """What every operation that takes a copy down remembers of it.

    ``scratch`` is where the copy was made, ``where`` the node that has it now if it was moved, ``lost`` the node that went off with
    it. ``found``: the cluster was asked where it is, after that it was ``stopped`` and ``destroyed``. ``volumes`` are those that its
    own config named, ``places`` the nodes and storages on which it lay, ``leftover`` what the deletion left.

    ``copy_of`` is the operation whose copy it is (None: this one). ``orphan``: the catalog had forgotten the copy.
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
    leftover: Leftover | None = None
    copy_of: str | None = None
    orphan: bool = False


C = TypeVar("C", bound=CopyMemory)


@dataclass(frozen=True, slots=True)
class ReapMemory(CopyMemory):
    """What a reap remembers: the copy that it takes down."""


def copy_from_version_0(values: Mapping[str, Any]) -> dict[str, Any]:
    """Given what version 0 remembered, return what of it changed its form in ``CopyMemory``."""
    if moved := values.get("moved"):
        return {"moved": {"from_node": moved["from"], "to_node": moved["to"], "at": moved["at"]}}
    return {}


def _from_version_0(values: dict[str, Any]) -> dict[str, Any]:
    return values | copy_from_version_0(values)


FORM = MemoryForm(ReapMemory, (_from_version_0,))


def recall(operation: Operation) -> ReapMemory:
    """Given a reap, return what it remembers."""
    return FORM.read(operation.memory)


def facts(operation: Operation) -> Facts:
    """Given a reap, return what is known of it for its outcome."""
    scratch = recall(operation).scratch
    return Facts(scratch.node if scratch else None, operation.book.upid("restore"))
