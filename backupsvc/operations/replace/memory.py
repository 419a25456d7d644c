"""What a replacement remembers: that of a restore, and what was done with the guest that was there."""

from __future__ import annotations

from dataclasses import dataclass, field

from backupsvc.engine.memory import MemoryForm
from backupsvc.operations.put_back.memory import Piece
from backupsvc.operations.restore.memory import RestoreMemory
from policies.cluster_config import ConfigSet
from policies.model import Archive, CheckResult, Operation
from policies.outcomes import Facts
from policies.replace_guard import Wiring

PATIENCE = 180  # seconds that a guest has to shut itself down


@dataclass(frozen=True, slots=True)
class ReplaceMemory(RestoreMemory):
    """What a replacement does. What it has of a restore is about the new guest; ``original`` is the
    VMID of the old one.

    ``old_name`` is the old guest's name, ``uuid`` both guests'. ``job`` makes the safety backup,
    ``safety`` is that operation, ``saved`` its archive. ``archived`` is how the archive has the
    guest's links. ``typed_by`` typed the old guest's name, at ``typed_at`` (epoch seconds).
    ``accept_unchecked``: what cannot be asked before the switch is no obstacle; ``force_stop``: who
    does not shut down within ``patience`` seconds is switched off.

    ``before`` are the answers of the checks before the switch. ``cut``: the old guest was, or was
    about to be, shut down; ``ran``: it ran then, on ``old_node``. ``was`` is how it was wired (None:
    it was not changed). ``left`` are sentences about what is otherwise than wanted in the end.

    ``around`` is what was around the old guest (None: not known, ``around_unknown`` says why),
    ``pieces`` each thing of it that passes to the other one. ``held`` is the state that HA was to keep
    the old guest in when it was told, or about to be told, to leave it alone (None: it was not).

    ``undo_of`` is the replacement that this one takes back, ``begun``: that has begun.
    """

    old_name: str = ""
    old_node: str = ""
    uuid: str = ""
    job: str = ""
    safety: str | None = None
    saved: Archive | None = None
    archived: Wiring = field(default_factory=lambda: Wiring({}))
    typed_by: str = ""
    typed_at: int = 0
    accept_unchecked: bool = False
    force_stop: bool = False
    patience: int = PATIENCE
    before: tuple[CheckResult, ...] = ()
    cut: bool = False
    ran: bool = False
    was: Wiring | None = None
    left: tuple[str, ...] = ()
    around: ConfigSet | None = None
    around_unknown: str = ""
    pieces: tuple[Piece, ...] = ()
    held: str | None = None
    undo_of: str | None = None
    begun: bool = False

    @property
    def old(self) -> int:
        """The VMID of the guest that is replaced."""
        return self.original or 0


FORM = MemoryForm(ReplaceMemory)


def recall(operation: Operation) -> ReplaceMemory:
    """Given a replacement, or one that is taken back, return what it remembers."""
    return FORM.read(operation.memory)


def facts(operation: Operation) -> Facts:
    """Given a replacement, return what is known of it for its outcome."""
    memory = recall(operation)
    verdict = str(memory.judged.health) if memory.judged and memory.undo_of is None else None
    return Facts(memory.node, operation.book.upid("restore"), verdict)
