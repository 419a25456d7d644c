"""Put back what a deleted guest had around it, one call after the other, each decided anew.

Before each call it is found anew what is missing, and whether the guest is still the same machine
(law 10); after it that it is no longer missing, for PVE's word that it took a call shows nothing
(law 4). Each call is an intent before it is made: whoever resumes looks whether it is there. HA
comes last, and gets no guest that it would start or stop before a person would.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from backupsvc.engine.context import Handler, Wait, refused_for_sure
from backupsvc.errors import (
    ArchiveError,
    BackupsvcError,
    LawRefused,
    OutOfReach,
    PveError,
    PvePermissionDenied,
    Refused,
)
from backupsvc.operations import surroundings
from backupsvc.operations.put_back import asking
from backupsvc.operations.put_back.memory import Piece, PutBackMemory
from backupsvc.operations.services import Run, StepServices
from backupsvc.operations.surroundings import Now
from policies.surroundings import Call, Kind, putting_back
from policies.surroundings.model import command
from policies.surroundings.putting_back import Ended, Make, Outcome, Standing
from policies.surroundings.whose import Who
from policies.workflow import Workflow


@dataclass(frozen=True, slots=True)
class Around:
    """What asks, and calls, the cluster about the surroundings of one guest: ``anew`` what is missing
    of a kind at this moment, ``standing`` how the guest stands before HA gets it, ``call`` makes a
    call, given the digest of what it changes.
    """

    anew: Callable[[Kind], Now]
    standing: Callable[[Now], Standing]
    call: Callable[[Call, str | None], None]


CALL = "call"  # the engine's name for the one call that is under way
# of two that add their guests to one job, each would write the list that it read
LOCK = "surroundings"


def look(run: Run[PutBackMemory]) -> Wait | None:
    """See that the guest is there, and is the machine that had all that."""
    now = _around(run).anew(Kind.CONFIG)
    if now.who is Who.ANOTHER:
        raise LawRefused(
            10,
            f"nothing is put back around guest {run.vmid}: {now.why}",
            "a VMID is no identity: name the guest's own with --as",
        )
    if now.who is not Who.SAME:
        raise Refused(
            f"nothing is put back around guest {run.vmid}: {now.why}",
            f"`backupsvc catalog config surroundings {run.memory.vmid}` shows the commands",
        )
    run.conclude(f"guest {run.vmid} is the machine that was kept")
    return None


def put_back(run: Run[PutBackMemory]) -> Wait | None:
    """Put back one thing after the other."""
    return go_through(run, _around(run))


def _around(run: Run[PutBackMemory]) -> Around:
    memory = run.memory
    return Around(
        lambda kind: anew(
            run,
            lambda: surroundings.anew(
                run.service, kind, memory.vmid, run.vmid, memory.kept_at, restored=memory.restored
            ),
        ),
        lambda now: asking.standing_if_known(
            run.service, memory, run.vmid, now, retries=run.retries
        ),
        lambda call, digest: run.service.restore_pve.surroundings.put_back(call, run.vmid, digest),
    )


def go_through(run: Run[Any], around: Around) -> Wait | None:
    """Given an operation whose memory has ``pieces``, and what asks and calls the cluster about them,
    do what is to be done of each, one after the other.
    """
    if wait := run.turn(LOCK, "the surroundings of another guest are being put back"):
        return wait
    while open_ones := [
        number for number, piece in enumerate(run.memory.pieces) if piece.end is None
    ]:
        if wait := _go_on(run, around, open_ones[0]):
            return wait
        if run.book.tries:  # what went wrong has passed: for the next thing it counts anew
            return Wait("one thing after the other is put back", most=0.01)
    run.conclude(putting_back.told(one.end for one in run.memory.pieces if one.end))
    return None


def _go_on(run: Run[Any], around: Around, number: int) -> Wait | None:
    """Make the next call of a thing, or see what became of it. Return a wait after each call."""
    piece: Piece = run.memory.pieces[number]
    thing = piece.thing
    before = [(one.thing, one.end) for one in run.memory.pieces[:number] if one.end]
    if not thing.calls:
        return _ended(run, number, putting_back.without_calls(thing))
    if end := putting_back.blocked(thing, before):
        return _ended(run, number, end)
    # read before the look: what is changed after it is not changed by us
    digest = asking.digest(run.service, thing.calls[0], retries=run.retries)
    now = around.anew(thing.kind)
    decided = _decide(run, piece, now)
    if isinstance(decided, Ended):
        return _ended(run, number, decided)
    if piece.pending is not None:
        if len(decided.calls) >= piece.pending and run.unsettled(CALL):
            return Wait(f"whether {thing.what} was put back is not known yet", most=2.0)
        made = piece.made + (len(decided.calls) < piece.pending)
        piece = _keep(run, number, replace(piece, made=made, pending=None))
        run.forget(CALL)
    if end := asking.left_to_hands(
        run.service, thing, decided.calls, lambda: around.standing(now), retries=run.retries
    ):
        return _ended(run, number, end)
    return _call(run, around, number, decided.calls, digest)


def anew(run: Run[Any], look: Callable[[], Now]) -> Now:
    """Given what looks at what is missing, return that. Raise OutOfReach if nobody could tell who the
    guest is, and it will be asked again.
    """
    try:
        found = look()
    except ArchiveError as error:
        return Now(Who.UNKNOWN, error.message)
    # one answer that went wrong is no reason to leave it to a person
    if found.who is Who.UNKNOWN and run.retries:
        raise OutOfReach(f"guest {run.vmid} could not be looked at: {found.why}")
    return found


def _decide(run: Run[Any], piece: Piece, now: Now) -> Make | Ended:
    if now.who is Who.ANOTHER:
        return Ended(Outcome.SKIPPED, now.why)
    if now.who is not Who.SAME:
        return putting_back.left_over(piece.thing, Outcome.SKIPPED, now.why)
    begun = piece.pending is not None
    decided = putting_back.decide(piece.thing, now.items, now.config, made=piece.made, begun=begun)
    if isinstance(decided, Ended) and not decided.known and run.retries:
        raise OutOfReach(f"{piece.thing.what}: {decided.detail}")
    return decided


def _call(
    run: Run[Any], around: Around, number: int, calls: tuple[Call, ...], digest: str | None
) -> Wait | None:
    """Make the first of the calls that are missing, and see that it is missing no longer."""
    call, piece = calls[0], replace(run.memory.pieces[number], pending=len(calls))
    thing = piece.thing
    _keep(run, number, piece)
    run.intend(CALL, command(call))
    try:
        around.call(call, digest)
    except BackupsvcError as error:
        if not refused_for_sure(error):
            raise  # it may have been carried out: whoever comes next looks
        run.forget(CALL)
        _keep(run, number, replace(piece, pending=None))
        if asking.passes(error, retries=run.retries):
            raise
        denied = isinstance(error, PvePermissionDenied)
        if not denied and not isinstance(error, PveError | LawRefused):
            raise
        outcome = Outcome.COMMAND if denied else Outcome.FAILED
        return _ended(run, number, Ended(outcome, error.message, putting_back.to_type(calls)))
    piece = replace(piece, made=piece.made + 1)
    after = _decide(run, piece, around.anew(thing.kind))
    run.forget(CALL)
    _keep(run, number, replace(piece, pending=None))
    if isinstance(after, Ended):
        return _ended(run, number, after)
    if len(after.calls) >= len(calls):
        why = "Proxmox VE took the call, and it is still missing"
        return _ended(run, number, Ended(Outcome.FAILED, why, putting_back.to_type(calls)))
    run.note("called", what=command(call))
    return Wait(f"{thing.what}: {len(after.calls)} more", most=0.01)


def _keep(run: Run[Any], number: int, piece: Piece) -> Piece:
    pieces = (*run.memory.pieces[:number], piece, *run.memory.pieces[number + 1 :])
    run.memory = replace(run.memory, pieces=pieces)
    return piece


def _ended(run: Run[Any], number: int, end: Ended) -> Wait | None:
    """Write down what became of a thing; there is nothing to wait for."""
    piece = _keep(run, number, replace(run.memory.pieces[number], end=end, at=run.now()))
    run.forget(CALL)
    said = f"{piece.thing.what}: {end.detail}" if end.detail else piece.thing.what
    run.note(str(end.outcome), what=said, commands=list(end.commands) or None)
    run.say(f"{end.outcome}: {said}")
    return None


WORKFLOW = Workflow("put-back", ("look", "put-back"))
HANDLERS: Mapping[str, Handler[StepServices, PutBackMemory]] = {
    "look": look,
    "put-back": put_back,
}
