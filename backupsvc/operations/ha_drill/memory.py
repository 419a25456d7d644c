"""What a drill remembers: its plan, and what was seen and heard on each way."""

from __future__ import annotations

from dataclasses import dataclass, field

from backupsvc.engine.memory import MemoryForm
from policies.ha.drill_measure import Measured
from policies.model import CheckSpec, Operation
from policies.moments import Moment
from policies.outcomes import Facts


@dataclass(frozen=True, slots=True)
class Way:
    """One way, there or back. ``asked`` is when HA was asked last, ``count`` how often; ``began``
    when it was asked first. ``moved``: the guest was seen under way, or elsewhere, since.

    ``arrived``: it was at rest where it was to go, since ``here``, after ``seconds``; ``itself``: HA took it there
    without being asked. ``task`` is PVE's, which took ``task_seconds``. ``heard`` is what was heard
    until ``until``.
    """

    asked: Moment | None = None
    count: int = 0
    began: Moment | None = None
    moved: bool = False
    arrived: bool = False
    here: Moment | None = None
    itself: bool = False
    answered: bool = False
    seconds: float | None = None
    task: str = ""
    task_seconds: int | None = None
    heard: Measured = field(default_factory=Measured)
    until: Moment | None = None


@dataclass(frozen=True, slots=True)
class DrillMemory:
    """``home`` is where the guest was when it was planned (``planned``), ``target`` where it is
    sent; ``how`` is migrate or relocate. ``check`` is asked at ``address`` from outside.

    ``ended`` is the node on which it was seen last. ``lost``: its node was lost meanwhile, so that
    HA moved it for a reason of its own; ``stranger`` is the MAC address of another machine that was
    seen to answer, "" if none was.
    """

    sid: str
    name: str
    home: str
    target: str
    how: str
    check: CheckSpec
    address: str
    planned: Moment
    macs: tuple[str, ...] = ()
    simulated: bool = False
    notes: tuple[str, ...] = ()
    out: Way = field(default_factory=Way)
    back: Way = field(default_factory=Way)
    ended: str = ""
    lost: bool = False
    stranger: str = ""


FORM = MemoryForm(DrillMemory)


def recall(operation: Operation) -> DrillMemory:
    """Given a drill, return what it remembers."""
    return FORM.read(operation.memory)


def facts(operation: Operation) -> Facts:
    """Given a drill, return what is known of it for its outcome."""
    memory = recall(operation)
    return Facts(node=memory.ended or memory.home, upid=memory.out.task or None)
