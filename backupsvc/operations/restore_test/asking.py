"""Whether the copy lives, and serves: the steps ``boot`` and ``check`` of a restore test.

What cannot be asked is told apart from what gives no answer: only the latter speaks against the
copy.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from backupsvc.engine.context import Wait
from backupsvc.errors import AgentHeld, OperationFailed
from backupsvc.operations.restore_test import listening, standstill
from backupsvc.operations.restore_test.memory import RestoreTestMemory
from backupsvc.operations.restore_test.opening import guest_policy
from backupsvc.operations.services import Run
from policies.check_kinds import NETWORK_KINDS
from policies.model import GuestPolicy, Outcome
from policies.pve import guest_config

if TYPE_CHECKING:
    from backupsvc import checks

# times that a check is put which cannot be: one lost answer is not yet a guest that nobody can ask
MAX_UNSURE = 3


def boot(run: Run[RestoreTestMemory]) -> Wait | None:
    """Wait for a sign of life: the agent answers, or a check over the isolated bridge succeeds."""
    wanted = guest_policy(run.service, run.vmid)
    observable = run.memory.agent or any(_askable(run, spec.kind) for spec in wanted.checks)
    if not observable:
        run.memory = replace(run.memory, booted=None)
        run.say(
            "the copy has no agent, and no check can reach it: nothing can tell whether it boots"
        )
        return None
    if alive := _sign_of_life(run, wanted):
        run.memory = replace(run.memory, booted=True)
        run.conclude(alive)
        return None
    listening.trusted(run)
    found = standstill.look(run, guest_config.parse_config(run.memory.config))
    timed_out = run.passed("boot") > wanted.boot_timeout
    standstill.end_if_halted(run, found, timed_out=timed_out)
    standstill.end_if_unbootable(run, found)
    if timed_out and not run.memory.heard:
        # a question that was never put is no sign of death
        run.memory = replace(run.memory, booted=None)
        run.say("nothing could be asked of the copy in its time: nothing can tell whether it boots")
        return None
    if timed_out:
        run.memory = replace(run.memory, booted=False)
        seen = f": {found.said}" if found.said else ""
        raise OperationFailed(
            f"the copy of guest {run.vmid} showed no sign of life within {wanted.boot_timeout} "
            f"s{seen}",
            operation=run.id,
        )
    return Wait("the copy is booting", most=0.25)


def check(run: Run[RestoreTestMemory]) -> Wait | None:
    """Ask every health check until it passes or the time for checks is up; the last answers
    stand.
    """
    from backupsvc import checks

    wanted = guest_policy(run.service, run.vmid)
    scratch, whom = run.memory.reserved, target(run, wanted)
    asks_agent = run.memory.agent and any(spec.kind == "agent" for spec in wanted.checks)
    in_time = run.passed("check") <= wanted.check_timeout
    if in_time and asks_agent and run.service.pve.agent.held(scratch.node, scratch.vmid):
        return Wait("somebody dumps the copy, and its agent is not asked meanwhile", most=2.0)
    for spec in wanted.checks:
        before = run.memory.checks.get(spec.name)
        if before is None or before.outcome is not Outcome.PASSED:
            result = replace(checks.run(spec, whom), kind=spec.kind)
            asked = {
                **run.memory.times_asked,
                spec.name: run.memory.times_asked.get(spec.name, 0) + 1,
            }
            run.memory = replace(
                run.memory, checks={**run.memory.checks, spec.name: result}, times_asked=asked
            )
    listening.trusted(run, asking=True)
    results = listening.bind(run, run.memory.checks)
    run.memory = replace(run.memory, checks=results)
    pending = [
        result
        for name, result in results.items()
        # a bad answer is asked again as long as there is time, what could not be put a few times
        if result.outcome is Outcome.FAILED
        or (
            result.outcome is Outcome.INCONCLUSIVE
            and run.memory.times_asked.get(name, 0) < MAX_UNSURE
        )
    ]
    if pending and run.passed("check") <= wanted.check_timeout:
        return Wait(f"{pending[0].name}: {pending[0].detail}", most=0.5)
    good = bool(results) and all(result.outcome is Outcome.PASSED for result in results.values())
    # who restores in need does not wait until the archive was read as well
    since = run.passed("begin") - run.memory.waited
    run.memory = replace(
        run.memory, rto=round(since, 3) if good and not run.memory.simulated else None
    )
    run.conclude(", ".join(f"{result.name} {result.outcome}" for result in results.values()))
    return None


def _askable(run: Run[RestoreTestMemory], kind: str) -> bool:
    return (kind in NETWORK_KINDS and listening.probe(run) is not None) or (
        kind == "agent" and run.memory.agent
    )


def target(run: Run[RestoreTestMemory], wanted: GuestPolicy) -> checks.Target:
    """Given a restore test and its guest's policy, return whom the checks ask: the copy, by the
    probe and the agent, where there are any.
    """
    from backupsvc import checks

    scratch, pve = run.memory.reserved, run.service.pve
    jump = listening.probe(run)
    agent = pve.agent.port(scratch.node, scratch.vmid) if run.memory.agent else None
    return checks.Target(run.vmid, wanted.address, jump.connect if jump else None, agent)


def _sign_of_life(run: Run[RestoreTestMemory], wanted: GuestPolicy) -> str | None:
    """Return what answers. Whether this look could ask at all is kept in ``heard``: only then does
    silence mean anything.
    """
    from backupsvc import checks

    scratch, pve = run.memory.reserved, run.service.pve
    held = False
    try:
        if run.memory.agent and pve.agent.ping(scratch.node, scratch.vmid):
            return "the agent answers"
    except AgentHeld:  # somebody dumps the copy: that nobody was asked is no silence
        held = True
    run.memory = replace(run.memory, heard=run.memory.agent and not held)
    whom = target(run, wanted)
    for spec in wanted.checks:
        if _askable(run, spec.kind) and spec.kind in NETWORK_KINDS:
            result = listening.bound(run, checks.run(spec, whom))
            run.memory = replace(
                run.memory, heard=run.memory.heard or result.outcome is not Outcome.INCONCLUSIVE
            )
            if result.outcome is Outcome.PASSED:
                run.memory = replace(run.memory, life="network")
                return f"{result.name} answers"
    return None
