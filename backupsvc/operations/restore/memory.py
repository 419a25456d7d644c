"""What a restore remembers: its plan, all of it, as the administrator saw it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from backupsvc.engine.memory import MemoryForm
from backupsvc.operations.memories import archive_from_version_0
from policies.model import Archive, CheckResult, Operation
from policies.outcomes import Facts
from policies.restore_guard import Confirmation
from policies.restore_silence import Address, Look
from policies.restore_verdict import Judgement
from policies.role import Need
from policies.room import DiskNeed
from policies.settle import Settled


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

    ``simulated``: the guests are only modelled. ``addresses`` are those at which the original is
    asked for, ``looks`` what was found there last before the start, ``unheard`` sentences about what
    was not known of it when this was planned, ``silent`` the nodes that could not be asked last;
    ``confirmed`` is who said in words that the original is off, ``noted``: that stands in the
    history.

    ``agent``: the restored guest has an agent by its config (None: not looked at yet), ``macs`` are
    its own. ``checks`` is the last answer of each check, ``unsure`` how often each could not be put,
    ``alive`` the seconds after which it first showed a sign of life. ``settled`` is what came of
    watching it, ``judged`` the verdict (None: nothing was asked, as it was not started).
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
    simulated: bool = False
    addresses: tuple[Address, ...] = ()
    looks: tuple[Look, ...] = ()
    unheard: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    confirmed: Confirmation | None = None
    noted: bool = False
    agent: bool | None = None
    macs: tuple[str, ...] = ()
    checks: Mapping[str, CheckResult] = field(default_factory=dict)
    unsure: Mapping[str, int] = field(default_factory=dict)
    alive: float | None = None
    settled: Settled | None = None
    judged: Judgement | None = None

    def whose(self, vmid: int) -> int:
        """Given the VMID that it restores under, return the one that the archive was under."""
        return vmid if self.original is None else self.original


# a release that knows no version 2 neither guards against a second run nor asks: it keeps its hands off
FORM = MemoryForm(
    RestoreMemory,
    (lambda values: values | {"archive": archive_from_version_0(values["archive"])}, dict),
)


def recall(operation: Operation) -> RestoreMemory:
    """Given a restore, return what it remembers."""
    return FORM.read(operation.memory)


def facts(operation: Operation) -> Facts:
    """Given a restore, return what is known of it for its outcome."""
    memory = recall(operation)
    verdict = str(memory.judged.health) if memory.judged else None
    return Facts(memory.node, operation.book.upid("restore"), verdict)
