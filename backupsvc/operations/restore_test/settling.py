"""The step ``settle`` of a restore test: watch the copy for a while after its checks have passed.

One call of the step watches for the whole time: operations that workers give back between two calls
would leave gaps. So nothing of a watch outlives its process. Whoever resumes the step begins anew,
for what was not watched proves nothing. Every check has a thread of its own, so that none waits for
the slow answer of another. What is seen is judged in ``policies.settle``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from backupsvc.clock import Clock
from backupsvc.engine.context import Wait
from backupsvc.errors import BackupsvcError, PveNotFound, PvePermissionDenied
from backupsvc.operations.restore_test.memory import RestoreTestMemory
from backupsvc.operations.services import Run
from policies import settle as policy
from policies.model import CheckResult, CheckSpec, GuestPolicy, Outcome, Scratch
from policies.settle import Asked, Boot, Look, Settled, Watch

if TYPE_CHECKING:
    from backupsvc.pve import Pve

EACH = 0.5  # seconds between an answer and the next question
TICK = 0.1  # seconds between two looks at what has been answered
MAX_ANEW = 3  # times that a watch with a gap of our own making is begun
# a UUID for each boot (Linux, admin-guide/sysctl/kernel.rst)
BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Pool(Protocol):
    """Where questions are put: each in a thread of its own."""

    def submit(self, fn: Callable[[], Any], /) -> Future[Any]:
        """Call a function there."""
        ...


def seconds(scratch: Scratch, guest: GuestPolicy) -> int:
    """Given the site's and the guest's policy, return for how many seconds a copy must live on
    after its checks.
    """
    return scratch.settle if guest.settle is None else guest.settle


def settle(run: Run[RestoreTestMemory], guest: GuestPolicy, target: Any) -> Wait | None:
    """Given a copy whose checks were asked, watch it for as long as the policy says, and remember
    what came of it.

    Nothing is watched when a check has not passed: there is nothing left to prove. ``target`` is
    whom the checks ask.
    """
    wanted, memory = seconds(run.service.policy.scratch, guest), run.memory
    passed = all(result.outcome is Outcome.PASSED for result in memory.checks.values())
    if not passed or not (memory.checks or memory.booted):
        found = policy.NOT_DUE
    elif not wanted:
        found = policy.NOT_ASKED_FOR
    else:
        if memory.settling:
            run.say("it was not watched for a while, so that its settling begins anew")
        run.memory = replace(run.memory, settling=run.memory.settling + 1)
        # before the watch: whoever takes the step up knows that one was begun, and lost
        run.save()
        found = _until_watched(run, guest, target, wanted)
    run.memory = replace(run.memory, settled=replace(found, again=False), settle_seconds=wanted)
    run.conclude("; ".join(found.said))
    return None


def kept(memory: RestoreTestMemory) -> Settled:
    """Given what a restore test remembers, return what came of the watch: nothing remembered is
    nothing watched.
    """
    return memory.settled or policy.NOT_WATCHED


def _until_watched(
    run: Run[RestoreTestMemory], guest: GuestPolicy, target: Any, wanted: int
) -> Settled:
    """Watch; where a gap was our own fault watch anew, a few times and within the operation's
    deadline.
    """
    from backupsvc import checks

    def ask(spec: CheckSpec) -> CheckResult:
        return checks.run(spec, target)

    pve, agent = run.service.pve, run.memory.agent
    node, vmid = run.memory.reserved.node, run.memory.reserved.vmid
    found = policy.NOT_WATCHED
    for _ in range(MAX_ANEW):
        # a thread for each check, and one for PVE's own word
        with ThreadPoolExecutor(len(guest.checks) + 1, thread_name_prefix="settle") as pool:
            watcher = Watcher(
                run.clock,
                pool,
                wanted,
                guest.checks,
                ask,
                look=partial(look, pve, run.clock, node, vmid),
                boot=partial(boot, pve, node, vmid, agent=agent),
            )
            found = policy.decide(watcher.watch(run.heartbeat))
        deadline = run.book.deadline
        if not found.again or (deadline is not None and run.clock.now() + wanted > deadline):
            break
        run.say(f"{'; '.join(found.said)}: its settling begins anew")
    return found


def look(pve: Pve, clock: Clock, node: str, vmid: int) -> Look:
    """Given a copy, return PVE's word on it. It raises nothing: no answer is told as such."""
    try:
        found = pve.guests.status(node, vmid)
    except PveNotFound:
        return Look(clock.monotonic(), gone=True)
    except BackupsvcError as error:
        return Look(clock.monotonic(), unseen=error.message)
    return Look(clock.monotonic(), found.status, found.qmpstatus, found.pid, found.uptime or None)


def boot(pve: Pve, node: str, vmid: int, *, agent: bool) -> Boot:
    """Given a copy, return the id of its boot as its agent reads it. It raises nothing."""
    if not agent:
        return Boot(unseen="the copy has no guest agent")
    try:
        id = pve.agent.read_file(node, vmid, BOOT_ID).strip()
    except PvePermissionDenied:
        return Boot(unseen="the token lacks VM.GuestAgent.FileRead there")
    except BackupsvcError as error:
        return Boot(unseen=error.message)
    return Boot(id) if id else Boot(unseen="its boot id is empty")


@dataclass
class Watcher:
    """Asks checks and PVE again and again; ``pool`` carries the questions, this thread only keeps
    the time.
    """

    clock: Clock
    pool: Pool
    wanted: float
    checks: Sequence[CheckSpec]
    ask: Callable[[CheckSpec], CheckResult]
    look: Callable[[], Look]
    boot: Callable[[], Boot]
    _answers: list[Asked] = field(default_factory=list)
    _looks: list[Look] = field(default_factory=list)
    _boots: list[Boot] = field(default_factory=list)
    _open: dict[str, Future[Any]] = field(default_factory=dict)
    _next: dict[str, float] = field(default_factory=dict)
    _last: dict[str, float] = field(default_factory=dict)

    def watch(self, heartbeat: Callable[[], None]) -> Watch:
        """Watch until the time is up and everything was asked once more, or until nothing can be
        proven any more.

        ``heartbeat`` is called all the time; what it raises ends the watch.
        """
        names = tuple(spec.name for spec in self.checks)
        # a copy that boots over and over answers its checks in between; its boot id tells
        self._boots.append(self.boot())
        began = self.clock.monotonic()
        over = began + self.wanted
        while True:
            heartbeat()
            self._put_and_take()
            seen = Watch(
                self.wanted,
                began,
                self.clock.monotonic(),
                names,
                tuple(self._looks),
                tuple(self._answers),
                tuple(self._boots),
            )
            if policy.trouble(seen):
                self.clock.sleep(EACH)
                # who is to blame: a node that died tells no more
                return replace(seen, looks=(*seen.looks, self.look()))
            # an answer to a question that was put before the time was up says nothing of its end
            late = {answer.name for answer in self._answers if answer.began >= over}
            if late >= set(names) and self._last.get("", 0.0) >= over and "" not in self._open:
                return replace(seen, boots=(*seen.boots, self.boot()))
            self.clock.sleep(TICK)

    def _put_and_take(self) -> None:
        questions: dict[str, Callable[[], Any]] = {"": self.look}
        questions |= {spec.name: partial(self._put, spec) for spec in self.checks}
        for name, question in questions.items():
            if name in self._open and self._open[name].done():
                found = self._open.pop(name).result()
                if isinstance(found, Look):
                    self._looks.append(found)
                else:
                    self._answers.append(found)
                self._next[name] = self.clock.monotonic() + EACH
            if name not in self._open and self.clock.monotonic() >= self._next.get(name, 0.0):
                self._last[name] = self.clock.monotonic()
                self._open[name] = self.pool.submit(question)

    def _put(self, spec: CheckSpec) -> Asked:
        began = self.clock.monotonic()
        result = self.ask(spec)
        return Asked(spec.name, began, self.clock.monotonic(), result.outcome, result.detail)
