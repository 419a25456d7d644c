"""Whether a guest that was brought back and started serves: the steps ``check`` and ``watch`` of a
restore.

It is asked by its agent, which is the guest's own, and from this machine, where others may answer in
its place.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from backupsvc.engine.context import Wait
from backupsvc.errors import BackupsvcError, PveError
from backupsvc.operations.restore.hearing import Way
from backupsvc.operations.restore.memory import RestoreMemory
from backupsvc.operations.restore_test import settling
from backupsvc.operations.services import Run
from policies import agent_identity, reach, restore_guard, restore_verdict, settle
from policies.guest_policy import policy_for
from policies.model import CheckResult, GuestPolicy, Outcome
from policies.pve import guest_config
from policies.restore_verdict import Evidence
from policies.service_checks import wanted_rung

if TYPE_CHECKING:
    from backupsvc import checks

R = TypeVar("R", bound=RestoreMemory)


def check(run: Run[R]) -> Wait | None:
    """Ask every health check until it passes or its time is up; the last answers stand."""
    return ask(run, wanted_of(run))


def ask(run: Run[R], wanted: GuestPolicy) -> Wait | None:
    """Ask the health checks of a policy until each passes or its time, counted from when the present
    step was entered, is up; the last answers stand.
    """
    from backupsvc import checks

    memory = run.memory
    if not memory.start or memory.simulated:
        return None
    # by its configuration as it is now, which may differ from the archive's
    if memory.agent is None:
        config = run.service.restore_pve.guests.config(memory.node, run.vmid)
        agent, macs = guest_config.agent_configured(config), agent_identity.macs(config)
        run.memory = memory = replace(memory, agent=agent, macs=macs)
    step = run.operation.step
    for spec in wanted.checks:
        before = run.memory.checks.get(spec.name)
        # asked no more: it is asked once more, beside the others, while it is watched
        if before is not None and before.outcome is Outcome.PASSED:
            continue
        way = Way(run.service, wanted.address)
        result = replace(checks.run(spec, _target(run, wanted, way)), kind=spec.kind)
        (result,) = _own(run, way, [result])
        memory, unsure = run.memory, dict(run.memory.unsure)
        if result.outcome is Outcome.INCONCLUSIVE and not way.may_pass:
            unsure[spec.name] = unsure.get(spec.name, 0) + 1
        alive = memory.alive
        # from here on its other checks have check_timeout, and not the whole boot
        if alive is None and result.outcome is Outcome.PASSED:
            alive = run.passed(step)
        answers = {**memory.checks, spec.name: result}
        run.memory = replace(memory, checks=answers, unsure=unsure, alive=alive)
    memory = run.memory
    if again := restore_verdict.pending(
        memory.checks, memory.unsure, wanted, passed=run.passed(step), alive=memory.alive
    ):
        return Wait(f"{again.name}: {again.detail}", most=1.0)
    run.conclude(", ".join(f"{one.name} {one.outcome}" for one in memory.checks.values()))
    return None


def watch(run: Run[R]) -> Wait | None:
    """Watch a guest whose checks have all passed for as long as the policy says, and judge: one that
    boots over and over passes each check at the right moment.
    """
    memory = run.memory
    if not memory.start:
        return None
    wanted, found = wanted_of(run), settle.NOT_DUE
    way = Way(run.service, wanted.address)
    answers = tuple(memory.checks.values())
    # what failed already is judged at once: to watch it longer would only cost time
    if answers and all(one.outcome is Outcome.PASSED for one in answers):
        found = _watched(run, wanted)
        # who answers now stands for all that was answered meanwhile
        answers = tuple(_own(run, way, answers))
    down = reach.down(run.service.restore_pve.cluster.nodes())
    judged = restore_verdict.decide(
        Evidence(
            answers,
            memory.simulated,
            wanted_rung(run.service.policy, memory.whose(run.vmid)),
            found,
            memory.missing_disks,
            restore_guard.back(memory.silent, down),
            unseen=not way.sees(),
        )
    )
    kept = {one.name: one for one in answers}
    run.memory = replace(memory, checks=kept, settled=found, judged=judged)
    run.conclude(f"{restore_verdict.IN_WORDS[judged.health]}: {'; '.join(judged.reasons)}")
    return None


def wanted_of(run: Run[R]) -> GuestPolicy:
    """Return the policy of the guest that was brought back."""
    return policy_for(run.service.policy, run.memory.whose(run.vmid), run.memory.name)


def _target(run: Run[R], wanted: GuestPolicy, way: Way) -> checks.Target:
    from backupsvc import checks

    memory = run.memory
    agent = run.service.pve.agent.port(memory.node, run.vmid) if memory.agent else None
    return checks.Target(run.vmid, wanted.address, way.connect, agent)


def _own(run: Run[R], way: Way, answers: Iterable[CheckResult]) -> list[CheckResult]:
    """Answers, those inconclusive that may be another machine's: PVE finds an agent by its VMID
    alone, and anybody may answer at an address.
    """
    memory, found = run.memory, []
    for one in answers:
        result = way.counted(one, memory.looks, memory.macs)
        if result.kind == "agent" and result.outcome is Outcome.PASSED:
            try:
                told = run.service.pve.agent.interfaces(memory.node, run.vmid)
                why = agent_identity.doubt(told, memory.macs)
            except BackupsvcError as error:
                # an agent that refuses that one question has still answered (pve-facts 8.5)
                refused = isinstance(error, PveError) and error.status == 200
                why = None if refused else f"it does not tell whose it is: {error.message}"
            if why:
                detail = f"its answer does not count ({one.detail}): {why.replace('copy', 'guest')}"
                result = replace(result, outcome=Outcome.INCONCLUSIVE, detail=detail)
        found.append(result)
    return found


def _watched(run: Run[R], wanted: GuestPolicy) -> settle.Settled:
    from backupsvc import checks

    seconds = settling.seconds(run.service.policy.scratch, wanted)
    if not seconds:
        return settle.NOT_ASKED_FOR
    pve, node, vmid, agent = run.service.pve, run.memory.node, run.vmid, bool(run.memory.agent)
    with ThreadPoolExecutor(len(wanted.checks) + 1, thread_name_prefix="watch") as pool:
        watcher = settling.Watcher(
            run.clock,
            pool,
            seconds,
            wanted.checks,
            lambda spec: checks.run(spec, _target(run, wanted, Way(run.service, wanted.address))),
            partial(settling.look, run.service.restore_pve, run.clock, node, vmid),
            partial(settling.boot, pve, node, vmid, agent=agent),
        )
        return settle.decide(watcher.watch(run.heartbeat))
