"""Drives operations: one step or one poll at a time, each recorded before and after, each
resumable.

The catalog is the truth. ``advance`` claims the operation's row, asks ``policies.workflow`` whether
its step may run, runs the step's handler once, asks what follows, and writes that down in one
transaction; then the world is looked at anew. An engine works in the foreground (a command that
drives its operations to their end and keeps their leases), or for workers (each operation is given
back between two calls, due at a time of its own).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

from backupsvc.catalog.fences import Fence
from backupsvc.catalog.locks import LEFT_ALONE
from backupsvc.catalog.operations import NewOperation
from backupsvc.engine import drivers
from backupsvc.engine.events import Observer
from backupsvc.engine.executor import (
    LEASE_SECONDS,
    LOST_REPLY_GRACE_S,
    Advance,
    Executor,
    HeldElsewhere,
    not_open,
    pieces_end,
)
from backupsvc.engine.kind import Kinds
from backupsvc.errors import BackupsvcError, LeaseLost, OperationFailed, Refused
from backupsvc.services import EngineServices
from policies.bookkeeping import Bookkeeping
from policies.model import Operation, OperationState

FOLLOW_SECONDS = 1.0  # between two looks at an operation that another process drives


class Engine:
    """Opens operations, and drives them to their end, side by side, by its executor's turns at
    each.

    Args:
        service: where the catalog and the clock come from, and what the kinds' steps use.
        kinds: the kinds of operations that it knows, by their names.
        observers: are told of everything that happens.
        foreground: whether this process drives what it opens to its end; else it opens for workers.
        lost_reply_grace_s: for how many seconds a call whose answer was lost may still show up as a
        task.

    ``asked_by`` is written down with each operation that is opened.
    """

    def __init__(
        self,
        service: EngineServices,
        kinds: Kinds,
        observers: Iterable[Observer] = (),
        *,
        foreground: bool = True,
        lost_reply_grace_s: float = LOST_REPLY_GRACE_S,
    ) -> None:
        self.service, self.kinds, self.foreground = service, kinds, foreground
        self.executor = Executor(
            service, kinds, observers, foreground=foreground, lost_reply_grace_s=lost_reply_grace_s
        )
        self.asked_by = ""
        self._followed: dict[str, tuple[tuple[str | None, int | None], float]] = {}

    # --- opening ----------------------------------------------------------------------------------

    def open(
        self,
        kind: str,
        subject: int | None,
        memory: Any,
        *,
        occurrence: str | None = None,
        timeout_s: int | None = None,
        rank: int = 0,
        lock: str | None = None,
        parent: Fence | None = None,
        retry_of: str | None = None,
    ) -> Operation | None:
        """Given a kind, the guest it is about and the memory that it begins with, record a new
        operation and return it.

        ``timeout_s`` are the seconds until its deadline, ``lock`` is what it will wait for: so its
        rank counts from now on. ``parent`` is the operation that opens it, and its driver. Return
        None when that occurrence was opened before (law 9). Raise Refused when the guest already
        has an operation at work; in the foreground one that was left alone is cleaned up first.
        Raise LeaseLost or EndAsked if the parent is another's by now, or shall end.
        """
        operations = self.service.catalog.operations
        # asked first: for what was opened before, nobody need make way
        if occurrence and operations.by_occurrence(occurrence):
            return None
        workflow, now = self.kinds[kind].workflow, int(self.service.clock.now())
        exclusive_key = None
        if own_key := self.kinds[kind].exclusive_key:
            exclusive_key = own_key(memory)
        elif workflow.exclusive:
            exclusive_key = f"a {kind}" if subject is None else f"guest {subject}"
        if exclusive_key and (other := operations.by_exclusive_key(exclusive_key)):
            self._make_way(exclusive_key, other)
        asked = self.kinds[kind].form.write(memory)
        deadline = now + timeout_s if timeout_s else None
        book = Bookkeeping(asked, self.asked_by, retry_of, timeout_s=timeout_s, deadline=deadline)
        new = NewOperation(
            kind, subject, workflow.first, asked, book, occurrence, exclusive_key, rank, lock
        )
        driver = self.executor.driver() if self.foreground else None
        opened = (
            operations.open_child(new, now, parent, driver)
            if parent
            else operations.open(new, now, driver)
        )
        if (
            opened is None
            and exclusive_key
            and (other := operations.by_exclusive_key(exclusive_key))
            and other.occurrence != occurrence
        ):
            raise self._at_work(exclusive_key, other)
        if opened and not self.foreground:
            self.executor.hints.append(opened.id)
        return opened

    def _make_way(self, key: str, other: Operation) -> None:
        owner, until = other.lease_owner, other.lease_until
        # a worker held it until a moment ago: its fellows go on with it at the next tick, so no
        # command may end it
        just_lost = (
            owner is not None
            and until is not None
            and not drivers.of_a_command(owner)
            and until - LEASE_SECONDS > self.service.clock.now() - LEFT_ALONE
        )
        if not self.foreground or self.attended(other) or just_lost:
            raise self._at_work(key, other)
        self.executor.tell(
            other,
            "say",
            "its driver disappeared, so its cleanup is done first; see `backupsvc operations "
            f"show {other.id}`",
        )
        self.abandon(other.id, "its driver disappeared")

    def attended(self, operation: Operation) -> bool:
        """Given an open operation, return whether somebody drives it, or is expected to come for
        it.

        A lease counts unless its holder was a process of this machine that is no more. What a
        command in the foreground left, nobody is expected to come for; what a worker left, its
        fellows are, for a while.
        """
        now, owner = self.service.clock.now(), operation.lease_owner
        if operation.lease_until is not None and operation.lease_until > now:
            return not self.executor.gone(str(owner))
        if drivers.of_a_command(owner) and self.executor.gone(str(owner)):
            return False
        return operation.due > now - LEFT_ALONE

    def free_orphans(self) -> list[str]:
        """Let the leases run out whose holders were processes of this machine and are no more;
        return their operations.
        """
        now, catalog = int(self.service.clock.now()), self.service.catalog
        orphans = [
            (id, owner)
            for id, owner in catalog.operations.drivers(now).items()
            if self.executor.gone(owner)
        ]
        for id, owner in orphans:
            catalog.operations.expire(id, owner, now)
        return [id for id, _ in orphans]

    # --- driving to the end -----------------------------------------------------------------------

    def drive_one(self, operation: Operation | None) -> Operation:
        """Given what ``open`` returned, drive it to its end. Raise Refused if it was opened by
        somebody else.
        """
        if operation is None:
            raise Refused(
                "this was opened before, by somebody else",
                "look at it with `backupsvc operations list`",
            )
        return self.drive([operation.id])[0]

    def drive(self, ids: Sequence[str]) -> list[Operation]:
        """Given operations' ids, advance them side by side until all have ended; return them as
        they ended.

        An interrupt (Ctrl-C, or a fault of ours) first does the cleanup that is owed, then goes on
        its way.
        """
        ended: dict[str, Operation] = {}
        try:
            self._turns(list(ids), ended)
        except BaseException:
            for id in ids:
                if id not in ended:
                    with contextlib.suppress(BackupsvcError):
                        self.abandon(id, "interrupted")
            raise
        return [ended[id] for id in ids]

    def cancel(self, id: str, why: str) -> Operation:
        """Given an open operation, ask whoever drives it to end it; if nobody does, do its cleanup
        here. Return it.

        What it opened is cancelled with it. Raise OperationFailed if it is not there, or has ended.
        """
        asked = self.service.catalog.operations.request_cancel(
            id, why, int(self.service.clock.now())
        )
        if asked is None:
            raise not_open(id, self.service.catalog.operations.get(id))
        held = asked.lease_until is not None and asked.lease_until > self.service.clock.now()
        if not (held and self.attended(asked)):
            self.abandon(id, why)
        # they are operations of their own, and would go on without it
        for piece in self.service.catalog.operations.open_child_ids(asked.occurrence):
            with contextlib.suppress(OperationFailed):  # it ended meanwhile
                self.cancel(piece, pieces_end(asked.kind, why))
        return self.service.catalog.operations.get(id) or asked

    def abandon(self, id: str, why: str) -> None:
        """End an operation that nobody else drives: skip to the cleanup that it owes and do all of
        that.

        Whoever has it by now is left to it, and not waited for: it has been asked to end it.
        """
        asked = self.service.catalog.operations.request_cancel(
            id, why, int(self.service.clock.now())
        )
        if asked is None:
            return
        # else the lease of a process that is gone would keep us out until it has run out
        self._free(asked)
        with contextlib.suppress(LeaseLost, HeldElsewhere):
            self._turns([id], {}, follow=False)

    def _turns(self, ids: list[str], ended: dict[str, Operation], *, follow: bool = True) -> None:
        clock, told = self.service.clock, set[tuple[str, str]]()
        due = dict.fromkeys(ids, 0.0)
        while any(id not in ended for id in ids):
            id = min(due, key=lambda key: due[key])
            clock.sleep(max(0.0, due[id] - clock.monotonic()))
            del due[id]  # it comes back behind those who are due as well
            outcome = self._advance(id, ours=id in ids, follow=follow)
            if outcome is None:
                continue
            if outcome.operation.state is not OperationState.OPEN:
                ended[id] = outcome.operation
            else:
                due[id] = clock.monotonic() + (outcome.pause or 0.0)
            # who is in front may have been left alone, and would never give up the turn
            if outcome.wait and outcome.wait.behind and outcome.wait.behind not in ids:
                self._relieve(outcome.operation, outcome.wait.behind, due, told)
            while self.executor.hints:
                if (woken := self.executor.hints.pop()) in due:
                    due[woken] = clock.monotonic()

    def _advance(self, id: str, *, ours: bool, follow: bool) -> Advance | None:
        """Advance an operation; if it is ours and another process has taken it over, look from time
        to time how it fares there.

        One that is not ours is one that ours wait behind. Return None if somebody else has that, or
        if it cannot go on: then they wait for their turn, or find it free.
        """
        try:
            return self.executor.advance(id)
        except (LeaseLost, HeldElsewhere):
            if not ours:
                return None
            operation = self.service.catalog.operations.get(id)
            if operation is None or not follow:
                raise
            # A lease that nobody renewed for as long as it lasts is over, by a clock that nobody
            # sets: by the wall clock its end may lie a year ahead, if it was taken before that
            # clock was set back.
            lease = (operation.lease_owner, operation.lease_until)
            now = self.service.clock.monotonic()
            seen, since = self._followed.get(id, (None, now))
            if seen != lease:
                self._followed[id] = (lease, now)
            elif operation.lease_owner and now - since > LEASE_SECONDS:
                self.service.catalog.operations.expire(id, operation.lease_owner, operation.due)
            return Advance(operation, pause=FOLLOW_SECONDS)
        except BackupsvcError as error:
            if ours:
                raise
            if operation := self.service.catalog.operations.get(id):
                self.executor.tell(
                    operation, "say", f"it could not be gone on with here: {error.message}"
                )
            return None

    def _relieve(
        self, waiting: Operation, id: str, due: dict[str, float], told: set[tuple[str, str]]
    ) -> None:
        """Given an operation and one of others that it waits behind, say so once, and drive that
        too if nobody else will.

        What it left must be finished. A cleanup that nobody is at, and whose time has come, is done
        here at once.
        """
        other = self.service.catalog.operations.get(id)
        if other is None or other.state is not OperationState.OPEN:
            return
        now = self.service.clock.now()
        held = other.lease_until is not None and other.lease_until > now
        in_cleanup = other.step in self.kinds[other.kind].workflow.cleanup
        here = (
            id in due
            or other.lease_owner == self.executor.owner
            or not self.attended(other)
            or (in_cleanup and not held and other.due <= now)
        )
        if (waiting.id, id) not in told:
            told.add((waiting.id, id))
            about = f" of guest {other.subject}" if other.subject is not None else ""
            driven = "which this command goes on with" if here else self._driven(other)
            self.executor.tell(
                waiting,
                "say",
                f"it waits for {other.kind} {other.id}{about}, at step {other.step}, {driven}; see "
                f"`backupsvc operations show {other.id}`",
            )
        if here and id not in due:
            self._free(other)
            due[id] = 0.0

    def _driven(self, operation: Operation) -> str:
        """Who has an operation that is attended to."""
        if operation.lease_until is None or operation.lease_until <= self.service.clock.now():
            return "which workers are expected to go on with (`backupsvc serve`)"
        host, _, rest = str(operation.lease_owner).partition(":")
        return f"which process {rest.partition(':')[0]} on {host} drives"

    def _at_work(self, key: str, other: Operation) -> Refused:
        held = other.lease_until is not None and other.lease_until > self.service.clock.now()
        end = (
            ""
            if held
            else f"; if no workers run, `backupsvc operations cancel {other.id}` ends it and "
            "cleans up"
        )
        return Refused(
            f"{key} already has an operation at work: {other.kind} {other.id}, at step "
            f"{other.step}, {self._driven(other)}",
            f"wait for it, or look at it with `backupsvc operations show {other.id}`{end}",
        )

    def _free(self, operation: Operation) -> None:
        """Let an operation's lease run out if its holder is gone. Others' are not touched: nobody
        comes for them from here.
        """
        if (
            operation.lease_owner
            and operation.lease_owner != self.executor.owner
            and self.executor.gone(operation.lease_owner)
        ):
            self.service.catalog.operations.expire(
                operation.id, operation.lease_owner, operation.due
            )
