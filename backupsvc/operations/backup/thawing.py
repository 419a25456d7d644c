"""After a dump: does the guest's agent say that its file systems are thawed? A step of its own, asked only once the dump is over.

What it finds never fails the backup: the archive is there or not, whatever the guest's agent says. It is kept in the operation's
memory under ``thaw``, told at once, and read from there by ``backup run``, ``pra status`` and the report.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backupsvc.engine.context import Run, Wait
from backupsvc.errors import BackupsvcError, PveAnswerUnreadable, PveError, PveNotFound, PvePermissionDenied, PveUnreachable
from policies import freezing
from policies.freezing import Answer, Ask, Later, Progress, Settled, State, Thaw, Trouble
from policies.model import GuestType
from policies.pve import texts
from policies.pve.vzdump_log import Freeze

if TYPE_CHECKING:
    from backupsvc.pve.guests import GuestStatus
    from policies.model import Job

STEP = "thawed"
LOOK_AGAIN = 2.0  # seconds between two looks
_FAILS = (PveError, PvePermissionDenied, PveUnreachable, PveAnswerUnreadable)


def thawed(run: Run) -> Wait | None:
    """Ask the guest's agent whether the dump left its file systems frozen, and thaw them if the policy says so."""
    run.enter(STEP)  # also when it is asked in another step: after a dump that was stopped
    if run.data.get("type") == GuestType.LXC:
        return _follow(run, Settled(State.OFF, "a container has no agent"))
    try:
        return _look(run)
    except _FAILS as error:  # even where the guest is cannot be asked
        return _follow(run, freezing.after_asking(_trouble(error), _standing(run)))


def _look(run: Run) -> Wait | None:
    agent = run.service.pve.agent
    if (found := _find(run)) is None:
        return _follow(run, Settled(State.OFF, "it is no longer in the cluster"))
    node, status = found
    first = freezing.before_asking(freezing.Guest(status.running, status.agent, status.lock), _standing(run))
    if not isinstance(first, Ask):
        return _follow(run, first)
    try:
        answer = Answer(agent.frozen(node, run.vmid))
    except _FAILS as error:
        answer = _trouble(error)
    _remember_frozen(run, answer)
    decision = freezing.after_asking(answer, _standing(run))
    return _thaw(run, node) if isinstance(decision, Thaw) else _follow(run, decision)


def _thaw(run: Run, node: str) -> Wait:
    """Thaw, and look again whatever came of it. Thawing what is thawed already changes nothing, so it may be sent twice."""
    run.data["thawing"]["thaws"] += 1
    run.note("intent", what=f"thaw guest {run.vmid}, as the policy says")
    try:
        run.service.pve.agent.thaw(node, run.vmid)
    except _FAILS as error:
        run.say(f"guest {run.vmid} could not be thawed: {error.message}")
    return Wait("the guest is being thawed", most=1.0, least=1.0)


def _find(run: Run) -> tuple[str, GuestStatus] | None:
    """Where the guest is now, mostly where it was dumped, and how it is. None: nowhere in the cluster."""
    pve, node = run.service.pve, str(run.data["node"])
    try:
        return node, pve.agent.state(node, run.vmid)
    except PveNotFound:
        places = [guest.node for guest in pve.cluster.guests() if guest.vmid == run.vmid]
        return (places[0], pve.agent.state(places[0], run.vmid)) if places else None


def _remember_frozen(run: Run, answer: Answer) -> None:
    kept: dict[str, Any] = run.data.setdefault("thawing", {"thaws": 0})
    if answer.frozen:
        kept.setdefault("frozen_since", run.passed(STEP))


def _standing(run: Run) -> Progress:
    kept: dict[str, Any] = run.data.get("thawing") or {}
    since = run.passed(STEP)
    return Progress(
        since,
        tried=_tried(run),
        frozen_for=since - kept["frozen_since"] if "frozen_since" in kept else None,
        may_thaw=freezing.may_thaw(run.service.policy, run.vmid, _job(run)),
        thaws=int(kept.get("thaws", 0)),
    )


def _tried(run: Run) -> bool:
    """Whether the dump asked the guest to freeze. One that was stopped has no log that was read: it may have."""
    if "dump" not in run.data:
        return True
    return Freeze(run.data["dump"].get("freeze", Freeze.NONE)).tried


def _job(run: Run) -> Job | None:
    return next((job for job in run.service.policy.jobs if job.id == run.data["job"]), None)


def _trouble(error: BackupsvcError) -> Answer:
    """Why there was no answer. That no agent is configured is PVE's to say, at the next look: the text may be the guest's own."""
    text = error.message
    if isinstance(error, PvePermissionDenied):
        return Answer(None, Trouble.DENIED, text)
    said = error.text if isinstance(error, PveError) else ""
    return Answer(None, Trouble.SILENT if texts.NO_AGENT_ANSWER.search(said) else Trouble.PASSING, text)


def _follow(run: Run, decision: Later | Settled | Thaw) -> Wait | None:
    if isinstance(decision, Settled):
        _settle(run, decision)
        return None
    why = decision.why if isinstance(decision, Later) else "the guest's agent is asked again"
    return Wait(why, most=LOOK_AGAIN, least=LOOK_AGAIN)


def _settle(run: Run, found: Settled) -> None:
    """Write down what is known, and say at once what is wrong."""
    dumped = run.data.get("dump") or {}
    kept: dict[str, Any] = run.data.pop("thawing", {})
    run.data["thaw"] = {
        "state": str(found.state),
        "why": found.why,
        "at": run.now(),
        "tried": _tried(run),
        "thaws": int(kept.get("thaws", 0)),
        "thaw_failed": dumped.get("thaw_failed"),
    }
    for sentence in freezing.sentences(run.vmid, run.data):
        run.say(f"guest {run.vmid}: {sentence}")
    run.data["said"] = str(found.state) if found.state is State.THAWED else f"{found.state}: {found.why}"
