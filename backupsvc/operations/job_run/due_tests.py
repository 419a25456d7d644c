"""A night's restore tests: inside the window, the most urgent guest first, as many as fit, and
stopped in time.

Whose turn it is and how long each test may take is decided once a night, when the first slot opens;
from then on only the catalog is asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from types import MappingProxyType

from backupsvc.clock import iso
from backupsvc.engine.context import Wait
from backupsvc.operations.backup.opening import GUESTS_AGE
from backupsvc.operations.job_run.memory import NightMemory, Test
from backupsvc.operations.job_run.pieces import ended, open_piece
from backupsvc.operations.restore_test.memory import recall as recall_test
from backupsvc.operations.restore_test.opening import open_test
from backupsvc.operations.services import Run
from policies import sampling, windows
from policies.causes import Cause
from policies.guest_policy import policy_for
from policies.model import GuestType, Job, Operation, OperationState, Policy, Proof, Rung, Verdict
from policies.pve import calendar_event
from policies.service_checks import wanted_rung
from policies.valid_proofs import valid_proofs
from policies.windows import Slot

ASK_AGAIN = 30.0  # seconds between two looks at tests that run
TESTS = ("prove#", "again#", "sample#")  # how the names of a night's tests begin
MAX_NAP = 300.0  # seconds between two looks while the window is shut


def prove(run: Run[NightMemory], job: Job) -> Wait | None:
    """Open tests while the window lets them end in time, and wait for them; over when nobody is
    due, or no slot is left.
    """
    now = run.now()
    slot = next(_slots(run, job, now), None)
    tests = {name: id for name, id in run.memory.children.items() if name.startswith(TESTS)}
    still = run.service.catalog.operations.still_open(tests.values()) if tests else set()
    running = [name for name, id in tests.items() if id in still]
    if slot is not None and slot.is_open(now):
        running += _open_what_fits(run, job, slot, running)
    if running:
        return Wait(f"{len(running)} restored copies are being tested", most=ASK_AGAIN)
    # before the first slot opens nobody knows yet what is wanted
    coming = next(
        (
            one
            for one in _slots(run, job, now)
            if run.memory.tests is None
            or any(one.fits(max(now, one.opens), test.seconds) for test in _wanted(run))
        ),
        None,
    )
    if coming is None:
        _sum_up(run)
        return None
    if coming.is_open(now):  # what is left belongs to guests that are busy
        return Wait("a guest to be tested is busy", most=ASK_AGAIN)
    return Wait(
        f"restore tests go on at {iso(coming.opens)}",
        most=min(MAX_NAP, max(1.0, coming.opens - now)),
    )


# --- when -----------------------------------------------------------------------------------------


def job_run_ends(policy: Policy, job: Job, at: int) -> int | None:
    """Given a job and one of its occurrences, return when its next one takes the turn over, in
    epoch seconds.
    """
    return calendar_event.parse(job.schedule, policy.timezone).next_after(at)


def _slots(run: Run[NightMemory], job: Job, now: int) -> Iterator[Slot]:
    """The slots that begin while this night lasts; the present one first."""
    following = job_run_ends(run.service.policy, job, run.memory.at)
    ends = [end for end in (following, run.book.deadline) if end is not None]
    until = min(ends, default=float("inf"))
    for slot in windows.slots(run.service.policy, now):
        if slot.opens >= until:
            return
        yield slot if slot.closes is None or slot.closes <= until else Slot(slot.opens, int(until))


# --- which ----------------------------------------------------------------------------------------


def _open_what_fits(run: Run[NightMemory], job: Job, slot: Slot, running: list[str]) -> list[str]:
    """Open the most urgent tests that fit, one a node at a time; return their names."""
    if run.memory.tests is None:
        due = tuple(_due(run, job))
        service = run.service
        # one at a time on each node on which copies may run
        at_once = (
            1
            if service.policy.scratch.node
            else max(1, sum(node.online for node in service.pve.cluster.nodes()))
        )
        run.memory = replace(run.memory, tests=due, at_once=at_once)
    opened: list[str] = []
    for test in _wanted(run):
        if len(running) + len(opened) >= run.memory.at_once:
            return opened
        # it may get the node on which another one still works, and begins only after that one
        over_by = [int(run.memory.over_by[name]) for name in running + opened]
        if not slot.fits(max([run.now(), *over_by]), test.seconds):
            continue
        now = run.now()
        # what outlasts the window is ended by its own deadline
        timeout_s = None if slot.closes is None else slot.closes - now
        opener = partial(open_test, run.service, test.vmid, volid=test.volid, timeout_s=timeout_s)
        if open_piece(run, test.name, opener):
            over = {**run.memory.over_by, test.name: now + test.seconds}
            run.memory = replace(run.memory, over_by=over)
            opened.append(test.name)
    if not running and not opened and not _wanted(run) and (more := _more(run)) is not None:
        run.memory = replace(run.memory, tests=(*(run.memory.tests or ()), *more))
        return _open_what_fits(run, job, slot, running)
    return opened


def _more(run: Run[NightMemory]) -> list[Test] | None:
    """What is tested once everybody had a turn: first those that could not be decided, then
    samples. None: nothing is left.
    """
    if not run.memory.retried:
        run.memory = replace(run.memory, retried=True)
        causes = {test.subject: cause_of(test) for test in ended(run, "prove#")}
        # a reason that does not lie in the archive may have passed, or not hold elsewhere
        return [
            Test(f"again#{test.vmid}", test.vmid, test.seconds)
            for test in run.memory.tests or ()
            if (cause := causes.get(test.vmid)) and not cause.against_the_archive
        ]
    if run.memory.sampled:
        return None
    run.memory = replace(run.memory, sampled=True)
    # old archives, drawn by lot: of guests whose newest is proven, and of whom no old one was
    # tested for a month
    catalog, found = run.service.catalog, []
    for vmid in run.memory.vmids or ():
        archives, proofs = catalog.archives.find(vmid=vmid), catalog.proofs.find(vmid=vmid)
        # by the night's own name, so that a night that is resumed draws the same lot
        seed = f"{run.operation.occurrence}#{vmid}"
        chosen = sampling.next_archive(
            archives, proofs, now=run.now(), seed=seed, drift=run.service.policy.max_clock_drift
        ).archive
        newest = max(
            (archive.ctime for archive in archives if archive.holds_disk is not False), default=0
        )
        if chosen is not None and chosen.ctime < newest and chosen.type is GuestType.QEMU:
            seconds = _durations(proofs).get(vmid, sampling.USUAL)
            found.append(Test(f"sample#{vmid}", vmid, seconds, chosen.volid))
    return found


def _wanted(run: Run[NightMemory]) -> list[Test]:
    return [test for test in run.memory.tests or () if test.name not in run.memory.children]


def _due(run: Run[NightMemory], job: Job) -> list[Test]:
    """The guests whose proof would be too old before the next night could renew it, the most urgent
    first.
    """
    service = run.service
    policy = service.policy
    guests = {guest.vmid: guest for guest in service.pve.cluster.guests(max_age=GUESTS_AGE)}
    # a template cannot be started, and containers are not restore-tested yet
    untestable = {
        vmid for vmid, guest in guests.items() if guest.type is GuestType.LXC or guest.template
    }
    vmids = [vmid for vmid in run.memory.vmids or () if vmid not in untestable]
    run.memory = replace(run.memory, untestable=len(run.memory.vmids or ()) - len(vmids))
    proofs = service.catalog.proofs.find()
    good = valid_proofs(proofs, service.catalog.archives.find(), partial(wanted_rung, policy))
    wanted = MappingProxyType({vmid: policy_for(policy, vmid, "") for vmid in vmids})
    proven = {proof.vmid: proof.ended for proof in sorted(good, key=lambda proof: proof.ended)}
    began = {proof.vmid: proof.archive_ctime for proof in good}
    turns = sampling.due(replace(policy, guests=wanted), proven, run.now(), began)
    seconds = _durations(proofs)
    # what falls due before the tests of the job's next night are over is due in this one
    following = job_run_ends(policy, job, run.memory.at)
    slot = windows.slot(policy, following) if following is not None else None
    late = (slot.closes or following) if slot else None
    return [
        Test(f"prove#{turn.vmid}", turn.vmid, seconds.get(turn.vmid, sampling.USUAL))
        for turn in turns
        if turn.deadline is None or late is None or turn.deadline < late
    ]


def _durations(proofs: list[Proof]) -> dict[int, float]:
    """How long each guest's newest complete test took."""
    measured = ((proof.vmid, sampling.duration(proof)) for proof in reversed(proofs))
    return {vmid: seconds for vmid, seconds in measured if seconds is not None}


# --- what came of it ------------------------------------------------------------------------------


def _sum_up(run: Run[NightMemory]) -> None:
    verdicts = Counter(verdict_of(test) for test in ended(run, TESTS))
    parts = [
        ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items())) or "none"
    ]
    if run.memory.tests is None:
        parts.append("their window does not open before the next night")
    elif left := len(_wanted(run)):
        parts.append(f"{left} did not fit into their window")
    if run.memory.untestable:
        parts.append(f"{run.memory.untestable} guests cannot be restore-tested")
    said = f"restore tests: {', '.join(parts)}"
    run.memory = replace(run.memory, results={**run.memory.results, "tests": said})
    run.conclude(said)


def verdict_of(test: Operation) -> str:
    """Given an ended restore test, return its verdict, or the state in which it ended without one.

    What was proven below healthy, because its tier wants no more, is told apart.
    """
    proof = recall_test(test).proof
    if proof is None or test.state is not OperationState.DONE:
        return str(test.state)
    less = proof.verdict is Verdict.PROVEN and proof.rung is Rung.BOOTED
    return f"{proof.verdict} at rung {proof.rung}" if less else str(proof.verdict)


def cause_of(test: Operation) -> Cause | None:
    """Given an ended restore test, return who is to blame for its verdict, None if nobody is."""
    proof = recall_test(test).proof
    return proof.cause if proof else None
