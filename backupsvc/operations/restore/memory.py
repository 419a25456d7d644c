"""What a restore remembers: its plan, all of it, as the administrator saw it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from backupsvc.engine.memory import MemoryForm
from backupsvc.operations.memories import archive_from_version_0
from policies.model import Archive, Operation
from policies.outcomes import Facts
from policies.role import Need
from policies.room import DiskNeed


@dataclass(frozen=True, slots=True)
class RestoreMemory:
    """What a restore does. ``node`` is where to, ``storage`` where all disks go (None: where each
    was), ``name`` the guest's.

    ``disks`` are the lines of the archive's config that map them, ``nics`` its NICs.
    ``passed_over``, ``warnings``, ``cautions``, ``left_out`` and ``room`` are sentences: what else
    there is, what speaks against the archive that was named all the same, what is to be known of the
    one that is taken (that it is not proven), what it lacks. ``rights`` is what the token needs for
    it, ``needs`` what the disks take on each storage.

    ``original`` is the VMID that the archive was under where it is restored under another one, else
    None. ``clone``: it gets MAC addresses and a UUID of its own, ``overrides`` being what is sent
    for that.
    """

    archive: Archive
    node: str
    storage: str | None = None
    name: str = ""
    start: bool = True
    disks: tuple[str, ...] = ()
    missing_disks: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    nics: Mapping[str, str] = field(default_factory=dict)
    passed_over: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    rights: tuple[Need, ...] = ()
    needs: tuple[DiskNeed, ...] = ()
    room: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    original: int | None = None
    clone: bool = False
    overrides: Mapping[str, str] = field(default_factory=dict)


def _from_version_0(values: dict[str, Any]) -> dict[str, Any]:
    return values | {"archive": archive_from_version_0(values["archive"])}


FORM = MemoryForm(RestoreMemory, (_from_version_0,))


def recall(operation: Operation) -> RestoreMemory:
    """Given a restore, return what it remembers."""
    return FORM.read(operation.memory)


def facts(operation: Operation) -> Facts:
    """Given a restore, return what is known of it for its outcome."""
    return Facts(node=recall(operation).node, upid=operation.book.upid("restore"))
