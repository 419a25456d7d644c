"""Whether what answers over the network is the copy: silence before its start, its MAC while it
runs, silence after its stop.

A restore test keeps what was found in its memory (``policies.silence.Silence``). Listening overlaps
with the restore and with the deletion; what it costs beyond them are stages of their own. A probe
that cannot be asked decides nothing: it makes a test inconclusive, and never a failed one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from backupsvc.engine.context import Wait
from backupsvc.errors import BackupsvcError, LawRefused, NotTheCopy, PveError, SshRefused
from backupsvc.operations.restore_test import forwarding
from backupsvc.operations.restore_test.memory import RestoreTestMemory
from backupsvc.operations.services import Probes, Run
from policies import agent_identity, silence
from policies.check_kinds import NETWORK_KINDS
from policies.guest_policy import policy_for
from policies.model import CheckResult, GuestPolicy, Outcome
from policies.silence import Finding, Silence, State, Verdict
from policies.site.checks import needs_network, port_of

if TYPE_CHECKING:
    from backupsvc.remote.jump import Jump, Knock

# Seconds for which an attempt is out before the probe is asked who answered. A neighbour answers
# within milliseconds; one under emulation, on a busy machine, may take tenths of a second: the long
# look is for it, the short one sees who came since.
LONG, SHORT, AFTER = 1.0, 0.15, 0.3
# seconds: a knock that has been out for longer tells less of the neighbour than a new one
FRESH = 3.0
PAUSE = 0.25  # seconds between two questions about an entry that may be old
COUNTED = (Outcome.PASSED, Outcome.FAILED)
REFUSED_BY_AGENT = 200  # the agent's own error comes in a good answer of PVE's (pve-facts 8.5)
NEVER_AGAIN = 1 << 20  # more often than any check is asked
NO_LOGIN = (
    "the probe's login may only forward connections, so who answers there cannot be told: allow "
    "it to run `ip neigh`"
)


@dataclass(frozen=True, slots=True)
class _Knocked:
    """A knock that is out since ``at`` (monotonic seconds). ``cleared``: the probe knew nobody
    there when it was sent.

    ``may_ask``: the login may ask the probe what it knows.
    """

    address: str
    knock: Knock
    at: float
    cleared: bool
    may_ask: bool


def probe(run: Run[RestoreTestMemory]) -> Jump | None:
    """Return the way to a restore test's copy over its isolated bridge, None where there is
    none.
    """
    return run.service.probe(run.memory.reserved.node) if run.memory.network == "isolated" else None


def nodes_with_probe(
    service: Probes, wanted: GuestPolicy, *, simulated: bool
) -> Collection[str] | None:
    """Return the nodes on which a guest's checks can be asked, None if they need no probe or the
    guests are only modelled.
    """
    if simulated or wanted.network != "isolated" or not needs_network(wanted.checks):
        return None
    found: list[str] = []
    for node in service.pve.cluster.nodes():
        if service.probe(node.name):
            vmid = service.probe_vmid(node.name)
            # a probe that was moved to another node is on that one's bridge
            if vmid is None or any(
                one.vmid == vmid and one.node == node.name for one in service.pve.cluster.guests()
            ):
                found.append(node.name)
    return found


# --- the three looks ------------------------------------------------------------------------------


def before(run: Run[RestoreTestMemory]) -> None:
    """Listen whether anybody is at the copy's address: the long look, while the copy is being
    restored.

    Raise NotTheCopy if somebody is, or if no copy can be asked there; LawRefused (law 2) if the
    probe forwards packets.
    """
    memory = _memory(run)
    if memory is None:
        if not run.memory.forwarding:
            forwarding.ask(run, probe(run))
    elif not _settled(memory.before):
        _look_before(run, memory, LONG)


def knock(run: Run[RestoreTestMemory]) -> None:
    """Knock at the copy's address, which takes a moment to be answered; ``before`` and ``last`` ask
    what came of it.

    Raise what they do where that is known by now.
    """
    memory, began = _memory(run), run.clock.monotonic()
    jump = probe(run) if memory and not memory.before else None
    if memory is None or jump is None:
        return
    try:
        jump.under_way = _knocked(run, memory, jump)
    except (NotTheCopy, LawRefused, SshRefused):
        raise
    except BackupsvcError:
        return  # who looks next says it
    _spent(run, "silence-before", began)


def last(run: Run[RestoreTestMemory]) -> Wait | None:
    """Listen once more right before the start: return a wait while an old entry is asked anew.
    Raises what ``before`` does.
    """
    memory, began = _memory(run), run.clock.monotonic()
    if memory is None or memory.last:
        asked_before = bool(run.memory.forwarding)
        forwarding.ask(run, probe(run))
        if run.memory.forwarding == forwarding.LOST and not asked_before:
            return Wait("the probe is asked again whether it passes packets on", most=1.0)
        return None
    found = memory.before
    if found is None or not _settled(found):
        found = _look_before(run, memory, LONG)
    elif found.verdict is Verdict.SILENT:
        found = _look_before(run, memory, SHORT, clear=False)
    _spent(run, "silence-before", began)
    if found.verdict is Verdict.UNSETTLED:
        return Wait(found.words, most=1.0)
    _keep(run, last=True)
    return None


def knock_after(run: Run[RestoreTestMemory]) -> bool:
    """Knock once the copy is off, while it is still being removed; ``after`` asks what came of it,
    and says what went wrong.

    Return whether that was done now, which takes a moment.
    """
    memory = _owed_after(run)
    jump = probe(run) if memory else None
    if memory is None or jump is None or jump.under_way is not None:
        return False
    with suppress(BackupsvcError):
        jump.under_way = _knocked(run, memory, jump)
    return True


def after(run: Run[RestoreTestMemory]) -> Wait | None:
    """Listen whether the address is silent again, once the copy is gone; return a wait while an old
    entry is asked anew.

    It raises nothing: no tear-down hangs on it.
    """
    memory, began = _owed_after(run), run.clock.monotonic()
    if memory is None:
        return None
    try:
        found = _hear(run, memory, AFTER, clear=True, waited=run.passed("tear-down"))
    except (NotTheCopy, LawRefused, SshRefused) as error:  # so it was while the copy ran
        found = Finding(Verdict.UNKNOWN, error.message)
    _keep(run, after=found)
    _spent(run, "silence-after", began)
    return None if _settled(found) else Wait(found.words, most=1.0)


def _owed_after(run: Run[RestoreTestMemory]) -> Silence | None:
    """The memory of the silences if the last one is still owed: the copy ran, nothing failed, and
    it is off by now.
    """
    memory = run.memory.silence
    ran = "start" in run.book.seconds and run.memory.stopped and not run.book.error
    return memory if memory and ran and not _settled(memory.after) else None


def _look_before(
    run: Run[RestoreTestMemory], memory: Silence, out: float, *, clear: bool = True
) -> Finding:
    passed = run.passed("reserve")
    since = passed if memory.since is None else memory.since
    _keep(run, since=since)
    found = _hear(run, memory, out, clear=clear, waited=passed - since)
    _keep(run, before=found)
    if found.verdict is Verdict.ANSWERED:
        node, address = run.memory.reserved.node, memory.address
        raise NotTheCopy(
            f"somebody else answers at {address}{f' (MAC {found.mac})' if found.mac else ''} on "
            f"the isolated bridge of {node}: {found.words}; no copy of guest {run.vmid} is started "
            "beside it",
            "find out what it is (a copy that was left behind, a guest with a NIC there), and "
            "take it off that bridge",
            operation=run.id,
        )
    return found


def _hear(
    run: Run[RestoreTestMemory], memory: Silence, out: float, *, clear: bool, waited: float
) -> Finding:
    """Knock at every port, and ask the probe who answered."""
    jump, address = probe(run), memory.address
    if jump is None:
        return Finding(
            Verdict.UNKNOWN, f"no probe is on the isolated bridge of {run.memory.reserved.node}"
        )
    try:
        knocked = None
        if clear:
            sent, jump.under_way = jump.under_way, None  # it serves once
            if isinstance(sent, _Knocked) and sent.address == address:
                knocked = sent if run.clock.monotonic() - sent.at < FRESH else None
        knocked = knocked or _knocked(run, memory, jump, clear=clear)
        run.clock.sleep(max(0.0, knocked.at + out - run.clock.monotonic()))
        passed = run.clock.monotonic() - knocked.at
        table = (
            silence.read(jump.ask(silence.question(address)) or "", address)
            if knocked.may_ask
            else None
        )
        if table is None:
            return Finding(Verdict.UNKNOWN, NO_LOGIN)
        found = silence.listen(
            table, address, knocked.knock.heard(), cleared=knocked.cleared, out=passed
        )
        return silence.settled(found, waited, lingering=table.state is State.REACHABLE)
    except (NotTheCopy, LawRefused, SshRefused):
        raise
    except BackupsvcError as error:
        return Finding(
            Verdict.UNKNOWN, f"{error.message}: {error.hint}" if error.hint else error.message
        )


def _knocked(
    run: Run[RestoreTestMemory], memory: Silence, jump: Jump, *, clear: bool = True
) -> _Knocked:
    """Knock at every port; with ``clear`` the probe forgets first who was at the address."""
    address = memory.address
    first = (
        silence.read(jump.ask(silence.question(address, clear=True)) or "", address)
        if clear
        else None
    )
    if first:
        forwarding.refuse_router(run, first)
        if why := silence.unfit(first, address):
            raise NotTheCopy(
                f"no copy of guest {run.vmid} can be asked through the probe of "
                f"{run.memory.reserved.node}: {why}",
                "correct the guest's address in the policy, or give the probe an address in its "
                "network",
                operation=run.id,
            )
    # without clearing, the long look has found it empty
    cleared = first is None or first.state in silence.SILENT_STATES
    at, may_ask = run.clock.monotonic(), first is not None or not clear
    return _Knocked(address, jump.knock(address, memory.ports), at, cleared, may_ask)


# --- whose answer it was --------------------------------------------------------------------------


def bound(run: Run[RestoreTestMemory], result: CheckResult) -> CheckResult:
    """Given the answer of a check that looks for a sign of life, return it, or inconclusive where
    it may not be the copy's.

    Who gave a bad answer is not looked at: most often there is none, and after the last check all
    of them are.
    """
    memory = run.memory.silence
    if not memory or result.kind not in NETWORK_KINDS or result.outcome not in COUNTED:
        return result
    if why := silence.unsilenced(memory):
        return _discount(result, why)
    return (
        result if result.outcome is Outcome.FAILED else _counted(result, _look_while(run, memory))
    )


def bind(run: Run[RestoreTestMemory], results: Mapping[str, CheckResult]) -> dict[str, CheckResult]:
    """Given the answers of all checks, return them, those inconclusive that are not known to be the
    copy's.
    """
    memory, judged = run.memory.silence, dict(results)
    over_network = [
        (name, one)
        for name, one in results.items()
        if one.kind in NETWORK_KINDS and one.outcome in COUNTED
    ]
    if memory and over_network:
        why = silence.unsilenced(memory)
        # one look after them all: they have one address
        found = None if why else _look_while(run, memory)
        judged |= {
            name: _counted(one, found) if found else _discount(one, why or "")
            for name, one in over_network
        }
    return _with_agent_compared(run, judged)


def still(run: Run[RestoreTestMemory]) -> None:
    """Look once more who is at the copy's address, after the last of its checks: what is found now
    stands for all of them.
    """
    memory = run.memory.silence
    if memory and memory.during and memory.during.verdict is Verdict.ANSWERED:
        _look_while(run, memory)


def _counted(result: CheckResult, found: Finding) -> CheckResult:
    """The copy's own answers count, and so does that nobody answers."""
    own = found.verdict is Verdict.ANSWERED or (
        found.verdict is Verdict.SILENT and result.outcome is Outcome.FAILED
    )
    return result if own else _discount(result, found.words)


def _look_while(run: Run[RestoreTestMemory], memory: Silence) -> Finding:
    """See who is at the copy's address now, and remember it: an entry that may be old is asked anew
    for a while.
    """
    jump, address = probe(run), memory.address
    began, clear = run.clock.monotonic(), False
    found = Finding(Verdict.UNKNOWN, "there is no probe any more")
    try:
        while jump:
            table = silence.read(jump.ask(silence.question(address, clear=clear)) or "", address)
            if table is None:
                found = Finding(Verdict.UNKNOWN, NO_LOGIN)
                break
            found = silence.copys(table, address, run.memory.macs)
            # right after the probe was made to forget it, that nothing is there says nothing yet
            unsure = found.verdict is Verdict.UNSETTLED or (
                clear and found.verdict is Verdict.SILENT
            )
            if not unsure or run.clock.monotonic() - began > silence.ASKED_ANEW:
                break
            clear = found.verdict is Verdict.UNSETTLED
            jump.knock(address, memory.ports)
            run.clock.sleep(PAUSE)
    except SshRefused:
        raise
    except BackupsvcError as error:
        found = Finding(Verdict.UNKNOWN, error.message)
    _keep(run, during=found)
    return found


def trusted(run: Run[RestoreTestMemory], *, asking: bool = False) -> None:
    """Raise SshRefused if the probe is no longer the machine that is known: nothing that was asked
    through it was answered.

    ``asking``: the checks are being asked. One that had not passed yet is then left without an
    answer: its time was cut short, so it has not failed.
    """
    jump = probe(run)
    refused = jump.refused if jump else None
    if refused is None:
        return
    unanswered = {
        name: replace(one, outcome=Outcome.INCONCLUSIVE, detail=f"{one.detail}; {refused.message}")
        for name, one in run.memory.checks.items()
        if asking and one.outcome is Outcome.FAILED
    }
    run.memory = replace(run.memory, checks={**run.memory.checks, **unanswered})
    raise refused


def _with_agent_compared(
    run: Run[RestoreTestMemory], results: dict[str, CheckResult]
) -> dict[str, CheckResult]:
    """Compare what the copy's agent tells of itself with the copy's config, once; an agent of
    another machine proves nothing, nor does one of which that is not known yet.
    """
    agents = {
        key: one
        for key, one in results.items()
        if one.kind == "agent" and one.outcome is Outcome.PASSED
    }
    if not agents or not run.memory.macs:
        return results
    if run.memory.identified:
        # beside a check that is still pending it is asked again, and is the same machine
        return results | {
            key: _discount(one, run.memory.stranger)
            for key, one in agents.items()
            if run.memory.stranger
        }
    agent, scratch = run.service.pve.agent, run.memory.reserved
    why = None
    try:
        interfaces = agent.interfaces(scratch.node, scratch.vmid)
    except PveError as error:
        told = f"it does not tell whose it is ({error.text or error.message})"
        if error.status != REFUSED_BY_AGENT:  # the question was lost: it is put again
            return results | {
                key: replace(one, outcome=Outcome.INCONCLUSIVE, detail=f"{one.detail}; {told}")
                for key, one in agents.items()
            }
    else:
        name = ""
        with suppress(PveError):  # it is only said, and nothing hangs on it
            name = agent.hostname(scratch.node, scratch.vmid)
        told = (
            f"it calls itself {name or 'nothing'} and tells of "
            f"{', '.join(agent_identity.told(interfaces)) or 'no NIC'}"
        )
        why = agent_identity.doubt(interfaces, run.memory.macs)
    run.memory = replace(run.memory, identified=True, stranger=why or "")
    compared = {key: replace(one, detail=f"{one.detail}; {told}") for key, one in agents.items()}
    if why:  # asking again would find the same machine
        compared = {
            key: replace(one, outcome=Outcome.INCONCLUSIVE, detail=f"{one.detail}: {why}")
            for key, one in compared.items()
        }
        run.memory = replace(
            run.memory,
            times_asked={**run.memory.times_asked, **dict.fromkeys(compared, NEVER_AGAIN)},
        )
    return results | compared


# --- what they share ------------------------------------------------------------------------------


def _memory(run: Run[RestoreTestMemory]) -> Silence | None:
    """What the test remembers of its listening, begun where its checks speak to the network; None
    where none does.
    """
    if run.memory.simulated or run.memory.network != "isolated" or run.memory.scratch is None:
        return None
    if run.memory.listens is None:
        wanted = policy_for(run.service.policy, run.vmid, "")
        ports = {port for one in wanted.checks if (port := port_of(one))}
        begun = Silence(wanted.address, tuple(sorted(ports))) if ports and wanted.address else None
        run.memory = replace(run.memory, listens=begun is not None, silence=begun)
    return run.memory.silence


def _keep(run: Run[RestoreTestMemory], **found: Any) -> None:
    """Remember something of what was heard (the fields of ``Silence``)."""
    if run.memory.silence:
        run.memory = replace(run.memory, silence=replace(run.memory.silence, **found))


def _settled(found: Finding | None) -> bool:
    return found is not None and found.verdict is not Verdict.UNSETTLED


def _discount(result: CheckResult, why: str) -> CheckResult:
    return replace(
        result,
        outcome=Outcome.INCONCLUSIVE,
        detail=f"its answer does not count ({result.detail}): {why}",
    )


def _spent(run: Run[RestoreTestMemory], stage: str, began: float) -> None:
    """Add to a stage what listening cost beyond the task that it overlaps with."""
    run.lasted(stage, run.book.seconds.get(stage, 0.0) + run.clock.monotonic() - began)
