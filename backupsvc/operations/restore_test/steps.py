"""Prove an archive: restore it into a scratch VMID, isolate it, boot it, check it, see it live on, take it down, and
record what was found.

The first ten steps may fail: that is a result. Tear-down and judgement follow whatever happened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from backupsvc.engine.context import Handler, Run, Wait
from backupsvc.errors import AgentHeld, LawRefused, OperationFailed, PveError
from backupsvc.inventory.listing import as_dict
from backupsvc.operations import choosing, identity
from backupsvc.operations.restore_test import clearing, copying, listening, proving, reading, settling, standstill
from backupsvc.operations.restore_test.opening import guest_policy, refuse_container
from backupsvc.operations.scratch_cleanup import free_vmids
from backupsvc.operations.scratch_cleanup.taking_down import release_vmids, scratch_task, tear_down
from backupsvc.operations.scratch_cleanup.whereabouts import copies
from policies import agent_identity, copy_plan, isolation, moved, silence, verdict, whole
from policies.causes import Blame, Cause
from policies.check_levels import NETWORK_KINDS
from policies.model import (
    GuestPolicy,
    Outcome,
    Proof,
    Stage,
    Verdict,
)
from policies.pve import guest_config
from policies.service_checks import wanted_rung
from policies.workflow import Workflow

if TYPE_CHECKING:
    from backupsvc.pve.tasks import TaskResult

MOST_UNSURE = 3  # times that a check is put which cannot be: one lost answer is not yet a guest that nobody can ask


# --- the steps ----------------------------------------------------------------------------------------------------------


def choose(run: Run) -> Wait | None:
    """Pick the archive and read the config in it, which finds a broken header in a moment (a restore would take a minute)."""
    passed_over: list[str] = []
    archive = choosing.choose(
        run.service, run.vmid, at=run.data["at"], volid=run.data["volid"], say=passed_over.append, patient=run.patient
    )
    choosing.pin(run, archive)
    run.data["archive"] = as_dict(archive)
    refuse_container(archive)
    identity.refuse_changed(run, archive)
    run.data["simulated"] = run.service.pve.cluster.version().simulated
    if not run.data["simulated"]:
        run.service.nodes.prepare(archive.node)  # its kernel is asked in a moment, and the archive read there
    with proving.blaming(run):
        run.data["config"] = run.service.pve.storage.extract_config(archive.node, archive.volid)
    if not whole.holds_disk(run.data["config"]):
        run.data["blame"] = asdict(Blame(Cause.ARCHIVE))
        raise PveError(f"archive {archive.volid} of guest {run.vmid} holds no disk", "back the guest up again")
    identity.require(run, archive, run.data["config"])
    run.data["said"] = "; ".join((archive.volid, *passed_over))
    return None


def reserve(run: Run) -> Wait | None:
    """Find a scratch VMID, a node and a storage for the copy, lease the VMID (law 1), and wait for the node's turn."""
    if "scratch" not in run.data:
        if wait := clearing.take_down_left_copies(run):
            return wait
        _reserve(run)
    node = run.data["scratch"]["node"]
    return run.turn(f"restore {node}", f"another copy is being tested on {node}")


def _reserve(run: Run) -> None:
    service = run.service
    release_vmids(run, run.id)  # one that a driver leased and died before it could say so
    plan = copying.find(
        service,
        run.vmid,
        choosing.chosen(run),
        _config(run),
        operation=run.id,
        simulated=bool(run.data["simulated"]),
        take=lambda vmid: service.catalog.lease_vmid(vmid, run.id, run.now(), run.fence()),
        say=run.say,
        patient=run.patient,
    )
    run.data |= {"bridge": plan.bridge, "network": plan.network, "planned": dict(plan.overrides)}
    run.data["scratch"] = {"vmid": plan.vmid, "node": plan.node, "storage": plan.storage}  # last: it says that all is known
    run.data["said"] = f"VMID {plan.vmid} on {plan.node}"
    run.note("reserved", vmid=plan.vmid, node=plan.node, reasons=list(plan.reasons))


def begin(run: Run) -> Wait | None:
    """Start the restore, with every NIC overridden before the copy ever exists. Nobody waits for it yet: it is read meanwhile."""
    with proving.blaming(run):
        result = _restoring(run)
        if result and not result.ok:
            _accept(run, result)
    if not run.data.get("restore_upid"):
        return Wait("it is not known yet whether the restore was started", most=2.0)
    listening.knock(run)
    return None


def restore(run: Run) -> Wait | None:
    """Wait until the archive is restored."""
    with proving.blaming(run):
        result = _restoring(run)
        if result is None:
            listening.before(run)
            return Wait("the archive is being restored", most=5.0)
        _accept(run, result)
    took = run.service.pve.tasks.lasted(str(run.data["restore_upid"]))
    if took is not None and took > 0:  # it may have ended long before its archive was read: who restores in need reads nothing
        # Never more than the reading lasted: ``took`` is by the node's clock, which may have been set meanwhile.
        run.data["waited"] = max(0.0, min(run.passed("begin") - took, run.data.get("seconds", {}).get("read", 0.0)))
    run.data["overrides"] = _overrides(run)
    return None


def _restoring(run: Run) -> TaskResult | None:
    """Start the restore, once; return how it has ended, None while it runs."""
    service, archive, scratch = run.service, choosing.chosen(run), run.data["scratch"]

    def start() -> str:
        free_vmids.refuse_ha(service, scratch["vmid"])
        return service.pve.restore.start(
            scratch["node"],
            scratch["vmid"],
            archive.volid,
            storage=scratch["storage"],
            overrides=_overrides(run),
            pool=service.policy.scratch.pool,
            bandwidth=service.policy.scratch.bandwidth,
        )

    return run.task("restore", start, what=f"restore {archive.volid}", **scratch_task(run, "qmrestore"))


def _accept(run: Run, result: TaskResult) -> None:
    """Write down how the restore ended. Raise TaskFailed if it has failed."""
    run.ended("restore", result)
    volid, vmid = run.data["archive"]["volid"], run.data["scratch"]["vmid"]
    result.raise_if_failed(f"restoring {volid} of guest {run.vmid} into scratch VMID {vmid}")


def isolate(run: Run) -> Wait | None:
    """Read the copy's config back, strip what could meet production, read it back again, and keep both as evidence (law 2)."""
    pve, scratch = run.service.pve, run.data["scratch"]
    node, vmid = scratch["node"], scratch["vmid"]
    sent = run.data["overrides"]
    _require_bridge(run, node, str(run.data["network"]))
    found = isolation.strip(pve.guests.config(node, vmid), sent)
    evidence = run.data.setdefault("isolation", {"stripped": [], "asserted": []})
    evidence["stripped"] += [item for item in isolation.changes(_config(run), sent) if item not in evidence["stripped"]]
    if found.blockers:
        raise LawRefused(
            2,
            f"the copy of guest {run.vmid} must not start: {'; '.join(found.blockers)}",
            "remove it in the guest and back up again",
        )
    if found.delete:
        run.data["stripping"] = list(dict.fromkeys([*run.data.get("stripping", ()), *found.stripped]))
        run.save()  # before the call: if its answer is lost, the next look finds nothing left to strip
        copies(run).apply_strip(node, vmid, run.id, found.delete)
    config = pve.guests.config(node, vmid)
    still = isolation.strip(config, sent).stripped  # said only once it is so
    evidence["stripped"] += [item for item in run.data.pop("stripping", ()) if item not in still]
    run.data["missing_disks"] = list(guest_config.missing_disks(_config(run), config))
    asserted = isolation.assertions(
        config,
        scratch=run.service.policy.scratch,
        vmid=vmid,
        operation=run.id,
        network=str(run.data["network"]),
        ha_managed=f"vm:{vmid}" in pve.cluster.ha_resources(),
    )
    run.data["isolation"]["asserted"] = [f"{'holds' if item.holds else 'DOES NOT HOLD'}: {item.detail}" for item in asserted]
    if broken := [item.detail for item in asserted if not item.holds]:
        raise LawRefused(2, f"the copy of guest {run.vmid} must not start: {'; '.join(broken)}", "the copy is taken down")
    run.data["agent"] = guest_config.agent_configured(config)
    run.data["macs"] = list(agent_identity.macs(config))
    return None


def start(run: Run) -> Wait | None:
    """Start the copy; the adapter reads its config once more and starts nothing that is not isolated."""
    scratch = run.data["scratch"]
    node, vmid = scratch["node"], scratch["vmid"]
    if wait := listening.last(run):
        return wait

    def begin() -> str:
        return copies(run).start(node, vmid, run.id, network=str(run.data["network"]))

    result = run.task("start", begin, what=f"start scratch VMID {vmid}", **scratch_task(run, "qmstart"))
    if result is None:
        return Wait("the copy is starting", most=0.5)
    result.raise_if_failed(f"starting the copy of guest {run.vmid} in scratch VMID {vmid}")
    return None


def boot(run: Run) -> Wait | None:
    """Wait for a sign of life: the agent answers, or a check over the isolated bridge succeeds."""
    wanted = guest_policy(run.service, run.vmid)
    observable = run.data["agent"] or any(_askable(run, spec.kind) for spec in wanted.checks)
    if not observable:
        run.data["booted"] = None
        run.say("the copy has no agent, and no check can reach it: nothing can tell whether it boots")
        return None
    if alive := _sign_of_life(run, wanted):
        run.data["booted"], run.data["said"] = True, alive
        return None
    listening.trusted(run, {})
    found, timed_out = standstill.look(run, _config(run)), run.passed("boot") > wanted.boot_timeout
    standstill.end_if_halted(run, found, timed_out=timed_out)
    standstill.end_if_unbootable(run, found)
    if timed_out and not run.data.get("heard"):
        run.data["booted"] = None  # a question that was never put is no sign of death
        run.say("nothing could be asked of the copy in its time: nothing can tell whether it boots")
        return None
    if timed_out:
        run.data["booted"] = False
        seen = f": {found.said}" if found.said else ""
        raise OperationFailed(
            f"the copy of guest {run.vmid} showed no sign of life within {wanted.boot_timeout} s{seen}", operation=run.id
        )
    return Wait("the copy is booting", most=0.25)


def check(run: Run) -> Wait | None:
    """Ask every health check until it passes or the time for checks is up; the last answers stand."""
    from backupsvc import checks

    wanted = guest_policy(run.service, run.vmid)
    results: dict[str, Any] = run.data.setdefault("checks", {})
    target = _target(run, wanted)
    if run.passed("check") <= wanted.check_timeout and _held(run, wanted):
        return Wait("somebody dumps the copy, and its agent is not asked meanwhile", most=2.0)
    for spec in wanted.checks:
        if results.get(spec.name, {}).get("outcome") != Outcome.PASSED:
            asked = int(results.get(spec.name, {}).get("asked", 0)) + 1
            results[spec.name] = asdict(checks.run(spec, target)) | {"kind": spec.kind, "asked": asked}
    listening.trusted(run, results)
    listening.bind(run, results)
    pending = [result for result in results.values() if _may_still_pass(result)]
    if pending and run.passed("check") <= wanted.check_timeout:
        return Wait(f"{pending[0]['name']}: {pending[0]['detail']}", most=0.5)
    good = bool(results) and all(result["outcome"] == Outcome.PASSED for result in results.values())
    since = run.passed("begin") - run.data.get("waited", 0.0)
    run.data["rto"] = round(since, 3) if good and not run.data["simulated"] else None
    run.data["said"] = ", ".join(f"{result['name']} {result['outcome']}" for result in results.values())
    return None


def settle(run: Run) -> Wait | None:
    """Watch the copy for a while: what answered once may die, or boot over and over."""
    wanted = guest_policy(run.service, run.vmid)
    answer = settling.settle(run, wanted, _target(run, wanted))
    listening.trusted(run, {})
    if settling.kept(run.data).outcome is Outcome.PASSED:
        listening.still(run)
    return answer


def judge(run: Run) -> Wait | None:
    """Turn what was seen into a verdict, and record the proof."""
    if "archive" not in run.data:
        if run.data.get("cancelled"):
            return None  # nothing had begun, so there is nothing to judge
        error = run.data["error"]
        raise OperationFailed(error["message"], error["hint"], operation=run.id)
    run.data["wanted_rung"] = str(wanted_rung(run.service.policy, run.vmid))
    judgement = verdict.within_one_time(
        verdict.decide(proving.evidence(run.data, choosing.chosen(run))), run.jumped("choose"), run.service.policy.max_clock_drift
    )
    judgement = moved.judged(judgement, run.data)
    seconds = run.data.get("seconds", {})
    scratch = run.data.get("scratch") or {}
    proof = Proof(
        operation=run.id,
        vmid=run.vmid,
        volid=run.data["archive"]["volid"],
        node=run.data["archive"]["node"],
        archive_ctime=run.data["archive"]["ctime"],
        verdict=judgement.verdict,
        rung=judgement.rung,
        started=int(run.data["entered"]["choose"]),
        ended=run.now(),
        rto=run.data.get("rto") if judgement.verdict is Verdict.PROVEN else None,
        stages=tuple(Stage(name, value) for name, value in seconds.items()),
        checks=proving.results_of(run.data),
        stripped=tuple(run.data.get("isolation", {}).get("stripped", ())),
        asserted=(*run.data.get("isolation", {}).get("asserted", ()), *silence.evidence(run.data.get("silence"))),
        reasons=judgement.reasons,
        scratch_vmid=scratch.get("vmid"),
        scratch_node=scratch.get("node"),
        cause=str(judgement.cause) if judgement.cause else None,
    )
    run.service.catalog.record_proof(proof)
    kept = {"verdict": str(proof.verdict), "rung": str(proof.rung), "reasons": list(proof.reasons), "rto": proof.rto}
    run.data["proof"] = kept | {"cause": proof.cause}
    run.data["said"] = f"{proof.verdict}, rung {proof.rung}"
    return None


WORKFLOW = Workflow(
    "restore-test",
    ("choose", "reserve", "begin", "read", "restore", "isolate", "start", "boot", "check", "settle"),
    ("tear-down", "judge"),
    failure_is_result=True,
    long=frozenset({"read", "boot", "check", "settle"}),
)
HANDLERS: Mapping[str, Handler] = {
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


# --- what the steps share -----------------------------------------------------------------------------------------------


def _config(run: Run) -> dict[str, str]:
    return guest_config.parse_config(str(run.data["config"]))


def _overrides(run: Run) -> dict[str, str]:
    """What the plan sends with the restore call; a test that an older version reserved a place for kept only its bridge."""
    if "planned" in run.data:
        return dict(run.data["planned"])
    service, bridge = run.service, run.data["bridge"]
    guest = guest_policy(service, run.vmid)
    return copy_plan.overrides(
        _config(run),
        guest=guest,
        scratch=service.policy.scratch,
        bridge=bridge,
        operation=run.id,
        service=service.catalog.identity(),
    )


def _require_bridge(run: Run, node: str, network: str) -> None:
    for note in copies(run).require_bridge(node, network):
        run.say(note)


def _may_still_pass(result: dict[str, Any]) -> bool:
    """Whether a check is asked again: a bad answer as long as there is time, a question that could not be put a few times."""
    outcome, asked = result["outcome"], int(result["asked"])
    return bool(outcome == Outcome.FAILED or (outcome == Outcome.INCONCLUSIVE and asked < MOST_UNSURE))


def _askable(run: Run, kind: str) -> bool:
    return (kind in NETWORK_KINDS and listening.probe(run) is not None) or (kind == "agent" and bool(run.data["agent"]))


def _target(run: Run, wanted: GuestPolicy) -> Any:
    from backupsvc import checks

    scratch, pve = run.data["scratch"], run.service.pve
    jump = listening.probe(run)
    agent = pve.agent.port(scratch["node"], scratch["vmid"]) if run.data["agent"] else None
    return checks.Target(run.vmid, wanted.address, jump.connect if jump else None, agent)


def _held(run: Run, wanted: GuestPolicy) -> bool:
    """Whether a check would ask the copy's agent while somebody dumps the copy."""
    scratch = run.data["scratch"]
    asks = run.data["agent"] and any(spec.kind == "agent" for spec in wanted.checks)
    return bool(asks) and run.service.pve.agent.held(scratch["node"], scratch["vmid"])


def _sign_of_life(run: Run, wanted: GuestPolicy) -> str | None:
    """Return what answers. Whether this look could ask at all is kept in ``heard``: only then does silence mean anything."""
    from backupsvc import checks

    scratch, pve = run.data["scratch"], run.service.pve
    held = False
    try:
        if run.data["agent"] and pve.agent.ping(scratch["node"], scratch["vmid"]):
            return "the agent answers"
    except AgentHeld:  # somebody dumps the copy: that nobody was asked is no silence
        held = True
    run.data["heard"] = bool(run.data["agent"]) and not held
    target = _target(run, wanted)
    for spec in wanted.checks:
        if _askable(run, spec.kind) and spec.kind in NETWORK_KINDS:
            result = listening.bound(run, checks.run(spec, target))
            run.data["heard"] |= result.outcome is not Outcome.INCONCLUSIVE
            if result.outcome is Outcome.PASSED:
                run.data["life"] = "network"
                return f"{result.name} answers"
    return None
