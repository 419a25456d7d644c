"""What a prune remembers: every mark with its reasons, what is still to go, and what is being
removed at this moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from backupsvc.engine.memory import MemoryForm
from backupsvc.operations.memories import archive_from_version_0
from policies.model import Marked, Operation
from policies.outcomes import Facts


@dataclass(frozen=True, slots=True)
class PruneMemory:
    """``only`` are the guests whose archives are decided over, () all. The rest is what the
    decision said.

    ``left`` and ``removed`` are archives as (node, volid), ``removing`` the volid of the one whose
    deletion was begun. ``stopped`` are the guests that lose nothing, each with the reason;
    ``unseen`` says what is not known of a guest, ``not_listed`` the same by storage; ``blind`` are
    the places, as (node or "" if shared, storage), that could not be listed.
    """

    only: tuple[int, ...] = ()
    marks: tuple[Marked, ...] = ()
    left: tuple[tuple[str, str], ...] = ()
    removed: tuple[tuple[str, str], ...] = ()
    removing: str | None = None
    stopped: Mapping[int, str] = field(default_factory=dict)
    unseen: Mapping[int, str] = field(default_factory=dict)
    not_listed: tuple[str, ...] = ()
    blind: tuple[tuple[str, str], ...] = ()


def _from_version_0(values: dict[str, Any]) -> dict[str, Any]:
    marks = [
        {"archive": archive_from_version_0(item), "mark": item["mark"], "reasons": item["reasons"]}
        for item in values.get("marks", ())
    ]
    return values | {"marks": marks}


FORM = MemoryForm(PruneMemory, (_from_version_0,))


def recall(operation: Operation) -> PruneMemory:
    """Given a prune, return what it remembers."""
    return FORM.read(operation.memory)


def facts(operation: Operation) -> Facts:
    """Given a prune, return what is known of it for its outcome."""
    return Facts(partial=bool(recall(operation).not_listed))
