"""Operations, brought to their end: driven here with what an interrupt owes, or left to the workers
and followed.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import typer

from backupsvc.errors import BackupsvcError, UsageError

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service
    from backupsvc.engine.events import Observer
    from backupsvc.operations.opening import Opened
    from policies.model import Operation
    from policies.serving import Health

# 128 and the number of SIGINT, as shells have it
INTERRUPTED = 130
Wanted = TypeVar("Wanted")

EnqueueOption = Annotated[
    bool,
    typer.Option("--enqueue", help="Leave it to the workers (`backupsvc serve`) and print its id."),
]
FollowOption = Annotated[
    bool,
    typer.Option(
        "--follow", help="With --enqueue: show progress until all has ended, and exit as it ended."
    ),
]


def check_options(enqueue: bool, follow: bool, dry_run: bool) -> None:
    """Raise UsageError if options do not go together."""
    if follow and not enqueue:
        raise UsageError(
            "--follow goes with --enqueue: without it the command runs here and shows its "
            "progress anyway"
        )
    if enqueue and dry_run:
        raise UsageError("--enqueue does not go with --dry-run", "leave one of them out")


def require_answerable(what: str, *, unasked: bool) -> None:
    """Given what does not happen then, raise UsageError where a plan must be agreed to and nobody is
    there to be asked.
    """
    from backupsvc.cli.output import can_ask

    if not (unasked or can_ask()):
        raise UsageError(
            f"{what}: there is no terminal on which to ask whether it should be",
            "add --yes if that is decided; --dry-run says what would be done",
        )


def must_agree(plan: Iterable[str], question: str, otherwise: str) -> None:
    """Given the lines that tell a plan, show them and ask whether it shall be carried out. Raise
    typer.Exit, after ``otherwise`` was said, if it shall not.
    """
    from backupsvc.cli.output import ask, tell

    for line in plan:
        tell(line)
    if not ask(question):
        tell(otherwise)
        raise typer.Exit(1)


def announce(service: Service, opened: Opened, *, follow: bool, as_json: bool) -> dict[str, Any]:
    """Given what was opened for the workers, say so and how to follow it, and warn if nobody seems
    to come for it.

    Return the answer for ``--json``. Raise typer.Exit unless it is to be followed.
    """
    from backupsvc.cli.output import emit_json, say, tell, tell_error
    from backupsvc.operations.showing import summary

    found = workers(service)
    refused = [
        {"vmid": vmid, "message": error.message, "hint": error.hint, "exit_code": error.exit_code}
        for vmid, error in opened.refused
    ]
    answer = {
        "enqueued": True,
        "operations": [summary(service, operation) for operation in opened.operations],
        "refused": refused,
        "workers": {"consuming": found.good, "reasons": list(found.reasons)},
    }
    if not as_json:
        for operation in opened.operations:
            about = (
                f"{operation.kind} of guest {operation.subject}"
                if operation.subject is not None
                else operation.kind
            )
            (tell if follow else say)(
                f"{about} is left to the workers: backupsvc operations show {operation.id} --follow"
            )
    # on standard error in either form: one that was refused must not hide in an answer of good ones
    for vmid, error in opened.refused:
        tell_error(f"{'' if vmid is None else f'{vmid}: '}{error.message}", error.hint)
    if found.good:
        tell(f"the workers find it within {service.settings.tick:g} s")
    else:
        tell(f"WARNING: nobody seems to work for this catalog: {'; '.join(found.reasons)}")
        tell("  -> start the workers with `backupsvc serve`; what is enqueued waits for them")
    if follow:
        return answer
    if as_json:
        emit_json(answer)
    raise typer.Exit(max((error.exit_code for _, error in opened.refused), default=0))


def workers(service: Service) -> Health:
    """Given the service, return whether workers, wherever they run, consume what is left to
    them.
    """
    from backupsvc.serve.queues import QUEUES
    from policies.serving import Vitals, judge

    return judge(
        Vitals(0.0, service.settings.tick, QUEUES, service.catalog.heartbeats.newest()),
        service.clock.now(),
    )


def bring_to_end(
    service: Service, operations: Sequence[Operation], observer: Observer, *, enqueue: bool
) -> list[Operation]:
    """Given opened operations, drive them here, or follow those that the workers drive; return them
    as they ended.

    Raise typer.Exit when interrupted.
    """
    ids = [operation.id for operation in operations]
    if enqueue:
        from backupsvc.operations.following import watch

        # the workers drive them: an interrupt here is no reason to clean anything up
        with left_to_others(ids):
            return watch(service, ids, observer)
    service.engine.executor.observe(observer)
    with cleaned_up(service, ids):
        return service.engine.drive(ids)


@dataclass(frozen=True)
class Ended:
    """What came of the one operation of a command: how it ended, its exit code, and what
    ``announce`` told of the workers, for ``--json``.
    """

    operation: Operation
    code: int
    workers: dict[str, Any] = field(default_factory=dict)


def drive_one(
    service: Service,
    open_one: Callable[[], Operation | None],
    subject: int | None = None,
    *,
    enqueue: bool = False,
    follow: bool = False,
    as_json: bool,
) -> Ended:
    """Open an operation, and bring it to its end: here, or by the workers.

    ``open_one`` opens it, and returns None where somebody had opened it before; ``subject`` is its
    guest. Raise Refused where it was opened before, typer.Exit when interrupted or when it is left
    to the workers and not followed.
    """
    from backupsvc.cli.progress import Progress
    from backupsvc.operations.opening import open_all

    opened = open_all({subject: open_one})
    told = announce(service, opened, follow=follow, as_json=as_json) if enqueue else {}
    with Progress(quiet=as_json) as progress:
        [ended] = bring_to_end(service, opened.operations, progress, enqueue=enqueue)
    code = service.engine.kinds[ended.kind].exit_code(service.catalog, ended)
    return Ended(ended, code, workers_in(told))


def workers_in(told: Mapping[str, Any]) -> dict[str, Any]:
    """Given what ``announce`` returned, or nothing, return the part that goes on to the answer of a
    command that followed to the end.
    """
    return {key: told[key] for key in ("workers",) if key in told}


@dataclass(frozen=True)
class Driven(Generic[Wanted]):
    """What came of several things that were wanted: each that was refused with the error, each
    other with its operation as it ended, the exit code of all, and what ``announce`` told of the
    workers, for ``--json``.
    """

    refused: list[tuple[Wanted, BackupsvcError]] = field(default_factory=list)
    ended: list[tuple[Wanted, Operation]] = field(default_factory=list)
    code: int = 0
    workers: dict[str, Any] = field(default_factory=dict)


def drive_each(
    service: Service,
    wanted: Sequence[Wanted],
    open_one: Callable[[Wanted], Operation | None],
    vmid_of: Callable[[Wanted], int | None],
    *,
    enqueue: bool,
    follow: bool,
    as_json: bool,
) -> Driven[Wanted]:
    """Open an operation for each thing that is wanted, and bring all to their end; one that is
    refused keeps no other from its own.

    ``open_one`` opens it, and returns None where somebody had opened it before; ``vmid_of`` says of
    which guest it is. Raise typer.Exit when interrupted, or when all was left to the workers and none is followed.
    """
    from backupsvc.cli.progress import Progress
    from backupsvc.operations.opening import Opened, opened_by

    opened: list[tuple[Wanted, Operation]] = []
    refused: list[tuple[Wanted, BackupsvcError]] = []
    # all are opened before the first is driven: one that is refused keeps no other from its own
    for one in wanted:
        try:
            opened.append((one, opened_by(partial(open_one, one))))
        except BackupsvcError as error:
            refused.append((one, error))
    operations = tuple(operation for _, operation in opened)
    told: dict[str, Any] = {}
    # where all were refused there is nothing to be left to the workers, and the result says so
    if enqueue and operations:
        left = Opened(operations, tuple((vmid_of(one), error) for one, error in refused))
        told = announce(service, left, follow=follow, as_json=as_json)
    with Progress(quiet=as_json) as progress:
        ended = bring_to_end(service, operations, progress, enqueue=enqueue)
    kinds = service.engine.kinds
    codes = [kinds[end.kind].exit_code(service.catalog, end) for end in ended]
    codes += [error.exit_code for _, error in refused]
    pairs = [(one, end) for (one, _), end in zip(opened, ended, strict=True)]
    return Driven(refused, pairs, max(codes, default=0), workers_in(told))


@contextmanager
def cleaned_up(service: Service, ids: Sequence[str]) -> Iterator[None]:
    """While operations are driven: the first Ctrl-C does the cleanup, a second leaves at once and
    says what is left.
    """
    from backupsvc.cli.output import tell

    times = 0

    def interrupt(*_: object) -> None:
        nonlocal times
        times += 1
        if times == 1:
            tell("interrupted: cleaning up first; press Ctrl-C again to leave at once")
        raise KeyboardInterrupt

    before = _on_interrupt(interrupt)
    try:
        yield
    except KeyboardInterrupt:
        open_ones = service.catalog.operations.still_open(ids)
        left = [id for id in ids if id in open_ones]
        for id in left:
            if operation := service.catalog.operations.get(id):
                about = f" of guest {operation.subject}" if operation.subject is not None else ""
                tell(f"left unfinished: {operation.kind} {id}{about}, at step {operation.step}")
        tell(
            "  -> running workers pick it up; to finish it now: backupsvc operations cancel "
            f"{' '.join(left)}"
            if left
            else "interrupted; what had begun was cleaned up"
        )
        raise typer.Exit(INTERRUPTED) from None
    finally:
        _on_interrupt(before)


@contextmanager
def left_to_others(ids: Sequence[str]) -> Iterator[None]:
    """While operations are followed: Ctrl-C ends the following, not the operations."""
    from backupsvc.cli.output import tell

    try:
        yield
    except KeyboardInterrupt:
        tell("no longer followed; the workers go on")
        tell(f"  -> end them with `backupsvc operations cancel {' '.join(ids)}`")
        raise typer.Exit(INTERRUPTED) from None


def _on_interrupt(handler: Any) -> Any:
    """Set what Ctrl-C does, and return what it did before. Only a process's main thread may.

    A command that was started with SIGINT ignored (a shell's background job) goes on ignoring it:
    whoever presses Ctrl-C means another.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    ):
        return handler
    return signal.signal(signal.SIGINT, handler)
