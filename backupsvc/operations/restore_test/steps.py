"""Prove an archive: restore it into a scratch VMID, isolate it, boot it, check it, see it live on,
take it down, and record what was found.

The first ten steps may fail: that is a result. Tear-down and judgement follow whatever happened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from backupsvc.engine.context import Handler, Wait
from backupsvc.errors import LawRefused, OperationFailed, PveError
from backupsvc.operations import choosing
from backupsvc.operations.memories import ScratchPlace
from backupsvc.operations.restore_test import (
    asking,
    clearing,
    copying,
    lineage,
    listening,
    proving,
    reading,
    settling,
)
from backupsvc.operations.restore_test.memory import Judged, RestoreTestMemory
from backupsvc.operations.restore_test.opening import guest_policy, refuse_container
from backupsvc.operations.scratch_cleanup import free_vmids, taking_down
from backupsvc.operations.scratch_cleanup.taking_down import release_vmids, scratch_task
from backupsvc.operations.scratch_cleanup.whereabouts import copies
from backupsvc.operations.services import Run, StepServices
from policies import agent_identity, copy_plan, isolation, moved, verdict, whole
from policies.causes import Blame, Cause
from policies.model import Outcome, Verdict
from policies.pve import guest_config
from policies.service_checks import wanted_rung
from policies.workflow import Workflow

if TYPE_CHECKING:
    from backupsvc.pve.tasks import TaskResult

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
    # before anything is read of it: a prune may be about to remove it (law 3)
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
            # the long look costs nothing here: a restore takes longer
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
    # what was sent with the restore is not believed: PVE's own config is read back (law 2)
    _strip(run, isolation.strip(pve.guests.config(node, vmid), sent))
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


def _strip(run: Run[RestoreTestMemory], found: isolation.Strip) -> None:
    """Write down what the restore changed, and take out of the copy what could meet production.
    Raise LawRefused (law 2) if something there cannot be taken out.
    """
    known = run.memory.isolation.stripped
    changed = isolation.changes(_config(run), run.memory.overrides)
    run.memory = replace(
        run.memory,
        isolation=replace(
            run.memory.isolation,
            stripped=(*known, *(item for item in changed if item not in known)),
        ),
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
        scratch = run.memory.reserved
        copies(run).apply_strip(scratch.node, scratch.vmid, run.id, found.delete)


def start(run: Run[RestoreTestMemory]) -> Wait | None:
    """Start the copy; the adapter reads its config once more and starts nothing that is not
    isolated.
    """
    scratch = run.memory.reserved
    node, vmid = scratch.node, scratch.vmid
    # the last moment at which whoever answers is certainly not the copy
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


def settle(run: Run[RestoreTestMemory]) -> Wait | None:
    """Watch the copy for a while: what answered once may die, or boot over and over."""
    wanted = guest_policy(run.service, run.vmid)
    answer = settling.settle(run, wanted, asking.target(run, wanted))
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
    archive = memory.chosen
    known = choosing.chosen(run.service, archive)
    if known.operation and run.service.catalog.operations.get(known.operation) is None:
        # only its notes say so (a catalog that was rebuilt), and whoever may write the archive may
        # write them: what it was when it was made, nobody knows
        known = replace(known, operation=None)
    seen = proving.evidence(memory, run.book, known)
    # what is dated by a clock that was set in between proves nothing
    judgement = verdict.within_one_time(
        verdict.decide(seen), run.jumped("choose"), run.service.policy.max_clock_drift
    )
    # the answers of a copy that was moved came from two places
    judgement = moved.judged(judgement, memory.moved, memory.lost)
    proof = proving.proof_of(run, judgement)
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
    "boot": asking.boot,
    "check": asking.check,
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
