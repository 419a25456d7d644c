"""After a dump: does the guest's agent say that its file systems are thawed? A step of its own,
asked only once the dump is over.

What it finds never fails the backup: the archive is there or not, whatever the guest's agent says.
It is kept in the operation's memory as ``thaw``, told at once, and read from there by ``backup
run``, ``pra status`` and the report.
"""

from __future__ import annotations

from dataclasses import replace

from backupsvc.engine.context import Wait
from backupsvc.errors import (
    BackupsvcError,
    PveAnswerUnreadable,
    PveError,
    PveNotFound,
    PvePermissionDenied,
    PveUnreachable,
)
from backupsvc.operations.backup.memory import BackupMemory, Thawing
from backupsvc.operations.services import Run
from policies import freezing
from policies.freezing import (
    Answer,
    Ask,
    Later,
    Settled,
    State,
    Thaw,
    ThawNow,
    ThawProgress,
    Trouble,
)
from policies.model import GuestType
from policies.pve import texts

STEP = "thawed"
LOOK_AGAIN = 2.0  # seconds between two looks
_FAILS = (PveError, PvePermissionDenied, PveUnreachable, PveAnswerUnreadable)


def thawed(run: Run[BackupMemory]) -> Wait | None:
    """Ask the guest's agent whether the dump left its file systems frozen, and thaw them if the
    policy says so.
    """
    run.enter(STEP)  # also when it is asked in another step: after a dump that was stopped
    if run.memory.type is GuestType.LXC:
        return _follow(run, Settled(State.OFF, "a container has no agent"))
    try:
        return _look(run)
    except _FAILS as error:  # even where the guest is cannot be asked
        return _follow(run, freezing.after_asking(_trouble(error), _so_far(run)))


def _look(run: Run[BackupMemory]) -> Wait | None:
    pve, node = run.service.pve, str(run.memory.node)
    try:
        status = pve.agent.state(node, run.vmid)
    except PveNotFound:  # mostly it is where it was dumped, but it may have been moved since
        places = [guest.node for guest in pve.cluster.guests() if guest.vmid == run.vmid]
        if not places:
            return _follow(run, Settled(State.OFF, "it is no longer in the cluster"))
        node, status = places[0], pve.agent.state(places[0], run.vmid)
    first = freezing.before_asking(
        freezing.Guest(status.running, status.agent, status.lock), _so_far(run)
    )
    if not isinstance(first, Ask):
        return _follow(run, first)
    try:
        answer = Answer(pve.agent.frozen(node, run.vmid))
    except _FAILS as error:
        answer = _trouble(error)
    kept = run.memory.thawing
    # it counts from the look that first found it frozen: when it froze, nobody says
    if answer.frozen and kept.frozen_since is None:
        run.memory = replace(run.memory, thawing=replace(kept, frozen_since=run.passed(STEP)))
    decision = freezing.after_asking(answer, _so_far(run))
    if not isinstance(decision, ThawNow):
        return _follow(run, decision)
    kept = run.memory.thawing
    # counted before the call: one whose answer is lost was sent all the same
    run.memory = replace(run.memory, thawing=replace(kept, thaws=kept.thaws + 1))
    run.note("intent", what=f"thaw guest {run.vmid}, as the policy says")
    try:
        # thawing what is thawed already changes nothing, so it may be sent twice
        run.service.pve.agent.thaw(node, run.vmid)
    except _FAILS as error:
        run.say(f"guest {run.vmid} could not be thawed: {error.message}")
    return Wait("the guest is being thawed", most=1.0, least=1.0)  # the next look decides


def _so_far(run: Run[BackupMemory]) -> ThawProgress:
    kept, since = run.memory.thawing, run.passed(STEP)
    job = next((job for job in run.service.policy.jobs if job.id == run.memory.job), None)
    return ThawProgress(
        since,
        tried=_tried(run.memory),
        frozen_for=since - kept.frozen_since if kept.frozen_since is not None else None,
        may_thaw=freezing.may_thaw(run.service.policy, run.vmid, job),
        thaws=kept.thaws,
    )


def _tried(memory: BackupMemory) -> bool:
    """Whether the dump asked the guest to freeze. One that was stopped has no log that was read: it
    may have.
    """
    return memory.dump.report.freeze.tried if memory.dump else True


def _trouble(error: BackupsvcError) -> Answer:
    """Why there was no answer. That no agent is configured is PVE's to say, at the next look: the
    text may be the guest's own.
    """
    text = error.message
    if isinstance(error, PvePermissionDenied):
        return Answer(None, Trouble.DENIED, text)
    said = error.text if isinstance(error, PveError) else ""
    return Answer(
        None, Trouble.SILENT if texts.NO_AGENT_ANSWER.search(said) else Trouble.PASSING, text
    )


def _follow(run: Run[BackupMemory], decision: Later | Settled | ThawNow) -> Wait | None:
    """Wait until the next look; or, once it is settled, write down what is known, and say at once
    what is wrong.
    """
    if not isinstance(decision, Settled):
        why = decision.why if isinstance(decision, Later) else "the guest's agent is asked again"
        return Wait(why, most=LOOK_AGAIN, least=LOOK_AGAIN)
    memory = run.memory
    thaw = Thaw(
        decision.state,
        decision.why,
        run.now(),
        tried=_tried(memory),
        thaws=memory.thawing.thaws,
        thaw_failed=memory.dump.report.thaw_failed if memory.dump else None,
    )
    run.memory = replace(memory, thaw=thaw, thawing=Thawing())
    for sentence in freezing.sentences(run.vmid, thaw):
        run.say(f"guest {run.vmid}: {sentence}")
    state, why = decision.state, decision.why
    run.conclude(str(state) if state is State.THAWED else f"{state}: {why}")
    return None
