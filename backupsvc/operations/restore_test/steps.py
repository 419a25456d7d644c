"""Prove an archive: restore it into a scratch VMID, isolate it, boot it, check it, see it live on,
take it down, and record what was found.

The first ten steps may fail: that is a result. Tear-down and judgement follow whatever happened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from backupsvc.engine.context import Handler, Wait
from backupsvc.errors import AgentHeld, LawRefused, OperationFailed, PveError
from backupsvc.operations import choosing
from backupsvc.operations.memories import ScratchPlace
from backupsvc.operations.restore_test import (
    clearing,
    copying,
    lineage,
    listening,
    proving,
    reading,
    settling,
    standstill,
)
from backupsvc.operations.restore_test.memory import Judged, RestoreTestMemory
from backupsvc.operations.restore_test.opening import guest_policy, refuse_container
from backupsvc.operations.scratch_cleanup import free_vmids, taking_down
from backupsvc.operations.scratch_cleanup.taking_down import release_vmids, scratch_task
from backupsvc.operations.scratch_cleanup.whereabouts import copies
from backupsvc.operations.services import Run, StepServices
from policies import agent_identity, copy_plan, isolation, moved, silence, verdict, whole
from policies.causes import Blame, Cause
from policies.check_kinds import NETWORK_KINDS
from policies.model import CheckResult, GuestPolicy, Outcome, Proof, Stage, Verdict
from policies.pve import guest_config
from policies.service_checks import wanted_rung
from policies.workflow import Workflow

if TYPE_CHECKING:
    from backupsvc import checks
    from backupsvc.pve.tasks import TaskResult

# times that a check is put which cannot be: one lost answer is not yet a guest that nobody can ask
MAX_UNSURE = 3


# --- the steps ------------------------------------------------------------------------------------


def choose(run: Run[RestoreTestMemory]) -> Wait | None:
    """Pick the archive and read the config in it, which finds a broken header in a moment (a
    restore would take a minute).
    """
    passed_over: list[str] = []
    archive = choosing.choose(
        run.service,
        run.vmid,
        at=run.memory.at,
        volid=run.memory.volid,
        say=passed_over.append,
        retries=run.retries,
    )
    choosing.pin(run.service, archive, run.fence(), run.now())
    run.memory = replace(run.memory, archive=archive)
    refuse_container(archive)
    lineage.refuse_changed(run, archive)
    run.memory = replace(run.memory, simulated=run.service.pve.cluster.version().simulated)
    if not run.memory.simulated:
        # its kernel is asked in a moment, and the archive read there
        run.service.nodes.prepare(archive.node)
    with proving.blaming(run):
        run.memory = replace(
            run.memory, config=run.service.pve.storage.extract_config(archive.node, archive.volid)
        )
    if not whole.holds_disk(run.memory.config):
        run.memory = replace(run.memory, blame=Blame(Cause.ARCHIVE))
        raise PveError(
            f"archive {archive.volid} of guest {run.vmid} holds no disk", "back the guest up again"
        )
    lineage.require(run, archive, run.memory.config)
    run.conclude("; ".join((archive.volid, *passed_over)))
    return None


def reserve(run: Run[RestoreTestMemory]) -> Wait | None:
    """Find a scratch VMID, a node and a storage for the copy, lease the VMID (law 1), and wait for
    the node's turn.
    """
    if run.memory.scratch is None:
        if wait := clearing.take_down_left_copies(run):
            return wait
        service = run.service
        release_vmids(run, run.id)  # one that a driver leased and died before it could say so
        plan = copying.find(
            service,
            run.vmid,
            choosing.chosen(service, run.memory.chosen),
            _config(run),
            operation=run.id,
            simulated=run.memory.simulated,
            take=lambda vmid: service.catalog.leases.take(vmid, run.now(), run.fence()),
            say=run.say,
            retries=run.retries,
        )
        run.memory = replace(
            run.memory,
            scratch=ScratchPlace(plan.vmid, plan.node, plan.storage),
            bridge=plan.bridge,
            network=plan.network,
            planned=dict(plan.overrides),
        )
        run.conclude(f"VMID {plan.vmid} on {plan.node}")
        run.note("reserved", vmid=plan.vmid, node=plan.node, reasons=list(plan.reasons))
    node = run.memory.reserved.node
    return run.turn(f"restore {node}", f"another copy is being tested on {node}")


def begin(run: Run[RestoreTestMemory]) -> Wait | None:
    """Start the restore, with every NIC overridden before the copy ever exists. Nobody waits for it
    yet: it is read meanwhile.
    """
    with proving.blaming(run):
        result = _restoring(run)
        if result and not result.ok:
            _accept(run, result)
    if not run.book.upid("restore"):
        return Wait("it is not known yet whether the restore was started", most=2.0)
    listening.knock(run)
    return None


def restore(run: Run[RestoreTestMemory]) -> Wait | None:
    """Wait until the archive is restored."""
    with proving.blaming(run):
        result = _restoring(run)
        if result is None:
            listening.before(run)
            return Wait("the archive is being restored", most=5.0)
        _accept(run, result)
    upid = run.book.upid("restore")
    took = run.service.pve.tasks.lasted(upid) if upid else None
    # it may have ended long before its archive was read: who restores in need reads nothing
    if took is not None and took > 0:
        # Never more than the reading lasted: ``took`` is by the node's clock, which may have been
        # set meanwhile.
        waited = max(0.0, min(run.passed("begin") - took, run.book.seconds.get("read", 0.0)))
        run.memory = replace(run.memory, waited=waited)
    run.memory = replace(run.memory, overrides=_overrides(run))
    return None


def _restoring(run: Run[RestoreTestMemory]) -> TaskResult | None:
    """Start the restore, once; return how it has ended, None while it runs."""
    service, scratch = run.service, run.memory.reserved
    archive = choosing.chosen(service, run.memory.chosen)

    def start() -> str:
        free_vmids.refuse_ha(service, scratch.vmid)
        return service.pve.restore.start(
            scratch.node,
            scratch.vmid,
            archive.volid,
            storage=scratch.storage,
            overrides=_overrides(run),
            pool=service.policy.scratch.pool,
            bandwidth=service.policy.scratch.bandwidth,
        )

    return run.task(
        "restore", start, what=f"restore {archive.volid}", **scratch_task(run, scratch, "qmrestore")
    )


def _accept(run: Run[RestoreTestMemory], result: TaskResult) -> None:
    """Write down how the restore ended. Raise TaskFailed if it has failed."""
    run.ended("restore", result)
    volid, vmid = run.memory.chosen.volid, run.memory.reserved.vmid
    result.raise_if_failed(f"restoring {volid} of guest {run.vmid} into scratch VMID {vmid}")


def isolate(run: Run[RestoreTestMemory]) -> Wait | None:
    """Read the copy's config back, strip what could meet production, read it back again, and keep
    both as evidence (law 2).
    """
    pve, scratch = run.service.pve, run.memory.reserved
    node, vmid = scratch.node, scratch.vmid
    sent = run.memory.overrides
    for note in copies(run).require_bridge(node, run.memory.network):
        run.say(note)
    found = isolation.strip(pve.guests.config(node, vmid), sent)
    known = run.memory.isolation.stripped
    changed = (item for item in isolation.changes(_config(run), sent) if item not in known)
    run.memory = replace(
        run.memory, isolation=replace(run.memory.isolation, stripped=(*known, *changed))
    )
    if found.blockers:
        raise LawRefused(
            2,
            f"the copy of guest {run.vmid} must not start: {'; '.join(found.blockers)}",
            "remove it in the guest and back up again",
        )
    if found.delete:
        run.memory = replace(
            run.memory, stripping=tuple(dict.fromkeys([*run.memory.stripping, *found.stripped]))
        )
        # before the call: if its answer is lost, the next look finds nothing left to strip
        run.save()
        copies(run).apply_strip(node, vmid, run.id, found.delete)
    config = pve.guests.config(node, vmid)
    still = isolation.strip(config, sent).stripped  # said only once it is so
    stripped = (
        *run.memory.isolation.stripped,
        *(item for item in run.memory.stripping if item not in still),
    )
    run.memory = replace(
        run.memory,
        stripping=(),
        isolation=replace(run.memory.isolation, stripped=stripped),
        missing_disks=tuple(guest_config.missing_disks(_config(run), config)),
    )
    asserted = isolation.assertions(
        config,
        scratch=run.service.policy.scratch,
        vmid=vmid,
        operation=run.id,
        network=run.memory.network,
        ha_managed=f"vm:{vmid}" in pve.cluster.ha_resources(),
    )
    sentences = tuple(
        f"{'holds' if item.holds else 'DOES NOT HOLD'}: {item.detail}" for item in asserted
    )
    run.memory = replace(run.memory, isolation=replace(run.memory.isolation, asserted=sentences))
    if broken := [item.detail for item in asserted if not item.holds]:
        raise LawRefused(
            2,
            f"the copy of guest {run.vmid} must not start: {'; '.join(broken)}",
            "the copy is taken down",
        )
    run.memory = replace(
        run.memory, agent=guest_config.agent_configured(config), macs=agent_identity.macs(config)
    )
    return None


def start(run: Run[RestoreTestMemory]) -> Wait | None:
    """Start the copy; the adapter reads its config once more and starts nothing that is not
    isolated.
    """
    scratch = run.memory.reserved
    node, vmid = scratch.node, scratch.vmid
    if wait := listening.last(run):
        return wait

    def begin() -> str:
        return copies(run).start(node, vmid, run.id, network=run.memory.network)

    result = run.task(
        "start", begin, what=f"start scratch VMID {vmid}", **scratch_task(run, scratch, "qmstart")
    )
    if result is None:
        return Wait("the copy is starting", most=0.5)
    result.raise_if_failed(f"starting the copy of guest {run.vmid} in scratch VMID {vmid}")
    return None


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
    found, timed_out = standstill.look(run, _config(run)), run.passed("boot") > wanted.boot_timeout
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
    target = _target(run, wanted)
    if run.passed("check") <= wanted.check_timeout and _held(run, wanted):
        return Wait("somebody dumps the copy, and its agent is not asked meanwhile", most=2.0)
    for spec in wanted.checks:
        before = run.memory.checks.get(spec.name)
        if before is None or before.outcome is not Outcome.PASSED:
            result = replace(checks.run(spec, target), kind=spec.kind)
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
        if _may_still_pass(result, run.memory.times_asked.get(name, 0))
    ]
    if pending and run.passed("check") <= wanted.check_timeout:
        return Wait(f"{pending[0].name}: {pending[0].detail}", most=0.5)
    good = bool(results) and all(result.outcome is Outcome.PASSED for result in results.values())
    since = run.passed("begin") - run.memory.waited
    run.memory = replace(
        run.memory, rto=round(since, 3) if good and not run.memory.simulated else None
    )
    run.conclude(", ".join(f"{result.name} {result.outcome}" for result in results.values()))
    return None


def settle(run: Run[RestoreTestMemory]) -> Wait | None:
    """Watch the copy for a while: what answered once may die, or boot over and over."""
    wanted = guest_policy(run.service, run.vmid)
    answer = settling.settle(run, wanted, _target(run, wanted))
    listening.trusted(run)
    if settling.kept(run.memory).outcome is Outcome.PASSED:
        listening.still(run)
    return answer


def tear_down(run: Run[RestoreTestMemory]) -> Wait | None:
    """Take the copy down, and listen once more while that is done and after it."""
    return taking_down.tear_down(
        run, meanwhile=lambda: listening.knock_after(run), afterwards=lambda: listening.after(run)
    )


def judge(run: Run[RestoreTestMemory]) -> Wait | None:
    """Turn what was seen into a verdict, and record the proof."""
    if run.memory.archive is None:
        if run.book.cancelled or run.book.error is None:
            return None  # nothing had begun, so there is nothing to judge
        raise OperationFailed(run.book.error.message, run.book.error.hint, operation=run.id)
    run.memory = memory = replace(run.memory, wanted_rung=wanted_rung(run.service.policy, run.vmid))
    archive, scratch = memory.chosen, memory.scratch
    known = choosing.chosen(run.service, archive)
    if known.operation and run.service.catalog.operations.get(known.operation) is None:
        # only its notes say so (a catalog that was rebuilt), and whoever may write the archive may
        # write them: what it was when it was made, nobody knows
        known = replace(known, operation=None)
    seen = proving.evidence(memory, run.book, known)
    judgement = verdict.within_one_time(
        verdict.decide(seen), run.jumped("choose"), run.service.policy.max_clock_drift
    )
    judgement = moved.judged(judgement, memory.moved, memory.lost)
    proof = Proof(
        operation=run.id,
        vmid=run.vmid,
        volid=archive.volid,
        node=archive.node,
        archive_ctime=archive.ctime,
        verdict=judgement.verdict,
        rung=judgement.rung,
        started=int(run.book.entered["choose"].wall),
        ended=run.now(),
        rto=memory.rto if judgement.verdict is Verdict.PROVEN else None,
        stages=tuple(Stage(name, value) for name, value in run.book.seconds.items()),
        checks=proving.results_of(memory),
        stripped=memory.isolation.stripped,
        asserted=(*memory.isolation.asserted, *silence.evidence(memory.silence)),
        reasons=judgement.reasons,
        scratch_vmid=scratch.vmid if scratch else None,
        scratch_node=scratch.node if scratch else None,
        cause=str(judgement.cause) if judgement.cause else None,
    )
    catalog = run.service.catalog
    catalog.proofs.record(proof)
    if judgement.verdict is Verdict.FAILED and seen.verified_intact is False:
        # it counts for nothing, and no restore takes it, until its bytes are read whole again
        problem = seen.restore_error or "; ".join(judgement.reasons)
        catalog.archives.record_damaged(
            archive.node, archive.volid, known.damaged or problem, run.now()
        )
    judged = Judged(proof.verdict, proof.rung, proof.reasons, proof.rto, judgement.cause)
    run.memory = replace(memory, proof=judged)
    run.conclude(f"{proof.verdict}, rung {proof.rung}")
    return None


WORKFLOW = Workflow(
    "restore-test",
    (
        "choose",
        "reserve",
        "begin",
        "read",
        "restore",
        "isolate",
        "start",
        "boot",
        "check",
        "settle",
    ),
    ("tear-down", "judge"),
    failure_is_result=True,
    long=frozenset({"read", "boot", "check", "settle"}),
)
HANDLERS: Mapping[str, Handler[StepServices, RestoreTestMemory]] = {
    "choose": choose,
    "reserve": reserve,
    "begin": begin,
    "read": reading.read,
    "restore": restore,
    "isolate": isolate,
    "start": start,
    "boot": boot,
    "check": check,
    "settle": settle,
    "tear-down": tear_down,
    "judge": judge,
}


# --- what the steps share -------------------------------------------------------------------------


def _config(run: Run[RestoreTestMemory]) -> dict[str, str]:
    return guest_config.parse_config(run.memory.config)


def _overrides(run: Run[RestoreTestMemory]) -> Mapping[str, str]:
    """What the plan sends with the restore call; a test that an older version reserved a place for
    kept only its bridge.
    """
    if run.memory.planned is not None:
        return run.memory.planned
    service = run.service
    guest = guest_policy(service, run.vmid)
    return copy_plan.overrides(
        _config(run),
        guest=guest,
        scratch=service.policy.scratch,
        bridge=run.memory.bridge,
        operation=run.id,
        service=service.catalog.identity.get(),
    )


def _may_still_pass(result: CheckResult, asked: int) -> bool:
    """Whether a check is asked again: a bad answer as long as there is time, a question that could
    not be put a few times.
    """
    return result.outcome is Outcome.FAILED or (
        result.outcome is Outcome.INCONCLUSIVE and asked < MAX_UNSURE
    )


def _askable(run: Run[RestoreTestMemory], kind: str) -> bool:
    return (kind in NETWORK_KINDS and listening.probe(run) is not None) or (
        kind == "agent" and run.memory.agent
    )


def _target(run: Run[RestoreTestMemory], wanted: GuestPolicy) -> checks.Target:
    from backupsvc import checks

    scratch, pve = run.memory.reserved, run.service.pve
    jump = listening.probe(run)
    agent = pve.agent.port(scratch.node, scratch.vmid) if run.memory.agent else None
    return checks.Target(run.vmid, wanted.address, jump.connect if jump else None, agent)


def _held(run: Run[RestoreTestMemory], wanted: GuestPolicy) -> bool:
    """Whether a check would ask the copy's agent while somebody dumps the copy."""
    scratch = run.memory.reserved
    asks = run.memory.agent and any(spec.kind == "agent" for spec in wanted.checks)
    return asks and run.service.pve.agent.held(scratch.node, scratch.vmid)


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
    target = _target(run, wanted)
    for spec in wanted.checks:
        if _askable(run, spec.kind) and spec.kind in NETWORK_KINDS:
            result = listening.bound(run, checks.run(spec, target))
            run.memory = replace(
                run.memory, heard=run.memory.heard or result.outcome is not Outcome.INCONCLUSIVE
            )
            if result.outcome is Outcome.PASSED:
                run.memory = replace(run.memory, life="network")
                return f"{result.name} answers"
    return None
